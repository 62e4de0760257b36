/**
 * Copies of records: what leaves the state machine must outlive the engine's views.
 */
import { FLAG_TOMBSTONE, type StoredRecord } from '../storage/record.ts';

export const EMPTY_BYTES: Uint8Array = new Uint8Array(0);

/** A private copy; with `keysOnly` the value is left empty. */
export function copyRecord(record: StoredRecord, keysOnly = false): StoredRecord {
  return {
    key: new Uint8Array(record.key),
    value: keysOnly || record.value.length === 0 ? EMPTY_BYTES : new Uint8Array(record.value),
    modRevision: record.modRevision,
    createRevision: record.createRevision,
    version: record.version,
    subRevision: record.subRevision,
    flags: record.flags,
    lease: record.lease,
    expiresAtMs: record.expiresAtMs,
  };
}

/** The record when it is there and no tombstone. */
export function live(record: StoredRecord | undefined): StoredRecord | undefined {
  return record === undefined || (record.flags & FLAG_TOMBSTONE) !== 0 ? undefined : record;
}

/** What a record weighs against a limit in bytes: its data and a little for the rest. */
export function recordBytes(record: StoredRecord): number {
  return record.key.length + record.value.length + RECORD_OVERHEAD_BYTES;
}

const RECORD_OVERHEAD_BYTES = 64;
