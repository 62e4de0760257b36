/**
 * The byte form of quotas: their commands, and their section of the state (state_codec.ts).
 *
 *     kind 15    quota         prefix:byteString set:bool limits?      (limits where it is set)
 *     kind 16    quotaCounted  prefix:byteString revision:varint bytes:varint keys:varint
 *     limits    := maxBytes:varint maxKeys:varint maxRequestsPerSecond:varint
 *
 *     section 4  quotas        count*quota                             by prefix
 *     quota     := prefix:byteString limits countingFrom:varint usage
 *     usage     := bytes:varint keys:varint                            countingFrom 0: counted
 *                | bytes:difference keys:difference                    otherwise
 *     difference := number:varint      from 0 on twice the number, below twice what it lacks to 0, less 1
 *
 * Invariants: one value has one encoding; reading refuses what no state machine can have captured; prefixes of a section are copies, those of commands views.
 */
import { SPACE_USER } from '../kv/keyspace.ts';
import type { QuotaCommand, QuotaCountedCommand, QuotaLimits } from '../kv/quota_command.ts';
import { MAX_QUOTAS, type QuotaState } from '../kv/quotas.ts';
import { compareKeys } from '../storage/record.ts';
import { ByteReader, ByteWriter, malformed } from './varint.ts';

export const KIND_QUOTA = 15;
export const KIND_QUOTA_COUNTED = 16;

const MIN_QUOTA_BYTES = 8;
/** Differences are doubled on the wire. */
const MAX_DIFFERENCE = 2 ** 51;

/** Kind and body. */
export function writeQuotaCommand(writer: ByteWriter, command: QuotaCommand | QuotaCountedCommand): void {
  if (command.type === 'quota') {
    writer
      .u8(KIND_QUOTA)
      .byteString(command.prefix)
      .bool(command.limits !== undefined);
    if (command.limits !== undefined) writeQuotaLimits(writer, command.limits);
    return;
  }
  writer.u8(KIND_QUOTA_COUNTED).byteString(command.prefix);
  writer.varint(command.revision).varint(command.bytes).varint(command.keys);
}

/** The body of a command of that kind; undefined: the kind is none of these. @throws KvError PROTOCOL */
export function readQuotaCommand(
  reader: ByteReader,
  kind: number,
): QuotaCommand | QuotaCountedCommand | undefined {
  if (kind === KIND_QUOTA) {
    const prefix = reader.byteString();
    return { type: 'quota', prefix, limits: reader.bool() ? readQuotaLimits(reader) : undefined };
  }
  if (kind !== KIND_QUOTA_COUNTED) return undefined;
  const prefix = reader.byteString();
  const revision = reader.varint();
  if (revision === 0) throw malformed('a count at no revision');
  return { type: 'quotaCounted', prefix, revision, bytes: reader.varint(), keys: reader.varint() };
}

export function writeQuotaLimits(writer: ByteWriter, limits: QuotaLimits): void {
  writer.varint(limits.maxBytes).varint(limits.maxKeys).varint(limits.maxRequestsPerSecond);
}

export function readQuotaLimits(reader: ByteReader): QuotaLimits {
  return { maxBytes: reader.varint(), maxKeys: reader.varint(), maxRequestsPerSecond: reader.varint() };
}

export function encodeQuotasSection(quotas: readonly QuotaState[] | undefined): Uint8Array {
  const writer = new ByteWriter(64);
  if (quotas === undefined || quotas.length === 0) return writer.finish();
  writer.varint(quotas.length);
  for (const quota of quotas) {
    writer.byteString(quota.prefix);
    writeQuotaLimits(writer, quota);
    writer.varint(quota.countingFrom);
    const encode = quota.countingFrom === 0 ? (value: number) => value : encodeDifference;
    writer.varint(encode(quota.bytes)).varint(encode(quota.keys));
  }
  return writer.finish();
}

/** `compactRevision`, `revision`: of the state. @throws KvError PROTOCOL */
export function decodeQuotasSection(
  body: Uint8Array,
  compactRevision: number,
  revision: number,
): QuotaState[] {
  const reader = new ByteReader(body);
  const quotas: QuotaState[] = [];
  for (let left = reader.count(MIN_QUOTA_BYTES); left > 0; left--) {
    const prefix = new Uint8Array(reader.byteString());
    const before = quotas.at(-1);
    if (prefix[0] !== SPACE_USER || (before !== undefined && compareKeys(before.prefix, prefix) >= 0))
      throw malformed('prefixes of quotas out of order');
    const limits = readQuotaLimits(reader);
    const countingFrom = reader.varintUpTo(revision, 'the revision that is counted');
    if (countingFrom !== 0 && countingFrom < compactRevision)
      throw malformed('a quota is counted at a revision that is compacted');
    const decode = countingFrom === 0 ? (value: number) => value : decodeDifference;
    const bytes = decode(reader.varint());
    quotas.push({ prefix, ...limits, countingFrom, bytes, keys: decode(reader.varint()) });
  }
  reader.expectEnd();
  if (quotas.length === 0 || quotas.length > MAX_QUOTAS) throw malformed(`${quotas.length} quotas`);
  return quotas;
}

function encodeDifference(value: number): number {
  return value >= 0 ? 2 * value : -2 * value - 1;
}

function decodeDifference(encoded: number): number {
  if (encoded > 2 * MAX_DIFFERENCE) throw malformed('a difference that is too large');
  return encoded % 2 === 0 ? encoded / 2 : -(encoded + 1) / 2;
}
