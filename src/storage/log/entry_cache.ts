/**
 * The newest entries, in memory, bounded in bytes: followers that keep up are served from here.
 *
 * Invariant: holds the indexes [first, next) without gaps, in a ring whose size is a power of two. Evicting is the owner's decision
 * (`evict`): an entry that is not written yet has no other home.
 */
import type { Entry } from '../../raft/types.ts';

/** What an entry costs beside its data. */
const ENTRY_OVERHEAD_BYTES = 128;

export class EntryCache {
  #ring: (Entry | undefined)[] = new Array<Entry | undefined>(1024).fill(undefined);
  #mask = 1023;
  #first = 1;
  #next = 1;
  #bytes = 0;

  get first(): number {
    return this.#first;
  }

  reset(next: number): void {
    this.#ring.fill(undefined);
    this.#first = next;
    this.#next = next;
    this.#bytes = 0;
  }

  /** REQUIRES: the entry's index is the next one. */
  push(entry: Entry): void {
    if (this.#next - this.#first > this.#mask) this.#grow();
    this.#ring[this.#next & this.#mask] = entry;
    this.#next++;
    this.#bytes += entry.data.byteLength + ENTRY_OVERHEAD_BYTES;
  }

  /** An entry went by that is not kept: the next push is for `next`. What is held before it has to go, for the cache has no gaps. */
  skipTo(next: number): void {
    if (this.#first !== this.#next) this.reset(next);
    this.#first = next;
    this.#next = next;
  }

  #grow(): void {
    const ring = new Array<Entry | undefined>(this.#ring.length * 2).fill(undefined);
    const mask = ring.length - 1;
    for (let i = this.#first; i < this.#next; i++) ring[i & mask] = this.#ring[i & this.#mask];
    this.#ring = ring;
    this.#mask = mask;
  }

  #forget(index: number): void {
    const slot = index & this.#mask;
    this.#bytes -= (this.#ring[slot]?.data.byteLength ?? 0) + ENTRY_OVERHEAD_BYTES;
    this.#ring[slot] = undefined;
  }

  /** Forgets the entries from `index` on; the next push is for `index`. */
  truncate(index: number): void {
    if (index <= this.#first) {
      this.reset(index);
      return;
    }
    while (this.#next > index) this.#forget(--this.#next);
  }

  dropBefore(index: number): void {
    if (index > this.#next) this.reset(index);
    else while (this.#first < index) this.#forget(this.#first++);
  }

  /** Drops the oldest entries until at most `limitBytes` are held. */
  evict(limitBytes: number): void {
    while (this.#bytes > limitBytes && this.#first < this.#next) this.#forget(this.#first++);
  }

  get(index: number): Entry | undefined {
    return index >= this.#first && index < this.#next ? this.#ring[index & this.#mask] : undefined;
  }
}
