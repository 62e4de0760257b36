/**
 * The tree port: where frozen memtables go. Two kinds of answer are possible: at once, or a promise. Records that are answers own their bytes, but for
 * the key of `get`, which is the caller's.
 *
 * Invariants that every tree keeps (test/storage/tree_conformance.ts shows them):
 * - a flush is atomic: after a crash either all of its records and its AppliedState are there, or none;
 * - flushes arrive oldest first; the newest record of a key is the one with the largest modRevision;
 * - compaction at revision R may drop a version only when a newer one at or below R exists, or when it is a tombstone at or below R with nothing below it.
 */
import type {
  AppliedState,
  KeyRange,
  MaybePromise,
  ScanPage,
  ScanRequest,
  StoredRecord,
  VersionsRequest,
} from './record.ts';
import type { WasmMemory } from './wasm_module.ts';

/** A sorted, immutable source of records: a frozen memtable on its way into the tree. */
export interface Run {
  /** An upper bound, as is `dataBytes`: versions that compaction dropped on the way may be counted. */
  readonly recordCount: number;
  /** Bytes of keys and values. */
  readonly dataBytes: number;
  /** Every version, in record order. The views in a record are valid until the next step of the iterator. */
  records(): IterableIterator<StoredRecord>;
  /**
   * Where the same records lie, for a tree that writes them straight from there: a frozen memtable's memory, which stays as it is until the flush has ended, and the
   * compact revision whose superseded versions `records` leaves out.
   */
  readonly source?: { readonly memory: WasmMemory; readonly compactRevision: number };
}

/** A consistent view of the tree at its last flush; holds resources until it is released. */
export interface TreeSnapshot {
  readonly applied: AppliedState;
  /** The next records in record order, at most about `maxBytes`; empty at the end. */
  next(maxBytes: number): MaybePromise<StoredRecord[]>;
  release(): void;
}

export interface TreeStats {
  readonly recordCount: number;
  /** Bytes held on disk. */
  readonly sizeBytes: number;
  /** Whatever else the tree counts, by name (lower case, underscores, the unit last). */
  readonly metrics?: Readonly<Record<string, number>>;
}

/** A place among the threads that read a tree's memory beside the tree's own; it goes to such a thread as a message. */
export interface SharedTreePlace {
  readonly memory: WasmMemory;
  readonly reader: number;
  readonly scratch: number;
  /** Where the files lie. */
  readonly directory: string;
}

export interface SharedTree {
  /** @throws KvError UNAVAILABLE when there are too many, or no memory. */
  addReader(): SharedTreePlace;
  /** REQUIRES: the thread has ended, or reads no more. */
  removeReader(place: SharedTreePlace): void;
}

export interface Tree {
  readonly kind: 'tables' | 'rocksdb';
  /** True while `getNow` and `scanNow` are quick enough to be called in a turn: nothing need be loaded ahead of an entry. May change from turn to turn. */
  readonly synchronous?: boolean;
  /** For threads that read beside this one; only of trees that can be read so. */
  readonly shared?: SharedTree;
  /** What a reopened tree would know: the applied index up to which everything is durable here; undefined when nothing is. */
  readonly durable: AppliedState | undefined;
  /** The newest version of a key at or below `revision`, tombstones included; undefined when there is none. */
  get(key: Uint8Array, revision: number): MaybePromise<StoredRecord | undefined>;
  /** `get` that answers at once, from the disk if need be. There when `synchronous` may be true, and may be called even while it is not. */
  getNow?(key: Uint8Array, revision: number): StoredRecord | undefined;
  /** `scan` that answers at once; see `getNow`. */
  scanNow?(request: ScanRequest): ScanPage;
  /** False only when no version of the key is here: lets a write of a new key skip the look-up. Must answer at once. */
  mayContain(key: Uint8Array): boolean;
  scan(request: ScanRequest): MaybePromise<ScanPage>;
  versions(request: VersionsRequest): MaybePromise<ScanPage>;
  flush(run: Run, applied: AppliedState): Promise<void>;
  /** How far the tree's own work is behind its flushes: 0 not at all, 1: writers must wait. */
  readonly pressure?: number;
  /** Makes everything that was flushed durable, so that `durable` catches up. A no-op where a flush is durable by itself. */
  checkpoint(): Promise<void>;
  /** Versions superseded at or below `revision` may go, now or later. */
  compact(revision: number): void;
  snapshot(): Promise<TreeSnapshot>;
  /** Replaces the whole content. Atomic: after a crash the old or the new content is there. `records` come in record order. */
  install(applied: AppliedState, records: AsyncIterable<StoredRecord[]>): Promise<void>;
  stats(): TreeStats;
  /** Told of damaged data (KvError CORRUPT with file and offset) that a read or the tree's own work has met; may be told again and again. */
  onDamage?: (error: Error) => void;
  close(): Promise<void>;
}

export type { KeyRange };
