/**
 * The index of keys that expire: rows of the system space, ordered by the time at which their key expires.
 *
 *     0x00 't' expiresAtMs:u64be storedKey -> (empty)
 *
 * Invariant: a live row exists exactly for every live key with expiresAtMs > 0; it is written with the revision and subRevision of the write that set
 * the expiry and gets a tombstone with the write that changes or removes it.
 */
import type { KeyRange } from '../storage/record.ts';
import { SPACE_SYSTEM } from './keyspace.ts';

const ROW_TAG = 0x74;
const HEADER_BYTES = 10;
const TWO_32 = 0x1_0000_0000;

function writeHeader(row: Uint8Array, expiresAtMs: number): void {
  row[0] = SPACE_SYSTEM;
  row[1] = ROW_TAG;
  const high = Math.floor(expiresAtMs / TWO_32);
  const low = expiresAtMs % TWO_32;
  for (let at = 0; at < 4; at++) {
    row[2 + at] = high >>> (24 - 8 * at);
    row[6 + at] = low >>> (24 - 8 * at);
  }
}

/** The index row of a stored key. */
export function expiryRowKey(expiresAtMs: number, key: Uint8Array): Uint8Array {
  const row = new Uint8Array(HEADER_BYTES + key.length);
  writeHeader(row, expiresAtMs);
  row.set(key, HEADER_BYTES);
  return row;
}

/** The rows of all keys whose expiry is at or before `nowMs`: scan it for what is due, soonest first. */
export function dueKeysRange(nowMs: number): KeyRange {
  const start = Uint8Array.of(SPACE_SYSTEM, ROW_TAG);
  const end = new Uint8Array(HEADER_BYTES);
  writeHeader(end, Math.min(Math.max(0, Math.floor(nowMs)) + 1, Number.MAX_SAFE_INTEGER));
  return { start, end };
}

/** The rows of all keys that expire: its first one tells when there will be work next. */
export function allExpiryRows(): KeyRange {
  return { start: Uint8Array.of(SPACE_SYSTEM, ROW_TAG), end: Uint8Array.of(SPACE_SYSTEM, ROW_TAG + 1) };
}

/** What an index row says; undefined for a key that is no such row. `key` is a copy. */
export function parseExpiryRow(row: Uint8Array): { expiresAtMs: number; key: Uint8Array } | undefined {
  if (row.length <= HEADER_BYTES || row[0] !== SPACE_SYSTEM || row[1] !== ROW_TAG) return undefined;
  let expiresAtMs = 0;
  for (let at = 2; at < HEADER_BYTES; at++) expiresAtMs = expiresAtMs * 256 + (row[at] as number);
  return { expiresAtMs, key: new Uint8Array(row.subarray(HEADER_BYTES)) };
}
