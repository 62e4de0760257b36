/**
 * One input of a merge: a sorted run of tables, read a window of blocks at a time into merge memory.
 *
 * Every block is checked before WebAssembly sees it: the index must place it within the file, the read must be whole, and its checksum must be the one behind it and the
 * one in the index. Blocks and tables that hold nothing between the wanted revisions are not read.
 *
 * Invariants: windows begin small and grow to the largest size, so that a short page reads little and a long scan reads in large pieces; a window holds
 * consecutive blocks of one table, at least one whatever its size; it is only refilled when WebAssembly has used it up.
 */
import { crc32 } from '../crc32.ts';
import { compareKeys, type MaybePromise } from '../record.ts';
import { MAX_PAYLOAD_BYTES, TRAILER_BYTES } from './block_layout.ts';
import { STORED_LZ4, STORED_PLAIN } from './format.ts';
import type { MergeMemory } from './merge_memory.ts';
import { corruptTable } from './table_damage.ts';
import type { ReadableFile } from './table_file.ts';

/** What a merge needs of a table's index. */
export interface BlockIndex {
  readonly count: number;
  offset(block: number): number;
  /** As stored, with trailer. */
  length(block: number): number;
  blockCrc(block: number): number;
  rawLength(block: number): number;
  largestRevision(block: number): number;
  /** Not below any key of the block; may be a view. */
  separator(block: number): Uint8Array;
}

/** A table that is open. */
export interface ReadableTable {
  readonly file: ReadableFile;
  readonly index: BlockIndex;
  /** The first block whose separator is at or above the key; `count` when none is. Default: searched through `index`. */
  seekBlock?(key: Uint8Array): number;
  /** Tells whoever must know of damage, and gives the error to throw. */
  damage?(offset: number, problem: string): Error;
}

export interface TableBounds {
  readonly fileBytes: number;
  readonly smallestKey: Uint8Array;
  readonly largestKey: Uint8Array;
  readonly smallestRevision: number;
  readonly largestRevision: number;
}

/** A table that a merge comes to in its turn. */
export interface TableSource {
  readonly info: TableBounds;
  open(): MaybePromise<ReadableTable>;
  /** The merge is past it. */
  close?(): void;
}

/** Where a merge begins and ends, and which revisions it wants. */
export interface MergeBounds {
  readonly reverse: boolean;
  /** Forward: begin at the first record at or after this place in record order. In reverse: at the last one before it. */
  readonly seek: { readonly key: Uint8Array; readonly revision: number } | undefined;
  /** Forward: end before this key. In reverse: end with this key. */
  readonly stop: Uint8Array | undefined;
  readonly smallestRevision: number;
  readonly largestRevision: number;
  readonly firstWindowBytes: number;
  readonly windowBytes: number;
}

const MAX_BLOCK_BYTES = MAX_PAYLOAD_BYTES + TRAILER_BYTES;
const WINDOW_BLOCKS = 512;
const WINDOW_GROWTH = 2;
const MIN_RAW_BYTES = 16 * 1024;

// assembly/merge.ts
export const INPUT_BYTES = 64;
const BLOCK_BYTES = 16;
const DESCRIPTORS_BYTES = 1024 * 64;
const KEYS_BYTES = 80 * 1024;
const RAW = 12;
const RAW_BYTES = 16;
const BLOCK_COUNT = 24;
const NEXT_BLOCK = 28;
const FLAGS = 40;
const LAST_WINDOW = 1;
const SEEKING = 2;

export class MergeInput {
  readonly #memory: MergeMemory;
  readonly #address: number;
  readonly #run: readonly TableSource[];
  readonly #bounds: MergeBounds;
  readonly #list: number;
  #window: number;
  #windowCapacity: number;
  #windowTarget: number;
  #rawCapacity = 0;
  /** The table being read, or the next one to open. */
  #tableAt: number;
  #table: ReadableTable | undefined;
  /** The next block to read of it, and the last one wanted, in the direction of the merge. */
  #block = 0;
  #lastBlock = 0;
  /** What is being read, or was read last: blocks [from, to] of this table. */
  #read: ReadableTable | undefined;
  #from = 0;
  #to = 0;
  /** Bytes read so far. */
  readBytes = 0;

  /** `address`: INPUT_BYTES for the input's state. */
  constructor(
    memory: MergeMemory,
    address: number,
    rank: number,
    run: readonly TableSource[],
    bounds: MergeBounds,
  ) {
    this.#memory = memory;
    this.#address = address;
    this.#run = run;
    this.#bounds = bounds;
    this.#windowTarget = Math.min(bounds.firstWindowBytes, bounds.windowBytes);
    const descriptors = memory.allocate(DESCRIPTORS_BYTES);
    const keys = memory.allocate(KEYS_BYTES);
    this.#list = memory.allocate(WINDOW_BLOCKS * BLOCK_BYTES);
    this.#windowCapacity = bounds.windowBytes;
    this.#window = memory.allocate(this.#windowCapacity);
    const { words } = memory;
    words.fill(0, address >>> 2, (address + INPUT_BYTES) >>> 2);
    words[address >>> 2] = descriptors;
    words[(address + 4) >>> 2] = keys;
    words[(address + 8) >>> 2] = KEYS_BYTES;
    words[(address + 20) >>> 2] = this.#list;
    words[(address + FLAGS) >>> 2] = bounds.seek === undefined ? 0 : SEEKING;
    words[(address + 44) >>> 2] = rank;
    this.#tableAt = this.#firstTable();
  }

  /** Reads the next window at once. A promise only where a table must first be opened. */
  fillNow(): MaybePromise<void> {
    const planned = this.#plan();
    if (planned instanceof Promise) return planned.then((more) => this.#readNow(more));
    this.#readNow(planned);
  }

  /** Reads the next window off the event loop. */
  async fillLater(): Promise<void> {
    if (!(await this.#plan())) {
      this.#end();
      return;
    }
    const { file, index } = this.#read!;
    this.#deliver(await file.read(this.#target(), index.offset(this.#from)));
  }

  /** The block that WebAssembly took last is damaged. */
  damaged(problem: string): Error {
    const taken = this.#memory.words[(this.#address + NEXT_BLOCK) >>> 2]! - 1;
    return this.#corrupt(this.#bounds.reverse ? this.#to - taken : this.#from + taken, problem);
  }

  /** Lets go of what is open. */
  close(): void {
    if (this.#table !== undefined) this.#run[this.#tableAt]?.close?.();
    this.#table = undefined;
  }

  #readNow(planned: boolean): void {
    if (!planned) {
      this.#end();
      return;
    }
    const { file, index } = this.#read!;
    this.#deliver(file.readSync(this.#target(), index.offset(this.#from)));
  }

  #end(): void {
    const { words } = this.#memory;
    words[(this.#address + BLOCK_COUNT) >>> 2] = 0;
    words[(this.#address + NEXT_BLOCK) >>> 2] = 0;
    words[(this.#address + FLAGS) >>> 2]! |= LAST_WINDOW;
  }

  #firstTable(): number {
    const { seek, reverse } = this.#bounds;
    const run = this.#run;
    if (reverse) {
      if (seek === undefined) return run.length - 1;
      return countWhile(run, (table) => compareKeys(table.info.smallestKey, seek.key) < 0) - 1;
    }
    if (seek === undefined) return 0;
    return countWhile(run, (table) => compareKeys(table.info.largestKey, seek.key) < 0);
  }

  /** Chooses the next blocks to read; false at the end of the run. */
  #plan(): MaybePromise<boolean> {
    const { reverse } = this.#bounds;
    for (;;) {
      if (this.#table === undefined) {
        if (!this.#nextTable()) return false;
        const table = this.#run[this.#tableAt]!.open();
        if (table instanceof Promise)
          return table.then((open) => {
            this.#begin(open);
            return this.#plan();
          });
        this.#begin(table);
      }
      if (this.#chooseBlocks(this.#table!.index)) return true;
      this.close();
      this.#tableAt += reverse ? -1 : 1;
    }
  }

  /** Moves on to a table that has something of what is wanted; false when there is none. */
  #nextTable(): boolean {
    const { reverse, stop, smallestRevision, largestRevision } = this.#bounds;
    for (; ; this.#tableAt += reverse ? -1 : 1) {
      const info = this.#run[this.#tableAt]?.info;
      if (info === undefined) return false;
      if (stop !== undefined) {
        const isPast = reverse
          ? compareKeys(info.largestKey, stop) < 0
          : compareKeys(info.smallestKey, stop) >= 0;
        if (isPast) return false;
      }
      if (info.largestRevision >= smallestRevision && info.smallestRevision <= largestRevision) return true;
    }
  }

  #begin(table: ReadableTable): void {
    this.#table = table;
    this.#read = table;
    const { index } = table;
    const { info } = this.#run[this.#tableAt]!;
    const { reverse, seek, stop } = this.#bounds;
    const last = index.count - 1;
    if (reverse) {
      const isInside = seek !== undefined && compareKeys(seek.key, info.largestKey) <= 0;
      this.#block = isInside ? Math.min(seekBlock(table, seek.key), last) : last;
      this.#lastBlock =
        stop === undefined || compareKeys(stop, info.smallestKey) <= 0 ? 0 : seekBlock(table, stop);
    } else {
      const isInside = seek !== undefined && compareKeys(seek.key, info.smallestKey) > 0;
      this.#block = isInside ? seekBlock(table, seek.key) : 0;
      this.#lastBlock =
        stop === undefined || compareKeys(stop, info.largestKey) > 0
          ? last
          : Math.min(seekBlock(table, stop), last);
    }
  }

  /** The next consecutive blocks up to the window's size; false at the end of the table. */
  #chooseBlocks(index: BlockIndex): boolean {
    const { reverse, smallestRevision } = this.#bounds;
    const step = reverse ? -1 : 1;
    const beyond = this.#lastBlock + step;
    let block = this.#block;
    if (reverse ? block <= beyond : block >= beyond) return false;
    while (block !== beyond && index.largestRevision(block) < smallestRevision) block += step;
    this.#block = block;
    if (block === beyond) return false;
    const first = block;
    let bytes = this.#checkedLength(index, block);
    for (block += step; block !== beyond && Math.abs(block - first) < WINDOW_BLOCKS; block += step) {
      if (index.largestRevision(block) < smallestRevision) break;
      const before = reverse ? block : block - 1;
      if (index.offset(before) + index.length(before) !== index.offset(before + 1)) break;
      const length = this.#checkedLength(index, block);
      if (bytes + length > this.#windowTarget) break;
      bytes += length;
    }
    this.#block = block;
    this.#from = reverse ? block + 1 : first;
    this.#to = reverse ? first : block - 1;
    this.#windowTarget = Math.min(this.#windowTarget * WINDOW_GROWTH, this.#bounds.windowBytes);
    if (bytes > this.#windowCapacity) {
      this.#windowCapacity = Math.min(bytes * 2, MAX_BLOCK_BYTES);
      this.#window = this.#memory.allocate(this.#windowCapacity);
    }
    return true;
  }

  #checkedLength(index: BlockIndex, block: number): number {
    const length = index.length(block);
    const end = index.offset(block) + length;
    if (
      !(
        length > TRAILER_BYTES &&
        length <= MAX_BLOCK_BYTES &&
        end <= this.#run[this.#tableAt]!.info.fileBytes
      )
    )
      throw this.#corrupt(block, 'the index names a block that cannot be');
    return length;
  }

  /** Where the chosen blocks are read to. */
  #target(): Uint8Array {
    const index = this.#read!.index;
    const length = index.offset(this.#to) + index.length(this.#to) - index.offset(this.#from);
    return this.#memory.bytes.subarray(this.#window, this.#window + length);
  }

  /** Checks the blocks that were read and hands them to WebAssembly. */
  #deliver(readBytes: number): void {
    const index = this.#read!.index;
    const { bytes, words } = this.#memory;
    const { reverse } = this.#bounds;
    const origin = index.offset(this.#from);
    const count = this.#to - this.#from + 1;
    let longest = 0;
    for (let i = 0; i < count; i++) {
      const block = this.#from + i;
      const start = this.#window + index.offset(block) - origin;
      const length = index.length(block);
      if (start + length > this.#window + readBytes)
        throw this.#corrupt(block, 'the file ends within a block');
      const payloadLength = length - TRAILER_BYTES;
      const at = start + length - 4;
      const crc =
        (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
      if (crc32(bytes.subarray(start, at)) !== crc)
        throw this.#corrupt(block, 'the checksum of a block is wrong');
      if (crc !== index.blockCrc(block))
        throw this.#corrupt(block, 'a block is not the one that the index names');
      const entry = (this.#list >>> 2) + (reverse ? count - 1 - i : i) * (BLOCK_BYTES >>> 2);
      const rawLength = index.rawLength(block);
      const stored = bytes[at - 1]!;
      if (stored === STORED_LZ4) longest = Math.max(longest, rawLength);
      else if (stored !== STORED_PLAIN || payloadLength !== rawLength)
        throw this.#corrupt(block, 'a block is stored in an unknown way');
      words[entry] = start;
      words[entry + 1] = payloadLength;
      words[entry + 2] = rawLength;
      words[entry + 3] = stored;
    }
    if (longest > 0) this.#makeRoomForRaw(longest);
    words[(this.#address + BLOCK_COUNT) >>> 2] = count;
    words[(this.#address + NEXT_BLOCK) >>> 2] = 0;
    this.readBytes += readBytes;
  }

  /** Compressed blocks need a place to lie as they were. */
  #makeRoomForRaw(length: number): void {
    if (length > MAX_PAYLOAD_BYTES) throw this.#corrupt(this.#from, 'the index names a block that cannot be');
    if (length <= this.#rawCapacity) return;
    this.#rawCapacity = Math.min(Math.max(2 * length, MIN_RAW_BYTES), MAX_PAYLOAD_BYTES);
    const raw = this.#memory.allocate(this.#rawCapacity);
    this.#memory.words[(this.#address + RAW) >>> 2] = raw;
    this.#memory.words[(this.#address + RAW_BYTES) >>> 2] = this.#rawCapacity;
  }

  #corrupt(block: number, problem: string): Error {
    const table = this.#read!;
    const offset = table.index.offset(block);
    return table.damage?.(offset, problem) ?? corruptTable(table.file.path, offset, problem);
  }
}

/** The first block whose separator is at or above the key; `count` when none is. */
function seekBlock(table: ReadableTable, key: Uint8Array): number {
  if (table.seekBlock !== undefined) return table.seekBlock(key);
  const { index } = table;
  let low = 0;
  let high = index.count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(index.separator(middle), key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many at the start of a sorted list fulfil a condition that never comes back once it is gone. */
function countWhile<Item>(list: readonly Item[], holds: (item: Item) => boolean): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(list[middle]!)) low = middle + 1;
    else high = middle;
  }
  return low;
}
