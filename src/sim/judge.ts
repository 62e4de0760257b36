/**
 * All that can be said about a run from what its clients saw: every checker over one record.
 *
 * Invariants: pure but for the order of the checkers; a run that passes here, and whose invariants held all along, is right as far as this project can tell.
 */
import { ClockBounds, type ClockSetting } from './check/clock_bounds.ts';
import { EventHistory } from './check/event_history.ts';
import { checkLives, checkStoreTime, type Disturbance, ttlLives } from './check/lease_check.ts';
import type { Violation } from './check/observations.ts';
import { checkReadLevels } from './check/read_level_check.ts';
import { checkRevisions } from './check/revision_check.ts';
import { checkSessions } from './check/session_check.ts';
import { checkWatches } from './check/watch_check.ts';
import type { Recorder } from './recorder.ts';

export interface JudgeOptions {
  /** The revision up to which watches that are open must have been told; 0: not asked. */
  readonly mustReach: number;
  readonly nodes: readonly (string | number)[];
  /** What their wall clocks were set to, in the store's milliseconds against the recorder's clock. */
  readonly clocks: readonly ClockSetting[];
  /** Two election timeouts and the interval at which a leader looks for what has expired. */
  readonly graceMs: number;
  /** When faults kept, or may have kept, the cluster from its work. */
  readonly disturbances: readonly Disturbance[];
}

/** What is wrong with a run; empty: nothing. */
export function judge(recorder: Recorder, options: JudgeOptions): readonly Violation[] {
  const { operations, watchers } = recorder;
  const history = new EventHistory({ operations, watchers });
  return [
    ...strangeErrors(recorder),
    ...history.violations,
    ...checkRevisions(operations, watchers, history),
    ...checkReadLevels(operations, history),
    ...checkSessions(operations, history),
    ...checkWatches(watchers, history, { mustReach: options.mustReach }),
    ...checkStoreTime(history),
    ...checkLives(ttlLives(operations, watchers, history), {
      clocks: new ClockBounds(options.nodes, options.clocks),
      graceMs: options.graceMs,
      disturbances: options.disturbances,
    }),
  ];
}

function strangeErrors({ strangeErrors }: Recorder): Violation[] {
  return strangeErrors.map(({ operation, error }) => ({
    check: 'errors',
    message: `${operation} ended with ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`,
    details: error instanceof Error && error.stack !== undefined ? { stack: error.stack } : {},
  }));
}
