/** The last thing a node does before it stops: hands leadership over and lets the writes under way end, both for a bounded time. */
import { KvError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import type { Conditions } from './conditions.ts';
import type { Membership } from './membership.ts';

export interface HandOverOptions {
  readonly membership: Membership;
  readonly conditions: Conditions;
  readonly deadlineMs: number;
  /** Whether this node leads others. */
  readonly leads: boolean;
  /** Whether callers still wait for their writes. */
  readonly pending: () => boolean;
  readonly logger: Logger;
}

/** Never fails: who stops goes on with stopping. */
export async function handOver(options: HandOverOptions): Promise<void> {
  const { membership, conditions, deadlineMs, leads, pending, logger } = options;
  if (leads) {
    try {
      await membership.moveLeader(0, deadlineMs);
    } catch (error) {
      logger.warn('leadership was not handed over', { error });
    }
  }
  try {
    await conditions.until(
      () => !pending(),
      deadlineMs,
      () => new KvError('TIMEOUT', 'writes were still under way'),
    );
  } catch (error) {
    logger.warn('stopping with writes under way', { error });
  }
}
