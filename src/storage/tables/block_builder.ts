/**
 * Packs records into blocks in a WebAssembly memory (assembly/block_builder.ts), and shows the finished ones.
 *
 *     at                                                                                        end
 *     | builder struct | block list | hashes | last keys | descriptor | lz4 table | blocks (`out`) | slack |
 *
 * Regions that must grow (blocks larger than `out`, a place to compress to, staged records) are taken from the end of the memory.
 *
 * Invariants: one thread grows the memory while a builder works in it; views are made anew after growth, by this file for its own users; what is shown of
 * finished blocks is valid until `drained` or until something grows.
 */
import { KvError } from '../../errors.ts';
import type { StoredRecord } from '../record.ts';
import { WASM_PAGE_BYTES, type WasmExports, type WasmMemory } from '../wasm_module.ts';
import {
  BLOCK,
  BLOCK_LIST_BYTES,
  BUILDER,
  BUILDER_BYTES,
  DESCRIPTOR,
  DESCRIPTOR_BYTES,
  LZ4_TABLE_BYTES,
  MAX_BLOCK_ENTRIES,
  MAX_ENTRY_HEADER_BYTES,
  MAX_PAYLOAD_BYTES,
  SLACK_BYTES,
  TOO_LARGE,
  TRAILER_BYTES,
} from './block_layout.ts';

/** Blocks of so many bytes are gathered before they must be written. */
const OUT_BYTES = 256 * 1024;
const LIST_CAPACITY = 1024;
const HASH_CAPACITY = 16 * MAX_BLOCK_ENTRIES;
const KEYS_BYTES = 256 * 1024;
const HASH_BYTES = 8;
const SMALLEST_REGION_BYTES = WASM_PAGE_BYTES - SLACK_BYTES;
/** Regions double up to this: room for any one record. */
const LARGEST_RECORD_BYTES = MAX_PAYLOAD_BYTES + TRAILER_BYTES + SLACK_BYTES;
const FILTER_BLOCK_BYTES = 64;

export interface BlockBuilderOptions {
  /** Payload bytes at which a block is closed. */
  readonly blockSizeBytes: number;
  /** Blocks that are gathered. Default 256 KiB. */
  readonly outBytes?: number;
  /** Gives the address of so many bytes of the memory, a multiple of 64. Default: what lies behind the builder is all its own, and the memory grows as it does. */
  readonly allocate?: (bytes: number) => number;
}

function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

/** A region that is taken when it is first needed, or too small. */
interface Region {
  start: number;
  sizeBytes: number;
}

export class BlockBuilder {
  readonly memory: WasmMemory;
  readonly wasm: WasmExports;
  /** The struct, for addEntry and those who call it. */
  readonly address: number;
  readonly #list: number;
  readonly #hashes: number;
  readonly #descriptor: number;
  readonly #lz4Table: number;
  readonly #out: Region;
  readonly #packed: Region = { start: 0, sizeBytes: 0 };
  readonly #stage: Region = { start: 0, sizeBytes: 0 };
  readonly #allocate: (bytes: number, region: Region) => number;
  /** Where the last region ends that was not allocated by others. */
  #end: number;
  #buffer: ArrayBufferLike;
  #u8: Uint8Array;
  #u32: Uint32Array;
  #f64: Float64Array;
  #i64: BigInt64Array;

  /** Bytes from `at` to `end`, which the memory need not have yet. */
  static sizeBytes(options: BlockBuilderOptions): number {
    return layOut(0, options).end;
  }

  /**
   * Lays a builder out from `at` on (rounded up to 64), growing the memory if it ends before that.
   * @throws KvError UNAVAILABLE when the memory cannot grow.
   */
  constructor(memory: WasmMemory, wasm: WasmExports, at: number, options: BlockBuilderOptions) {
    this.memory = memory;
    this.wasm = wasm;
    this.#allocate = options.allocate ?? ((bytes, region) => this.#takeBehind(bytes, region));
    const layout = layOut(at, options);
    this.address = layout.builder;
    this.#list = layout.list;
    this.#hashes = layout.hashes;
    this.#descriptor = layout.descriptor;
    this.#lz4Table = layout.lz4Table;
    this.#out = { start: layout.out, sizeBytes: layout.outBytes };
    this.#end = layout.end;
    // Growing by nothing shows this thread what another has grown the memory by.
    memory.grow(0);
    grow(memory, layout.end - memory.buffer.byteLength);
    this.#buffer = memory.buffer;
    this.#u8 = new Uint8Array(this.#buffer);
    this.#u32 = new Uint32Array(this.#buffer);
    this.#f64 = new Float64Array(this.#buffer);
    this.#i64 = new BigInt64Array(this.#buffer);
    wasm.initBuilder(
      this.address,
      options.blockSizeBytes,
      layout.out,
      layout.outBytes,
      layout.list,
      LIST_CAPACITY,
      layout.hashes,
      HASH_CAPACITY,
      layout.keys,
      KEYS_BYTES,
    );
  }

  /** Makes the views reach all of the memory. Every method below does so by itself. */
  #refresh(): void {
    const { buffer } = this.memory;
    if (buffer === this.#buffer) return;
    this.#buffer = buffer;
    this.#u8 = new Uint8Array(buffer);
    this.#u32 = new Uint32Array(buffer);
    this.#f64 = new Float64Array(buffer);
    this.#i64 = new BigInt64Array(buffer);
  }

  /**
   * Adds the record of a descriptor in this memory, making room for large ones. ADDED, FULL (write the blocks, call `drained`, add it again) or CUT
   * (the same, and `beginTable` before it is added).
   * REQUIRES: record order. @throws KvError UNAVAILABLE when the memory cannot grow.
   */
  add(descriptor: number): number {
    const answer = this.wasm.addEntry(this.address, descriptor);
    if (answer !== TOO_LARGE) return answer;
    this.makeRoomFor(descriptor);
    return this.wasm.addEntry(this.address, descriptor);
  }

  /** Enlarges the region of an empty builder that said TOO_LARGE, so that the record fits. */
  makeRoomFor(descriptor: number): void {
    this.#refresh();
    const lengths = this.#u32;
    const keyLength = lengths[(descriptor + DESCRIPTOR.keyLength) >>> 2]!;
    const valueLength = lengths[(descriptor + DESCRIPTOR.valueLength) >>> 2]!;
    this.#growOut(keyLength + valueLength + MAX_ENTRY_HEADER_BYTES + TRAILER_BYTES + SLACK_BYTES);
  }

  /**
   * Adds a record from the JavaScript heap; key and value are copied. Answers like `add`.
   * REQUIRES: record order, lengths within the limits of entries. @throws KvError UNAVAILABLE when the memory cannot grow.
   */
  addRecord(record: StoredRecord): number {
    const { key, value } = record;
    const valueAt = align(key.length + 8, 8);
    this.#growRegion(this.#stage, valueAt + value.length);
    const stage = this.#stage.start;
    this.#u8.set(key, stage);
    this.#u8.set(value, stage + valueAt);
    const at = this.#descriptor;
    const words = this.#u32;
    words[(at + DESCRIPTOR.key) >>> 2] = stage;
    words[(at + DESCRIPTOR.keyLength) >>> 2] = key.length;
    words[(at + DESCRIPTOR.value) >>> 2] = stage + valueAt;
    words[(at + DESCRIPTOR.valueLength) >>> 2] = value.length;
    words[(at + DESCRIPTOR.subRevision) >>> 2] = record.subRevision;
    words[(at + DESCRIPTOR.flags) >>> 2] = record.flags;
    const numbers = this.#f64;
    numbers[(at + DESCRIPTOR.modRevision) >>> 3] = record.modRevision;
    numbers[(at + DESCRIPTOR.createRevision) >>> 3] = record.createRevision;
    numbers[(at + DESCRIPTOR.version) >>> 3] = record.version;
    numbers[(at + DESCRIPTOR.expiresAtMs) >>> 3] = record.expiresAtMs;
    this.#i64[(at + DESCRIPTOR.lease) >>> 3] = record.lease;
    return this.add(at);
  }

  finishBlock(): void {
    this.wasm.finishBlock(this.address);
  }

  /** Everything finished was taken. REQUIRES: no block is open. */
  drained(): void {
    this.wasm.drained(this.address);
  }

  /** The next record begins a table. REQUIRES: drained. */
  beginTable(): void {
    this.wasm.beginTable(this.address);
  }

  /** The next record of another key gets the answer CUT. */
  wantCut(): void {
    this.#refresh();
    this.#u32[(this.address + BUILDER.cutWanted) >>> 2] = 1;
  }

  /** Finished blocks that wait to be taken. */
  get blockCount(): number {
    this.#refresh();
    return this.#u32[(this.address + BUILDER.listCount) >>> 2]!;
  }

  /** Bytes of finished blocks and of the open one. */
  get pendingBytes(): number {
    this.#refresh();
    return this.#u32[(this.address + BUILDER.at) >>> 2]! - this.#out.start;
  }

  /** A u32 field of a finished block: one of BLOCK. */
  blockWord(block: number, field: number): number {
    this.#refresh();
    return this.#u32[(this.#list + block * BLOCK_LIST_BYTES + field) >>> 2]!;
  }

  /** An f64 field of a finished block: one of BLOCK. */
  blockNumber(block: number, field: number): number {
    this.#refresh();
    return this.#f64[(this.#list + block * BLOCK_LIST_BYTES + field) >>> 3]!;
  }

  /** The first key of a finished block, as a view. */
  firstKey(block: number): Uint8Array {
    return this.view(this.blockWord(block, BLOCK.firstKey), this.blockWord(block, BLOCK.firstKeyLength));
  }

  /** The last key of a finished block, as a view. */
  lastKey(block: number): Uint8Array {
    return this.view(this.blockWord(block, BLOCK.lastKey), this.blockWord(block, BLOCK.lastKeyLength));
  }

  /** The hashes of the distinct keys of the finished blocks, eight bytes each, as a view. */
  get hashes(): Uint8Array {
    this.#refresh();
    const count = this.#u32[(this.address + BUILDER.hashCount) >>> 2]!;
    return this.view(this.#hashes, count * HASH_BYTES);
  }

  /** Bytes of the memory. */
  view(address: number, length: number): Uint8Array {
    this.#refresh();
    return new Uint8Array(this.#buffer, address, length);
  }

  /**
   * Where so many bytes of blocks may be compressed to. Gives its address.
   * @throws KvError UNAVAILABLE when the memory cannot grow.
   */
  packedRegion(sizeBytes: number): number {
    this.#growRegion(this.#packed, sizeBytes);
    return this.#packed.start;
  }

  /** Compresses, giving the length, or 0 when it would take more than `capacity`. */
  compress(source: number, length: number, target: number, capacity: number): number {
    return this.wasm.lz4Compress(source, length, target, capacity, this.#lz4Table);
  }

  /**
   * Makes a bloom filter of `blocks` blocks from hashes, in `out`. Gives a view of its bits, valid until a record is added.
   * REQUIRES: drained. @throws KvError UNAVAILABLE when the memory cannot grow.
   */
  buildFilter(hashes: Uint8Array, blocks: number): Uint8Array {
    const sizeBytes = blocks * FILTER_BLOCK_BYTES;
    if (this.#out.sizeBytes < sizeBytes) this.#growOut(sizeBytes);
    const bits = this.view(this.#out.start, sizeBytes).fill(0);
    const stepBytes = HASH_CAPACITY * HASH_BYTES;
    for (let at = 0; at < hashes.length; at += stepBytes) {
      const step = hashes.subarray(at, at + stepBytes);
      this.#u8.set(step, this.#hashes);
      this.wasm.addHashes(this.#out.start, blocks, this.#hashes, step.length / HASH_BYTES);
    }
    return bits;
  }

  #growOut(sizeBytes: number): void {
    const out = this.#out;
    this.#growRegion(out, sizeBytes);
    this.#u32[(this.address + BUILDER.out) >>> 2] = out.start;
    this.#u32[(this.address + BUILDER.outEnd) >>> 2] = out.start + out.sizeBytes;
    this.wasm.drained(this.address);
  }

  /** What was in a region is lost when it grows. */
  #growRegion(region: Region, sizeBytes: number): void {
    if (region.sizeBytes >= sizeBytes) {
      this.#refresh();
      return;
    }
    const doubled = Math.min(2 * region.sizeBytes, LARGEST_RECORD_BYTES);
    const wanted = align(Math.max(sizeBytes, doubled, SMALLEST_REGION_BYTES), 64);
    region.start = this.#allocate(wanted + SLACK_BYTES, region);
    region.sizeBytes = wanted;
    this.#refresh();
  }

  #takeBehind(bytes: number, region: Region): number {
    const isLast = region.start + region.sizeBytes + SLACK_BYTES === this.#end;
    const start = isLast ? region.start : align(this.#end, 64);
    grow(this.memory, start + bytes - this.memory.buffer.byteLength);
    this.#end = start + bytes;
    return start;
  }
}

/** Where the parts of a builder lie. */
function layOut(at: number, options: BlockBuilderOptions) {
  const builder = align(at, 64);
  const list = align(builder + BUILDER_BYTES, 64);
  const hashes = list + LIST_CAPACITY * BLOCK_LIST_BYTES;
  const keys = hashes + HASH_CAPACITY * HASH_BYTES;
  const descriptor = keys + KEYS_BYTES;
  const lz4Table = descriptor + DESCRIPTOR_BYTES;
  const out = lz4Table + LZ4_TABLE_BYTES;
  const outBytes = align(Math.max(options.outBytes ?? OUT_BYTES, 2 * options.blockSizeBytes), 64);
  return {
    builder,
    list,
    hashes,
    keys,
    descriptor,
    lz4Table,
    out,
    outBytes,
    end: out + outBytes + SLACK_BYTES,
  };
}

function grow(memory: WasmMemory, bytes: number): void {
  if (bytes <= 0) return;
  try {
    memory.grow(Math.ceil(bytes / WASM_PAGE_BYTES));
  } catch (cause) {
    throw new KvError('UNAVAILABLE', `no memory for ${bytes} bytes of tables being written`, { cause });
  }
}
