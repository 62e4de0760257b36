/**
 * The byte form of command results, and of the records and events that answers and watches carry.
 *
 *     result := kind:u8 revision:varint body
 *     kind 1  put        -
 *     kind 2  put        previous:record
 *     kind 3  delete     deleted:varint count*record
 *     kind 4  touch      found:u8
 *     kind 5  range      more:u8 count*record           (its count is the number of records)
 *     kind 6  txn        succeeded:u8 count*result      (results of kinds 1 to 6 and 11)
 *     kind 7  session    session:varint
 *     kind 8  failed     code:u8 message:string         (code numbers: errors.ts)
 *     kind 9  done       -
 *     kind 10 lease      lease:u64 ttlMs:varint
 *     kind 11 range      count:varint more:u8 count*record
 *     kind 20 alarms     count*alarm                    (upkeep_codec.ts)
 *
 *     record := present:u8 flags:u8 key value mod:varint create:varint version:varint sub:varint [lease:u64] [expiresAtMs:varint]
 *               present: 1 lease, 2 expiresAtMs (then neither is 0)
 *     event  := kind:u8 record [previous:record]       kind: 1 delete, 2 previous present
 *
 * Invariant: decoding goes at most MAX_TXN_DEPTH transactions deep.
 */
import { errorCodeOf, errorNumber, KvError } from '../errors.ts';
import type { CommandResult, KvEvent, OperationResult, RangeResult, TxnResult } from '../kv/command.ts';
import { MAX_TXN_DEPTH } from '../kv/limits.ts';
import type { StoredRecord } from '../storage/record.ts';
import { readLease } from './lease_codec.ts';
import { KIND_ALARMS_RESULT, readAlarms, writeAlarms } from './upkeep_codec.ts';
import { type ByteReader, type ByteWriter, malformed } from './varint.ts';

const KIND_PUT = 1;
const KIND_PUT_PREVIOUS = 2;
const KIND_DELETE = 3;
const KIND_TOUCH = 4;
const KIND_RANGE = 5;
const KIND_TXN = 6;
const KIND_SESSION = 7;
const KIND_FAILED = 8;
const KIND_DONE = 9;
const KIND_LEASE = 10;
const KIND_RANGE_COUNTED = 11;

/** Least bytes of a result: for counts. */
export const MIN_RESULT_BYTES = 2;

export function encodeResult(result: CommandResult, writer: ByteWriter): void {
  switch (result.type) {
    case 'put':
      if (result.previous === undefined) {
        writer.u8(KIND_PUT).varint(result.revision);
        return;
      }
      writer.u8(KIND_PUT_PREVIOUS).varint(result.revision);
      encodeRecord(result.previous, writer);
      return;
    case 'delete':
      writer.u8(KIND_DELETE).varint(result.revision).varint(result.deleted);
      encodeRecords(result.previous, writer);
      return;
    case 'touch':
      writer.u8(KIND_TOUCH).varint(result.revision).bool(result.found);
      return;
    case 'range':
      encodeRange(result, writer);
      return;
    case 'txn':
      writer.u8(KIND_TXN).varint(result.revision).bool(result.succeeded).varint(result.results.length);
      for (const nested of result.results) encodeResult(nested, writer);
      return;
    case 'session':
      writer.u8(KIND_SESSION).varint(result.revision).varint(result.session);
      return;
    case 'failed':
      writer.u8(KIND_FAILED).varint(result.revision).u8(errorNumber(result.code)).string(result.message);
      return;
    case 'done':
      writer.u8(KIND_DONE).varint(result.revision);
      return;
    case 'lease':
      writer.u8(KIND_LEASE).varint(result.revision);
      writer.bigU64(BigInt.asUintN(64, result.lease)).varint(result.ttlMs);
      return;
    case 'alarms':
      writer.u8(KIND_ALARMS_RESULT).varint(result.revision);
      writeAlarms(writer, result.alarms);
  }
}

/** Records hold views of the reader's bytes. @throws KvError PROTOCOL, UNSUPPORTED (unknown kind). */
export function decodeResult(reader: ByteReader): CommandResult {
  const kind = reader.u8();
  const revision = reader.varint();
  const simple = decodeOperationResult(reader, kind, revision, 0);
  if (simple !== undefined) return simple;
  switch (kind) {
    case KIND_SESSION:
      return { type: 'session', revision, session: reader.varint() };
    case KIND_FAILED:
      return { type: 'failed', revision, code: errorCodeOf(reader.u8()), message: reader.string() };
    case KIND_DONE:
      return { type: 'done', revision };
    case KIND_LEASE:
      return { type: 'lease', revision, lease: readLease(reader), ttlMs: reader.varint() };
    case KIND_ALARMS_RESULT:
      return { type: 'alarms', revision, alarms: readAlarms(reader) };
    default:
      throw new KvError('UNSUPPORTED', `unknown result kind ${kind}`);
  }
}

/** `depth`: how many transactions are around it. */
function decodeOperationResult(
  reader: ByteReader,
  kind: number,
  revision: number,
  depth: number,
): OperationResult | undefined {
  switch (kind) {
    case KIND_PUT:
      return { type: 'put', revision, previous: undefined };
    case KIND_PUT_PREVIOUS:
      return { type: 'put', revision, previous: decodeRecord(reader) };
    case KIND_DELETE:
      return { type: 'delete', revision, deleted: reader.varint(), previous: decodeRecords(reader) };
    case KIND_TOUCH:
      return { type: 'touch', revision, found: reader.bool() };
    case KIND_RANGE:
    case KIND_RANGE_COUNTED:
      return decodeRange(reader, revision, kind === KIND_RANGE_COUNTED);
    case KIND_TXN:
      return decodeTxn(reader, revision, depth);
    default:
      return undefined;
  }
}

function decodeTxn(reader: ByteReader, revision: number, depth: number): TxnResult {
  if (depth > MAX_TXN_DEPTH) throw malformed('results nest too deep');
  const succeeded = reader.bool();
  const results: OperationResult[] = [];
  for (let left = reader.count(MIN_RESULT_BYTES); left > 0; left--) {
    const kind = reader.u8();
    const result = decodeOperationResult(reader, kind, reader.varint(), depth + 1);
    if (result === undefined) throw malformed(`result kind ${kind} within a transaction`);
    results.push(result);
  }
  return { type: 'txn', revision, succeeded, results };
}

function encodeRange({ revision, records, more, count }: RangeResult, writer: ByteWriter): void {
  if (count === records.length) writer.u8(KIND_RANGE).varint(revision);
  else writer.u8(KIND_RANGE_COUNTED).varint(revision).varint(count);
  writer.bool(more);
  encodeRecords(records, writer);
}

function decodeRange(reader: ByteReader, revision: number, counted: boolean): RangeResult {
  const count = counted ? reader.varint() : 0;
  const more = reader.bool();
  const records = decodeRecords(reader);
  if (counted && count === records.length) throw malformed('a count written out that need not be');
  return { type: 'range', revision, records, more, count: counted ? count : records.length };
}

function encodeRecords(records: readonly StoredRecord[], writer: ByteWriter): void {
  writer.varint(records.length);
  for (const record of records) encodeRecord(record, writer);
}

function decodeRecords(reader: ByteReader): StoredRecord[] {
  const records: StoredRecord[] = [];
  for (let left = reader.count(MIN_RECORD_BYTES); left > 0; left--) records.push(decodeRecord(reader));
  return records;
}

const HAS_LEASE = 1;
const HAS_EXPIRY = 2;
const EVENT_DELETE = 1;
const EVENT_PREVIOUS = 2;

/** Least bytes of a record: for counts. */
export const MIN_RECORD_BYTES = 8;
export const MIN_EVENT_BYTES = 1 + MIN_RECORD_BYTES;

export function encodeRecord(record: StoredRecord, writer: ByteWriter): void {
  const { lease, expiresAtMs } = record;
  writer.u8((lease !== 0n ? HAS_LEASE : 0) | (expiresAtMs !== 0 ? HAS_EXPIRY : 0));
  writer.u8(record.flags).byteString(record.key).byteString(record.value);
  writer.varint(record.modRevision).varint(record.createRevision);
  writer.varint(record.version).varint(record.subRevision);
  // Leases are signed numbers of 64 bits.
  if (lease !== 0n) writer.bigU64(BigInt.asUintN(64, lease));
  if (expiresAtMs !== 0) writer.varint(expiresAtMs);
}

/** Key and value are views. @throws KvError PROTOCOL. */
export function decodeRecord(reader: ByteReader): StoredRecord {
  const present = reader.u8();
  if (present > 3) throw malformed(`record with fields ${present}`);
  const flags = reader.u8();
  const key = reader.byteString();
  const value = reader.byteString();
  const modRevision = reader.varint();
  const createRevision = reader.varint();
  const version = reader.varint();
  const subRevision = reader.varint();
  const lease = (present & HAS_LEASE) === 0 ? 0n : readLease(reader);
  const expiresAtMs = (present & HAS_EXPIRY) === 0 ? 0 : reader.varint();
  if (((present & HAS_LEASE) !== 0 && lease === 0n) || ((present & HAS_EXPIRY) !== 0 && expiresAtMs === 0)) {
    throw malformed('a 0 written out');
  }
  return { key, value, modRevision, createRevision, version, subRevision, flags, lease, expiresAtMs };
}

export function encodeEvent(event: KvEvent, writer: ByteWriter): void {
  const previous = event.previous;
  writer.u8((event.type === 'delete' ? EVENT_DELETE : 0) | (previous !== undefined ? EVENT_PREVIOUS : 0));
  encodeRecord(event.record, writer);
  if (previous !== undefined) encodeRecord(previous, writer);
}

/** Records hold views. @throws KvError PROTOCOL. */
export function decodeEvent(reader: ByteReader): KvEvent {
  const kind = reader.u8();
  if (kind > 3) throw malformed(`event kind ${kind}`);
  const record = decodeRecord(reader);
  const previous = (kind & EVENT_PREVIOUS) === 0 ? undefined : decodeRecord(reader);
  return { type: (kind & EVENT_DELETE) === 0 ? 'put' : 'delete', record, previous };
}
