/**
 * The memtable: every version of every key written since the last rotation, in WebAssembly memory, ordered.
 *
 * Invariants: one writer, whose puts of a key come with growing revisions; nothing is ever changed or removed before `reset`; a put
 * that throws has changed nothing. Keys are just bytes here. Views handed out are valid until the memtable is reset.
 * A *handle* is the address of a version, 0 for none: point reads need no object per answer.
 */
import { KvError } from '../errors.ts';
import { BATCH_ENTRIES, MemtableMemory } from './memtable_memory.ts';
import {
  FLAG_TOMBSTONE,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
  type VersionsRequest,
} from './record.ts';
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

/** Small copies share slabs: one allocation for many. A copy kept for long keeps its slab. */
const COPY_SLAB_BYTES = 32 * 1024;
const MAX_SLAB_COPY_BYTES = 4 * 1024;

const PUT_DONE = 0;

export interface MemtableOptions {
  /** Soft size: `full` turns true here; the memory grows on. From 256 KiB to 1 GiB. */
  readonly sizeBytes: number;
  /** Where growth ends. Default: 1 GiB beyond the soft size. */
  readonly maximumBytes?: number;
  /** Makes the hash of keys differ between memtables. Default 0. */
  readonly hashSeed?: bigint;
  readonly build?: WasmBuild;
}

export class Memtable implements Run {
  readonly sizeBytes: number;
  private readonly mem: MemtableMemory;
  private readonly hashSeed: bigint;
  private slab = new Uint8Array(0);
  private slabUsed = 0;

  /** @throws KvError CONFIG_INVALID for an impossible size, UNAVAILABLE when the system has no memory. */
  constructor(options: MemtableOptions) {
    const { sizeBytes } = options;
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < MIN_MEMTABLE_BYTES || sizeBytes > 2 ** 30) {
      throw new KvError('CONFIG_INVALID', `a memtable of ${sizeBytes} bytes, allowed: 256 KiB to 1 GiB`);
    }
    this.sizeBytes = sizeBytes;
    this.hashSeed = options.hashSeed ?? 0n;
    const initialBytes = Math.min(
      sizeBytes + HEADROOM_BYTES,
      options.maximumBytes ?? Number.POSITIVE_INFINITY,
    );
    this.mem = new MemtableMemory(initialBytes, options.build ?? 'release', options.maximumBytes);
    this.reset();
  }

  /** Empties the memtable. REQUIRES: nobody holds views or handles of it any more. */
  reset(): void {
    const slotsLog2 = Math.max(6, Math.floor(Math.log2(this.sizeBytes / BYTES_PER_SLOT)));
    if (this.mem.wasm.reset(slotsLog2, this.hashSeed) === 0) {
      throw new KvError('CONFIG_INVALID', 'the maximum of the memtable is too small for an empty one');
    }
  }

  get recordCount(): number {
    return this.mem.recordCount;
  }
  get keyCount(): number {
    return this.mem.keyCount;
  }
  get dataBytes(): number {
    return this.mem.dataBytes;
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
    return this.mem.top >= this.sizeBytes;
  }
  /** 0 when empty. */
  get largestRevision(): number {
    return this.mem.largestRevision;
  }
  /** 0 when empty. */
  get smallestRevision(): number {
    return this.mem.smallestRevision;
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
    if (!this.mem.place(key, value)) {
      throw new KvError('REQUEST_TOO_LARGE', 'the memtable cannot grow any further', {
        details: { usedBytes: this.usedBytes, memoryBytes: this.memoryBytes },
      });
    }
    const status = this.mem.wasm.commit(
      keyLength,
      valueLength,
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

  /** Handle of the newest version of a key, tombstones included; 0: none. */
  find(key: Uint8Array): number {
    return this.mem.stage(key) ? this.mem.wasm.find(key.length) : 0;
  }

  /** Handle of the newest version of a key at or below a revision, tombstones included; 0: none. */
  findAt(key: Uint8Array, revision: number): number {
    return this.mem.stage(key) ? this.mem.wasm.findAt(key.length, revision) : 0;
  }

  /** The value of a handle, without a copy. */
  valueView(handle: number): Uint8Array {
    return this.mem.valueView(handle);
  }

  /** A copy of the value of a handle. Small ones share an ArrayBuffer. */
  valueCopy(handle: number): Uint8Array {
    const view = this.mem.valueView(handle);
    const length = view.length;
    if (length > MAX_SLAB_COPY_BYTES) {
      const copy = Buffer.allocUnsafeSlow(length);
      copy.set(view);
      return copy;
    }
    if (this.slabUsed + length > this.slab.length) {
      this.slab = Buffer.allocUnsafeSlow(COPY_SLAB_BYTES);
      this.slabUsed = 0;
    }
    const at = this.slabUsed;
    this.slabUsed = at + length;
    this.slab.set(view, at);
    return new Uint8Array(this.slab.buffer, at, length);
  }

  modRevision(handle: number): number {
    return this.mem.modRevision(handle);
  }
  createRevision(handle: number): number {
    return this.mem.createRevision(handle);
  }
  /** The `version` field of a handle's record: how often the key was put since its creation. */
  versionCount(handle: number): number {
    return this.mem.version(handle);
  }
  lease(handle: number): bigint {
    return this.mem.lease(handle);
  }
  expiresAtMs(handle: number): number {
    return this.mem.expiresAtMs(handle);
  }
  isTombstone(handle: number): boolean {
    return (this.mem.flags(handle) & FLAG_TOMBSTONE) !== 0;
  }

  /** True when any version of the key is here, a tombstone counting. */
  has(key: Uint8Array): boolean {
    return this.find(key) !== 0;
  }

  /** The newest value of a live key as a view; undefined when the key is not here or its newest version is a tombstone. */
  getView(key: Uint8Array): Uint8Array | undefined {
    const handle = this.find(key);
    return handle === 0 || this.isTombstone(handle) ? undefined : this.mem.valueView(handle);
  }

  /** Like getView, as a copy. */
  getCopy(key: Uint8Array): Uint8Array | undefined {
    const handle = this.find(key);
    return handle === 0 || this.isTombstone(handle) ? undefined : this.valueCopy(handle);
  }

  /** The newest version of a key, tombstones included. `key` of the record is the caller's. */
  latest(key: Uint8Array): StoredRecord | undefined {
    const handle = this.find(key);
    return handle === 0 ? undefined : this.mem.record(key, handle, false);
  }

  /** The newest version at or below a revision, tombstones included. `key` of the record is the caller's. */
  at(key: Uint8Array, revision: number): StoredRecord | undefined {
    const handle = this.findAt(key, revision);
    return handle === 0 ? undefined : this.mem.record(key, handle, false);
  }

  /** Per key of a range, the newest version at or below a revision. Records are views. `more` is exact. */
  scan(request: ScanRequest): ScanPage {
    const records: StoredRecord[] = [];
    const { start, end, revision, limit, maxBytes, keysOnly } = request;
    if (end !== undefined && Buffer.compare(start, end) >= 0) return { records, more: false };
    const { mem } = this;
    const { wasm } = mem;
    const reverse = request.reverse ? 1 : 0;
    const tombstones = request.tombstones === true ? 1 : 0;
    let node: number;
    let stop: number;
    if (request.reverse) {
      node = end === undefined ? wasm.last() : this.seekBefore(end);
      stop = this.seekBefore(start);
    } else {
      node = this.seek(start);
      stop = end === undefined ? 0 : this.seek(end);
    }
    let bytes = 0;
    while (node !== 0 && records.length < limit && bytes < maxBytes) {
      // The size of a record is known only here: small batches first, so that a byte bound does not waste a long walk.
      const wanted = Math.min(limit - records.length, records.length === 0 ? 16 : BATCH_ENTRIES);
      const found = wasm.collect(node, stop, revision, reverse, tombstones, wanted);
      node = wasm.cursorNode();
      for (let i = 0; i < found; i++) {
        const record = mem.record(mem.keyView(mem.batchNode(i)), mem.batchVersion(i), keysOnly);
        records.push(record);
        bytes += record.key.length + record.value.length;
        if (bytes >= maxBytes && i + 1 < found) return { records, more: true };
      }
    }
    const more = node !== 0 && wasm.collect(node, stop, revision, reverse, tombstones, 1) > 0;
    return { records, more };
  }

  /** Versions of the keys of a range, in record order. Records are views. `more` is exact. */
  versions(request: VersionsRequest): ScanPage {
    const records: StoredRecord[] = [];
    const { start, end, after, minRevision, maxRevision, limit, maxBytes } = request;
    if (end !== undefined && Buffer.compare(start, end) >= 0) return { records, more: false };
    const { mem } = this;
    const { wasm } = mem;
    const stop = end === undefined ? 0 : this.seek(end);
    let node: number;
    let version = 0;
    if (after === undefined || Buffer.compare(after.key, start) < 0) {
      node = this.seek(start);
    } else if (end !== undefined && Buffer.compare(after.key, end) >= 0) {
      return { records, more: false };
    } else {
      const keyLength = mem.stageBound(after.key);
      version = wasm.findAt(keyLength, after.modRevision - 1);
      node = version === 0 ? wasm.seek(keyLength, 1) : wasm.nodeOf(keyLength);
    }
    let bytes = 0;
    while (node !== 0 && records.length < limit && bytes < maxBytes) {
      const wanted = Math.min(limit - records.length, records.length === 0 ? 16 : BATCH_ENTRIES);
      const found = wasm.collectAll(node, version, stop, minRevision, maxRevision, wanted);
      node = wasm.cursorNode();
      version = wasm.cursorVersion();
      for (let i = 0; i < found; i++) {
        const record = mem.record(mem.keyView(mem.batchNode(i)), mem.batchVersion(i), false);
        records.push(record);
        bytes += record.key.length + record.value.length;
        if (bytes >= maxBytes && i + 1 < found) return { records, more: true };
      }
    }
    const more = node !== 0 && wasm.collectAll(node, version, stop, minRevision, maxRevision, 1) > 0;
    return { records, more };
  }

  /** Every version, in record order. Other reads, and puts, may happen between two steps. */
  records(): IterableIterator<StoredRecord> {
    return new RecordIterator(this.mem);
  }

  private seek(bound: Uint8Array): number {
    return this.mem.wasm.seek(this.mem.stageBound(bound), 0);
  }

  private seekBefore(bound: Uint8Array): number {
    return this.mem.wasm.seekBefore(this.mem.stageBound(bound));
  }
}

/** Walks all versions, a batch at a time. The batch is copied out, as any other read of the memtable overwrites it. */
class RecordIterator implements IterableIterator<StoredRecord> {
  private readonly mem: MemtableMemory;
  private readonly batch = new Uint32Array(2 * BATCH_ENTRIES);
  private found = 0;
  private taken = 0;
  private node: number;
  private version = 0;

  constructor(mem: MemtableMemory) {
    this.mem = mem;
    this.node = mem.wasm.first();
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<StoredRecord, undefined> {
    if (this.taken === this.found && !this.fill()) return { done: true, value: undefined };
    const entry = this.taken++ * 2;
    const key = this.mem.keyView(this.batch[entry]!);
    return { done: false, value: this.mem.record(key, this.batch[entry + 1]!, false) };
  }

  private fill(): boolean {
    if (this.node === 0) return false;
    const { wasm } = this.mem;
    this.found = wasm.collectAll(this.node, this.version, 0, 0, Number.MAX_SAFE_INTEGER, BATCH_ENTRIES);
    this.taken = 0;
    this.node = wasm.cursorNode();
    this.version = wasm.cursorVersion();
    this.batch.set(this.mem.batch());
    return this.found > 0;
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
