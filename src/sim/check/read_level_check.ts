/**
 * Do weaker reads keep their weaker promises?
 *
 * sequential: never behind what its client has seen (by any answer), so a client's own reads never go back in time. eventual: shows only what was
 * really written, as of one revision that existed. A read at a past revision shows the history at exactly that revision, whichever node gives it. What reads show is
 * held against the history by revision_check.ts too; here it is named by the promise that was broken.
 *
 * Linear in operations.
 */
import type { EventHistory } from './event_history.ts';
import { isWrite, LINES, type OperationRecord, type Violation, Violations } from './observations.ts';
import { StateJudge } from './state_check.ts';

/** All violations, at most MAX_VIOLATIONS. */
export function checkReadLevels(
  operations: readonly OperationRecord[],
  history: EventHistory,
): readonly Violation[] {
  const found = new Violations('read level');
  const judge = new StateJudge(history);
  const settled = operations.filter(({ outcome }) => outcome === 'ok');
  checkSequential(settled, found);
  for (const operation of settled) {
    if (isWrite(operation)) continue;
    checkWritten(operation, history, found);
    if (operation.atRevision > 0) checkPast(operation, judge, found);
  }
  return found.list;
}

/** What each client had been told of when it asked. */
function checkSequential(operations: readonly OperationRecord[], found: Violations): void {
  const byClient = new Map<string, OperationRecord[]>();
  for (const operation of operations) {
    const list = byClient.get(operation.client);
    if (list === undefined) byClient.set(operation.client, [operation]);
    else list.push(operation);
  }
  for (const [client, own] of byClient) {
    const answers = [...own].sort((a, b) => a.settledMs - b.settledMs);
    const asked = [...own].sort((a, b) => a.invokedMs - b.invokedMs);
    let next = 0;
    let seen = 0;
    for (const operation of asked) {
      for (; next < answers.length && answers[next]!.settledMs <= operation.invokedMs; next++) {
        if (answers[next]!.id !== operation.id) seen = Math.max(seen, answers[next]!.revision);
      }
      if (isWrite(operation) || operation.level !== 'sequential' || operation.atRevision !== 0) continue;
      const least = Math.max(seen, operation.seenRevision);
      if (operation.revision >= least) continue;
      found.add(
        `sequential read ${operation.id} is at revision ${operation.revision}, its client was at ${least}`,
        {
          operation: operation.id,
          client,
          revision: operation.revision,
          seen: least,
        },
      );
    }
  }
}

function checkWritten(operation: OperationRecord, history: EventHistory, found: Violations): void {
  for (const result of operation.results) {
    const entries = result.type === 'get' ? [result.entry] : result.type === 'scan' ? result.entries : [];
    for (const entry of entries) {
      if (entry === undefined || entry.key.startsWith(LINES)) continue;
      const putter = history.putters.get(entry.value);
      const details = { operation: operation.id, level: operation.level, key: entry.key, value: entry.value };
      if (putter === undefined) {
        found.add(`${operation.level} read ${operation.id} shows a value that nobody wrote`, details);
      } else if (putter.invokedMs > operation.settledMs) {
        found.add(`${operation.level} read ${operation.id} shows a value before it was written`, details);
      } else if (putter.outcome === 'fail') {
        found.add(`${operation.level} read ${operation.id} shows a write that failed`, details);
      }
    }
  }
}

function checkPast(operation: OperationRecord, judge: StateJudge, found: Violations): void {
  const { id, atRevision, revision, results } = operation;
  const details = { operation: id, atRevision, revision, level: operation.level };
  if (revision < atRevision) {
    found.add(`read ${id} of revision ${atRevision} was answered by a node at ${revision}`, details);
  }
  for (let at = 0; at < operation.steps.length; at++) {
    const step = operation.steps[at]!;
    const result = results[at];
    if (step.type === 'get' && result?.type === 'get') {
      judge.checkEntry(step.key, result.entry, atRevision, found, details);
    } else if (step.type === 'scan' && result?.type === 'scan') {
      judge.checkScan(step, result.entries, atRevision, found, details);
    }
  }
}
