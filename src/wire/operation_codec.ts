/**
 * The byte form of the operations within a command.
 *
 *     put     1  flags key [ttlMs:varint] [lease:u64] [value]       flags: 1 prevKv, 2 ttlMs present, 4 lease present, 8 ignoreValue (no value
 *                                                                   follows), 16 ignoreLease (then there is no lease)
 *     delete  2  flags key [end]                                    flags: 1 prevKv, 2 end present
 *     range   3  flags key [end] [revision:varint] [limit:varint]   flags: 1 keysOnly, 2 end, 4 revision, 8 limit present, 16 downwards by key
 *     touch   4  0     key ttlMs:varint
 *     txn     5  0     count*compare count*operation count*operation          (compare_codec.ts; success, failure)
 *     select  6  flags selection key [end] [revision:varint]        flags: 2 end, 4 revision present
 *
 *     selection := what:u8 sort:u8 [limit] [minModRevision] [maxModRevision] [minCreateRevision] [maxCreateRevision]     (varints)
 *                  what: 1 keysOnly, 2 countOnly, 4 counted, and 8, 16, 32, 64, 128 for the numbers that are present, in order
 *                  sort: target (0 key, 1 version, 2 createRevision, 3 modRevision, 4 value) + 16 * order (0 none, 1 ascend, 2 descend)
 *
 * Invariants: a number that is present is not 0, and a range that number 3 can say is not written as 6 (one operation has one encoding); reading goes at most
 * MAX_TXN_DEPTH transactions deep. Operation numbers from 7 are free.
 */
import { KvError } from '../errors.ts';
import type { Compare, DeleteOp, Operation, PutOp, RangeOp, TxnBody } from '../kv/command.ts';
import { MAX_TXN_DEPTH } from '../kv/limits.ts';
import { compareBytesAtMost, MIN_COMPARE_BYTES, readCompare, writeCompare } from './compare_codec.ts';
import { isPlainSelection, PLAIN_SELECTION, readSelection, writeSelection } from './selection_codec.ts';
import { type ByteReader, type ByteWriter, malformed } from './varint.ts';

export const OP_PUT = 1;
export const OP_DELETE = 2;
export const OP_RANGE = 3;
export const OP_TOUCH = 4;
export const OP_TXN = 5;
export const OP_SELECT = 6;

export const PUT_PREV_KV = 1;
export const PUT_TTL = 2;
export const PUT_LEASE = 4;
const PUT_IGNORE_VALUE = 8;
const PUT_IGNORE_LEASE = 16;
const PUT_FLAGS = 31;
const DELETE_PREV_KV = 1;
const DELETE_END = 2;
const DELETE_FLAGS = 3;
const RANGE_KEYS_ONLY = 1;
const RANGE_END = 2;
const RANGE_REVISION = 4;
const RANGE_LIMIT = 8;
const RANGE_REVERSE = 16;
const RANGE_FLAGS = 31;
const SELECT_FLAGS = RANGE_END | RANGE_REVISION;

/** number, flags, length of the key. */
export const MIN_OPERATION_BYTES = 3;

export function writeOperation(writer: ByteWriter, operation: Operation, depth = 0): void {
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
      break;
    case 'txn':
      writer.u8(OP_TXN).u8(0);
      writeTxnBody(writer, operation, depth + 1);
  }
}

/** `depth`: how many transactions are around it. @throws KvError PROTOCOL, UNSUPPORTED, TXN_TOO_DEEP */
export function readOperation(reader: ByteReader, depth = 0): Operation {
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
    case OP_TXN: {
      if (flags !== 0) throw malformed(`flags ${flags} of a transaction`);
      const { compares, success, failure } = readTxnBody(reader, depth + 1);
      return { type: 'txn', compares, success, failure };
    }
    case OP_SELECT:
      return readSelect(reader, flags);
    default:
      throw new KvError('UNSUPPORTED', `unknown operation ${number}`);
  }
}

/** `depth`: 0 for one that is not nested. @throws KvError TXN_TOO_DEEP */
export function writeTxnBody(writer: ByteWriter, txn: TxnBody, depth = 0): void {
  checkDepth(depth);
  writer.varint(txn.compares.length);
  for (const compare of txn.compares) writeCompare(writer, compare);
  writeOperations(writer, txn.success, depth);
  writeOperations(writer, txn.failure, depth);
}

/** `depth`: 0 for one that is not nested. Keys and values are views. @throws KvError PROTOCOL, UNSUPPORTED, TXN_TOO_DEEP */
export function readTxnBody(reader: ByteReader, depth = 0): TxnBody {
  checkDepth(depth);
  const compares: Compare[] = [];
  for (let left = reader.count(MIN_COMPARE_BYTES); left > 0; left--) compares.push(readCompare(reader));
  return { compares, success: readOperations(reader, depth), failure: readOperations(reader, depth) };
}

function writeOperations(writer: ByteWriter, operations: readonly Operation[], depth: number): void {
  writer.varint(operations.length);
  for (const operation of operations) writeOperation(writer, operation, depth);
}

function readOperations(reader: ByteReader, depth: number): Operation[] {
  const operations: Operation[] = [];
  for (let left = reader.count(MIN_OPERATION_BYTES); left > 0; left--) {
    operations.push(readOperation(reader, depth));
  }
  return operations;
}

/** `depth`: 0 for a transaction that is not nested. @throws KvError TXN_TOO_DEEP */
export function checkDepth(depth: number): void {
  if (depth > MAX_TXN_DEPTH) {
    throw new KvError('TXN_TOO_DEEP', `transactions may nest ${MAX_TXN_DEPTH} deep`);
  }
}

/** An upper bound of the bytes that an operation takes. */
export function operationBytesAtMost(operation: Operation): number {
  if (operation.type === 'txn') return 2 + txnBytesAtMost(operation);
  const size = operation.key.length + 48;
  if (operation.type === 'put') return size + operation.value.length;
  if (operation.type === 'touch') return size;
  const end = operation.end === undefined ? 0 : operation.end.length;
  return size + end + (operation.type === 'range' ? 48 : 0);
}

/** The same of a transaction, without what stands before its comparisons. */
export function txnBytesAtMost({ compares, success, failure }: TxnBody): number {
  let size = 24;
  for (const compare of compares) size += compareBytesAtMost(compare);
  for (const operation of success) size += operationBytesAtMost(operation);
  for (const operation of failure) size += operationBytesAtMost(operation);
  return size;
}

function writePut(writer: ByteWriter, operation: PutOp): void {
  const { key, value, ttlMs, lease, prevKv, ignoreValue, ignoreLease } = operation;
  writer.u8(OP_PUT);
  writer.u8(
    (prevKv ? PUT_PREV_KV : 0) |
      (ttlMs !== 0 ? PUT_TTL : 0) |
      (lease !== 0n ? PUT_LEASE : 0) |
      (ignoreValue ? PUT_IGNORE_VALUE : 0) |
      (ignoreLease ? PUT_IGNORE_LEASE : 0),
  );
  writer.byteString(key);
  if (ttlMs !== 0) writer.varint(ttlMs);
  // Leases are signed numbers of 64 bits.
  if (lease !== 0n) writer.bigU64(BigInt.asUintN(64, lease));
  if (!ignoreValue) writer.byteString(value);
}

function readPut(reader: ByteReader, flags: number): PutOp {
  if (flags > PUT_FLAGS) throw malformed(`flags ${flags} of a put`);
  const ignoreValue = (flags & PUT_IGNORE_VALUE) !== 0;
  const ignoreLease = (flags & PUT_IGNORE_LEASE) !== 0;
  if (ignoreLease && (flags & PUT_LEASE) !== 0) throw malformed('a put with a lease that ignores it');
  const key = reader.byteString();
  const ttlMs = (flags & PUT_TTL) === 0 ? 0 : present(reader.varint());
  const lease = (flags & PUT_LEASE) === 0 ? 0n : BigInt.asIntN(64, reader.bigU64());
  if ((flags & PUT_LEASE) !== 0 && lease === 0n) throw malformed('lease 0 written out');
  const value = ignoreValue ? NO_VALUE : reader.byteString();
  const prevKv = (flags & PUT_PREV_KV) !== 0;
  return { type: 'put', key, value, ttlMs, lease, prevKv, ignoreValue, ignoreLease };
}

const NO_VALUE = new Uint8Array(0);

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
  const { key, end, revision, limit, keysOnly, sortOrder } = operation;
  const plain = isPlainSelection(operation);
  const flags = (end !== undefined ? RANGE_END : 0) | (revision !== 0 ? RANGE_REVISION : 0);
  if (plain) {
    const more = (keysOnly ? RANGE_KEYS_ONLY : 0) | (limit !== 0 ? RANGE_LIMIT : 0);
    writer.u8(OP_RANGE).u8(flags | more | (sortOrder === 'descend' ? RANGE_REVERSE : 0));
  } else {
    writer.u8(OP_SELECT).u8(flags);
    writeSelection(writer, operation);
  }
  writer.byteString(key);
  if (end !== undefined) writer.byteString(end);
  if (revision !== 0) writer.varint(revision);
  if (plain && limit !== 0) writer.varint(limit);
}
function readRange(reader: ByteReader, flags: number): RangeOp {
  if (flags > RANGE_FLAGS) throw malformed(`flags ${flags} of a range`);
  const key = reader.byteString();
  const end = (flags & RANGE_END) === 0 ? undefined : reader.byteString();
  const revision = (flags & RANGE_REVISION) === 0 ? 0 : present(reader.varint());
  const limit = (flags & RANGE_LIMIT) === 0 ? 0 : present(reader.varint());
  const keysOnly = (flags & RANGE_KEYS_ONLY) !== 0;
  const sortOrder = (flags & RANGE_REVERSE) === 0 ? 'none' : 'descend';
  return { type: 'range', key, end, revision, ...PLAIN_SELECTION, limit, keysOnly, sortOrder };
}

function readSelect(reader: ByteReader, flags: number): RangeOp {
  if ((flags & ~SELECT_FLAGS) !== 0) throw malformed(`flags ${flags} of a select`);
  const selection = readSelection(reader);
  if (isPlainSelection(selection)) throw malformed('a range written as a select');
  const key = reader.byteString();
  const end = (flags & RANGE_END) === 0 ? undefined : reader.byteString();
  const revision = (flags & RANGE_REVISION) === 0 ? 0 : present(reader.varint());
  return { type: 'range', key, end, revision, ...selection };
}

function present(number: number): number {
  if (number === 0) throw malformed('a 0 written out');
  return number;
}
