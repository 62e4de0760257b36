/**
 * One thread's place to look things up in tables: the staged key, the state of a look-up, the record that it found (assembly/table_lookup.ts says what lies
 * where). The main thread has one, and every reader thread another.
 *
 * Invariants: one look-up at a time; what it found is copied out before the thread reads again or leaves its epoch.
 */
import type { StoredRecord } from '../record.ts';
import { SCRATCH_KEY, type TableViews } from './table_memory.ts';

/** Nothing at or below the revision; a record; `entry`'s block is wanted; `entry`'s block makes no sense. */
export const MISSING = 0;
export const FOUND = 1;
export const NEED_BLOCK = 2;
export const DAMAGED = 3;

const STATE_FIRST = 64 >>> 2;
const STATE_WORDS = 10;
const TABLE = 76;
const ENTRY = 80;
const HITS = 104;
/** Up to here a loop beats the call of a built-in. */
const SHORT_COPY_BYTES = 16;
/** Small copies share slabs: one allocation for many. A copy kept for long keeps its slab. */
const COPY_SLAB_BYTES = 32 * 1024;
const MAX_SLAB_COPY_BYTES = 4 * 1024;
const NO_BYTES = new Uint8Array(0);

/** A look-up that was put aside; its key must be staged again before it goes on. */
export type SavedLookup = Uint32Array;

export class LookupScratch {
  readonly #views: TableViews;
  readonly #address: number;
  readonly #word: number;
  #slab: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #slabUsed = 0;

  constructor(views: TableViews, address: number) {
    this.#views = views;
    this.#address = address;
    this.#word = address >>> 2;
    views.f64[(address + HITS) >>> 3] = 0;
  }

  get address(): number {
    return this.#address;
  }

  /** Blocks of the cache that look-ups of this thread went into. */
  get cacheHits(): number {
    return this.#views.f64[(this.#address + HITS) >>> 3]!;
  }

  /** After NEED_BLOCK or DAMAGED: the address of the table, and of the index entry of the block. */
  get table(): number {
    return this.#views.u32[(this.#address + TABLE) >>> 2]!;
  }
  get entry(): number {
    return this.#views.u32[(this.#address + ENTRY) >>> 2]!;
  }

  /** Writes the key to look for. REQUIRES: at most MAX_KEY_BYTES. */
  stage(key: Uint8Array): void {
    const { u8 } = this.#views;
    const at = this.#address + SCRATCH_KEY;
    const length = key.length;
    if (length > SHORT_COPY_BYTES) {
      u8.set(key, at);
      return;
    }
    for (let i = 0; i < length; i++) u8[at + i] = key[i]!;
  }

  /** Looks for the newest record of the staged key at or below a revision. */
  lookup(version: number, keyLength: number, revision: number): number {
    return this.#views.wasm.lookup(this.#address, version, keyLength, revision);
  }

  /** Goes on after NEED_BLOCK with the address of the block's payload. */
  resume(frame: number): number {
    return this.#views.wasm.resume(this.#address, frame);
  }

  /** False only when no table has a record of the staged key. */
  mayHold(version: number, keyLength: number): boolean {
    return this.#views.wasm.mayHold(this.#address, version, keyLength) !== 0;
  }

  /** The number of the first block of a table whose separator is at or after the staged key; the count of blocks when there is none. */
  seekIndex(table: number, keyLength: number): number {
    return this.#views.wasm.seekIndex(this.#address, table, keyLength);
  }

  save(): SavedLookup {
    const first = this.#word + STATE_FIRST;
    return this.#views.u32.slice(first, first + STATE_WORDS);
  }

  restore(saved: SavedLookup): void {
    this.#views.u32.set(saved, this.#word + STATE_FIRST);
  }

  /** After FOUND: where the record's value ends. */
  get recordEnd(): number {
    return this.#views.u32[this.#word + 2]! + this.#views.u32[this.#word + 3]!;
  }

  /** After FOUND: the record, with a value of its own, and `key` as its key. */
  record(key: Uint8Array): StoredRecord {
    const views = this.#views;
    const { u32, f64 } = views;
    const word = this.#word;
    const double = this.#address >>> 3;
    return {
      key,
      value: this.#valueCopy(u32[word + 2]!, u32[word + 3]!),
      modRevision: f64[double + 2]!,
      createRevision: f64[double + 3]!,
      version: f64[double + 4]!,
      subRevision: u32[word + 14]!,
      flags: u32[word + 15]!,
      // Most keys have no lease, and reading a bigint allocates.
      lease: u32[word + 10] === 0 && u32[word + 11] === 0 ? 0n : views.i64[double + 5]!,
      expiresAtMs: f64[double + 6]!,
    };
  }

  #valueCopy(from: number, length: number): Uint8Array {
    if (length === 0) return NO_BYTES;
    // The writer, in another thread, may have grown the memory.
    if (from + length > this.#views.u8.length) this.#views.refresh();
    const view = new Uint8Array(this.#views.u8.buffer, from, length);
    // From shared memory, words are copied only between places that are alike in their last three bits: twice as fast.
    const phase = from & 7;
    if (length > MAX_SLAB_COPY_BYTES) {
      const copy = new Uint8Array(Buffer.allocUnsafeSlow(length + phase).buffer, phase, length);
      copy.set(view);
      return copy;
    }
    let at = this.#slabUsed + ((phase - this.#slabUsed) & 7);
    if (at + length > this.#slab.length) {
      this.#slab = new Uint8Array(Buffer.allocUnsafeSlow(COPY_SLAB_BYTES).buffer);
      at = phase;
    }
    this.#slabUsed = at + length;
    this.#slab.set(view, at);
    return new Uint8Array(this.#slab.buffer, at, length);
  }
}
