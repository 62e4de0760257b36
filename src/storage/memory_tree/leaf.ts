/**
 * A leaf: a bounded, immutable piece of a sorted run, packed into one ArrayBuffer outside the JavaScript heap.
 *
 *     slab     packed records (snapshot/record_codec.ts), back to back, in record order
 *     offsets  u32 per record: where it begins in the slab
 *     starts   u16 per distinct key: its first record
 *     hashes   u32 per distinct key
 *     table    u16 slots, open addressing by hash: position of the distinct key + 1, 0 for none
 *
 * Invariants: at most MAX_LEAF_RECORDS records; at most LEAF_SIZE_BYTES of slab unless a single record is larger; nothing changes after `finish`.
 */
import type { StoredRecord } from '../record.ts';
import { FLAG_TOMBSTONE } from '../record.ts';
import { encodeRecord, modRevisionAt, RecordReader, recordSizeBound } from '../snapshot/record_codec.ts';
import { compareBytes, equalBytes, hashKey } from './key_hash.ts';

export const LEAF_SIZE_BYTES = 256 * 1024;
export const MAX_LEAF_RECORDS = 8 * 1024;

/** Packed records with their index. */
export class Leaf {
  readonly slab: Uint8Array;
  readonly offsets: Uint32Array;
  readonly starts: Uint16Array;
  readonly hashes: Uint32Array;
  readonly table: Uint16Array;
  readonly firstKeyStart: number;
  readonly firstKeyLength: number;
  readonly firstRevision: number;
  readonly minRevision: number;
  readonly maxRevision: number;
  /** Records that compaction may drop, at the latest from revision `droppableFrom.max` on, some of them from `.min` on. */
  readonly droppable: { readonly count: number; readonly min: number; readonly max: number };

  constructor(parts: LeafParts) {
    this.slab = parts.slab;
    this.offsets = parts.offsets;
    this.starts = parts.starts;
    this.hashes = parts.hashes;
    this.table = buildTable(parts.hashes);
    const reader = new RecordReader(this.slab);
    reader.read(0);
    this.firstKeyStart = reader.keyStart;
    this.firstKeyLength = reader.keyLength;
    this.firstRevision = reader.modRevision;
    this.minRevision = parts.minRevision;
    this.maxRevision = parts.maxRevision;
    this.droppable = parts.droppable;
  }

  get recordCount(): number {
    return this.offsets.length;
  }

  get keyCount(): number {
    return this.starts.length;
  }

  get sizeBytes(): number {
    return (
      this.slab.byteLength +
      this.offsets.byteLength +
      this.starts.byteLength +
      this.hashes.byteLength +
      this.table.byteLength
    );
  }

  /** One past the last record of the distinct key at `position`. */
  endOf(position: number): number {
    return position + 1 < this.starts.length ? this.starts[position + 1]! : this.offsets.length;
  }

  revisionOf(record: number): number {
    return modRevisionAt(this.slab, this.offsets[record]!);
  }

  /** Position of a distinct key, -1 when it is not here. */
  findKey(key: Uint8Array, hash: number, reader: RecordReader): number {
    const { table, hashes, slab } = this;
    const mask = table.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const position = table[slot]! - 1;
      if (position < 0) return -1;
      if (hashes[position] !== hash) continue;
      reader.bytes = slab;
      reader.read(this.offsets[this.starts[position]!]!);
      if (reader.keyLength === key.length && equalBytes(slab, reader.keyStart, key, 0, key.length))
        return position;
    }
  }

  /** Position of the distinct key that a record belongs to; keyCount for one behind the last. */
  positionOf(record: number): number {
    if (record >= this.offsets.length) return this.starts.length;
    let low = 0;
    let high = this.starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.starts[middle]! <= record) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** The newest record at or below `revision` among records [from, to) of one key; `to` when there is none. */
  newestAtOrBelow(from: number, to: number, revision: number): number {
    let low = from;
    let high = to;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.revisionOf(middle) <= revision) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Position of the first distinct key that is not below `key`. */
  lowerBound(key: Uint8Array, reader: RecordReader): number {
    let low = 0;
    let high = this.starts.length;
    reader.bytes = this.slab;
    while (low < high) {
      const middle = (low + high) >>> 1;
      reader.read(this.offsets[this.starts[middle]!]!);
      if (compareBytes(this.slab, reader.keyStart, reader.keyLength, key, 0, key.length) < 0)
        low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Order of this leaf's first record against (key, modRevision). */
  compareFirst(key: Uint8Array, modRevision: number): number {
    const order = compareBytes(this.slab, this.firstKeyStart, this.firstKeyLength, key, 0, key.length);
    return order !== 0 ? order : modRevision - this.firstRevision;
  }
}

interface LeafParts {
  slab: Uint8Array;
  offsets: Uint32Array;
  starts: Uint16Array;
  hashes: Uint32Array;
  minRevision: number;
  maxRevision: number;
  droppable: { count: number; min: number; max: number };
}

function buildTable(hashes: Uint32Array): Uint16Array {
  let slots = 4;
  while (slots * 2 < hashes.length * 3) slots *= 2;
  const table = new Uint16Array(slots);
  const mask = slots - 1;
  for (let position = 0; position < hashes.length; position++) {
    let slot = hashes[position]! & mask;
    while (table[slot] !== 0) slot = (slot + 1) & mask;
    table[slot] = position + 1;
  }
  return table;
}

/** Packs records that come in record order into leaves. Its buffers are reused from leaf to leaf. */
export class LeafBuilder {
  #buffer = new Uint8Array(LEAF_SIZE_BYTES);
  #size = 0;
  readonly #offsets = new Uint32Array(MAX_LEAF_RECORDS);
  #records = 0;
  readonly #starts = new Uint16Array(MAX_LEAF_RECORDS);
  readonly #hashes = new Uint32Array(MAX_LEAF_RECORDS);
  #keys = 0;
  #lastKeyStart = 0;
  #lastKeyLength = -1;
  #lastRevision = 0;
  #minRevision = Number.MAX_SAFE_INTEGER;
  #maxRevision = 0;
  #droppable = { count: 0, min: Number.MAX_SAFE_INTEGER, max: 0 };
  readonly #reader = new RecordReader(this.#buffer);
  readonly #emit: (leaf: Leaf) => void;

  constructor(emit: (leaf: Leaf) => void) {
    this.#emit = emit;
  }

  /** Packs a record. REQUIRES: after the one before it in record order. */
  appendRecord(record: StoredRecord): void {
    this.#reserve(recordSizeBound(record));
    const end = encodeRecord(this.#buffer, this.#size, record);
    this.#index(end, undefined);
  }

  /** Takes over a record that is packed already. */
  appendPacked(from: RecordReader, hash: number | undefined): void {
    const length = from.end - from.start;
    this.#reserve(length);
    this.#buffer.set(from.bytes.subarray(from.start, from.end), this.#size);
    this.#index(this.#size + length, hash);
  }

  /** Emits what is left. The builder can be used again. */
  finish(): void {
    if (this.#records === 0) return;
    const slab = this.#buffer.slice(0, this.#size);
    const leaf = new Leaf({
      slab,
      offsets: this.#offsets.slice(0, this.#records),
      starts: this.#starts.slice(0, this.#keys),
      hashes: this.#hashes.slice(0, this.#keys),
      minRevision: this.#minRevision,
      maxRevision: this.#maxRevision,
      droppable: this.#droppable,
    });
    this.#size = 0;
    this.#records = 0;
    this.#keys = 0;
    this.#lastKeyLength = -1;
    this.#minRevision = Number.MAX_SAFE_INTEGER;
    this.#maxRevision = 0;
    this.#droppable = { count: 0, min: Number.MAX_SAFE_INTEGER, max: 0 };
    if (this.#buffer.length > LEAF_SIZE_BYTES) this.#buffer = new Uint8Array(LEAF_SIZE_BYTES);
    this.#emit(leaf);
  }

  #reserve(sizeBytes: number): void {
    if (this.#records === MAX_LEAF_RECORDS || this.#size + sizeBytes > LEAF_SIZE_BYTES) this.finish();
    if (sizeBytes > this.#buffer.length) this.#buffer = new Uint8Array(sizeBytes);
  }

  #index(end: number, hash: number | undefined): void {
    const reader = this.#reader;
    reader.bytes = this.#buffer;
    reader.read(this.#size);
    const { modRevision, keyStart, keyLength } = reader;
    const sameKey =
      keyLength === this.#lastKeyLength &&
      equalBytes(this.#buffer, keyStart, this.#buffer, this.#lastKeyStart, keyLength);
    if (!sameKey) {
      this.#starts[this.#keys] = this.#records;
      this.#hashes[this.#keys] = hash ?? hashKey(this.#buffer, keyStart, keyLength);
      this.#keys++;
    }
    const supersededBy = sameKey
      ? this.#lastRevision
      : (reader.shape & FLAG_TOMBSTONE) !== 0
        ? modRevision
        : 0;
    if (supersededBy !== 0) {
      this.#droppable.count++;
      if (supersededBy < this.#droppable.min) this.#droppable.min = supersededBy;
      if (supersededBy > this.#droppable.max) this.#droppable.max = supersededBy;
    }
    this.#offsets[this.#records++] = this.#size;
    if (modRevision < this.#minRevision) this.#minRevision = modRevision;
    if (modRevision > this.#maxRevision) this.#maxRevision = modRevision;
    this.#lastKeyStart = keyStart;
    this.#lastKeyLength = keyLength;
    this.#lastRevision = modRevision;
    this.#size = end;
  }
}
