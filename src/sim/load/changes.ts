/** Changes that somebody makes to the store beside the work of the clients, and calls that may fail: what is known of them for the judges. */
import { KvError } from '../../errors.ts';
import type { Change, Outcome } from '../check/observations.ts';

/** A change that is being asked for. */
export function asked(invokedMs: number): Change {
  return { invokedMs, settledMs: Number.POSITIVE_INFINITY, outcome: 'info' };
}

/** Notes what becomes of a change. `done`: the refusal that says that it is so already. */
export async function settle(
  change: Change,
  nowMs: () => number,
  run: () => Promise<void>,
  done?: string,
): Promise<Outcome> {
  try {
    await run();
    change.outcome = 'ok';
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
    if (error.code === done) change.outcome = 'ok';
    else if (!error.maybeApplied) change.outcome = 'fail';
  }
  change.settledMs = nowMs();
  return change.outcome;
}

/** Whoever asks goes on after an error. */
export async function attempt(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
  }
}
