/**
 * Point reads of tables in a thread that is not the tree's: over the same memory (docs/formats/table_memory.md), with a scratch and an epoch word of its own.
 *
 * A block that is not in the cache is read from the file into the scratch, checked, and searched there; only the tree's thread fills the cache, with blocks that
 * readers wish for among others. Whatever this
 * thread cannot do by itself, it leaves to that one: blocks too large for the scratch, files that are gone (the tables were replaced meanwhile), and damage,
 * which has to be told there.
 *
 * Invariants: everything between entering and leaving an epoch is synchronous; answers own their bytes; file descriptors of tables that the present version does
 * not name are closed at the first read of that version.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { crc32 } from '../crc32.ts';
import type { StoredRecord } from '../record.ts';
import type { EpochReader } from '../shared/epochs.ts';
import type { SharedTreePlace } from '../tree.ts';
import { TRAILER_BYTES } from './block_layout.ts';
import { STORED_LZ4, STORED_PLAIN, tablePath } from './format.ts';
import { INDEX_ENTRY } from './index_section.ts';
import { FOUND, LookupScratch, MISSING, NEED_BLOCK } from './lookup_scratch.ts';
import {
  MAX_KEY_BYTES,
  SCRATCH_BLOCK_BYTES,
  SCRATCH_FRAME,
  SCRATCH_STORED,
  SCRATCH_WISHES,
  TableViews,
  WISHES,
} from './table_memory.ts';

/** The tree's thread has to be asked. */
export const ASK = Symbol('ask');

const FILE_NUMBER = 48;
const LEVELS_AT = 8;
const SLOT_BYTES = 16;
const RAW_LENGTH_BYTES = 4;
const MAX_OPEN_FILES = 64;
/** How often a thread looks whether its memory object has noticed a growth, which it does between turns of a loop. */
const GROWTH_LOOKS = 100_000;

export class TableReader {
  /** Blocks that were read from files. */
  blocksRead = 0;
  readonly #views: TableViews;
  readonly #place: SharedTreePlace;
  readonly #scratch: LookupScratch;
  readonly #epoch: EpochReader;
  /** Descriptors by file number. */
  readonly #files = new Map<number, number>();
  #version = 0;

  constructor(place: SharedTreePlace) {
    this.#place = place;
    this.#views = new TableViews(place.memory, 'release');
    this.#scratch = new LookupScratch(this.#views, place.scratch);
    this.#epoch = this.#views.epochOf(place.reader);
  }

  /** Blocks that were found in the cache. */
  get cacheHits(): number {
    return this.#scratch.cacheHits;
  }

  /**
   * The newest record of a key at or below a revision in the tables as they are now; undefined: none. `key` becomes the record's.
   * REQUIRES: compaction did not pass the revision, which the caller makes sure of afterwards.
   */
  get(key: Uint8Array, revision: number): StoredRecord | undefined | typeof ASK {
    if (key.length > MAX_KEY_BYTES) return undefined;
    const views = this.#views;
    const scratch = this.#scratch;
    this.#epoch.enter();
    try {
      const version = views.publishedVersion();
      if (version !== this.#version && !this.#changed(version)) return ASK;
      scratch.stage(key);
      let status = scratch.lookup(version, key.length, revision);
      while (status === NEED_BLOCK) {
        const frame = this.#readBlock(scratch.table, scratch.entry);
        if (frame === 0) return ASK;
        status = scratch.resume(frame);
      }
      if (status === MISSING) return undefined;
      return status === FOUND && this.#covers(scratch.recordEnd) ? scratch.record(key) : ASK;
    } finally {
      this.#epoch.leave();
    }
  }

  close(): void {
    for (const file of this.#files.values()) closeSync(file);
    this.#files.clear();
  }

  /** Another version than at the last read: files of tables that went are closed. False: it cannot be read. */
  #changed(version: number): boolean {
    if (this.#files.size > 0) {
      const named = this.#fileNumbers(version);
      if (named === undefined) return false;
      for (const [fileNumber, file] of this.#files) {
        if (named.has(fileNumber)) continue;
        this.#files.delete(fileNumber);
        closeSync(file);
      }
    }
    this.#version = version;
    return true;
  }

  #fileNumbers(version: number): Set<number> | undefined {
    const named = new Set<number>();
    const levels = this.#word(version);
    if (levels === undefined) return undefined;
    for (let level = 0; level < levels; level++) {
      const first = this.#word(version + LEVELS_AT + level * 8);
      const count = this.#word(version + LEVELS_AT + level * 8 + 4);
      if (first === undefined || count === undefined) return undefined;
      for (let i = 0; i < count; i++) {
        const table = this.#word(first + i * SLOT_BYTES);
        if (table === undefined || !this.#covers(table + FILE_NUMBER + 8)) return undefined;
        named.add(this.#views.f64[(table + FILE_NUMBER) >>> 3]!);
      }
    }
    return named;
  }

  #word(address: number): number | undefined {
    return this.#covers(address + 4) ? this.#views.u32[address >>> 2] : undefined;
  }

  /** Makes the views reach up to an address: the tree's thread may have grown the memory. */
  #covers(end: number): boolean {
    const views = this.#views;
    for (let look = 0; end > views.u8.length; look++) {
      if (look === GROWTH_LOOKS) return false;
      views.refresh();
    }
    return true;
  }

  /** The address of a block's payload, 0: the tree's thread has to do it. */
  #readBlock(table: number, entry: number): number {
    const views = this.#views;
    if (!this.#covers(entry + 40) || !this.#covers(table + FILE_NUMBER + 8)) return 0;
    const length = views.u32[(entry + INDEX_ENTRY.length) >>> 2]!;
    const rawLength = views.u32[(entry + INDEX_ENTRY.rawLength) >>> 2]!;
    if (length > SCRATCH_BLOCK_BYTES || rawLength > SCRATCH_BLOCK_BYTES) return 0;
    const file = this.#file(views.f64[(table + FILE_NUMBER) >>> 3]!);
    if (file < 0) return 0;
    const place = this.#place.scratch + SCRATCH_STORED;
    const stored = views.u8.subarray(place, place + length);
    this.blocksRead++;
    if (readWhole(file, stored, views.u32[(entry + INDEX_ENTRY.offset) >>> 2]!) !== length) return 0;
    const named = u32At(stored, length - 4);
    if (
      named !== views.u32[(entry + INDEX_ENTRY.blockCrc) >>> 2] ||
      crc32(stored.subarray(0, length - 4)) !== named
    )
      return 0;
    this.#wish(entry);
    return this.#unpack(stored, place, rawLength);
  }

  /** Lets the tree's thread know that the block of an entry is wanted in the cache. Older wishes that it has not looked at are overwritten. */
  #wish(entry: number): void {
    const { u32 } = this.#views;
    const count = (this.#place.scratch + SCRATCH_WISHES) >>> 2;
    const wishes = u32[count]!;
    Atomics.store(u32, count + 1 + (wishes % WISHES), entry);
    Atomics.store(u32, count, (wishes + 1) >>> 0);
  }

  #unpack(stored: Uint8Array, place: number, rawLength: number): number {
    const packedBytes = stored.length - TRAILER_BYTES;
    const compression = stored[packedBytes];
    if (compression === STORED_PLAIN) return packedBytes === rawLength ? place : 0;
    if (compression !== STORED_LZ4 || packedBytes < RAW_LENGTH_BYTES || u32At(stored, 0) !== rawLength)
      return 0;
    const frame = this.#place.scratch + SCRATCH_FRAME;
    const packed = place + RAW_LENGTH_BYTES;
    const { wasm } = this.#views;
    return wasm.lz4Decompress(packed, packedBytes - RAW_LENGTH_BYTES, frame, rawLength) === rawLength
      ? frame
      : 0;
  }

  /** The descriptor of a table's file, negative when it cannot be opened. */
  #file(fileNumber: number): number {
    const known = this.#files.get(fileNumber);
    if (known !== undefined) return known;
    let file: number;
    try {
      file = openSync(tablePath(this.#place.directory, fileNumber), 'r');
    } catch {
      // The table was replaced since its version was published, or the process has too many files: the tree's thread knows better.
      return -1;
    }
    if (this.#files.size >= MAX_OPEN_FILES) {
      const [oldest] = this.#files;
      this.#files.delete(oldest![0]);
      closeSync(oldest![1]);
    }
    this.#files.set(fileNumber, file);
    return file;
  }
}

/** The bytes that were read; fewer when the file ends, or the disk fails. */
function readWhole(file: number, target: Uint8Array, offset: number): number {
  let got = 0;
  try {
    while (got < target.length) {
      const bytes = readSync(file, target, got, target.length - got, offset + got);
      if (bytes === 0) break;
      got += bytes;
    }
  } catch {
    // Whatever the disk's trouble is, the tree's thread meets it too, and tells of it.
    return -1;
  }
  return got;
}

function u32At(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}
