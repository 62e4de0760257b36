/**
 * The byte form of the operations within a command.
 *
 *     put     1  flags key [ttlMs:varint] [lease:u64] value         flags: 1 prevKv, 2 ttlMs present, 4 lease present
 *     delete  2  flags key [end]                                    flags: 1 prevKv, 2 end present
 *     range   3  flags key [end] [revision:varint] [limit:varint]   flags: 1 keysOnly, 2 end, 4 revision, 8 limit present, 16 reverse
 *     touch   4  0     key ttlMs:varint
 *
 * Invariant: a number that is present is not 0 (one operation has one encoding). Operation numbers from 5 are free, for nested transactions among others.
 */
import { KvError } from '../errors.ts';
import type { DeleteOp, Operation, PutOp, RangeOp } from '../kv/command.ts';
import { type ByteReader, type ByteWriter, malformed } from './varint.ts';

export const OP_PUT = 1;
export const OP_DELETE = 2;
export const OP_RANGE = 3;
export const OP_TOUCH = 4;

export const PUT_PREV_KV = 1;
export const PUT_TTL = 2;
export const PUT_LEASE = 4;
const PUT_FLAGS = 7;
const DELETE_PREV_KV = 1;
const DELETE_END = 2;
const DELETE_FLAGS = 3;
const RANGE_KEYS_ONLY = 1;
const RANGE_END = 2;
const RANGE_REVISION = 4;
const RANGE_LIMIT = 8;
const RANGE_REVERSE = 16;
const RANGE_FLAGS = 31;

/** number, flags, length of the key. */
export const MIN_OPERATION_BYTES = 3;

export function writeOperation(writer: ByteWriter, operation: Operation): void {
  switch (operation.type) {
    case 'put':
      writePut(writer, operation);
      break;
    case 'delete':
      writeDelete(writer, operation);
      break;
    case 'range':
      writeRange(writer, operation);
      break;
    case 'touch':
      writer.u8(OP_TOUCH).u8(0).byteString(operation.key).varint(operation.ttlMs);
  }
}

export function readOperation(reader: ByteReader): Operation {
  const number = reader.u8();
  const flags = reader.u8();
  switch (number) {
    case OP_PUT:
      return readPut(reader, flags);
    case OP_DELETE:
      return readDelete(reader, flags);
    case OP_RANGE:
      return readRange(reader, flags);
    case OP_TOUCH:
      if (flags !== 0) throw malformed(`flags ${flags} of a touch`);
      return { type: 'touch', key: reader.byteString(), ttlMs: reader.varint() };
    default:
      throw new KvError('UNSUPPORTED', `unknown operation ${number}`);
  }
}

/** An upper bound of the bytes that an operation takes. */
export function operationBytesAtMost(operation: Operation): number {
  const size = operation.key.length + 48;
  if (operation.type === 'put') return size + operation.value.length;
  if (operation.type === 'touch' || operation.end === undefined) return size;
  return size + operation.end.length;
}

function writePut(writer: ByteWriter, operation: PutOp): void {
  const { key, value, ttlMs, lease, prevKv } = operation;
  writer.u8(OP_PUT);
  writer.u8((prevKv ? PUT_PREV_KV : 0) | (ttlMs !== 0 ? PUT_TTL : 0) | (lease !== 0n ? PUT_LEASE : 0));
  writer.byteString(key);
  if (ttlMs !== 0) writer.varint(ttlMs);
  // Leases are signed numbers of 64 bits.
  if (lease !== 0n) writer.bigU64(BigInt.asUintN(64, lease));
  writer.byteString(value);
}

function readPut(reader: ByteReader, flags: number): PutOp {
  if (flags > PUT_FLAGS) throw malformed(`flags ${flags} of a put`);
  const key = reader.byteString();
  const ttlMs = (flags & PUT_TTL) === 0 ? 0 : present(reader.varint());
  const lease = (flags & PUT_LEASE) === 0 ? 0n : BigInt.asIntN(64, reader.bigU64());
  if ((flags & PUT_LEASE) !== 0 && lease === 0n) throw malformed('lease 0 written out');
  const value = reader.byteString();
  return { type: 'put', key, value, ttlMs, lease, prevKv: (flags & PUT_PREV_KV) !== 0 };
}

function writeDelete(writer: ByteWriter, operation: DeleteOp): void {
  const { key, end, prevKv } = operation;
  writer.u8(OP_DELETE).u8((prevKv ? DELETE_PREV_KV : 0) | (end !== undefined ? DELETE_END : 0));
  writer.byteString(key);
  if (end !== undefined) writer.byteString(end);
}

function readDelete(reader: ByteReader, flags: number): DeleteOp {
  if (flags > DELETE_FLAGS) throw malformed(`flags ${flags} of a delete`);
  const key = reader.byteString();
  const end = (flags & DELETE_END) === 0 ? undefined : reader.byteString();
  return { type: 'delete', key, end, prevKv: (flags & DELETE_PREV_KV) !== 0 };
}

function writeRange(writer: ByteWriter, operation: RangeOp): void {
  const { key, end, revision, limit, reverse, keysOnly } = operation;
  writer.u8(OP_RANGE);
  writer.u8(
    (keysOnly ? RANGE_KEYS_ONLY : 0) |
      (end !== undefined ? RANGE_END : 0) |
      (revision !== 0 ? RANGE_REVISION : 0) |
      (limit !== 0 ? RANGE_LIMIT : 0) |
      (reverse ? RANGE_REVERSE : 0),
  );
  writer.byteString(key);
  if (end !== undefined) writer.byteString(end);
  if (revision !== 0) writer.varint(revision);
  if (limit !== 0) writer.varint(limit);
}

function readRange(reader: ByteReader, flags: number): RangeOp {
  if (flags > RANGE_FLAGS) throw malformed(`flags ${flags} of a range`);
  const key = reader.byteString();
  const end = (flags & RANGE_END) === 0 ? undefined : reader.byteString();
  const revision = (flags & RANGE_REVISION) === 0 ? 0 : present(reader.varint());
  const limit = (flags & RANGE_LIMIT) === 0 ? 0 : present(reader.varint());
  const reverse = (flags & RANGE_REVERSE) !== 0;
  return { type: 'range', key, end, revision, limit, reverse, keysOnly: (flags & RANGE_KEYS_ONLY) !== 0 };
}

function present(number: number): number {
  if (number === 0) throw malformed('a 0 written out');
  return number;
}
