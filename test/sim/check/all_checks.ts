/** All checkers over one run, for tests. */
import { ClockBounds } from '../../../src/sim/check/clock_bounds.ts';
import { EventHistory } from '../../../src/sim/check/event_history.ts';
import { checkLives, checkStoreTime, ttlLives } from '../../../src/sim/check/lease_check.ts';
import type { Violation } from '../../../src/sim/check/observations.ts';
import { checkReadLevels } from '../../../src/sim/check/read_level_check.ts';
import { checkRevisions } from '../../../src/sim/check/revision_check.ts';
import { checkSessions } from '../../../src/sim/check/session_check.ts';
import { checkWatches } from '../../../src/sim/check/watch_check.ts';
import type { PerfectRun } from './perfect_store.ts';

export function allViolations(run: PerfectRun): readonly Violation[] {
  const { operations, watchers } = run;
  const history = new EventHistory({ operations, watchers });
  return [
    ...history.violations,
    ...checkWatches(watchers, history),
    ...checkSessions(operations, history),
    ...checkRevisions(operations, watchers, history),
    ...checkReadLevels(operations, history),
    ...checkLives(ttlLives(operations, watchers, history), {
      clocks: new ClockBounds(['n1'], []),
      graceMs: 1_000,
      disturbances: [],
    }),
    ...checkStoreTime(history),
  ];
}
