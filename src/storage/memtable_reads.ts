/**
 * Reading a memtable, in the thread that writes it or in any other that has its memory.
 *
 * Invariants: nothing here writes to the memtable but to the slot of its own thread (docs/formats/memtable.md); views handed out are valid until the memtable is reset.
 * Beside a writer in another thread only reads at a revision that was published are sure of their answer; the counters may be in between.
 * Keys are just bytes here. A *handle* is the address of a version, 0 for none: point reads need no object per answer.
 */
import { BATCH_ENTRIES, type MemtableMemory, MIN_PHASED_BYTES } from './memtable_memory.ts';
import {
  FLAG_TOMBSTONE,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
  type VersionsRequest,
} from './record.ts';

/** Small copies share slabs: one allocation for many. A copy kept for long keeps its slab. */
const COPY_SLAB_BYTES = 32 * 1024;
const MAX_SLAB_COPY_BYTES = 4 * 1024;

export class MemtableReads {
  protected readonly mem: MemtableMemory;
  private slab = new Uint8Array(0);
  private slabUsed = 0;

  constructor(mem: MemtableMemory) {
    this.mem = mem;
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
  /** 0 when empty. */
  get largestRevision(): number {
    return this.mem.largestRevision;
  }
  /** 0 when empty. */
  get smallestRevision(): number {
    return this.mem.smallestRevision;
  }

  /** Handle of the newest version of a key, tombstones included; 0: none. */
  find(key: Uint8Array): number {
    return this.mem.stage(key) ? this.mem.reach(this.mem.wasm.find(key.length)) : 0;
  }

  /** Handle of the newest version of a key at or below a revision, tombstones included; 0: none. */
  findAt(key: Uint8Array, revision: number): number {
    return this.mem.stage(key) ? this.mem.reach(this.mem.wasm.findAt(key.length, revision)) : 0;
  }

  /** The value of a handle, without a copy. */
  valueView(handle: number): Uint8Array {
    return this.mem.valueView(handle);
  }

  /** A copy of the value of a handle. Small ones share an ArrayBuffer. */
  valueCopy(handle: number): Uint8Array {
    const view = this.mem.valueView(handle);
    const length = view.length;
    // From shared memory, words are copied only between places that are alike in their last three bits: four times as fast.
    const phase = length < MIN_PHASED_BYTES ? this.slabUsed & 7 : view.byteOffset & 7;
    if (length > MAX_SLAB_COPY_BYTES) {
      const copy = new Uint8Array(Buffer.allocUnsafeSlow(length + phase).buffer, phase, length);
      copy.set(view);
      return copy;
    }
    let at = this.slabUsed + ((phase - this.slabUsed) & 7);
    if (at + length > this.slab.length) {
      this.slab = new Uint8Array(Buffer.allocUnsafeSlow(COPY_SLAB_BYTES).buffer);
      at = phase;
    }
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

  /** The record of a handle; its value is a view. */
  recordOf(key: Uint8Array, handle: number): StoredRecord {
    return this.mem.record(key, handle, false);
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
      const found = mem.reach(wasm.collect(node, stop, revision, reverse, tombstones, wanted));
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
      const found = mem.reach(wasm.collectAll(node, version, stop, minRevision, maxRevision, wanted));
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
