/** The revision that a read is to show: the newest, one in the past, or the one of a wall-clock time. */
import { KvError } from '../errors.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import type { ReadOptions } from '../wire/messages.ts';
import type { StoreClock } from './store_clock.ts';

/** @throws KvError FUTURE_REVISION, COMPACTED (details.compactRevision), INVALID_ARGUMENT */
export function revisionToRead(
  request: ReadOptions,
  store: StateMachine,
  clock: Pick<StoreClock, 'estimateMs'>,
): number {
  const revision = request.atTimeMs === undefined ? request.revision : revisionOfTime(request, store, clock);
  if (revision === 0) return store.revision;
  if (revision > store.revision) {
    throw new KvError(
      'FUTURE_REVISION',
      `revision ${revision} does not exist yet; the store is at ${store.revision}`,
    );
  }
  if (revision < store.compactRevision) throw compacted(`revision ${revision} has been compacted`, store);
  return revision;
}

function revisionOfTime(
  { atTimeMs = 0, revision }: ReadOptions,
  store: StateMachine,
  clock: Pick<StoreClock, 'estimateMs'>,
): number {
  if (revision !== 0) throw new KvError('INVALID_ARGUMENT', 'a read names either a revision or a time');
  if (atTimeMs > clock.estimateMs()) {
    throw new KvError('FUTURE_REVISION', `the time ${atTimeMs} has not come yet`, { details: { atTimeMs } });
  }
  const found = store.revisionAt(atTimeMs);
  if (found === undefined) throw compacted(`nothing is known any more of the time ${atTimeMs}`, store);
  return found;
}

function compacted(what: string, { compactRevision }: StateMachine): KvError {
  const details = { compactRevision };
  return new KvError('COMPACTED', `${what}; ${compactRevision} is the oldest`, { details });
}
