/** When somebody knew that a store had come to a revision: from all that operations and watchers were told. */
import type { OperationRecord, WatcherRecord } from './observations.ts';

/** Building sorts once; look-ups take logarithmic time. */
export class KnownTimes {
  readonly #revisions: number[] = [];
  /** By place in `#revisions`: the earliest time at which that revision or a later one was told. */
  readonly #times: number[] = [];

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
  }

  /** Infinity when nobody ever was told. */
  by(revision: number): number {
    let low = 0;
    let high = this.#revisions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#revisions[middle]! < revision) low = middle + 1;
      else high = middle;
    }
    return this.#times[low] ?? Number.POSITIVE_INFINITY;
  }
}
