/**
 * Small questions about records.
 */
import { FLAG_TOMBSTONE, type StoredRecord } from '../storage/record.ts';

export const EMPTY_BYTES: Uint8Array = new Uint8Array(0);

/** The record when it is there and no tombstone. */
export function live(record: StoredRecord | undefined): StoredRecord | undefined {
  return record === undefined || (record.flags & FLAG_TOMBSTONE) !== 0 ? undefined : record;
}

/** What a record weighs against a limit in bytes: its data and a little for the rest. */
export function recordBytes(record: StoredRecord): number {
  return record.key.length + record.value.length + RECORD_OVERHEAD_BYTES;
}

export const RECORD_OVERHEAD_BYTES = 64;

/** What removing a key writes: a tombstone for it, and one for each row that an index has of it. */
export function tombstoneBytes({ key, expiresAtMs, lease }: StoredRecord): number {
  const rows = 1 + (expiresAtMs === 0 ? 0 : 1) + (lease === 0n ? 0 : 1);
  return rows * (key.length + RECORD_OVERHEAD_BYTES);
}
