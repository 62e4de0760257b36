/**
 * The packed form of a record, as it stands in snapshot files.
 *
 *     record := modRevision:varint keyLength:varint valueLength:varint shape:u8 createRevision:varint version:varint subRevision:varint
 *               [lease:i64le, when shape has LEASE] [expiresAtMs:varint, when shape has EXPIRES] key value
 *     shape  := the record's flags (0 to 63), with LEASE and EXPIRES
 *     varint := groups of 7 bits, least significant first, the top bit set on all but the last; at most 53 bits
 *
 * Invariants: encoding is canonical for what the encoder writes; the decoder takes nothing on trust: lengths are checked against the end of the bytes
 * and numbers against MAX_SAFE_INTEGER.
 */
import { KvError } from '../../errors.ts';
import type { StoredRecord } from '../record.ts';

const LEASE = 0x80;
const EXPIRES = 0x40;
const FLAG_MASK = 0x3f;
/** Of the last group of a number of 53 bits. */
const MAX_FACTOR = 2 ** 49;

/** The longest key and value that a record may have: a key's limit, its space byte and the expiry index's prefix; a value's limit. */
export const MAX_RECORD_KEY_BYTES = 64 * 1024 + 64;
export const MAX_RECORD_VALUE_BYTES = 8 * 1024 * 1024;
/** Nothing before the key is longer than this. */
const MAX_RECORD_HEADER_BYTES = 8 + 3 + 4 + 1 + 8 + 8 + 8 + 8 + 8;
export const MAX_RECORD_BYTES = MAX_RECORD_HEADER_BYTES + MAX_RECORD_KEY_BYTES + MAX_RECORD_VALUE_BYTES;

/** An upper bound of the packed size. */
export function recordSizeBound(record: StoredRecord): number {
  return MAX_RECORD_HEADER_BYTES + record.key.length + record.value.length;
}

function writeVarint(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  let offset = at;
  while (rest >= 0x10000000) {
    target[offset++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  while (rest >= 0x80) {
    target[offset++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[offset++] = rest;
  return offset;
}

/**
 * Packs a record at `at`. REQUIRES: `recordSizeBound(record)` bytes of room.
 * @returns the offset behind it.
 * @throws KvError INVALID_ARGUMENT when a key or value is longer than any limit allows, or a flag is unknown.
 */
export function encodeRecord(target: Uint8Array, at: number, record: StoredRecord): number {
  const { key, value } = record;
  if (
    key.length > MAX_RECORD_KEY_BYTES ||
    value.length > MAX_RECORD_VALUE_BYTES ||
    record.flags > FLAG_MASK
  ) {
    throw new KvError('INVALID_ARGUMENT', 'a record is larger than any limit allows, or has unknown flags');
  }
  let shape = record.flags;
  if (record.lease !== 0n) shape |= LEASE;
  if (record.expiresAtMs !== 0) shape |= EXPIRES;
  let offset = writeVarint(target, at, record.modRevision);
  offset = writeVarint(target, offset, key.length);
  offset = writeVarint(target, offset, value.length);
  target[offset++] = shape;
  offset = writeVarint(target, offset, record.createRevision);
  offset = writeVarint(target, offset, record.version);
  offset = writeVarint(target, offset, record.subRevision);
  if ((shape & LEASE) !== 0) {
    const low = Number(record.lease & 0xffffffffn);
    const high = Number((record.lease >> 32n) & 0xffffffffn);
    for (let i = 0; i < 4; i++) target[offset++] = (low >>> (8 * i)) & 0xff;
    for (let i = 0; i < 4; i++) target[offset++] = (high >>> (8 * i)) & 0xff;
  }
  if ((shape & EXPIRES) !== 0) offset = writeVarint(target, offset, record.expiresAtMs);
  target.set(key, offset);
  offset += key.length;
  target.set(value, offset);
  return offset + value.length;
}

/** Reads packed records one after the other without making objects; `record()` makes one where it is wanted. */
export class RecordReader {
  bytes: Uint8Array;
  /** Where the record begins, and where the next one does. */
  start = 0;
  end = 0;
  modRevision = 0;
  keyStart = 0;
  keyLength = 0;
  valueLength = 0;
  shape = 0;
  createRevision = 0;
  version = 0;
  subRevision = 0;
  expiresAtMs = 0;
  #leaseAt = 0;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** FLAG_ bits of the record. */
  get flags(): number {
    return this.shape & FLAG_MASK;
  }

  #varint(): number {
    const bytes = this.bytes;
    let offset = this.#offset;
    let byte = bytes[offset++];
    if (byte === undefined) throw truncated();
    let value = byte & 0x7f;
    let factor = 128;
    while (byte >= 0x80) {
      // Endless groups of zeros would never pass MAX_SAFE_INTEGER, and come to NaN once the factor is infinite.
      if (factor > MAX_FACTOR) throw new RangeError('a number is longer than allowed');
      byte = bytes[offset++];
      if (byte === undefined) throw truncated();
      value += (byte & 0x7f) * factor;
      if (value > Number.MAX_SAFE_INTEGER) throw new RangeError('a number is out of range');
      factor *= 128;
    }
    this.#offset = offset;
    return value;
  }

  /**
   * Reads the record at `at`.
   * @throws RangeError when the bytes are not a record (never for bytes that `encodeRecord` wrote).
   */
  read(at: number): void {
    this.start = at;
    this.#offset = at;
    this.modRevision = this.#varint();
    this.keyLength = this.#varint();
    this.valueLength = this.#varint();
    const shape = this.bytes[this.#offset++];
    if (shape === undefined) throw truncated();
    this.shape = shape;
    this.createRevision = this.#varint();
    this.version = this.#varint();
    this.subRevision = this.#varint();
    this.#leaseAt = 0;
    if ((shape & LEASE) !== 0) {
      this.#leaseAt = this.#offset;
      this.#offset += 8;
    }
    this.expiresAtMs = (shape & EXPIRES) !== 0 ? this.#varint() : 0;
    this.keyStart = this.#offset;
    if (this.keyLength > MAX_RECORD_KEY_BYTES || this.valueLength > MAX_RECORD_VALUE_BYTES) {
      throw new RangeError('a key or value is longer than allowed');
    }
    this.end = this.#offset + this.keyLength + this.valueLength;
    if (this.end > this.bytes.length) throw truncated();
  }

  /** The record last read, as views. */
  record(): StoredRecord {
    const valueStart = this.keyStart + this.keyLength;
    return {
      key: this.bytes.subarray(this.keyStart, valueStart),
      value: this.bytes.subarray(valueStart, this.end),
      modRevision: this.modRevision,
      createRevision: this.createRevision,
      version: this.version,
      subRevision: this.subRevision,
      flags: this.shape & FLAG_MASK,
      lease: this.#leaseAt === 0 ? 0n : this.#lease(),
      expiresAtMs: this.expiresAtMs,
    };
  }

  #lease(): bigint {
    let lease = 0n;
    for (let i = 7; i >= 0; i--) lease = (lease << 8n) | BigInt(this.bytes[this.#leaseAt + i]!);
    return BigInt.asIntN(64, lease);
  }
}

function truncated(): RangeError {
  return new RangeError('a record ends too early');
}
