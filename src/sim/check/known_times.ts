/** When a store came to a revision: after somebody had asked for what it holds, and before somebody knew of it. From all that operations and watchers were told. */
import { type OperationRecord, type WatcherRecord, wrote } from './observations.ts';

/** Building sorts once; look-ups take logarithmic time. */
export class KnownTimes {
  readonly #revisions: number[] = [];
  /** By place in `#revisions`: the earliest time at which that revision or a later one was told. */
  readonly #times: number[] = [];
  /** Of acknowledged writes, ascending, and by place in it: when the last one so far was asked for. */
  readonly #written: number[] = [];
  readonly #askedMs: number[] = [];

  constructor(operations: readonly OperationRecord[], watchers: readonly WatcherRecord[]) {
    const earliest = new Map<number, number>();
    const note = (revision: number, atMs: number): void => {
      earliest.set(revision, Math.min(earliest.get(revision) ?? Number.POSITIVE_INFINITY, atMs));
    };
    for (const { outcome, revision, settledMs } of operations)
      if (outcome === 'ok') note(revision, settledMs);
    for (const { batches } of watchers) for (const { revision, atMs } of batches) note(revision, atMs);
    let before = Number.POSITIVE_INFINITY;
    for (const [revision, atMs] of [...earliest].sort((a, b) => b[0] - a[0])) {
      before = Math.min(before, atMs);
      this.#revisions.push(revision);
      this.#times.push(before);
    }
    this.#revisions.reverse();
    this.#times.reverse();
    const writes = operations.filter((operation) => operation.outcome === 'ok' && wrote(operation));
    let lastMs = Number.NEGATIVE_INFINITY;
    for (const { revision, invokedMs } of writes.sort((a, b) => a.revision - b.revision)) {
      lastMs = Math.max(lastMs, invokedMs);
      this.#written.push(revision);
      this.#askedMs.push(lastMs);
    }
  }

  /** The store had not come to the revision before this: some write up to it had not been asked for. -Infinity when nothing is known of that. */
  notBefore(revision: number): number {
    return this.#askedMs[firstAtOrAbove(this.#written, revision + 1) - 1] ?? Number.NEGATIVE_INFINITY;
  }

  /** Infinity when nobody ever was told. */
  by(revision: number): number {
    return this.#times[firstAtOrAbove(this.#revisions, revision)] ?? Number.POSITIVE_INFINITY;
  }
}

/** The place of the first number of an ascending list that is not below `least`. */
function firstAtOrAbove(sorted: readonly number[], least: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < least) low = middle + 1;
    else high = middle;
  }
  return low;
}
