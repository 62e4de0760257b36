/**
 * After a compaction that was acknowledged, a read below it is refused with COMPACTED, and with nothing else; and nobody is told COMPACTED of what nobody compacted.
 *
 * Reads of a past revision are linearizable ones here: a node that answers a weaker one may not have compacted yet. What cuts a read short (a time-out, a node that is gone) is no answer.
 * Besides what clients ask for, nodes drop old history by themselves.
 */
import type { EventHistory } from './event_history.ts';
import { type OperationRecord, type Violation, Violations } from './observations.ts';

/** What may keep any read from its answer. */
const CUT_SHORT: ReadonlySet<string> = new Set([
  'TIMEOUT',
  'UNAVAILABLE',
  'NO_LEADER',
  'NOT_LEADER',
  'OVERLOADED',
  'CLOSED',
  'AUTH_STALE',
  'UNAUTHENTICATED',
  'USER_EMPTY',
  'PERMISSION_DENIED',
  'client gone',
]);

/** `kept`: how many revisions nodes keep at least; undefined: they drop nothing unasked. */
export function checkCompactions(
  operations: readonly OperationRecord[],
  history: EventHistory,
  kept: number | undefined,
): readonly Violation[] {
  const found = new Violations('compaction');
  const asked: OperationRecord[] = operations.filter(({ kind }) => kind === 'compact');
  const dropped = kept === undefined ? 0 : history.lastRevision - kept;
  for (const read of operations) {
    const { id, atRevision, level, outcome, errorCode, invokedMs, settledMs } = read;
    if (atRevision === 0 || level !== 'linearizable') continue;
    const details = { operation: id, atRevision };
    const done = asked.find(
      (one) => hasCompacted(one) && one.settledMs < invokedMs && revisionOf(one) > atRevision,
    );
    if (done !== undefined && outcome === 'ok') {
      found.add(
        `read ${id} was answered at revision ${atRevision}, below the compaction to ${revisionOf(done)}`,
        details,
      );
    } else if (done !== undefined && errorCode !== 'COMPACTED' && !CUT_SHORT.has(errorCode ?? '')) {
      // One that never settled has no code.
      if (errorCode !== undefined)
        found.add(`read ${id} below a compaction was refused with ${errorCode}`, details);
    } else if (errorCode === 'COMPACTED' && atRevision >= dropped) {
      const may = asked.some((one) => one.invokedMs < settledMs && revisionOf(one) > atRevision);
      if (!may) found.add(`read ${id} was refused with COMPACTED, which nobody asked for`, details);
    }
  }
  return found.list;
}

/** Whether its revision was certainly compacted when it had its answer: by itself, or before. */
function hasCompacted({ outcome, errorCode }: OperationRecord): boolean {
  return outcome === 'ok' || errorCode === 'COMPACTED';
}

function revisionOf({ steps }: OperationRecord): number {
  const [step] = steps;
  return step?.type === 'compact' ? step.revision : 0;
}
