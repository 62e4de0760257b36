/**
 * Byte form of what clients ask about the upkeep of the store (docs/formats/tcp_protocol.md), each behind the time-out of its frame.
 *
 *     compact     := revision:varint physical:bool                    answer: revision:varint
 *     hash        := revision:varint compactRevision:varint           answer: keyHash
 *     clusterHash := -                                                answer: revision:varint compactRevision:varint count*memberHash count*member:varint
 *     alarms      := -                                                answer: revision:varint count*alarm
 *     alarm       := clear:bool alarm                                 answer: as of alarms
 *     quota       := prefix:bytes set:bool limits?                    answer: revision:varint
 *     quotas      := -                                                answer: revision:varint count*(prefix:bytes limits counted:bool (bytes:varint keys:varint)?)
 *     keyHash     := revision:varint compactRevision:varint versions:varint hash:bytes(32)
 *     memberHash  := member:varint given:bool (keyHash | problem:string)
 *
 * Alarms as in upkeep_codec.ts, limits as in quota_codec.ts. Invariant: reading throws KvError PROTOCOL for anything but the grammar.
 */

import { readQuotaLimits, writeQuotaLimits } from './quota_codec.ts';
import { readAlarms, writeAlarms } from './upkeep_codec.ts';
import type {
  AlarmsResponse,
  ClusterHash,
  CompactRequest,
  HashRequest,
  KeyHash,
  MemberHash,
  QuotaRequest,
  QuotasResponse,
  QuotaUsage,
  SnapshotHead,
} from './upkeep_messages.ts';
import { type ByteReader, type ByteWriter, malformed } from './varint.ts';

const HASH_BYTES = 32;
const MIN_MEMBER_BYTES = 3;
const MIN_QUOTA_BYTES = 5;

export function writeCompact(writer: ByteWriter, { revision, physical }: CompactRequest): void {
  writer.varint(revision).bool(physical);
}

export function readCompact(reader: ByteReader): CompactRequest {
  return { revision: reader.varint(), physical: reader.bool() };
}

export function writeHashRequest(writer: ByteWriter, { revision, compactRevision }: HashRequest): void {
  writer.varint(revision).varint(compactRevision);
}

export function readHashRequest(reader: ByteReader): HashRequest {
  return { revision: reader.varint(), compactRevision: reader.varint() };
}

export function writeKeyHash(
  writer: ByteWriter,
  { revision, compactRevision, versions, hash }: KeyHash,
): void {
  writer.varint(revision).varint(compactRevision).varint(versions).byteString(Buffer.from(hash, 'hex'));
}

export function readKeyHash(reader: ByteReader): KeyHash {
  const revision = reader.varint();
  const compactRevision = reader.varint();
  const versions = reader.varint();
  const hash = reader.byteString();
  if (hash.length !== HASH_BYTES) throw malformed(`a hash of ${hash.length} bytes`);
  return { revision, compactRevision, versions, hash: Buffer.from(hash).toString('hex') };
}

export function writeClusterHash(writer: ByteWriter, answer: ClusterHash): void {
  writer.varint(answer.revision).varint(answer.compactRevision).varint(answer.members.length);
  for (const { id, hash, problem } of answer.members) {
    writer.varint(id).bool(hash !== undefined);
    if (hash === undefined) writer.string(problem);
    else writeKeyHash(writer, hash);
  }
  writer.varint(answer.differing.length);
  for (const id of answer.differing) writer.varint(id);
}

export function readClusterHash(reader: ByteReader): ClusterHash {
  const revision = reader.varint();
  const compactRevision = reader.varint();
  const members: MemberHash[] = [];
  for (let left = reader.count(MIN_MEMBER_BYTES); left > 0; left--) {
    const id = reader.varint();
    if (reader.bool()) members.push({ id, hash: readKeyHash(reader), problem: '' });
    else members.push({ id, hash: undefined, problem: reader.string() });
  }
  const differing: number[] = [];
  for (let left = reader.count(1); left > 0; left--) differing.push(reader.varint());
  return { revision, compactRevision, members, differing };
}

export function writeAlarmsAnswer(writer: ByteWriter, { revision, alarms }: AlarmsResponse): void {
  writer.varint(revision);
  writeAlarms(writer, alarms);
}

export function readAlarmsAnswer(reader: ByteReader): AlarmsResponse {
  return { revision: reader.varint(), alarms: readAlarms(reader) };
}

export function writeQuotaRequest(writer: ByteWriter, { prefix, limits }: QuotaRequest): void {
  writer.byteString(prefix).bool(limits !== undefined);
  if (limits !== undefined) writeQuotaLimits(writer, limits);
}

/** The prefix is a view. */
export function readQuotaRequest(reader: ByteReader): QuotaRequest {
  const prefix = reader.byteString();
  return { prefix, limits: reader.bool() ? readQuotaLimits(reader) : undefined };
}

export function writeQuotasAnswer(writer: ByteWriter, { revision, quotas }: QuotasResponse): void {
  writer.varint(revision).varint(quotas.length);
  for (const quota of quotas) {
    writer.byteString(quota.prefix);
    writeQuotaLimits(writer, quota);
    writer.bool(quota.counted);
    if (quota.counted) writer.varint(quota.bytes).varint(quota.keys);
  }
}

/** Prefixes are copies. */
export function readQuotasAnswer(reader: ByteReader): QuotasResponse {
  const revision = reader.varint();
  const quotas: QuotaUsage[] = [];
  for (let left = reader.count(MIN_QUOTA_BYTES); left > 0; left--) {
    const prefix = new Uint8Array(reader.byteString());
    const limits = readQuotaLimits(reader);
    const counted = reader.bool();
    const bytes = counted ? reader.varint() : 0;
    quotas.push({ prefix, ...limits, counted, bytes, keys: counted ? reader.varint() : 0 });
  }
  return { revision, quotas };
}

export function writeSnapshotHead(writer: ByteWriter, { revision, sizeBytes }: SnapshotHead): void {
  writer.varint(revision).varint(sizeBytes);
}

export function readSnapshotHead(reader: ByteReader): SnapshotHead {
  const head = { revision: reader.varint(), sizeBytes: reader.varint() };
  reader.expectEnd();
  return head;
}
