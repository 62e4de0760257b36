/**
 * Batches that wait to be written: for room, for the end of a reset, or, in relaxed mode, for their time.
 *
 * Invariant: first in, first out; `bytes` is the sum of what waits.
 */
import type { Entry } from '../../raft/types.ts';
import { type Batch, sizeOf } from './batch.ts';

export class BatchQueue {
  bytes = 0;
  #batches: Batch[] = [];
  /** The last batch's entries, while more may be added to it. */
  #filling: Entry[] | undefined;

  get length(): number {
    return this.#batches.length;
  }

  push(batch: Batch): void {
    this.#filling = undefined;
    this.#batches.push(batch);
    this.bytes += batch.bytes;
  }

  /** Entries that nobody waits for: joins them to the last batch until that has `limitBytes`. */
  add(entries: readonly Entry[], limitBytes: number): void {
    const bytes = sizeOf(false, entries, undefined);
    const last = this.#batches.at(-1);
    if (this.#filling === undefined || last === undefined || last.bytes > limitBytes) {
      const own = [...entries];
      this.push({ hardState: false, entries: own, mark: undefined, bytes, sync: false, waiter: undefined });
      this.#filling = own;
      return;
    }
    for (const entry of entries) this.#filling.push(entry);
    last.bytes += bytes;
    this.bytes += bytes;
  }

  /** Hands out batches in order until `take` says false; when it throws, the batch at hand stays. Gives the batch that had to stay. */
  drain(take: (batch: Batch) => boolean): Batch | undefined {
    this.#filling = undefined;
    let done = 0;
    try {
      for (; done < this.#batches.length; done++) {
        const batch = this.#batches[done]!;
        if (!take(batch)) return batch;
        this.bytes -= batch.bytes;
      }
      return undefined;
    } finally {
      this.#batches.splice(0, done);
    }
  }

  /** Empties the queue. */
  takeAll(): Batch[] {
    const all = this.#batches;
    this.#batches = [];
    this.#filling = undefined;
    this.bytes = 0;
    return all;
  }
}
