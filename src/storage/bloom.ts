/**
 * A bloom filter over keys, in a WebAssembly memory of its own (assembly/bloom.ts): about eleven bits and one cache miss a key.
 *
 * Invariants: a key that was added is always found; of keys that were not, about one in a hundred is taken for added while the filter
 * holds no more keys than it was made for. Keys longer than MAX_STAGED_BYTES share their first bytes' fate: they may be there.
 */
import { KvError } from '../errors.ts';
import { createWasmMemory, instantiateWasm, type WasmBuild, type WasmExports } from './wasm_module.ts';

const STAGE = 8192;
const MAX_STAGED_BYTES = 65536 + 64;
const BITS_PER_KEY = 11;
const BLOCK_BITS = 512;
const BLOCK_BYTES = 64;
/** 2^27 keys take 176 MiB. */
const MAX_EXPECTED_KEYS = 2 ** 27;
const SHORT_COPY_BYTES = 16;

export class BloomFilter {
  readonly sizeBytes: number;
  private readonly wasm: WasmExports;
  private readonly u8: Uint8Array;
  private readonly blocks: number;

  private constructor(blocks: number, build: WasmBuild) {
    this.blocks = blocks;
    const bytes = STAGE + MAX_STAGED_BYTES + BLOCK_BYTES + blocks * BLOCK_BYTES;
    const memory = createWasmMemory(bytes, bytes);
    this.wasm = instantiateWasm(memory, build);
    this.u8 = new Uint8Array(memory.buffer);
    this.sizeBytes = memory.buffer.byteLength;
  }

  /**
   * An empty filter for about so many keys.
   * @throws KvError INVALID_ARGUMENT for an impossible number, UNAVAILABLE when the system has no memory.
   */
  static create(expectedKeys: number, build: WasmBuild = 'release'): BloomFilter {
    if (!Number.isSafeInteger(expectedKeys) || expectedKeys < 0 || expectedKeys > MAX_EXPECTED_KEYS) {
      throw new KvError('INVALID_ARGUMENT', `a bloom filter for ${expectedKeys} keys, allowed: 0 to 2^27`);
    }
    return new BloomFilter(Math.max(1, Math.ceil((expectedKeys * BITS_PER_KEY) / BLOCK_BITS)), build);
  }

  add(key: Uint8Array): void {
    this.wasm.bloomAdd(this.stage(key), this.blocks);
  }

  /** False only when the key was never added. */
  mayContain(key: Uint8Array): boolean {
    return this.wasm.bloomTest(this.stage(key), this.blocks) !== 0;
  }

  private stage(key: Uint8Array): number {
    const { u8 } = this;
    const length = key.length;
    if (length > MAX_STAGED_BYTES) {
      u8.set(key.subarray(0, MAX_STAGED_BYTES), STAGE);
      return MAX_STAGED_BYTES;
    }
    if (length > SHORT_COPY_BYTES) u8.set(key, STAGE);
    else for (let i = 0; i < length; i++) u8[STAGE + i] = key[i]!;
    return length;
  }
}
