/**
 * A WebAssembly memory in which tables are merged (assembly/merge.ts): windows of table bytes, decoded blocks, and what comes out.
 *
 * Invariants: addresses are given out in order and all taken back at once (`reset`); the memory only grows; views are made anew when it grows, so nobody keeps
 * `bytes` over a call that may allocate. Nobody else grows the memory.
 *
 * Memories are used again, as V8 does not count shared WebAssembly memories among what a collection would free: dropped ones stay until something else makes it
 * collect its old generation, hundreds of them in a thread with a small heap. The pool's bound is one of bytes, since what is dropped costs bytes.
 */

import { KvError } from '../../errors.ts';
import {
  createWasmMemory,
  instantiateWasm,
  WASM_PAGE_BYTES,
  type WasmBuild,
  type WasmExports,
  type WasmMemory,
} from '../wasm_module.ts';

const FIRST_ADDRESS = WASM_PAGE_BYTES;
const INITIAL_BYTES = 2 * 1024 * 1024;
const MAX_BYTES = 1024 * 1024 * 1024;
const GROWTH_PAGES = 32;
/** Readable and writable bytes behind whatever is allocated: eight bytes are copied at a time. */
const SLACK = 64;
/** Larger ones are not held by a scan that only waits. */
const LARGE_BYTES = 16 * 1024 * 1024;

export class MergeMemory {
  readonly memory: WasmMemory;
  readonly exports: WasmExports;
  bytes: Uint8Array = new Uint8Array(0);
  words: Uint32Array = new Uint32Array(0);
  floats: Float64Array = new Float64Array(0);
  longs: BigInt64Array = new BigInt64Array(0);
  #top = FIRST_ADDRESS;
  #end = 0;

  /** @throws KvError UNAVAILABLE when the system has no room for it. */
  constructor(build: WasmBuild = 'release') {
    this.memory = createWasmMemory(INITIAL_BYTES, MAX_BYTES);
    this.exports = instantiateWasm(this.memory, build);
    this.#look();
  }

  get sizeBytes(): number {
    return this.memory.buffer.byteLength;
  }

  /** Too large to be held by someone who only waits. */
  get isLarge(): boolean {
    return this.sizeBytes > LARGE_BYTES;
  }

  /**
   * The address of `length` free bytes and slack, a multiple of 64.
   * @throws KvError UNAVAILABLE when the memory cannot grow so far
   */
  allocate(length: number): number {
    const taken = Math.ceil((length + SLACK) / 64) * 64;
    if (this.#top + taken > this.#end) this.#grow(taken);
    const address = this.#top;
    this.#top += taken;
    return address;
  }

  /** Copies bytes to a place of their own. */
  put(bytes: Uint8Array): number {
    const address = this.allocate(bytes.length);
    this.bytes.set(bytes, address);
    return address;
  }

  /** Takes everything back. */
  reset(): void {
    this.#top = FIRST_ADDRESS;
    this.#look();
  }

  #grow(length: number): void {
    const sizeBytes = this.memory.buffer.byteLength;
    const missing = Math.ceil((this.#top + length - sizeBytes) / WASM_PAGE_BYTES);
    try {
      this.memory.grow(Math.max(missing, GROWTH_PAGES));
    } catch (cause) {
      throw new KvError('UNAVAILABLE', `no memory for ${length} bytes of tables being merged`, { cause });
    }
    this.#look();
  }

  #look(): void {
    const { buffer } = this.memory;
    this.#end = buffer.byteLength;
    this.bytes = new Uint8Array(buffer);
    this.words = new Uint32Array(buffer);
    this.floats = new Float64Array(buffer);
    this.longs = new BigInt64Array(buffer);
  }
}

/** Memories that wait for their next merge: as many as there is room for, the largest go first. */
export class MergeMemoryPool {
  readonly #build: WasmBuild;
  readonly #maxIdleBytes: number;
  #idle: MergeMemory[] = [];
  #idleBytes = 0;
  #made = 0;

  constructor(maxIdleBytes: number, build: WasmBuild = 'release') {
    this.#maxIdleBytes = maxIdleBytes;
    this.#build = build;
  }

  get idle(): number {
    return this.#idle.length;
  }
  /** Never more than `maxIdleBytes`. */
  get idleBytes(): number {
    return this.#idleBytes;
  }
  /** Memories made so far: what was not used again is memory that V8 may keep for long. */
  get made(): number {
    return this.#made;
  }

  /** @throws KvError UNAVAILABLE when the system has no room for it. */
  take(): MergeMemory {
    const last = this.#idle.pop();
    if (last !== undefined) {
      this.#idleBytes -= last.sizeBytes;
      return last;
    }
    this.#made++;
    return new MergeMemory(this.#build);
  }

  /** REQUIRES: nothing reads or writes it any more. */
  give(memory: MergeMemory): void {
    memory.reset();
    this.#idle.push(memory);
    this.#idleBytes += memory.sizeBytes;
    while (this.#idleBytes > this.#maxIdleBytes) this.#dropLargest();
  }

  clear(): void {
    this.#idle = [];
    this.#idleBytes = 0;
  }

  /** REQUIRES: there is one. */
  #dropLargest(): void {
    const sizes = this.#idle.map(({ sizeBytes }) => sizeBytes);
    const largest = Math.max(...sizes);
    this.#idle.splice(sizes.lastIndexOf(largest), 1);
    this.#idleBytes -= largest;
  }
}
