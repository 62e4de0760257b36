/**
 * Byte form of the client protocol's payloads (docs/formats/tcp_protocol.md has the whole; frames are in client_frames.ts).
 *
 *     hello   := 'KVRM' minVersion:u8 maxVersion:u8 maxFrameBytes:varint name:string ...
 *     welcome := 'KVRM' version:u8 nodeId:varint leader:varint clusterId:u64 limit:varint{9} ...
 *     write   := timeoutMs:varint command                                        (command_codec.ts, to the end of the frame)
 *     get     := timeoutMs:varint readOptions key:bytes
 *     scan    := timeoutMs:varint credit:varint readOptions flags:u8 start:bytes [end:bytes] limit:varint maxBytes:varint
 *     watch   := timeoutMs:varint credit:varint flags:u8 fromRevision:varint start:bytes [end:bytes]
 *     range   := timeoutMs:varint readOptions flags:u8 selection key:bytes [end:bytes] maxBytes:varint      flags: 1 end present
 *     readOptions := level:u8 minRevision:varint revision:varint                  level with 0x80: the third is atTimeMs
 *     got     := revision:varint present:u8 [record]
 *     page    := revision:varint more:u8 count:varint record*
 *     ranged  := revision:varint more:u8 count:varint count:varint record*      (keys, then records)
 *     batch   := revision:varint partial:u8 count:varint event*
 *
 * Invariants: readers check everything and throw KvError PROTOCOL; what they give are views of the frame. hello and welcome may grow at their end.
 */
import type { KvEvent } from '../kv/command.ts';
import type { StoredRecord } from '../storage/record.ts';
import type {
  GetRequest,
  GetResponse,
  RangeRequest,
  RangeResponse,
  ReadLevel,
  ReadOptions,
  ScanPageRequest,
  ScanPageResponse,
  WatchBatch,
  WatchRequest,
} from './messages.ts';
import {
  decodeEvent,
  decodeRecord,
  encodeEvent,
  encodeRecord,
  MIN_EVENT_BYTES,
  MIN_RECORD_BYTES,
} from './result_codec.ts';
import { readSelection, writeSelection } from './selection_codec.ts';
import { type ByteReader, type ByteWriter, malformed } from './varint.ts';

/** 'KVRM' as a little-endian u32. */
export const MAGIC = 0x4d52564b;
export const PROTOCOL_VERSION = 1;
/** A time-out on the wire is at most this; longer ones are cut. */
export const MAX_TIMEOUT_MS = 24 * 3_600_000;
const MAX_NAME_BYTES = 200;
const LEVELS: readonly ReadLevel[] = ['linearizable', 'sequential', 'eventual'];
/** In the byte of the level. */
const AT_TIME = 0x80;
const SCAN_REVERSE = 1;
const SCAN_KEYS_ONLY = 2;
const SCAN_END = 4;
const RANGE_END = 1;
const WATCH_PREV_KV = 1;
const WATCH_END = 2;
const WATCH_NO_PUT = 4;
const WATCH_NO_DELETE = 8;

export interface Hello {
  readonly minVersion: number;
  readonly maxVersion: number;
  /** Longest frame that the sender takes. */
  readonly maxFrameBytes: number;
  /** Who connects, for logs. */
  readonly name: string;
}

/** What a server tells a client about itself and its limits. */
export interface Welcome {
  readonly version: number;
  readonly nodeId: number;
  /** 0 when unknown. */
  readonly leader: number;
  /** Decimal, 64 bits. */
  readonly clusterId: string;
  readonly limits: WelcomeLimits;
}
export interface WelcomeLimits {
  readonly maxFrameBytes: number;
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
  readonly maxCommandBytes: number;
  readonly maxTxnOperations: number;
  readonly maxDeleteRangeKeys: number;
  /** Writes of one session that may be unacknowledged at once. */
  readonly maxSessionResults: number;
  /** Requests of one connection that are worked on at once; the server stops reading past it. */
  readonly maxRequests: number;
  /** A connection from which nothing came for so long is closed. */
  readonly idleTimeoutMs: number;
}

export function writeHello(writer: ByteWriter, hello: Hello): void {
  writer.u32(MAGIC).u8(hello.minVersion).u8(hello.maxVersion).varint(hello.maxFrameBytes);
  writer.string(hello.name.slice(0, MAX_NAME_BYTES / 4));
}

/** @throws KvError PROTOCOL, also when the magic is another: the peer speaks something else. */
export function readHello(reader: ByteReader): Hello {
  if (reader.u32() !== MAGIC) throw malformed('not the Kvorum client protocol');
  return {
    minVersion: reader.u8(),
    maxVersion: reader.u8(),
    maxFrameBytes: reader.varint(),
    name: reader.string(),
  };
}

export function writeWelcome(writer: ByteWriter, welcome: Welcome): void {
  const limits = welcome.limits;
  writer.u32(MAGIC).u8(welcome.version).varint(welcome.nodeId).varint(welcome.leader);
  writer
    .bigU64(BigInt(welcome.clusterId))
    .varint(limits.maxFrameBytes)
    .varint(limits.maxKeyBytes)
    .varint(limits.maxValueBytes)
    .varint(limits.maxCommandBytes)
    .varint(limits.maxTxnOperations)
    .varint(limits.maxDeleteRangeKeys)
    .varint(limits.maxSessionResults)
    .varint(limits.maxRequests)
    .varint(limits.idleTimeoutMs);
}

export function readWelcome(reader: ByteReader): Welcome {
  if (reader.u32() !== MAGIC) throw malformed('not the Kvorum client protocol');
  return {
    version: reader.u8(),
    nodeId: reader.varint(),
    leader: reader.varint(),
    clusterId: reader.bigU64().toString(),
    limits: {
      maxFrameBytes: reader.varint(),
      maxKeyBytes: reader.varint(),
      maxValueBytes: reader.varint(),
      maxCommandBytes: reader.varint(),
      maxTxnOperations: reader.varint(),
      maxDeleteRangeKeys: reader.varint(),
      maxSessionResults: reader.varint(),
      maxRequests: reader.varint(),
      idleTimeoutMs: reader.varint(),
    },
  };
}

export function writeReadOptions(writer: ByteWriter, options: ReadOptions): void {
  const { level, minRevision, revision, atTimeMs } = options;
  const atTime = atTimeMs === undefined ? 0 : AT_TIME;
  writer
    .u8(LEVELS.indexOf(level) | atTime)
    .varint(minRevision)
    .varint(atTimeMs ?? revision);
}

/** @throws KvError PROTOCOL */
export function readReadOptions(reader: ByteReader): Required<ReadOptions> {
  const byte = reader.u8();
  const level = LEVELS[byte & ~AT_TIME];
  if (level === undefined) throw malformed('unknown read level');
  const minRevision = reader.varint();
  const number = reader.varint();
  if ((byte & AT_TIME) === 0) return { level, minRevision, revision: number, atTimeMs: undefined };
  return { level, minRevision, revision: 0, atTimeMs: number };
}

/** Everything after the time-out. */
export function writeGet(writer: ByteWriter, request: GetRequest): void {
  writeReadOptions(writer, request);
  writer.byteString(request.key);
}

export function readGet(reader: ByteReader): GetRequest {
  const { level, minRevision, revision, atTimeMs } = readReadOptions(reader);
  const key = reader.byteString();
  reader.expectEnd();
  return { level, minRevision, revision, atTimeMs, key };
}

export function writeGot(writer: ByteWriter, response: GetResponse): void {
  writer.varint(response.revision).bool(response.record !== undefined);
  if (response.record !== undefined) encodeRecord(response.record, writer);
}

export function readGot(reader: ByteReader): GetResponse {
  const revision = reader.varint();
  const record = reader.bool() ? decodeRecord(reader) : undefined;
  reader.expectEnd();
  return { revision, record };
}

/** Everything after time-out and credit. */
export function writeScan(writer: ByteWriter, request: ScanPageRequest): void {
  writeReadOptions(writer, request);
  writer.u8(
    (request.reverse ? SCAN_REVERSE : 0) |
      (request.keysOnly ? SCAN_KEYS_ONLY : 0) |
      (request.end === undefined ? 0 : SCAN_END),
  );
  writer.byteString(request.start);
  if (request.end !== undefined) writer.byteString(request.end);
  writer.varint(request.limit).varint(request.maxBytes);
}

export function readScan(reader: ByteReader): ScanPageRequest {
  const { level, minRevision, revision, atTimeMs } = readReadOptions(reader);
  const flags = reader.u8();
  if (flags > (SCAN_REVERSE | SCAN_KEYS_ONLY | SCAN_END)) throw malformed('unknown scan flags');
  const start = reader.byteString();
  const end = (flags & SCAN_END) !== 0 ? reader.byteString() : undefined;
  const limit = reader.varint();
  const maxBytes = reader.varint();
  reader.expectEnd();
  const reverse = (flags & SCAN_REVERSE) !== 0;
  const keysOnly = (flags & SCAN_KEYS_ONLY) !== 0;
  return { level, minRevision, revision, atTimeMs, start, end, reverse, limit, maxBytes, keysOnly };
}

export function writePage(writer: ByteWriter, page: ScanPageResponse): void {
  writer.varint(page.revision).bool(page.more).varint(page.records.length);
  for (const record of page.records) encodeRecord(record, writer);
}

export function readPage(reader: ByteReader): ScanPageResponse {
  const revision = reader.varint();
  const more = reader.bool();
  const count = reader.count(MIN_RECORD_BYTES);
  const records: StoredRecord[] = [];
  for (let i = 0; i < count; i++) records.push(decodeRecord(reader));
  reader.expectEnd();
  return { revision, records, more };
}

/** Everything after the time-out. */
export function writeRange(writer: ByteWriter, request: RangeRequest): void {
  writeReadOptions(writer, request);
  writer.u8(request.end === undefined ? 0 : RANGE_END);
  writeSelection(writer, request);
  writer.byteString(request.key);
  if (request.end !== undefined) writer.byteString(request.end);
  writer.varint(request.maxBytes);
}

export function readRange(reader: ByteReader): RangeRequest {
  const options = readReadOptions(reader);
  const flags = reader.u8();
  if (flags > RANGE_END) throw malformed('unknown range flags');
  const selection = readSelection(reader);
  const key = reader.byteString();
  const end = (flags & RANGE_END) !== 0 ? reader.byteString() : undefined;
  const maxBytes = reader.varint();
  reader.expectEnd();
  return { ...options, ...selection, key, end, maxBytes };
}

export function writeRanged(writer: ByteWriter, answer: RangeResponse): void {
  writer.varint(answer.revision).bool(answer.more).varint(answer.count).varint(answer.records.length);
  for (const record of answer.records) encodeRecord(record, writer);
}

export function readRanged(reader: ByteReader): RangeResponse {
  const revision = reader.varint();
  const more = reader.bool();
  const count = reader.varint();
  const records: StoredRecord[] = [];
  for (let left = reader.count(MIN_RECORD_BYTES); left > 0; left--) records.push(decodeRecord(reader));
  reader.expectEnd();
  return { revision, records, more, count };
}

/** Everything after time-out and credit. */
export function writeWatch(writer: ByteWriter, request: WatchRequest): void {
  const { filters } = request;
  writer.u8(
    (request.prevKv ? WATCH_PREV_KV : 0) |
      (request.end === undefined ? 0 : WATCH_END) |
      (filters?.noPut ? WATCH_NO_PUT : 0) |
      (filters?.noDelete ? WATCH_NO_DELETE : 0),
  );
  writer.varint(request.fromRevision).byteString(request.start);
  if (request.end !== undefined) writer.byteString(request.end);
}

export function readWatch(reader: ByteReader): WatchRequest {
  const flags = reader.u8();
  if (flags > (WATCH_PREV_KV | WATCH_END | WATCH_NO_PUT | WATCH_NO_DELETE))
    throw malformed('unknown watch flags');
  const fromRevision = reader.varint();
  const start = reader.byteString();
  const end = (flags & WATCH_END) !== 0 ? reader.byteString() : undefined;
  reader.expectEnd();
  const noPut = (flags & WATCH_NO_PUT) !== 0;
  const noDelete = (flags & WATCH_NO_DELETE) !== 0;
  const filters = noPut || noDelete ? { noPut, noDelete } : undefined;
  return { start, end, fromRevision, prevKv: (flags & WATCH_PREV_KV) !== 0, filters };
}

/** Writes events [from, to) of a batch; `partial`: more of the same batch follows in the next frame. */
export function writeBatch(
  writer: ByteWriter,
  batch: WatchBatch,
  from: number,
  to: number,
  partial: boolean,
): void {
  writer
    .varint(batch.revision)
    .bool(partial)
    .varint(to - from);
  for (let i = from; i < to; i++) encodeEvent(batch.events[i]!, writer);
}

export function readBatch(reader: ByteReader): WatchBatch & { readonly partial: boolean } {
  const revision = reader.varint();
  const partial = reader.bool();
  const count = reader.count(MIN_EVENT_BYTES);
  const events: KvEvent[] = [];
  for (let i = 0; i < count; i++) events.push(decodeEvent(reader));
  reader.expectEnd();
  return { revision, events, partial };
}

/** A caller's time-out as it stands on the wire: whole milliseconds; 0 lets the server choose. */
export function wireTimeoutMs(timeoutMs: number | undefined): number {
  if (timeoutMs === undefined) return 0;
  return Math.min(MAX_TIMEOUT_MS, Math.max(1, Math.ceil(timeoutMs)));
}
