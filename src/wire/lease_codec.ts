/**
 * The byte form of the commands about leases, and of the leases in the state.
 *
 *     kind 7   leaseGrant   id lease:u64 ttlMs:varint       lease 0: the store chooses
 *     kind 8   leaseRevoke  id lease:u64
 *     kind 9   leaseRenew   count*lease:u64
 *     kind 10  leaseExpire  count*lease:u64
 *
 *     leases := given:varint count*(lease:u64 ttlMs:u64 expiresAtMs:u64 keys:u32)      section 1 of the state, in the order of granting (kv/lease_state.ts)
 *
 * A lease is a signed number of 64 bits and stands as its two's complement. The state's rows have fixed widths: the table of leases keeps
 * them as they stand here, since the state is written while the node applies nothing, with as many as a million leases.
 *
 * Invariants: the state names no lease twice and none that is 0; times are safe integers; a time to live is not above its bound.
 */
import { KvError } from '../errors.ts';
import type { LeaseCommand } from '../kv/command.ts';
import { LEASE_ROW_BYTES, type LeasesState, NO_LEASES } from '../kv/lease_state.ts';
import { ByteReader, type ByteWriter, malformed, putVarint, varintBytes } from './varint.ts';
import { readWriteId, writeWriteId } from './write_id.ts';

export const KIND_LEASE_GRANT = 7;
export const KIND_LEASE_REVOKE = 8;
export const KIND_LEASE_RENEW = 9;
export const KIND_LEASE_EXPIRE = 10;

const ID_BYTES = 8;
const NO_BYTES = new Uint8Array(0);

/** Kind and body. */
export function writeLeaseCommand(writer: ByteWriter, command: LeaseCommand): void {
  switch (command.type) {
    case 'leaseGrant':
      writer.u8(KIND_LEASE_GRANT);
      writeWriteId(writer, command.id);
      writer.bigU64(BigInt.asUintN(64, command.lease)).varint(command.ttlMs);
      break;
    case 'leaseRevoke':
      writer.u8(KIND_LEASE_REVOKE);
      writeWriteId(writer, command.id);
      writer.bigU64(BigInt.asUintN(64, command.lease));
      break;
    case 'leaseRenew':
      writeIds(writer.u8(KIND_LEASE_RENEW), command.leases);
      break;
    case 'leaseExpire':
      writeIds(writer.u8(KIND_LEASE_EXPIRE), command.leases);
  }
}

/** The body of a command of such a kind; undefined for another kind. @throws KvError PROTOCOL */
export function readLeaseCommand(reader: ByteReader, kind: number): LeaseCommand | undefined {
  switch (kind) {
    case KIND_LEASE_GRANT:
      return {
        type: 'leaseGrant',
        id: readWriteId(reader),
        lease: readLease(reader),
        ttlMs: reader.varint(),
      };
    case KIND_LEASE_REVOKE:
      return { type: 'leaseRevoke', id: readWriteId(reader), lease: readLease(reader) };
    case KIND_LEASE_RENEW:
      return { type: 'leaseRenew', leases: readIds(reader) };
    case KIND_LEASE_EXPIRE:
      return { type: 'leaseExpire', leases: readIds(reader) };
    default:
      return undefined;
  }
}

export function writeIds(writer: ByteWriter, leases: readonly bigint[]): void {
  writer.varint(leases.length);
  for (const lease of leases) writer.bigU64(BigInt.asUintN(64, lease));
}

/** @throws KvError PROTOCOL */
export function readIds(reader: ByteReader): bigint[] {
  const leases: bigint[] = [];
  for (let left = reader.count(ID_BYTES); left > 0; left--) leases.push(readLease(reader));
  return leases;
}

export function readLease(reader: ByteReader): bigint {
  return BigInt.asIntN(64, reader.bigU64());
}

/** No bytes when there is nothing to say. */
export function encodeLeases(state: LeasesState = NO_LEASES): Uint8Array {
  const { given, rows } = state;
  const count = rows.length / LEASE_ROW_BYTES;
  if (count === 0 && given === 0) return NO_BYTES;
  const bytes = new Uint8Array(varintBytes(given) + varintBytes(count) + rows.length);
  bytes.set(rows, putVarint(bytes, putVarint(bytes, 0, given), count));
  return bytes;
}

/** The section's body; undefined: the state has none. @throws KvError PROTOCOL */
export function decodeLeases(bytes: Uint8Array | undefined): LeasesState | undefined {
  if (bytes === undefined) return undefined;
  const reader = new ByteReader(bytes);
  const given = reader.varint();
  const count = reader.count(LEASE_ROW_BYTES);
  if (given === 0 && count === 0) throw malformed('no leases written out');
  const start = reader.offset;
  const seen = new Set<bigint>();
  for (let at = 0; at < count; at++) {
    const id = readLease(reader);
    if (id === 0n || seen.has(id)) throw malformed(`lease ${id} in the state a second time, or 0`);
    seen.add(id);
    reader.u64();
    reader.u64();
    reader.u32();
  }
  const rows = new Uint8Array(bytes.subarray(start, reader.offset));
  reader.expectEnd();
  return { given, rows };
}

/** A lease as a client names it: any signed number of 64 bits but 0. @throws KvError INVALID_ARGUMENT */
export function checkLeaseId(lease: bigint): void {
  if (lease === 0n || BigInt.asIntN(64, lease) !== lease) {
    throw new KvError('INVALID_ARGUMENT', `${lease} is no id of a lease`);
  }
}
