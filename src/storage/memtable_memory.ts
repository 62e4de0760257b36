/**
 * The views of one memtable's WebAssembly memory, and what lies where in it (assembly/arena.ts, memtable.ts, skiplist.ts;
 * docs/formats/memtable.md).
 *
 * Invariants: this file alone makes views. Growth gives a shared memory a new buffer object; old views stay valid for what they
 * cover, but do not reach what was added, so `refresh` runs after every reservation that may have grown it. Whatever JavaScript reads
 * (nodes, versions, values) lies inside reservations; only hash tables, which it never reads, may lie beyond the views. In a thread that does not write, `reach` runs after
 * each search instead: whatever a search can find lies below `top`.
 */
import { KvError } from '../errors.ts';
import {
  HEADER,
  hasTerm,
  MAX_PHASE,
  MAX_TOWER_BYTES,
  NODE_KEY,
  NODE_KEY_LENGTH,
  TERM_BYTES,
  TERM_EXPIRES,
  termPlace,
  VERSION_COUNT,
  VERSION_CREATE_REVISION,
  VERSION_FLAGS,
  VERSION_MOD_REVISION,
  VERSION_SUB_REVISION,
  VERSION_VALUE,
  VERSION_VALUE_WORD,
  valueLength,
  valuePlace,
  valueWord,
} from './memtable_layout.ts';
import type { StoredRecord } from './record.ts';
import {
  createWasmMemory,
  instantiateWasm,
  type WasmBuild,
  type WasmExports,
  type WasmMemory,
} from './wasm_module.ts';

const TOP = HEADER >>> 2;
const NODE_TOP = (HEADER + 4) >>> 2;
const NODE_END = (HEADER + 8) >>> 2;
const KEY_COUNT = (HEADER + 16) >>> 2;
const RECORD_COUNT = (HEADER + 20) >>> 2;
const DATA_BYTES = (HEADER + 24) >>> 3;
const LARGEST_REVISION = (HEADER + 32) >>> 3;
const SMALLEST_REVISION = (HEADER + 40) >>> 3;
/** Records that one collect call can find. */
export const BATCH_ENTRIES = 256;
const STAGE = 8192;
/** The longest key that can be looked for: a stored key (64 KiB + 1), or a bound made from one. */
export const MAX_STAGED_BYTES = 65536 + 64;
const STAGE_BYTES = 65536 + 128;
/** Words from the start of a slot. */
const BATCH = (STAGE_BYTES + 8) >>> 2;
/** What each thread needs for itself. */
export const SLOT_BYTES = 68 * 1024;

const SLACK = 64;
/** Up to here a loop beats the call of a built-in. */
const SHORT_COPY_BYTES = 16;
/** From here on, a copy by words saves more than the bytes that it takes to bring a value into phase. */
export const MIN_PHASED_BYTES = 64;

/** The address space that a memory may grow into: addresses stay below 2 GiB, so that they never turn negative. */
const ADDRESS_LIMIT = 2 ** 31 - 65536;
const GROWTH_BYTES = 2 ** 30;

/** How often a thread looks whether its memory object has noticed that the memory grew: it does so at the next turn of a loop. */
const GROWTH_LOOKS = 100_000;

const NO_BYTES = new Uint8Array(0);

export class MemtableMemory {
  readonly memory: WasmMemory;
  readonly wasm: WasmExports;
  byteLength = 0;
  private readonly stageAt: number;
  private readonly batchAt: number;
  private buffer: ArrayBufferLike;
  private u8: Uint8Array;
  private u32: Uint32Array;
  private f64: Float64Array;
  private i64: BigInt64Array;

  /** A memory of its own, for its writer. `maximumBytes` defaults to 1 GiB more than the beginning. */
  static create(
    initialBytes: number,
    build: WasmBuild,
    maximumBytes = initialBytes + GROWTH_BYTES,
  ): MemtableMemory {
    return new MemtableMemory(
      createWasmMemory(initialBytes, Math.min(maximumBytes, ADDRESS_LIMIT)),
      0,
      build,
    );
  }

  /** The memory of a memtable that another thread writes. REQUIRES: no other thread uses `slot`. */
  static attach(memory: WasmMemory, slot: number, build: WasmBuild = 'release'): MemtableMemory {
    return new MemtableMemory(memory, slot, build);
  }

  private constructor(memory: WasmMemory, slot: number, build: WasmBuild) {
    this.memory = memory;
    this.wasm = instantiateWasm(memory, build);
    this.wasm.setSlot(slot);
    this.stageAt = STAGE + slot * SLOT_BYTES;
    this.batchAt = (this.stageAt >>> 2) + BATCH;
    this.buffer = this.memory.buffer;
    this.u8 = new Uint8Array(this.buffer);
    this.u32 = new Uint32Array(this.buffer);
    this.f64 = new Float64Array(this.buffer);
    this.i64 = new BigInt64Array(this.buffer);
    this.byteLength = this.buffer.byteLength;
  }

  /**
   * Makes sure that the views cover everything that a search may have found; gives the search's answer back.
   * @throws KvError UNAVAILABLE when this thread's memory object does not notice that the memory has grown.
   */
  reach(found: number): number {
    if (this.u32[TOP]! > this.byteLength) this.reachTop();
    return found;
  }

  private reachTop(): void {
    const top = this.u32[TOP]!;
    for (let look = 0; look < GROWTH_LOOKS; look++) {
      if (this.memory.buffer.byteLength >= top) {
        this.refresh();
        return;
      }
    }
    throw new KvError('UNAVAILABLE', 'the memory grew in another thread, and this one has not noticed');
  }

  private refresh(): void {
    const buffer = this.memory.buffer;
    if (buffer === this.buffer) return;
    this.buffer = buffer;
    this.u8 = new Uint8Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.i64 = new BigInt64Array(buffer);
    this.byteLength = buffer.byteLength;
  }

  get top(): number {
    return this.u32[TOP]!;
  }
  get keyCount(): number {
    return this.u32[KEY_COUNT]!;
  }
  get recordCount(): number {
    return this.u32[RECORD_COUNT]!;
  }
  get dataBytes(): number {
    return this.f64[DATA_BYTES]!;
  }
  get largestRevision(): number {
    return this.f64[LARGEST_REVISION]!;
  }
  get smallestRevision(): number {
    return this.f64[SMALLEST_REVISION]!;
  }

  /** Writes key and value to where `commit` will find them, growing the memory if need be. Gives the value word; -1: it cannot grow so far. */
  place(key: Uint8Array, value: Uint8Array): number {
    const keyLength = key.length;
    const bytes = value.length;
    let u32 = this.u32;
    const nodeEnd = u32[NODE_TOP]! + NODE_KEY + MAX_TOWER_BYTES + 8 + keyLength;
    const end = u32[TOP]! + VERSION_VALUE + MAX_PHASE + 8 + TERM_BYTES + SLACK + bytes;
    if (end > this.byteLength || nodeEnd > u32[NODE_END]!) {
      const reserved = this.wasm.reserve(keyLength, bytes);
      this.refresh();
      if (reserved === 0) return -1;
      u32 = this.u32;
    }
    copyInto(this.u8, u32[NODE_TOP]! + NODE_KEY, key);
    // Into shared memory, words are copied only between places that are alike in their last three bits: four times as fast. Places in the memory are 8-aligned.
    const phase = bytes < MIN_PHASED_BYTES ? 0 : value.byteOffset & MAX_PHASE;
    copyInto(this.u8, u32[TOP]! + VERSION_VALUE + phase, value);
    return valueWord(bytes, phase);
  }

  /** Writes a key to this thread's stage, where the search functions look. False: longer than any key can be. */
  stage(key: Uint8Array): boolean {
    if (key.length > MAX_STAGED_BYTES) return false;
    copyInto(this.u8, this.stageAt, key);
    return true;
  }

  /** Like `stage`, for the bound of a range, which has no answer when it is too long. */
  stageBound(bound: Uint8Array): number {
    if (this.stage(bound)) return bound.length;
    throw new KvError('KEY_TOO_LARGE', `a range bound has ${bound.length} bytes`, {
      details: { limit: MAX_STAGED_BYTES, actual: bound.length },
    });
  }

  /** The nodes and versions that the last collect call found: node, version, node, version, ... Valid until the next one. */
  batch(): Uint32Array {
    return this.u32.subarray(this.batchAt, this.batchAt + 2 * BATCH_ENTRIES);
  }
  batchNode(entry: number): number {
    return this.u32[this.batchAt + 2 * entry]!;
  }
  batchVersion(entry: number): number {
    return this.u32[this.batchAt + 2 * entry + 1]!;
  }

  keyLength(node: number): number {
    return this.u32[(node + NODE_KEY_LENGTH) >>> 2]!;
  }
  keyView(node: number): Uint8Array {
    return new Uint8Array(this.buffer, node + NODE_KEY, this.keyLength(node));
  }

  private valueWord(version: number): number {
    return this.u32[(version + VERSION_VALUE_WORD) >>> 2]!;
  }
  valueLength(version: number): number {
    return valueLength(this.valueWord(version));
  }
  modRevision(version: number): number {
    return this.f64[(version + VERSION_MOD_REVISION) >>> 3]!;
  }
  createRevision(version: number): number {
    return this.f64[(version + VERSION_CREATE_REVISION) >>> 3]!;
  }
  version(version: number): number {
    return this.f64[(version + VERSION_COUNT) >>> 3]!;
  }
  lease(version: number): bigint {
    // Most keys have no lease.
    const word = this.valueWord(version);
    return hasTerm(word) ? this.i64[termPlace(version, word) >>> 3]! : 0n;
  }
  expiresAtMs(version: number): number {
    const word = this.valueWord(version);
    return hasTerm(word) ? this.f64[(termPlace(version, word) + TERM_EXPIRES) >>> 3]! : 0;
  }
  subRevision(version: number): number {
    return this.u32[(version + VERSION_SUB_REVISION) >>> 2]!;
  }
  flags(version: number): number {
    return this.u32[(version + VERSION_FLAGS) >>> 2]!;
  }
  valueView(version: number): Uint8Array {
    const word = this.valueWord(version);
    return new Uint8Array(this.buffer, valuePlace(version, word), valueLength(word));
  }

  /** A record whose key and value are views. */
  record(key: Uint8Array, version: number, keysOnly: boolean): StoredRecord {
    return {
      key,
      value: keysOnly ? NO_BYTES : this.valueView(version),
      modRevision: this.modRevision(version),
      createRevision: this.createRevision(version),
      version: this.version(version),
      subRevision: this.subRevision(version),
      flags: this.flags(version),
      lease: this.lease(version),
      expiresAtMs: this.expiresAtMs(version),
    };
  }
}

function copyInto(target: Uint8Array, at: number, source: Uint8Array): void {
  const length = source.length;
  if (length > SHORT_COPY_BYTES) {
    target.set(source, at);
    return;
  }
  for (let i = 0; i < length; i++) target[at + i] = source[i]!;
}
