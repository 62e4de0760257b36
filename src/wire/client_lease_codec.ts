/**
 * Byte form of what clients ask about leases (docs/formats/tcp_protocol.md), each behind the time-out of its frame. Leases are granted and revoked by commands, under a session, so
 * that a retry does it once.
 *
 *     keepAlive   := lease:u64                                        answer: revision:varint ttlMs:varint
 *     timeToLive  := lease:u64 keys:bool                              answer: revision:varint lease:u64 ttlMs:varint left:varint count*key:bytes
 *     leases      := -                                                answer: revision:varint count*lease:u64
 *
 * `left` is what remains and one more, in milliseconds: 0 when there is no such lease. Invariant: reading throws KvError PROTOCOL for anything but the grammar.
 */

import { readIds, readLease, writeIds } from './lease_codec.ts';
import type { LeaseKeepAliveResponse, LeasesResponse, LeaseTimeToLiveResponse } from './lease_messages.ts';
import type { ByteReader, ByteWriter } from './varint.ts';

export function writeLease(writer: ByteWriter, lease: bigint): ByteWriter {
  return writer.bigU64(BigInt.asUintN(64, lease));
}

export function writeKeptAlive(writer: ByteWriter, { revision, ttlMs }: LeaseKeepAliveResponse): void {
  writer.varint(revision).varint(ttlMs);
}

export function readKeptAlive(reader: ByteReader): LeaseKeepAliveResponse {
  return { revision: reader.varint(), ttlMs: reader.varint() };
}

export function writeTimeToLive(writer: ByteWriter, answer: LeaseTimeToLiveResponse): void {
  const { revision, lease, ttlMs, remainingMs, keys } = answer;
  writeLease(writer.varint(revision), lease).varint(ttlMs);
  writer.varint(Math.floor(remainingMs) + 1).varint(keys.length);
  for (const key of keys) writer.byteString(key);
}

/** Keys are copies. */
export function readTimeToLive(reader: ByteReader): LeaseTimeToLiveResponse {
  const revision = reader.varint();
  const lease = readLease(reader);
  const ttlMs = reader.varint();
  const remainingMs = reader.varint() - 1;
  const keys: Uint8Array[] = [];
  for (let left = reader.count(1); left > 0; left--) keys.push(new Uint8Array(reader.byteString()));
  return { revision, lease, ttlMs, remainingMs, keys };
}

export function writeLeases(writer: ByteWriter, { revision, leases }: LeasesResponse): void {
  writeIds(writer.varint(revision), leases);
}

export function readLeases(reader: ByteReader): LeasesResponse {
  return { revision: reader.varint(), leases: readIds(reader) };
}
