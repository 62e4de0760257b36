/**
 * What can be taken out of a history of a register together with a write, without making a linearizable history into one that is not.
 *
 * In a linearization each operation finds the value of one write, its source. A write can go when all that may have it as a source go with it: what is left
 * still finds what it found. An operation can't have the write as a source when it ended before the write began, when it needs another value, or
 * when some other write that certainly happened began after the write's end and ended before the operation began. Such sets may be joined at will, as long as all of
 * them were made from the same history.
 */
import { isUnknown } from './compiled.ts';
import type { Operation } from './history.ts';
import { canonical } from './json_value.ts';
import type { RegisterAction } from './models.ts';

/** Sets larger than this would take long to find, and hardly ever can go. */
const MAX_TOGETHER = 200;

interface Known {
  readonly operation: Operation;
  /** The value it sets, or needs, or needs not to be there: canonical texts. */
  readonly sets: string | undefined;
  readonly needs: string | undefined;
  readonly shuns: string | undefined;
}

/** For each operation that sets a value: it, and all that must go with it; without those with which too many would have to go. Takes time with the square of the number of operations. */
export function dependents(
  operations: readonly Operation[],
  register: (operation: Operation) => RegisterAction,
): Operation[][] {
  const all = operations.map((operation) => knownOf(operation, register(operation)));
  const certain = all
    .filter(({ sets, operation }) => sets !== undefined && !isUnknown(operation))
    .sort((x, y) => x.operation.invokedAt - y.operation.invokedAt);
  /** The earliest end among the certain writes from this one on. */
  const earliestEnd: number[] = [];
  for (let i = certain.length - 1; i >= 0; i--)
    earliestEnd[i] = Math.min(
      certain[i]!.operation.returnedAt,
      earliestEnd[i + 1] ?? Number.POSITIVE_INFINITY,
    );
  const observers = all.filter(({ needs, shuns }) => needs !== undefined || shuns !== undefined);
  const seenBy = (write: Known): Known[] => {
    const { operation, sets } = write;
    const next = certain.findIndex((other) => other.operation.invokedAt > endOf(operation));
    const hidden = next < 0 ? Number.POSITIVE_INFINITY : earliestEnd[next]!;
    return observers.filter(
      (other) =>
        other !== write &&
        endOf(other.operation) > operation.invokedAt &&
        other.operation.invokedAt < hidden &&
        (other.needs === sets || (other.shuns !== undefined && other.shuns !== sets)),
    );
  };
  const known = new Map<Known, readonly Known[]>();
  const remembered = (write: Known): readonly Known[] => {
    const seen = known.get(write) ?? seenBy(write);
    known.set(write, seen);
    return seen;
  };
  const sets = all.filter(({ sets }) => sets !== undefined).map((write) => withAll(write, remembered));
  return sets.filter((set) => set !== undefined);
}

function knownOf(operation: Operation, action: RegisterAction): Known {
  const known = { operation, sets: undefined, needs: undefined, shuns: undefined };
  switch (action.kind) {
    case 'read':
      return { ...known, needs: canonical(action.value) };
    case 'differs':
      return { ...known, shuns: canonical(action.value) };
    case 'write':
      return { ...known, sets: canonical(action.value) };
    case 'cas':
      return { ...known, sets: canonical(action.to), needs: canonical(action.from) };
  }
}

function endOf(operation: Operation): number {
  return isUnknown(operation) ? Number.POSITIVE_INFINITY : operation.returnedAt;
}

/** Undefined: too many go with it to be of use. */
function withAll(write: Known, seenBy: (write: Known) => readonly Known[]): Operation[] | undefined {
  const gone = new Set([write]);
  for (const one of gone) {
    if (gone.size > MAX_TOGETHER) return undefined;
    if (one.sets === undefined) continue;
    // A set that grows while it is walked.
    for (const other of seenBy(one)) gone.add(other);
  }
  return [...gone].map(({ operation }) => operation);
}
