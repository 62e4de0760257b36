/**
 * The block cache: payloads of blocks in frames of table memory. A block's index entry says where its frame is; there is no other map.
 *
 * Admission: while there is room, every block that a point read wanted. When the cache is full, only a block that was wanted before within the last so many
 * misses as the cache has frames; the entry's recency word remembers that miss, so that reading much data once does not push out what is read often.
 * Eviction: CLOCK over the frames in the order of their addresses, with counts up to three that readers raise (Yang et al., SOSP 2023, "FIFO queues are all
 * you need for cache eviction", show that such counts and a filter at the door are as good as an LRU).
 *
 * Invariants: the frames' bytes never pass the limit; a frame's payload is complete before its entry points to it; an entry points to no frame before the
 * frame is retired. A word of recency counts reads while the block is cached, and is a time in misses (0: never) while it is not; readers of other threads may
 * spoil a time, which costs a needless admission.
 */
import { type TableMemory, UNIT_BYTES } from './table_memory.ts';

const RAW_LENGTH = 28;
const FRAME = 32;
const RECENCY = 36;
export const ENTRY_BYTES = 40;
/** Larger blocks are never admitted. */
export const MAX_CACHED_BLOCK_BYTES = 256 * 1024;
/** Counts that one eviction may lower before it takes what it finds. */
const PATIENCE = 64;
const MIN_WINDOW = 16;
/** Free memory that fits no frame: so much and a quarter of the limit may lie about before frames make way for each other. */
const FRAGMENTATION_BYTES = 4 * 1024 * 1024;
const EVICTIONS_FOR_A_FIT = 32;

export class BlockCache {
  readonly limitBytes: number;
  usedBytes = 0;
  frames = 0;
  admissions = 0;
  evictions = 0;
  readonly #memory: TableMemory;
  /** By the number of a frame's first unit: the entry that points to it, 0 where no frame begins. */
  #owners = new Uint32Array(0);
  #hand = 0;
  /** Misses so far, as far as admission counts them. */
  #time = 1;

  constructor(memory: TableMemory, limitBytes: number) {
    this.#memory = memory;
    this.limitBytes = limitBytes;
  }

  /** The frame of an entry's block, 0 when it is not cached. */
  frameOf(entry: number): number {
    return this.#memory.u32[(entry + FRAME) >>> 2]!;
  }

  /**
   * A frame for the block of an entry, which was just read; 0 when it is not to be cached. The caller fills the frame, then calls `show`, or `cancel`.
   * REQUIRES: the entry has no frame.
   */
  admit(entry: number): number {
    const { u32 } = this.#memory;
    const bytes = frameBytes(u32[(entry + RAW_LENGTH) >>> 2]!);
    if (bytes > MAX_CACHED_BLOCK_BYTES || bytes > this.limitBytes) return 0;
    if (this.usedBytes + bytes > this.limitBytes) {
      if (!this.#wantedBefore((entry + RECENCY) >>> 2)) return 0;
      // Frames that readers still look at are memory too.
      if (this.#memory.retiredBytes > this.limitBytes >>> 3) return 0;
      while (this.usedBytes + bytes > this.limitBytes) this.#evict();
    }
    const frame = this.#allocate(bytes);
    if (frame === 0) return 0;
    const unit = this.#memory.unitOf(frame);
    if (unit >= this.#owners.length) this.#makeRoom();
    this.#owners[unit] = entry;
    this.usedBytes += bytes;
    this.frames++;
    this.admissions++;
    return frame;
  }

  /** Lets readers find a frame that was filled. */
  show(entry: number, frame: number): void {
    const { u32 } = this.#memory;
    Atomics.store(u32, (entry + RECENCY) >>> 2, 0);
    Atomics.store(u32, (entry + FRAME) >>> 2, frame);
  }

  /** Gives back a frame that was never shown. */
  cancel(entry: number, frame: number): void {
    const bytes = this.#forget(entry, this.#memory.unitOf(frame));
    this.#memory.free(frame, bytes);
  }

  /** Gives up the frames of a table that is read no more, but for readers who came before that: they still find them. */
  drop(entries: number, count: number): void {
    for (let i = 0, entry = entries; i < count; i++, entry += ENTRY_BYTES) {
      const frame = this.frameOf(entry);
      if (frame !== 0) this.#retire(entry, frame);
    }
  }

  #wantedBefore(word: number): boolean {
    const { u32 } = this.#memory;
    const time = (this.#time + 1) >>> 0 || 1;
    this.#time = time;
    const last = u32[word]!;
    if (last !== 0 && (time - last) >>> 0 <= Math.max(MIN_WINDOW, this.frames)) return true;
    u32[word] = time;
    return false;
  }

  /** REQUIRES: there is a frame. */
  #evict(): void {
    const { u32 } = this.#memory;
    const owners = this.#owners;
    let patience = PATIENCE;
    for (;;) {
      const unit = this.#hand;
      this.#hand = unit + 1 < owners.length ? unit + 1 : 0;
      const entry = owners[unit]!;
      if (entry === 0) continue;
      const word = (entry + RECENCY) >>> 2;
      const count = Atomics.load(u32, word);
      if (count > 0 && patience-- > 0) {
        Atomics.store(u32, word, count - 1);
        continue;
      }
      this.evictions++;
      const frame = this.frameOf(entry);
      Atomics.store(u32, (entry + FRAME) >>> 2, 0);
      Atomics.store(u32, word, 0);
      this.#retire(entry, frame);
      return;
    }
  }

  /** REQUIRES: nothing leads to the frame any more. */
  #retire(entry: number, frame: number): void {
    this.#memory.retire(frame, this.#forget(entry, this.#memory.unitOf(frame)));
  }

  #forget(entry: number, unit: number): number {
    const bytes = frameBytes(this.#memory.u32[(entry + RAW_LENGTH) >>> 2]!);
    this.#owners[unit] = 0;
    this.usedBytes -= bytes;
    this.frames--;
    return bytes;
  }

  #allocate(bytes: number): number {
    const memory = this.#memory;
    let frame = memory.allocateHere(bytes);
    if (frame !== 0) return frame;
    if (memory.freeBytes <= (this.limitBytes >>> 2) + FRAGMENTATION_BYTES) frame = memory.allocate(bytes);
    for (let i = 0; frame === 0 && this.frames > 0 && i < EVICTIONS_FOR_A_FIT; i++) {
      this.#evict();
      frame = memory.allocateHere(bytes);
    }
    return frame;
  }

  #makeRoom(): void {
    const owners = new Uint32Array(Math.max(this.#memory.unitCount, 2 * this.#owners.length));
    owners.set(this.#owners);
    this.#owners = owners;
  }
}

function frameBytes(rawLength: number): number {
  return (rawLength + UNIT_BYTES - 1) & -UNIT_BYTES;
}
