/**
 * The engine's two faces: `KvEngine` for the state machine (synchronous, after the shell has called `load` for what a command reads) and
 * `Engine` for the node. storage/engine.ts implements both.
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
import type { TreeSnapshot, TreeStats } from './tree.ts';

export interface KvEngine {
  /** The newest version of a key, tombstones included; undefined when it was never there. REQUIRES: loaded. */
  latest(key: Uint8Array): StoredRecord | undefined;
  /** The version of a key that was newest at `revision`. REQUIRES: loaded. */
  at(key: Uint8Array, revision: number): StoredRecord | undefined;
  /** A page of the live keys of a range: what looks at many reads page after page, so that it never holds them all. REQUIRES: the range loaded. */
  page(request: ScanRequest): ScanPage;
  /** Writes one version. Key and value are copied into engine memory. REQUIRES: modRevision above the key's newest. */
  put(
    key: Uint8Array,
    value: Uint8Array,
    modRevision: number,
    createRevision: number,
    version: number,
    subRevision: number,
    flags: number,
    lease: bigint,
    expiresAtMs: number,
  ): void;
  /** Versions superseded at or below `revision` may go. */
  compact(revision: number): void;
}

/** What a command reads before it writes. */
export interface LoadRequest {
  /** At the newest revision. */
  readonly keys: readonly Uint8Array[];
  readonly ranges: readonly LoadRange[];
  /** Versions in the past that `at` will read. */
  readonly older?: readonly KeyVersion[];
  /** Index rows that are read, and then the keys that they name. */
  readonly naming?: readonly NamingRows[];
}

/** A range that will be read. What goes beyond the hints is read as well, but no sooner than it is asked for. */
export interface LoadRange extends KeyRange {
  /** 0: the newest. */
  readonly revision: number;
  /** From its end to its start. */
  readonly reverse: boolean;
  /** The values are not needed. */
  readonly keysOnly: boolean;
  /** So many live keys are looked at, at most. */
  readonly limit: number;
}

export interface KeyVersion {
  readonly key: Uint8Array;
  /** The newest version at or below it is meant. */
  readonly revision: number;
}

/** Rows of an index; each live one names a key. */
export interface NamingRows extends KeyRange {
  /** May be a view of the row. */
  readonly keyOf: (row: Uint8Array) => Uint8Array | undefined;
}

export interface EngineStats {
  readonly memtableBytes: number;
  readonly frozenMemtables: number;
  /** What writes are held to at the moment; Infinity: to nothing. */
  readonly writeLimitBytesPerSecond: number;
  readonly tree: TreeStats;
}

export interface Engine extends KvEngine {
  /** True while the tree answers at once: `load` need not be called before an entry that is applied in this turn. */
  readonly synchronous: boolean;
  /** What a restart would know without the log. undefined: nothing yet. The log may be cut up to `durable.index`. */
  readonly durable: AppliedState | undefined;
  /** True while writes should wait: flushes are far behind, or (for some milliseconds) writes come faster than they can be flushed and compacted. */
  readonly behind: boolean;
  /** Resolves when `behind` may be over (look again); rejects when flushing failed for good. */
  caughtUp(): Promise<void>;
  /**
   * Brings what a command reads into memory, as much of it as may be held at a time: what is left out is read when it is asked for. At once (undefined) unless a tree must go
   * to disk; valid until the next `afterEntry`.
   */
  load(request: LoadRequest): MaybePromise<void>;
  /**
   * Throws (or rejects with) what reading the newest version of a key before a write would throw: a node without others to repair it must not log a write that
   * it cannot apply. @throws KvError CORRUPT
   */
  checkReadable(key: Uint8Array): MaybePromise<void>;
  /**
   * An entry has been applied whole. A full memtable is frozen here and only here, so that no entry is ever split between two flushes;
   * `captureState` is called in that case and must give the state as of this entry.
   */
  afterEntry(index: number, term: number, captureState: () => Uint8Array): void;
  /** Point read for the doors: a record whose views are valid for this turn only. Tombstones are left out. */
  get(key: Uint8Array, revision: number): MaybePromise<StoredRecord | undefined>;
  /** Records may be views, valid for this turn only. */
  scan(request: ScanRequest): MaybePromise<ScanPage>;
  versions(request: VersionsRequest): MaybePromise<ScanPage>;
  /** Freezes the memtable and flushes everything; afterwards `durable.index` is at least `index`. */
  checkpoint(index: number, term: number, captureState: () => Uint8Array): Promise<void>;
  /** A consistent view as of the last flush: for snapshots. Call after `checkpoint`. */
  snapshot(): Promise<TreeSnapshot>;
  /** Replaces everything by a snapshot's content. */
  install(applied: AppliedState, records: AsyncIterable<StoredRecord[]>): Promise<void>;
  stats(): EngineStats;
  /** Called once when a flush failed for good: the node must end (or, for NO_SPACE, stop admitting writes until a flush succeeds). */
  onFailure: (error: Error) => void;
  /** Called whenever a read or the tree's own work meets damaged data (KvError CORRUPT). */
  onDamage: (error: Error) => void;
  close(): Promise<void>;
}
