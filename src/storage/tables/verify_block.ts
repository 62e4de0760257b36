/**
 * Checks the blocks of one table, each for itself, in a WebAssembly memory that is made for that table.
 *
 *     8192
 *     | key buffer | scratch descriptor | summary | descriptors | keys | filter bits | window of the file | payload | slack |
 *
 * Invariant: a block's bytes are believed only as far as they were checked; its key views are valid until the next block is checked.
 */
import { crc32 } from '../crc32.ts';
import { createWasmMemory, instantiateWasm, type WasmBuild, type WasmExports } from '../wasm_module.ts';
import {
  DESCRIPTOR,
  DESCRIPTOR_BYTES,
  MAX_BLOCK_ENTRIES,
  MAX_BLOCK_KEY_BYTES,
  MAX_ENTRY_KEY_BYTES,
  SLACK_BYTES,
  TRAILER_BYTES,
} from './block_layout.ts';
import { STORED_LZ4, STORED_PLAIN } from './format.ts';
import type { IndexView } from './index_section.ts';

const START = 8192;
const SUMMARY_BYTES = 64;
const RAW_LENGTH_BYTES = 4;
/** The file is read in pieces of so many bytes, if no block is larger. */
const WINDOW_BYTES = 1024 * 1024;
const ENTRY_PROBLEMS = [
  '',
  'its records are out of order',
  'a search does not find its records',
  'the filter does not know one of its keys',
];

/** What a block holds. */
export interface BlockSummary {
  readonly entries: number;
  readonly distinctKeys: number;
  readonly tombstones: number;
  readonly dataBytes: number;
  readonly largestRevision: number;
  readonly smallestRevision: number;
  /** Views, as is `lastKey`. */
  readonly firstKey: Uint8Array;
  readonly firstRevision: number;
  readonly lastKey: Uint8Array;
  readonly lastRevision: number;
}

export type CheckedBlock = { readonly summary: BlockSummary } | { readonly problem: string };

function align(value: number): number {
  return Math.ceil((value + SLACK_BYTES) / 64) * 64;
}

export class BlockChecker {
  /** Where the caller puts the file's bytes. */
  readonly window: Uint8Array;
  readonly #wasm: WasmExports;
  readonly #u8: Uint8Array;
  readonly #u32: Uint32Array;
  readonly #f64: Float64Array;
  readonly #scratch: number;
  readonly #summary: number;
  readonly #descriptors: number;
  readonly #keys: number;
  readonly #keysBytes: number;
  readonly #filter: number;
  readonly #filterBlocks: number;
  readonly #window: number;
  readonly #payload: number;
  readonly #payloadBytes: number;

  /** `filter`: undefined when it is damaged. @throws KvError UNAVAILABLE when the system has no memory */
  constructor(index: IndexView, filter: { blocks: number; bits: Uint8Array } | undefined, build: WasmBuild) {
    let stored = 0;
    let raw = 0;
    for (let block = 0; block < index.count; block++) {
      stored = Math.max(stored, index.length(block));
      raw = Math.max(raw, index.rawLength(block));
    }
    this.#scratch = START + align(MAX_ENTRY_KEY_BYTES);
    this.#summary = this.#scratch + DESCRIPTOR_BYTES;
    this.#descriptors = this.#summary + SUMMARY_BYTES;
    this.#keys = this.#descriptors + MAX_BLOCK_ENTRIES * DESCRIPTOR_BYTES;
    this.#keysBytes = align(MAX_BLOCK_KEY_BYTES + MAX_ENTRY_KEY_BYTES);
    this.#filter = this.#keys + this.#keysBytes;
    this.#filterBlocks = filter?.blocks ?? 0;
    this.#window = this.#filter + align(filter?.bits.length ?? 0);
    const last = index.count - 1;
    const windowBytes = Math.max(Math.min(WINDOW_BYTES, index.offset(last) + index.length(last)), stored);
    this.#payload = this.#window + align(windowBytes);
    this.#payloadBytes = raw;
    const memoryBytes = this.#payload + align(raw);
    const memory = createWasmMemory(memoryBytes, memoryBytes);
    this.#wasm = instantiateWasm(memory, build);
    this.#u8 = new Uint8Array(memory.buffer);
    this.#u32 = new Uint32Array(memory.buffer);
    this.#f64 = new Float64Array(memory.buffer);
    this.window = new Uint8Array(memory.buffer, this.#window, windowBytes);
    if (filter !== undefined) this.#u8.set(filter.bits, this.#filter);
  }

  /** Checks the block of `length` bytes (with its trailer) at `at` of the window. */
  check(at: number, length: number, rawLength: number, crc: number): CheckedBlock {
    const end = at + length - TRAILER_BYTES;
    const view = new DataView(this.window.buffer, this.window.byteOffset, this.window.byteLength);
    const found = crc32(this.window.subarray(at, end + 1));
    if (found !== view.getUint32(end + 1, true)) return { problem: 'its checksum is wrong' };
    if (found !== crc) return { problem: 'it has another checksum than the index says' };
    const payload = this.#unpack(at, end - at, this.window[end]!, rawLength);
    if (typeof payload === 'string') return { problem: payload };
    return this.#checkEntries(payload, rawLength);
  }

  /** The address of the payload, or what is wrong. */
  #unpack(at: number, length: number, compression: number, rawLength: number): number | string {
    if (compression === STORED_PLAIN)
      return length === rawLength ? this.#window + at : 'it has another length than the index says';
    if (compression !== STORED_LZ4) return `its compression ${compression} is unknown`;
    const view = new DataView(this.window.buffer, this.window.byteOffset, this.window.byteLength);
    if (length <= RAW_LENGTH_BYTES || view.getUint32(at, true) !== rawLength)
      return 'it has another length than the index says';
    const source = this.#window + at + RAW_LENGTH_BYTES;
    const unpacked = this.#wasm.lz4Decompress(
      source,
      length - RAW_LENGTH_BYTES,
      this.#payload,
      this.#payloadBytes,
    );
    return unpacked === rawLength ? this.#payload : 'it cannot be decompressed';
  }

  #checkEntries(payload: number, length: number): CheckedBlock {
    const entries = this.#wasm.decodeBlock(payload, length, this.#descriptors, this.#keys, this.#keysBytes);
    if (entries < 0) return { problem: 'it is malformed' };
    this.#wasm.checkEntries(
      payload,
      length,
      this.#descriptors,
      entries,
      this.#filter,
      this.#filterBlocks,
      this.#scratch,
      START,
      this.#summary,
    );
    const words = this.#summary >>> 2;
    const numbers = this.#summary >>> 3;
    const problem = this.#u32[words]!;
    if (problem !== 0) return { problem: `${ENTRY_PROBLEMS[problem]} (entry ${this.#u32[words + 1]})` };
    const last = this.#descriptors + (entries - 1) * DESCRIPTOR_BYTES;
    const summary = {
      entries,
      distinctKeys: this.#u32[words + 2]!,
      tombstones: this.#u32[words + 3]!,
      dataBytes: this.#f64[numbers + 2]!,
      largestRevision: this.#f64[numbers + 3]!,
      smallestRevision: this.#f64[numbers + 4]!,
      firstKey: this.#key(this.#descriptors),
      firstRevision: this.#f64[(this.#descriptors + DESCRIPTOR.modRevision) >>> 3]!,
      lastKey: this.#key(last),
      lastRevision: this.#f64[(last + DESCRIPTOR.modRevision) >>> 3]!,
    };
    return { summary };
  }

  #key(descriptor: number): Uint8Array {
    const start = this.#u32[(descriptor + DESCRIPTOR.key) >>> 2]!;
    return this.#u8.subarray(start, start + this.#u32[(descriptor + DESCRIPTOR.keyLength) >>> 2]!);
  }
}
