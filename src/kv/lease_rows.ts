/**
 * The index of keys by the lease that they are attached to: rows of the system space.
 *
 *     0x00 'l' lease:u64be storedKey -> (empty)
 *
 * Invariant: a live row exists exactly for every live key with a lease; it is written with the revision and subRevision of the write that attached the key and gets
 * a tombstone with the write that detaches or removes it (key_writer.ts). Ids are signed numbers of 64 bits; a row holds their two's complement.
 */
import type { NamingRows } from '../storage/engine_port.ts';
import type { KeyRange } from '../storage/record.ts';
import { SPACE_SYSTEM } from './keyspace.ts';

const ROW_TAG = 0x6c;
const HEADER_BYTES = 10;

function header(lease: bigint): Uint8Array {
  const row = new Uint8Array(HEADER_BYTES);
  row[0] = SPACE_SYSTEM;
  row[1] = ROW_TAG;
  new DataView(row.buffer).setBigInt64(2, lease);
  return row;
}

/** The row of a stored key that is attached to a lease. */
export function leaseRowKey(lease: bigint, key: Uint8Array): Uint8Array {
  const row = new Uint8Array(HEADER_BYTES + key.length);
  row.set(header(lease));
  row.set(key, HEADER_BYTES);
  return row;
}

/** The rows of all keys of a lease. */
export function leaseRows(lease: bigint): KeyRange {
  const start = header(lease);
  const end = start.slice();
  // The next id; after the largest one, the tag after this one: no carry leaves the tag, whose byte is below 255.
  for (let at = HEADER_BYTES - 1; at > 0; at--) {
    end[at] = (end[at] as number) + 1;
    if (end[at] !== 0) break;
  }
  return { start, end };
}

/** The stored key that a row names; undefined for a key that is no such row. A view of the row. */
export function keyOfLeaseRow(row: Uint8Array): Uint8Array | undefined {
  if (row.length <= HEADER_BYTES || row[0] !== SPACE_SYSTEM || row[1] !== ROW_TAG) return undefined;
  return row.subarray(HEADER_BYTES);
}

/** What ending these leases reads: their rows, and the keys that the rows name. */
export function namingRows(leases: readonly bigint[]): NamingRows[] {
  return leases.map((id) => ({ ...leaseRows(id), keyOf: keyOfLeaseRow }));
}
