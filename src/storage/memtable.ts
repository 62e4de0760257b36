/**
 * The memtable: every version of every key written since the last rotation, in WebAssembly memory, ordered.
 *
 * Invariants: one writer, whose puts of a key come with growing revisions; nothing is ever changed or removed before `reset`; a put
 * that throws has changed nothing. Views handed out are valid until the memtable is reset. memtable_reads.ts holds the reading half, which works in any thread.
 */
import { KvError } from '../errors.ts';
import { MemtableMemory, SLOT_BYTES } from './memtable_memory.ts';
import { MemtableReads } from './memtable_reads.ts';
import type { Run } from './tree.ts';
import type { WasmBuild, WasmMemory } from './wasm_module.ts';

/** A key of 64 KiB and its space byte. */
export const MAX_STORED_KEY_BYTES = 65536 + 1;
export const MAX_STORED_VALUE_BYTES = 8 * 1024 * 1024;

/** Smaller memtables would hold little but their own fixed parts. */
export const MIN_MEMTABLE_BYTES = 256 * 1024;
/** The hash index starts with a slot for so many bytes of memtable, which fits values of half a KiB; it doubles for smaller ones. */
const BYTES_PER_SLOT = 512;
/** An entry of the log may end beyond the soft size; this much of that needs no growth. */
const HEADROOM_BYTES = 1024 * 1024;

const PUT_DONE = 0;

export interface MemtableOptions {
  /** Soft size: `full` turns true here; the memory grows on. From 256 KiB to 1 GiB. */
  readonly sizeBytes: number;
  /** Where growth ends. Default: 1 GiB beyond the soft size. */
  readonly maximumBytes?: number;
  /** Makes the hash of keys differ between memtables. Default 0. */
  readonly hashSeed?: bigint;
  /** Threads that may read beside this one. Default 0. */
  readonly readers?: number;
  readonly build?: WasmBuild;
}

export class Memtable extends MemtableReads implements Run {
  readonly sizeBytes: number;
  private readonly hashSeed: bigint;
  private readonly readers: number;
  /** The soft size, and what reader threads need for themselves. */
  readonly fullBytes: number;

  /** @throws KvError CONFIG_INVALID for an impossible size, UNAVAILABLE when the system has no memory. */
  constructor(options: MemtableOptions) {
    const { sizeBytes, readers = 0, maximumBytes } = options;
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < MIN_MEMTABLE_BYTES || sizeBytes > 2 ** 30) {
      throw new KvError('CONFIG_INVALID', `a memtable of ${sizeBytes} bytes, allowed: 256 KiB to 1 GiB`);
    }
    const fullBytes = sizeBytes + readers * SLOT_BYTES;
    const initialBytes = Math.min(fullBytes + HEADROOM_BYTES, maximumBytes ?? Number.POSITIVE_INFINITY);
    super(MemtableMemory.create(initialBytes, options.build ?? 'release', maximumBytes));
    this.sizeBytes = sizeBytes;
    this.fullBytes = fullBytes;
    this.readers = readers;
    this.hashSeed = options.hashSeed ?? 0n;
    this.reset();
  }

  /** Empties the memtable. REQUIRES: nobody holds views or handles of it any more. */
  reset(): void {
    const slotsLog2 = Math.max(6, Math.floor(Math.log2(this.sizeBytes / BYTES_PER_SLOT)));
    if (this.mem.wasm.reset(slotsLog2, this.hashSeed, this.readers + 1) === 0) {
      throw new KvError('CONFIG_INVALID', 'the maximum of the memtable is too small for an empty one');
    }
  }

  /** Bytes of memory in use, with all that is not data. */
  get usedBytes(): number {
    return this.mem.top;
  }
  /** Bytes of memory held. */
  get memoryBytes(): number {
    return this.mem.memory.buffer.byteLength;
  }
  /** The memory itself, for readers in other threads (docs/formats/memtable.md). They never write to it. */
  get sharedMemory(): WasmMemory {
    return this.mem.memory;
  }
  get full(): boolean {
    return this.mem.top >= this.fullBytes;
  }
  /**
   * Writes one version; key and value are copied. REQUIRES: modRevision greater than that of the key's newest version.
   * @throws KvError KEY_TOO_LARGE, VALUE_TOO_LARGE, INVALID_ARGUMENT (an empty key), REQUEST_TOO_LARGE (the memory is at its maximum), INTERNAL
   * (a revision that does not grow). Nothing has changed then.
   */
  put(
    key: Uint8Array,
    value: Uint8Array,
    modRevision: number,
    createRevision: number,
    version: number,
    subRevision: number,
    flags: number,
    lease: bigint,
    expiresAtMs: number,
  ): void {
    const keyLength = key.length;
    const valueLength = value.length;
    if (keyLength === 0 || keyLength > MAX_STORED_KEY_BYTES || valueLength > MAX_STORED_VALUE_BYTES) {
      throw sizeError(keyLength, valueLength);
    }
    const valueWord = this.mem.place(key, value);
    if (valueWord < 0) {
      throw new KvError('REQUEST_TOO_LARGE', 'the memtable cannot grow any further', {
        details: { usedBytes: this.usedBytes, memoryBytes: this.memoryBytes },
      });
    }
    const status = this.mem.wasm.commit(
      keyLength,
      valueWord,
      modRevision,
      createRevision,
      version,
      subRevision,
      flags,
      lease,
      expiresAtMs,
    );
    if (status === PUT_DONE) return;
    throw new KvError('INTERNAL', `revision ${modRevision} is not above the newest one of its key`);
  }
}

function sizeError(keyLength: number, valueLength: number): KvError {
  if (keyLength === 0) return new KvError('INVALID_ARGUMENT', 'a key has at least one byte');
  if (keyLength > MAX_STORED_KEY_BYTES) {
    return new KvError('KEY_TOO_LARGE', `a stored key has ${keyLength} bytes`, {
      details: { limit: MAX_STORED_KEY_BYTES, actual: keyLength },
    });
  }
  return new KvError('VALUE_TOO_LARGE', `a value has ${valueLength} bytes`, {
    details: { limit: MAX_STORED_VALUE_BYTES, actual: valueLength },
  });
}
