/**
 * Strict serializability by revision: the cheap check that judges a whole run.
 *
 * Every answer of the store names a revision, which claims a place in one order of everything. The claim is held against two things. First, the order must contain
 * real time: what was answered before another call was made has the lower revision (for two writes: strictly). Second, replaying all writes in that order must give
 * every answer: what reads and scans show (also those within transactions), which branch a transaction took, how many keys a delete removed.
 * That order is then a linearization, so no search is needed: n log n for sorting, all else linear. The search (linearizability.ts) judges the same runs without
 * believing the revisions.
 *
 * Reads of every level are held against the history at their revision; only linearizable ones against real time (read_level_check.ts has the others).
 */
import type { EventHistory, KeyVersion } from './event_history.ts';
import {
  inRange,
  isWrite,
  type OperationRecord,
  takenSteps,
  type Violation,
  Violations,
  type WatcherRecord,
  wrote,
} from './observations.ts';
import { checkVersionNumbers, StateJudge } from './state_check.ts';

/** All violations, at most MAX_VIOLATIONS. */
export function checkRevisions(
  operations: readonly OperationRecord[],
  watchers: readonly WatcherRecord[],
  history: EventHistory,
): readonly Violation[] {
  const found = new Violations('revision');
  checkRealTime(operations, watchers, found);
  const judge = new StateJudge(history);
  for (const operation of operations) {
    if (operation.outcome === 'ok') checkAnswer(operation, judge, found);
  }
  checkVersionNumbers(history, found);
  return found.list;
}

/** A revision that somebody had been told of at a time. */
interface Sighting {
  readonly atMs: number;
  readonly revision: number;
  readonly by: string;
}

function checkRealTime(
  operations: readonly OperationRecord[],
  watchers: readonly WatcherRecord[],
  found: Violations,
): void {
  const sightings: Sighting[] = [];
  for (const { id, outcome, settledMs: atMs, revision } of operations) {
    if (outcome === 'ok') sightings.push({ atMs, revision, by: `operation ${id}` });
  }
  for (const { name, batches } of watchers) {
    for (const { atMs, revision } of batches) sightings.push({ atMs, revision, by: `watcher ${name}` });
  }
  sightings.sort((a, b) => a.atMs - b.atMs);
  const inOrder = operations.filter(({ outcome }) => outcome === 'ok');
  inOrder.sort((a, b) => a.invokedMs - b.invokedMs);
  let next = 0;
  let newest: Sighting = { atMs: 0, revision: 0, by: 'nobody' };
  for (const operation of inOrder) {
    for (; next < sightings.length && sightings[next]!.atMs < operation.invokedMs; next++) {
      if (sightings[next]!.revision > newest.revision) newest = sightings[next]!;
    }
    const { id, revision, invokedMs } = operation;
    const details = { operation: id, revision, invokedMs, newest: newest.revision, newestBy: newest.by };
    if (!isWrite(operation)) {
      if (operation.level !== 'linearizable' || operation.atRevision !== 0) continue;
      if (revision < newest.revision) {
        found.add(`read ${id} shows revision ${revision}, ${newest.revision} was known before`, details);
      }
    } else if (wrote(operation) ? revision <= newest.revision : revision < newest.revision) {
      found.add(`write ${id} got revision ${revision}, ${newest.revision} was known before`, details);
    }
  }
}

/** The answer of an operation against the state at its place. */
function checkAnswer(operation: OperationRecord, judge: StateJudge, found: Violations): void {
  const { id, client, kind, revision, atRevision } = operation;
  const writes = wrote(operation);
  const at = isWrite(operation)
    ? writes
      ? revision - 1
      : revision
    : atRevision === 0
      ? revision
      : atRevision;
  const details = { operation: id, client, kind, revision, level: operation.level };
  if (operation.nested !== undefined) {
    // Its answer is judged by nested_check.ts.
    if (writes) checkAll(operation, judge.history, found);
    return;
  }
  if (kind === 'txn') checkBranch(operation, at, judge, found, details);
  const steps = takenSteps(operation);
  if (operation.results.length !== steps.length) {
    found.add(`operation ${id} has ${steps.length} steps and ${operation.results.length} results`, details);
    return;
  }
  const own = new Map<string, string | undefined>();
  for (let index = 0; index < steps.length; index++) {
    const step = steps[index]!;
    const result = operation.results[index]!;
    if (step.type === 'put') own.set(step.key, step.value);
    else if (step.type === 'get' && result.type === 'get') {
      if (own.has(step.key)) {
        if (result.entry?.value !== own.get(step.key))
          found.add(`operation ${id} did not see its own write of ${step.key}`, details);
      } else judge.checkEntry(step.key, result.entry, at, found, details);
    } else if (step.type === 'scan' && result.type === 'scan') {
      judge.checkScan(step, result.entries, at, found, details);
    } else if (step.type === 'delete' && result.type === 'delete') {
      own.set(step.key, undefined);
      const live = judge.isLive(step.key, at);
      if (live !== undefined && result.deleted !== (live ? 1 : 0))
        found.add(`delete ${id} of ${step.key} says it removed ${result.deleted}`, details);
    } else if (step.type === 'deleteRange' && result.type === 'delete') {
      const live = judge.liveIn(step.start, step.end, at);
      if (live !== undefined && result.deleted !== live)
        found.add(`delete ${id} of a range of ${live} keys says it removed ${result.deleted}`, details);
    } else if (step.type === 'touch' && result.type === 'touch') {
      const live = judge.isLive(step.key, at);
      if (live !== undefined && result.found !== live)
        found.add(`touch ${id} of ${step.key} says ${result.found ? 'found' : 'not found'}`, details);
    }
  }
  if (writes) checkAll(operation, judge.history, found);
}

function checkBranch(
  operation: OperationRecord,
  at: number,
  judge: StateJudge,
  found: Violations,
  details: Violation['details'],
): void {
  let holds: boolean | undefined = true;
  for (const compare of operation.compares) {
    const one = judge.holds(compare, at);
    if (one === false) {
      holds = false;
      break;
    }
    if (one === undefined) holds = undefined;
  }
  if (holds !== undefined && holds !== operation.succeeded) {
    const branch = operation.succeeded ? 'then' : 'else';
    found.add(`transaction ${operation.id} took its ${branch} branch wrongly`, details);
  }
}

/** Nothing else may have been written at an acknowledged write's revision. (Who does not tell of a part of it is found by watch_check.ts.) */
function checkAll(operation: OperationRecord, history: EventHistory, found: Violations): void {
  const { id, revision } = operation;
  const versions = history.byRevision.get(revision) ?? [];
  const steps = takenSteps(operation);
  for (const version of versions) {
    if (steps.some((step) => writesTo(step, version))) continue;
    found.add(`revision ${revision} of operation ${id} also wrote ${version.key}`, {
      operation: id,
      revision,
      key: version.key,
      toldBy: version.source,
    });
  }
}

function writesTo(step: OperationRecord['steps'][number], version: KeyVersion): boolean {
  if (step.type === 'deleteRange')
    return version.type === 'delete' && inRange(version.key, step.start, step.end);
  switch (step.type) {
    case 'put':
    case 'touch':
      return step.key === version.key && version.type === 'put';
    case 'delete':
      return step.key === version.key && version.type === 'delete';
    default:
      return false;
  }
}
