/**
 * The judgement of a round: what clients and watchers were told, held against each other and against what the nodes hold in the end.
 *
 * Every check gives sentences that name keys and revisions; an empty list is a sound round.
 */
import { ClockBounds } from '../../src/sim/check/clock_bounds.ts';
import { EventHistory } from '../../src/sim/check/event_history.ts';
import { checkLives, checkStoreTime, ttlLives } from '../../src/sim/check/lease_check.ts';
import type { OperationRecord, Violation, WatcherRecord } from '../../src/sim/check/observations.ts';
import { checkReadLevels } from '../../src/sim/check/read_level_check.ts';
import { checkRevisions } from '../../src/sim/check/revision_check.ts';
import { checkSessions } from '../../src/sim/check/session_check.ts';
import { checkWatches } from '../../src/sim/check/watch_check.ts';
import { checkRegister, type HistoryEntry, type RegisterOperation } from '../node/linearizability.ts';
import type { HeldEntry, HeldEvent } from './direct_node.ts';
import { casOf, isSingleKey } from './history_file.ts';

export interface Evidence {
  readonly operations: readonly OperationRecord[];
  readonly watchers: readonly WatcherRecord[];
  /** Of the settled cluster, as all its nodes agree. */
  readonly settled: {
    readonly fromRevision: number;
    readonly toRevision: number;
    readonly events: readonly HeldEvent[];
    readonly entries: readonly HeldEntry[];
  };
  /** When wall clocks of nodes were shifted, in the time of the operations, and by how much. */
  readonly shifts: readonly { readonly atMs: number; readonly offsetMs: number }[];
  /** The name of a value as a node holds it. */
  readonly nameOf: (value: string) => string;
}

const MOST_FINDINGS = 20;
/** How far this process's time, wall clock at its beginning and monotonic from there, may be off the wall clock. */
const CLOCK_TOLERANCE_MS = 5;
const DELETED = 'deleted';
const ABSENT_AT_FIRST: HistoryEntry = {
  operation: { kind: 'write', value: DELETED },
  invokedAt: -2,
  returnedAt: -1,
};

export function judge(evidence: Evidence): string[] {
  const { operations, watchers, nameOf } = evidence;
  const { fromRevision, toRevision, events } = evidence.settled;
  const named = events.map((event) => ({ ...event, value: event.type === 'put' ? nameOf(event.value) : '' }));
  const history = new EventHistory({
    operations,
    watchers,
    settled: { fromRevision, toRevision, events: named },
  });
  const violations = [
    ...history.violations,
    ...checkWatches(watchers, history, { mustReach: toRevision }),
    ...checkSessions(operations, history),
    ...checkRevisions(operations, watchers, history),
    ...checkReadLevels(operations, history),
    ...checkTimes(evidence, history),
    ...checkStoreTime(history),
  ];
  const findings = [...checkKept(evidence), ...violations.map(shown), ...checkRegisters(evidence)];
  return findings.slice(0, MOST_FINDINGS);
}

function checkRegisters({ operations }: Evidence): string[] {
  const histories = new Map<string, HistoryEntry[]>();
  for (const operation of operations) {
    const told = registerOperation(operation);
    if (told === undefined || !told.key.startsWith('r/')) continue;
    if (operation.outcome === 'fail') continue;
    if (operation.outcome === 'info' && told.operation.kind === 'read') continue;
    const history = histories.get(told.key) ?? [ABSENT_AT_FIRST];
    histories.set(told.key, history);
    history.push({
      operation: told.operation,
      invokedAt: operation.invokedMs,
      returnedAt: operation.outcome === 'info' ? Number.POSITIVE_INFINITY : operation.settledMs,
    });
  }
  const findings: string[] = [];
  for (const [key, history] of histories) {
    const verdict = checkRegister(history);
    if (verdict !== 'linearizable') findings.push(`the history of ${key} is ${verdict}`);
  }
  return findings;
}

/** An absent key counts as a value of its own. */
function registerOperation(
  operation: OperationRecord,
): { readonly key: string; readonly operation: RegisterOperation } | undefined {
  const known = operation.outcome === 'ok';
  const cas = casOf(operation);
  if (cas !== undefined) {
    const { key, from, to } = cas;
    const outcome = known ? { succeeded: operation.succeeded } : {};
    return { key, operation: { kind: 'cas', expected: from ?? DELETED, value: to, ...outcome } };
  }
  if (!isSingleKey(operation)) return undefined;
  const [step] = operation.steps;
  const [result] = operation.results;
  if (step?.type === 'put') return { key: step.key, operation: { kind: 'write', value: step.value } };
  if (step?.type === 'delete') return { key: step.key, operation: { kind: 'write', value: DELETED } };
  if (step?.type !== 'get') return undefined;
  const value = result?.type === 'get' ? (result.entry?.value ?? DELETED) : undefined;
  return { key: step.key, operation: { kind: 'read', value } };
}

/** Times to live by what the clocks of the nodes may have shown. A shift may hold for longer than the file said: a paused node reads it late. */
function checkTimes({ operations, watchers, shifts }: Evidence, history: EventHistory): readonly Violation[] {
  const settings = shifts.map(({ atMs, offsetMs }, number) => ({
    node: `shift ${number}`,
    fromMs: atMs,
    offsetMs,
    rate: 1,
  }));
  const clocks = new ClockBounds(['right', ...settings.map(({ node }) => node)], settings);
  // Late is judged when the cluster has come to rest (settle.ts): until then it is disturbed all along.
  const disturbances = [{ fromMs: 0, toMs: Number.POSITIVE_INFINITY }];
  const options = { clocks, graceMs: 0, disturbances, toleranceMs: CLOCK_TOLERANCE_MS };
  return checkLives(ttlLives(operations, watchers, history), options);
}

/** What was acknowledged for good is there for good. */
function checkKept({ operations, settled, nameOf }: Evidence): string[] {
  const findings: string[] = [];
  const live = new Map(settled.entries.map((entry) => [entry.key, nameOf(entry.value)]));
  for (const { outcome, steps, client } of operations) {
    if (outcome !== 'ok') continue;
    for (const step of steps) {
      if (step.type !== 'put' || !step.key.startsWith('a/') || live.get(step.key) === step.value) continue;
      findings.push(`${step.key} holds ${live.get(step.key)}; ${client} was told that it is ${step.value}`);
    }
  }
  return findings;
}

function shown({ check, message, details }: Violation): string {
  return `${check}: ${message} ${JSON.stringify(details)}`;
}
