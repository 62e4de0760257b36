/**
 * Was every write applied at most once, and exactly as its client was told?
 *
 * Values are unique, so the history tells: an acknowledged write is there exactly once, at the revision of its answer; one that certainly failed is not there; one of
 * unknown outcome is there at most once, and whole. Writes that leave no value of their own behind (deletes, touches) are checked by count: a key cannot have been deleted more
 * often than somebody asked for, or its time to live allows. A (session, sequence) names one operation.
 *
 * Linear in operations and versions.
 */
import type { EventHistory, KeyVersion } from './event_history.ts';
import {
  inRange,
  isWrite,
  LINES,
  type OperationRecord,
  type Step,
  takenSteps,
  type Violation,
  Violations,
} from './observations.ts';

/** All violations, at most MAX_VIOLATIONS. */
export function checkSessions(
  operations: readonly OperationRecord[],
  history: EventHistory,
): readonly Violation[] {
  const found = new Violations('session');
  checkIds(operations, found);
  const unknown = new UnknownWrites(operations);
  const places = new Map<OperationRecord, number[]>();
  for (const [key, versions] of history.byKey) checkKey(key, versions, history, unknown, places, found);
  for (const [operation, revisions] of places) checkPlaces(operation, revisions, history, found);
  return found.list;
}

function checkIds(operations: readonly OperationRecord[], found: Violations): void {
  const owners = new Map<string, OperationRecord>();
  for (const operation of operations) {
    for (const id of operation.writeIds) {
      const owner = owners.get(id);
      if (owner !== undefined && owner !== operation) {
        found.add(`two operations were sent as session/sequence ${id}`, {
          writeId: id,
          first: owner.id,
          second: operation.id,
        });
      }
      owners.set(id, operation);
    }
  }
}

/** Deletes and touches of unknown outcome, by what they may have done. */
class UnknownWrites {
  private readonly deletes = new Map<string, number>();
  private readonly touches = new Map<string, number>();
  private readonly ranges: { start: string; end: string }[] = [];

  constructor(operations: readonly OperationRecord[]) {
    for (const operation of operations) {
      if (operation.outcome !== 'info' || !isWrite(operation)) continue;
      for (const steps of [operation.steps, operation.elseSteps]) {
        for (const step of steps) {
          if (step.type === 'delete') this.deletes.set(step.key, this.deletesOf(step.key) + 1);
          else if (step.type === 'deleteRange') this.ranges.push(step);
          else if (step.type === 'touch') this.touches.set(step.key, this.touchesOf(step.key) + 1);
        }
      }
    }
  }

  /** How many deletes of a key may have happened without an answer. */
  mostDeletes(key: string): number {
    let count = this.deletesOf(key);
    for (const { start, end } of this.ranges) if (inRange(key, start, end)) count++;
    return count;
  }

  touchesOf(key: string): number {
    return this.touches.get(key) ?? 0;
  }

  private deletesOf(key: string): number {
    return this.deletes.get(key) ?? 0;
  }
}

function checkKey(
  key: string,
  versions: readonly KeyVersion[],
  history: EventHistory,
  unknown: UnknownWrites,
  places: Map<OperationRecord, number[]>,
  found: Violations,
): void {
  let unexplainedDeletes = 0;
  let unexplainedTouches = 0;
  let previous: KeyVersion | undefined;
  /** What the key holds, where an acknowledged touch does not tell. */
  let value: string | undefined;
  for (const version of versions) {
    const { revision } = version;
    const writer = history.writers.get(revision);
    if (writer !== undefined) {
      if (!accountsFor(writer, version)) {
        found.add(`${version.type} of ${key} at revision ${revision}, which another write has`, {
          key,
          revision,
          value: version.value ?? '?',
          writer: writer.id,
        });
      }
    } else if (version.type === 'delete') {
      // Keys with a time to live are removed by the store itself; so may be one whose version before is not known.
      const mayExpire =
        previous === undefined ||
        previous.type === 'delete' ||
        previous.expiresAtMs !== 0 ||
        history.leaseOf(previous.value) !== undefined ||
        !history.covers(previous.revision, revision);
      if (!mayExpire) unexplainedDeletes++;
    } else if (previous?.type === 'put' && value === version.value) {
      unexplainedTouches++;
      previous = version;
      continue;
    }
    if (version.type === 'put' && version.value !== undefined) {
      notePlace(version, version.value, history, places, found);
    }
    previous = version;
    value = version.value ?? value;
  }
  if (unexplainedDeletes > unknown.mostDeletes(key)) {
    found.add(`${key} was deleted more often than anybody asked for`, {
      key,
      unexplained: unexplainedDeletes,
      ofUnknownOutcome: unknown.mostDeletes(key),
    });
  }
  if (unexplainedTouches > unknown.touchesOf(key)) {
    found.add(`${key} was written again with the same value`, {
      key,
      unexplained: unexplainedTouches,
      ofUnknownOutcome: unknown.touchesOf(key),
    });
  }
}

/** Whether an acknowledged operation wrote this version. */
function accountsFor(writer: OperationRecord, version: KeyVersion): boolean {
  return takenSteps(writer).some((step) => {
    switch (step.type) {
      case 'put':
        return version.type === 'put' && step.key === version.key && step.value === version.value;
      case 'touch':
        return version.type === 'put' && step.key === version.key;
      case 'delete':
        return version.type === 'delete' && step.key === version.key;
      case 'deleteRange':
        return version.type === 'delete' && inRange(version.key, step.start, step.end);
      default:
        return false;
    }
  });
}

/** Notes at which revision the operation that puts a value took effect. */
function notePlace(
  version: KeyVersion,
  value: string,
  history: EventHistory,
  places: Map<OperationRecord, number[]>,
  found: Violations,
): void {
  const { revision, key } = version;
  // Where a touch of unknown outcome may have written it, and what was there before was not seen.
  if (history.maybeTouched(key) && !history.covers(Math.max(2, revision - 1), revision)) return;
  if (key.startsWith(LINES)) return;
  const putter = history.putters.get(value);
  if (putter === undefined) {
    found.add(`${key} has a value that nobody wrote`, { key, revision, value });
    return;
  }
  if (history.writers.get(revision) !== undefined && history.writers.get(revision) !== putter) {
    // A touch that was acknowledged writes the value again.
    return;
  }
  if (!putsValue(putter.steps, key, value) && !putsValue(putter.elseSteps, key, value)) {
    found.add(`${key} has a value that was written to another key`, {
      key,
      revision,
      value,
      writer: putter.id,
    });
    return;
  }
  const revisions = places.get(putter);
  if (revisions === undefined) places.set(putter, [revision]);
  else if (!revisions.includes(revision)) revisions.push(revision);
}

function checkPlaces(
  operation: OperationRecord,
  revisions: readonly number[],
  history: EventHistory,
  found: Violations,
): void {
  const { id, client, outcome } = operation;
  const details = {
    operation: id,
    client,
    revisions: revisions.join(' '),
    ids: operation.writeIds.join(' '),
  };
  if (outcome === 'fail') {
    found.add(`operation ${id} failed with ${operation.errorCode}, but took effect`, details);
  } else if (revisions.length > 1) {
    found.add(`operation ${id} was applied ${revisions.length} times`, details);
  } else if (outcome === 'ok' && revisions[0] !== operation.revision) {
    found.add(`operation ${id} took effect at another revision than ${operation.revision}`, details);
  } else if (outcome === 'info') {
    checkWhole(operation, revisions[0]!, history, found);
  }
}

/** An operation of unknown outcome that is seen to have happened must have happened as a whole. */
function checkWhole(
  operation: OperationRecord,
  revision: number,
  history: EventHistory,
  found: Violations,
): void {
  // Which branches of a nested one it had to take is found out elsewhere (nested_check.ts).
  if (operation.nested !== undefined || !history.covers(revision, revision)) return;
  const versions = history.byRevision.get(revision) ?? [];
  const branch = versions.some((v) => v.value !== undefined && putsValue(operation.steps, v.key, v.value))
    ? operation.steps
    : operation.elseSteps;
  for (const step of branch) {
    if (step.type !== 'put') continue;
    if (versions.some(({ key, value }) => key === step.key && value === step.value)) continue;
    found.add(`operation ${operation.id} took effect in part`, {
      operation: operation.id,
      revision,
      missing: step.key,
    });
  }
}

function putsValue(steps: readonly Step[], key: string, value: string): boolean {
  return steps.some((step) => step.type === 'put' && step.key === key && step.value === value);
}
