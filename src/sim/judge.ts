/**
 * All that can be said about a run from what its clients saw: every checker over one record.
 *
 * Invariants: pure but for the order of the checkers; a run that passes here, and whose invariants held all along, is right as far as this project can tell.
 */
import { ClockBounds, type ClockSetting } from './check/clock_bounds.ts';
import { checkCompactions } from './check/compaction_check.ts';
import { checkContention } from './check/contention_check.ts';
import { EventHistory } from './check/event_history.ts';
import { checkLives, checkStoreTime, type Disturbance, ttlLives } from './check/lease_check.ts';
import { LeaseHistory } from './check/lease_history.ts';
import { checkHistory } from './check/linearizability.ts';
import { checkNested } from './check/nested_check.ts';
import type { Violation } from './check/observations.ts';
import { checkReadLevels } from './check/read_level_check.ts';
import { checkRevisions } from './check/revision_check.ts';
import { checkRights } from './check/rights_check.ts';
import { checkSessions } from './check/session_check.ts';
import { checkUpkeep, timesWithoutExpiry } from './check/upkeep_check.ts';
import { checkWatches } from './check/watch_check.ts';
import { registerEvents } from './load/history_export.ts';
import type { Recorder } from './load/recorder.ts';

export interface JudgeOptions {
  /** The revision up to which watches that are open must have been told; 0: not asked. */
  readonly mustReach: number;
  readonly nodes: readonly (string | number)[];
  /** What their wall clocks were set to, in the store's milliseconds against the recorder's clock. */
  readonly clocks: readonly ClockSetting[];
  /** Two election timeouts and the interval at which a leader looks for what has expired. */
  readonly graceMs: number;
  /** When nodes were started, by the recorder's clock. */
  readonly starts?: readonly number[] | undefined;
  /** When faults kept, or may have kept, the cluster from its work. */
  readonly disturbances: readonly Disturbance[];
  /** How many revisions nodes keep at least; undefined: they drop nothing unasked. Default 0: nothing is said of that. */
  readonly keptRevisions?: number | undefined;
  /** Of the search for a linearization. */
  readonly maxSteps?: number | undefined;
}

/** What is wrong with a run; empty: nothing. */
export function judge(recorder: Recorder, options: JudgeOptions): readonly Violation[] {
  const { operations, watchers } = recorder;
  const { rights, contention, upkeep } = recorder;
  const history = new EventHistory({ operations, watchers });
  const leases = new LeaseHistory(operations, watchers, history);
  const clocks = {
    clocks: new ClockBounds(options.nodes, options.clocks),
    graceMs: options.graceMs,
    disturbances:
      upkeep === undefined ? options.disturbances : [...options.disturbances, ...timesWithoutExpiry(upkeep)],
    starts: options.starts ?? [],
  };
  const kept = 'keptRevisions' in options ? options.keptRevisions : 0;
  const maybeRefused = (name: string): boolean =>
    rights?.userOf.has(name.slice(0, name.indexOf('/'))) === true;
  return [
    ...strangeErrors(recorder),
    ...history.violations,
    ...checkRevisions(operations, watchers, history),
    ...checkReadLevels(operations, history),
    ...checkSessions(operations, history),
    ...checkWatches(watchers, history, { mustReach: options.mustReach, maybeRefused }),
    ...checkStoreTime(history),
    ...checkLives(ttlLives(operations, watchers, history), clocks),
    ...leases.violations(clocks.clocks.right),
    ...checkLives(leases.lives(), clocks),
    ...checkNested(operations, history).violations,
    ...checkCompactions(operations, history, kept),
    ...(rights === undefined ? [] : checkRights(operations, watchers, history, rights).violations),
    ...(contention === undefined
      ? []
      : checkContention(operations, watchers, history, contention, clocks.clocks.right).violations),
    ...(upkeep === undefined ? [] : checkUpkeep(operations, upkeep)),
    ...linearizable(recorder, options.maxSteps),
  ];
}

function strangeErrors({ strangeErrors }: Recorder): Violation[] {
  return strangeErrors.map(({ operation, error }) => ({
    check: 'errors',
    message: `${operation} ended with ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`,
    details: error instanceof Error && error.stack !== undefined ? { stack: error.stack } : {},
  }));
}

/** "Undecided" is a failure too: the workload keeps its histories decidable. */
function linearizable({ journal }: Recorder, maxSteps: number | undefined): Violation[] {
  const events = registerEvents(journal);
  if (events.length === 0) return [];
  const result = checkHistory(events, { model: 'kv', ...(maxSteps === undefined ? {} : { maxSteps }) });
  if (result.verdict === 'linearizable') return [];
  const details = { operations: result.operations, steps: result.steps };
  return [{ check: 'linearizability', message: `the register keys are ${result.verdict}`, details }];
}
