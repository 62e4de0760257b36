/**
 * What the engine stores: one record per version of a key, and the order in which records lie everywhere
 * (key ascending as unsigned bytes, modRevision descending).
 *
 * Keys at this level are *stored keys*: one space byte (kv/keyspace.ts) followed by the key itself.
 */

export const FLAG_TOMBSTONE = 1;

export interface StoredRecord {
  /** May be a view of engine memory: copy it before the current turn of the event loop ends if it must live on. Same for `value`. */
  readonly key: Uint8Array;
  /** Empty when the record is a tombstone. */
  readonly value: Uint8Array;
  readonly modRevision: number;
  /** Revision of the put that brought the key into being; 0 for a tombstone. */
  readonly createRevision: number;
  /** 1 at creation, one more with every put; 0 for a tombstone. */
  readonly version: number;
  /** Position among the writes of its transaction: orders the events of one revision. */
  readonly subRevision: number;
  /** FLAG_ bits. */
  readonly flags: number;
  /** Lease that the key is attached to; 0n for none. */
  readonly lease: bigint;
  /** Wall-clock milliseconds at which the key expires; 0 for never. */
  readonly expiresAtMs: number;
}

/** [start, end): `end` undefined means to the end of everything. */
export interface KeyRange {
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
}

export interface ScanRequest extends KeyRange {
  /** Per key, the newest version at or below this revision is shown. */
  readonly revision: number;
  readonly reverse: boolean;
  /** At most this many records (from 1). */
  readonly limit: number;
  /** Stops after the record that reaches this many bytes of keys and values. */
  readonly maxBytes: number;
  /** Leave values empty. */
  readonly keysOnly: boolean;
  /** Show keys whose newest version is a tombstone. Only the engine's own merging wants that. */
  readonly tombstones?: boolean;
}

export interface ScanPage {
  readonly records: StoredRecord[];
  /** True when records may remain beyond the last one of this page. */
  readonly more: boolean;
}

/** All versions of keys in a range, in record order. Used by watch catch-up, flushes and snapshots. */
export interface VersionsRequest extends KeyRange {
  /** Continue after this record (same key and lower modRevision, or a greater key). */
  readonly after: { readonly key: Uint8Array; readonly modRevision: number } | undefined;
  /** Only versions with minRevision <= modRevision <= maxRevision. */
  readonly minRevision: number;
  readonly maxRevision: number;
  readonly limit: number;
  readonly maxBytes: number;
}

/** The state that goes to disk together with a flush: what the log need not be replayed for. */
export interface AppliedState {
  readonly index: number;
  readonly term: number;
  /** Opaque bytes of the state machine (revision, sessions, clock, configuration), as of `index`. */
  readonly state: Uint8Array;
}

export type MaybePromise<T> = T | Promise<T>;

/** The order of keys: unsigned bytes, a prefix before what it begins. Negative, 0 or positive. */
export function compareKeys(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = a[i]! - b[i]!;
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Record order: key ascending, modRevision descending. */
export function compareRecords(
  a: { readonly key: Uint8Array; readonly modRevision: number },
  b: { readonly key: Uint8Array; readonly modRevision: number },
): number {
  const order = compareKeys(a.key, b.key);
  return order !== 0 ? order : b.modRevision - a.modRevision;
}

/** The smallest key greater than `key`. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const after = new Uint8Array(key.length + 1);
  after.set(key);
  return after;
}

const NO_BYTES = new Uint8Array(0);

/** Whether bytes are lent: memtables lie in shared memory, which is used again; what a tree gives owns its bytes. */
export function isLent(bytes: Uint8Array): boolean {
  return bytes.buffer instanceof SharedArrayBuffer;
}

/** A record that owns its bytes; the same one if it does already. */
export function ownedRecord(record: StoredRecord): StoredRecord {
  return isLent(record.value) || isLent(record.key) ? copyRecord(record) : record;
}

/** A record that owns its bytes: for one that must outlive the turn. */
export function copyRecord(record: StoredRecord): StoredRecord {
  return copyWith(record, record.value.length === 0 ? NO_BYTES : new Uint8Array(record.value));
}

/** The same without the value. */
export function copyWithoutValue(record: StoredRecord): StoredRecord {
  return copyWith(record, NO_BYTES);
}

function copyWith(record: StoredRecord, value: Uint8Array): StoredRecord {
  return {
    // Not slice(): of a Buffer that is a view.
    key: new Uint8Array(record.key),
    value,
    modRevision: record.modRevision,
    createRevision: record.createRevision,
    version: record.version,
    subRevision: record.subRevision,
    flags: record.flags,
    lease: record.lease,
    expiresAtMs: record.expiresAtMs,
  };
}
