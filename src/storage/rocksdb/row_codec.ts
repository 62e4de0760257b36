/**
 * Records as rows of RocksDB.
 *
 *   state row    key   := 0x00
 *                value := format u8 (1), flushId u64, index u64, term u64, state byte[...], crc u32
 *   record row   key   := 0x01, escaped stored key, 0x00 0x01, inverted modRevision u64be, inverted flushId u64be, flags u8
 *                value := crc u32, shape u8, subRevision u32, createRevision u64, version u64, [lease u64], [expiresAtMs u64], value byte[...]
 *   escaped      := each 0x00 as 0x00 0xff, every other byte as it is
 *   inverted n   := 2^53 - 1 - n, so that the larger number comes first
 *   shape        := bit 0: lease is there; bit 1: expiresAtMs is there
 *
 * Numbers are little-endian but for those in keys. The crc covers the row's key and everything in the value but itself: this RocksDB binding does not check
 * its block checksums when it reads.
 *
 * Invariants: RocksDB's order of the rows (unsigned bytes) is record order, for any bytes in keys: the terminator 0x00 0x01 is smaller than whatever can follow a key
 * that goes on (0x00 0xff, or a byte from 0x01), so a key comes before those that it begins. Of the rows of one version the one of the
 * newest flush comes first. No two flushes write the same row.
 */
import { KvError } from '../../errors.ts';
import { crc32 } from '../crc32.ts';
import { type AppliedState, FLAG_TOMBSTONE, type StoredRecord } from '../record.ts';

const FORMAT = 1;
const RECORD_PREFIX = 1;
const TWO_32 = 0x1_0000_0000;
/** What follows the escaped key. */
const TERMINATOR_BYTES = 2;
const SUFFIX_BYTES = TERMINATOR_BYTES + 8 + 8 + 1;
const SHAPE_LEASE = 1;
const SHAPE_EXPIRES = 2;
const FIXED_VALUE_BYTES = 4 + 1 + 4 + 8 + 8;
const STATE_HEADER_BYTES = 1 + 8 + 8 + 8;

export const STATE_KEY: Buffer = Buffer.of(0);
/** [RECORDS_START, RECORDS_END) holds every record row. */
export const RECORDS_START: Buffer = Buffer.of(RECORD_PREFIX);
export const RECORDS_END: Buffer = Buffer.of(RECORD_PREFIX + 1);

/** Where a scan for stored keys from `key` on begins (and one for keys before `key` ends). */
export function boundOf(key: Uint8Array): Buffer {
  const bound = Buffer.allocUnsafe(1 + escapedBytes(key));
  bound[0] = RECORD_PREFIX;
  putEscaped(bound, 1, key);
  return bound;
}

/** Before the rows of `key` with modRevision at most `revision`. */
export function boundOfVersion(key: Uint8Array, revision: number): Buffer {
  return keyWithSuffix(key, 8, (bound, at) => putInverted(bound, at, revision));
}

/** Behind the rows of `key` with modRevision at least `revision`. */
export function boundAfterVersion(key: Uint8Array, revision: number): Buffer {
  return keyWithSuffix(key, 16, (bound, at) => bound.fill(0xff, putInverted(bound, at, revision)));
}

/** Behind all rows of the key that this row is of, before those of any greater key. */
export function boundAfterKey(row: Row): Buffer {
  const bound = Buffer.from(row.bytes.subarray(0, row.escapedEnd + TERMINATOR_BYTES));
  bound[bound.length - 1] = 2;
  return bound;
}

export function encodeRowKey(record: StoredRecord, flushId: number): Buffer {
  return keyWithSuffix(record.key, 17, (bound, at) => {
    const behind = putInverted(bound, putInverted(bound, at, record.modRevision), flushId);
    bound[behind] = record.flags;
  });
}

/** The value for a record at the row key; `scratch` is used when it is large enough. */
export function encodeRowValue(record: StoredRecord, rowKey: Buffer, scratch: Buffer): Buffer {
  const hasLease = record.lease !== 0n;
  const expires = record.expiresAtMs !== 0;
  const size = FIXED_VALUE_BYTES + (hasLease ? 8 : 0) + (expires ? 8 : 0) + record.value.length;
  const target = size <= scratch.length ? scratch.subarray(0, size) : Buffer.allocUnsafe(size);
  let at = 4;
  target[at++] = (hasLease ? SHAPE_LEASE : 0) | (expires ? SHAPE_EXPIRES : 0);
  at = target.writeUInt32LE(record.subRevision, at);
  at = putU64(target, at, record.createRevision);
  at = putU64(target, at, record.version);
  if (hasLease) at = target.writeBigUInt64LE(record.lease, at);
  if (expires) at = putU64(target, at, record.expiresAtMs);
  target.set(record.value, at);
  target.writeUInt32LE(rowCrc(rowKey, target), 0);
  return target;
}

/** A record row's key, taken apart. One object serves a whole iteration. */
export class Row {
  bytes: Buffer = STATE_KEY;
  escapedEnd = 0;
  modRevision = 0;
  flushId = 0;
  flags = 0;

  /** @throws KvError CORRUPT */
  parse(bytes: Buffer): void {
    const suffix = bytes.length - SUFFIX_BYTES;
    if (suffix < 1 || bytes[0] !== RECORD_PREFIX || bytes[suffix] !== 0 || bytes[suffix + 1] !== 1)
      throw damaged('a row key has a wrong form');
    this.bytes = bytes;
    this.escapedEnd = suffix;
    this.modRevision = inverted(bytes, suffix + TERMINATOR_BYTES);
    this.flushId = inverted(bytes, suffix + TERMINATOR_BYTES + 8);
    this.flags = bytes[bytes.length - 1]!;
  }

  get isTombstone(): boolean {
    return (this.flags & FLAG_TOMBSTONE) !== 0;
  }

  /** Whether another row, parsed before, is of the same stored key. */
  hasKeyOf(other: Row): boolean {
    return (
      this.escapedEnd === other.escapedEnd &&
      this.bytes.compare(other.bytes, 0, other.escapedEnd, 0, this.escapedEnd) === 0
    );
  }

  /** The stored key: a view where it holds no zero byte. */
  storedKey(): Uint8Array {
    const { bytes, escapedEnd } = this;
    let zero = bytes.indexOf(0, 1);
    if (zero === escapedEnd) return bytes.subarray(1, escapedEnd);
    const key = Buffer.allocUnsafe(escapedEnd - 1);
    let length = 0;
    let from = 1;
    while (zero < escapedEnd) {
      if (bytes[zero + 1] !== 0xff) throw damaged('a row key holds a wrong escape');
      length += bytes.copy(key, length, from, zero + 1);
      from = zero + 2;
      zero = bytes.indexOf(0, from);
    }
    length += bytes.copy(key, length, from, escapedEnd);
    return key.subarray(0, length);
  }

  /** The record, with this row's value. @throws KvError CORRUPT when the checksum does not fit. */
  record(value: Buffer, keysOnly = false): StoredRecord {
    if (value.length < FIXED_VALUE_BYTES || value.readUInt32LE(0) !== rowCrc(this.bytes, value))
      throw damaged('a record does not fit its checksum');
    const shape = value[4]!;
    const hasLease = (shape & SHAPE_LEASE) !== 0;
    const expires = (shape & SHAPE_EXPIRES) !== 0;
    const expiresAt = FIXED_VALUE_BYTES + (hasLease ? 8 : 0);
    const valueAt = expiresAt + (expires ? 8 : 0);
    return {
      key: this.storedKey(),
      value: keysOnly ? value.subarray(0, 0) : value.subarray(valueAt),
      modRevision: this.modRevision,
      createRevision: readU64(value, 9),
      version: readU64(value, 17),
      subRevision: value.readUInt32LE(5),
      flags: this.flags,
      lease: hasLease ? value.readBigUInt64LE(FIXED_VALUE_BYTES) : 0n,
      expiresAtMs: expires ? readU64(value, expiresAt) : 0,
    };
  }
}

export interface TreeState {
  /** The last flush that is complete. */
  readonly flushId: number;
  readonly applied: AppliedState;
}

export function encodeState(state: TreeState): Buffer {
  const { applied, flushId } = state;
  const target = Buffer.allocUnsafe(STATE_HEADER_BYTES + applied.state.length + 4);
  target[0] = FORMAT;
  let at = putU64(target, 1, flushId);
  at = putU64(target, at, applied.index);
  at = putU64(target, at, applied.term);
  target.set(applied.state, at);
  target.writeUInt32LE(crc32(target.subarray(0, target.length - 4)), target.length - 4);
  return target;
}

/** @throws KvError CORRUPT, UNSUPPORTED_VERSION */
export function decodeState(value: Buffer): TreeState {
  const end = value.length - 4;
  if (end < STATE_HEADER_BYTES || value.readUInt32LE(end) !== crc32(value.subarray(0, end)))
    throw damaged('the applied state does not fit its checksum');
  if (value[0] !== FORMAT)
    throw new KvError('UNSUPPORTED_VERSION', `a RocksDB tree of format ${value[0]}, known: ${FORMAT}`);
  return {
    flushId: readU64(value, 1),
    applied: {
      index: readU64(value, 9),
      term: readU64(value, 17),
      state: new Uint8Array(value.subarray(STATE_HEADER_BYTES, end)),
    },
  };
}

function damaged(what: string): KvError {
  return new KvError('CORRUPT', `the RocksDB tree is damaged: ${what}`);
}

function rowCrc(rowKey: Buffer, value: Buffer): number {
  return crc32(value.subarray(4), crc32(rowKey));
}

function escapedBytes(key: Uint8Array): number {
  let size = key.length;
  for (let i = 0; i < key.length; i++) if (key[i] === 0) size++;
  return size;
}

function putEscaped(target: Buffer, at: number, key: Uint8Array): number {
  let offset = at;
  for (let i = 0; i < key.length; i++) {
    const byte = key[i]!;
    target[offset++] = byte;
    if (byte === 0) target[offset++] = 0xff;
  }
  return offset;
}

function keyWithSuffix(
  key: Uint8Array,
  suffixBytes: number,
  putSuffix: (target: Buffer, at: number) => void,
): Buffer {
  const target = Buffer.allocUnsafe(1 + escapedBytes(key) + TERMINATOR_BYTES + suffixBytes);
  target[0] = RECORD_PREFIX;
  let at = putEscaped(target, 1, key);
  target[at++] = 0;
  target[at++] = 1;
  putSuffix(target, at);
  return target;
}

function putInverted(target: Buffer, at: number, value: number): number {
  const turned = Number.MAX_SAFE_INTEGER - value;
  target.writeUInt32BE(Math.floor(turned / TWO_32), at);
  return target.writeUInt32BE(turned % TWO_32, at + 4);
}

function inverted(bytes: Buffer, at: number): number {
  const value = Number.MAX_SAFE_INTEGER - (bytes.readUInt32BE(at) * TWO_32 + bytes.readUInt32BE(at + 4));
  if (value < 0) throw damaged('a row key holds an impossible number');
  return value;
}

function putU64(target: Buffer, at: number, value: number): number {
  target.writeUInt32LE(value % TWO_32, at);
  return target.writeUInt32LE(Math.floor(value / TWO_32), at + 4);
}

function readU64(bytes: Buffer, at: number): number {
  const value = bytes.readUInt32LE(at + 4) * TWO_32 + bytes.readUInt32LE(at);
  if (value > Number.MAX_SAFE_INTEGER) throw damaged('a number is out of range');
  return value;
}
