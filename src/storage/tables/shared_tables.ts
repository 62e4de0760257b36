/**
 * What a tree of tables gives to threads that read it beside the tree's own: a place in its memory each (table_memory.ts), and where its files lie. Blocks that those
 * threads read from files are brought into the cache here, a few at a time.
 */
import type { TimerHandle, Timers } from '../../ports.ts';
import type { SharedTree, SharedTreePlace } from '../tree.ts';
import { type ReaderPlace, SCRATCH_WISHES, WISHES } from './table_memory.ts';
import type { TableSet } from './table_set.ts';

const WISHES_MS = 10;
/** Blocks brought in one go: well below a millisecond of this thread's time. */
const MAX_BROUGHT = 128;

interface Reader {
  readonly place: ReaderPlace;
  /** Wishes looked at. */
  seen: number;
}

export class SharedTables implements SharedTree {
  readonly #set: TableSet;
  readonly #directory: string;
  readonly #timers: Timers;
  readonly #readers = new Map<number, Reader>();
  #timer: TimerHandle | undefined;

  constructor(set: TableSet, directory: string, timers: Timers) {
    this.#set = set;
    this.#directory = directory;
    this.#timers = timers;
  }

  addReader(): SharedTreePlace {
    const { memory } = this.#set;
    const place = memory.addReader();
    this.#readers.set(place.reader, { place, seen: this.#wishes(place) });
    this.#timer ??= this.#timers.every(WISHES_MS, () => this.#bring());
    return { memory: memory.memory, ...place, directory: this.#directory };
  }

  removeReader({ reader }: SharedTreePlace): void {
    const known = this.#readers.get(reader);
    if (known === undefined) return;
    this.#readers.delete(reader);
    this.#set.memory.removeReader(known.place);
    if (this.#readers.size === 0) this.close();
  }

  /** No more blocks are brought. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #wishes(place: ReaderPlace): number {
    return Atomics.load(this.#set.memory.u32, (place.scratch + SCRATCH_WISHES) >>> 2);
  }

  #bring(): void {
    let left = MAX_BROUGHT;
    for (const reader of this.#readers.values()) {
      const wishes = this.#wishes(reader.place);
      // What was overwritten is wished for again, if it is read again.
      let waiting = Math.min((wishes - reader.seen) >>> 0, WISHES);
      const ring = ((reader.place.scratch + SCRATCH_WISHES) >>> 2) + 1;
      for (; waiting > 0 && left > 0; waiting--, left--)
        this.#set.bring(Atomics.load(this.#set.memory.u32, ring + (((wishes - waiting) >>> 0) % WISHES)));
      reader.seen = (wishes - waiting) >>> 0;
    }
  }
}
