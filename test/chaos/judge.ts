/**
 * The judgement of a round: what clients and watchers were told, held against each other and against what the nodes hold in the end.
 *
 * Every check gives sentences that name keys and revisions; an empty list is a sound round.
 */
import { join } from 'node:path';
import { ClockBounds } from '../../src/sim/check/clock_bounds.ts';
import { EventHistory } from '../../src/sim/check/event_history.ts';
import { checkLives, checkStoreTime, ttlLives } from '../../src/sim/check/lease_check.ts';
import type { OperationRecord, Violation, WatcherRecord } from '../../src/sim/check/observations.ts';
import { checkReadLevels } from '../../src/sim/check/read_level_check.ts';
import { checkRevisions } from '../../src/sim/check/revision_check.ts';
import { checkSessions } from '../../src/sim/check/session_check.ts';
import { checkWatches } from '../../src/sim/check/watch_check.ts';
import { Command } from '../end_to_end/processes.ts';
import type { HeldEntry, HeldEvent } from './direct_node.ts';

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

/** Files of a round and the models by which they are judged. */
export const HISTORY_FILES = [
  { file: 'registers.jsonl', model: 'kv' },
  { file: 'transactions.jsonl', model: 'txn' },
] as const;
const CHECK_SECONDS = 60;

/** The histories that a round wrote down, judged as anybody would judge them: by `kvorum check-history`. */
export async function judgeHistories(directory: string): Promise<string[]> {
  const findings: string[] = [];
  for (const { file, model } of HISTORY_FILES) {
    const words = ['check-history', join(directory, file), '--model', model];
    const command = new Command([...words, '--time-limit', String(CHECK_SECONDS)]);
    const timer = setTimeout(() => command.child.kill('SIGKILL'), 2 * CHECK_SECONDS * 1000);
    const { status, stdout, stderr } = await command.ended;
    clearTimeout(timer);
    if (status !== 0)
      findings.push(`${file} (status ${status}): ${stdout.slice(-2_000)}${stderr.slice(-1_000)}`);
  }
  return findings;
}

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
  const findings = [...checkKept(evidence), ...violations.map(shown)];
  return findings.slice(0, MOST_FINDINGS);
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
