/**
 * The storage engine: an active memtable, frozen memtables on their way into the tree, and the tree. The Raft log is the memtables' write-ahead log.
 *
 * Invariants:
 * - an entry lies in one memtable: rotation happens in `afterEntry` and `checkpoint` only, with the state as of that entry;
 * - the newest version of a key is the first one found in: active memtable, frozen ones from newest to oldest, tree;
 * - a flush drops what compaction allowed as of the memtable's last entry, and the tree is told of a compact revision only after the flush of the memtable that
 *   was active then: replaying the log from what is durable never meets versions missing that it read the first time;
 * - with a tree that must go to disk, a memtable that was flushed after a `load` stays until the entry is applied (engine_load.ts).
 */
import type { StorageConfig } from '../config.ts';
import { KvError } from '../errors.ts';
import type { Clock, Ports, Timers } from '../ports.ts';
import { FlushQueue, isNoSpace } from './engine_flush.ts';
import { type Layer, Layers } from './engine_layers.ts';
import { LoadedReads, NEWEST, NOT_LOADED, notLoaded, RECORD_BYTES } from './engine_load.ts';
import { runMerge, ScanMerge, VersionsMerge } from './engine_pages.ts';
import type { Engine, EngineStats, LoadRequest, NamingRows } from './engine_port.ts';
import type { Memtable } from './memtable.ts';
import { MemtablePool } from './memtable_pool.ts';
import {
  type AppliedState,
  FLAG_TOMBSTONE,
  keyAfter,
  type MaybePromise,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
  type VersionsRequest,
} from './record.ts';
import type { SharedReads } from './shared/shared_reads.ts';
import type { Tree, TreeSnapshot } from './tree.ts';
import { memtablePressure, WriteThrottle } from './write_throttle.ts';

/** How often the throttle is told of the pressure, in bytes written. */
const PACE_BYTES = 128 * 1024;
const PAGE_OF_ROWS = {
  revision: NEWEST,
  reverse: false,
  keysOnly: true,
  limit: 1024,
  maxBytes: 1024 * 1024,
} as const;

export interface StorageEngineOptions {
  readonly config: Pick<StorageConfig, 'memtableSizeBytes' | 'maxFrozenMemtables'>;
  readonly tree: Tree;
  readonly ports: Ports;
  /** Where memtables come from; one of its own unless given. */
  readonly pool?: MemtablePool;
  /** For the threads that read beside this one. */
  readonly shared?: SharedReads | undefined;
  /** What may be held of a tree's records for the reads of one entry; 64 MiB unless given. */
  readonly maxLoadedBytes?: number;
}

export class StorageEngine implements Engine {
  onFailure: (error: Error) => void = (error) => {
    throw error;
  };
  onDamage: (error: Error) => void = () => undefined;
  readonly #tree: Tree;
  readonly #layers: Layers;
  readonly #shared: SharedReads | undefined;
  readonly #queue: FlushQueue;
  readonly #loaded: LoadedReads;
  readonly #throttle = new WriteThrottle();
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #maxFrozenMemtables: number;
  /** Bytes written since the throttle was last told of the pressure. */
  #unpaced = 0;
  #active: Memtable;
  #frozen = false;
  /** Between a load and the end of its entry. */
  #loading = false;
  /** What checkReadable found in the tree for the writes that come next, by the very key that they bring: a block need not be read twice. Forgotten after an entry. */
  readonly #checked = new Map<Uint8Array, StoredRecord | undefined>();
  #compactRevision = 0;
  /** The largest index that a memtable was frozen at, or that came with the tree. */
  #frozenIndex: number;
  #failed = false;
  #closed = false;

  constructor(options: StorageEngineOptions) {
    const { config, tree, ports } = options;
    this.#tree = tree;
    this.#loaded = new LoadedReads(options.maxLoadedBytes);
    this.#clock = ports.clock;
    this.#timers = ports.timers;
    this.#maxFrozenMemtables = config.maxFrozenMemtables;
    tree.onDamage = (error) => this.onDamage(error);
    const shared = options.shared;
    this.#shared = shared;
    if (shared !== undefined) shared.tree = tree.shared;
    const pool =
      options.pool ??
      new MemtablePool(
        { sizeBytes: config.memtableSizeBytes, readers: shared?.readers ?? 0 },
        config.maxFrozenMemtables + 1,
        (memtable) => shared?.forget(memtable),
      );
    this.#layers = new Layers(pool, ports.timers, shared);
    this.#active = this.#layers.active;
    this.#frozenIndex = tree.durable?.index ?? 0;
    this.#queue = new FlushQueue({
      layers: this.#layers,
      tree,
      timers: ports.timers,
      maxFrozenMemtables: config.maxFrozenMemtables,
      onFailure: (error) => this.#fail(error),
      onFlushed: (layer, elapsedMs) => this.#flushed(layer, elapsedMs),
      clock: ports.clock,
    });
  }

  get synchronous(): boolean {
    return this.#tree.synchronous === true;
  }

  get durable(): AppliedState | undefined {
    return this.#tree.durable;
  }

  get behind(): boolean {
    if (this.#queue.behind) return true;
    return this.#throttle.limited && this.#throttle.delayMs(this.#clock.monotonicMs()) > 0;
  }

  /** The disk is full: flushes are retried. */
  get noSpace(): boolean {
    return this.#queue.noSpace;
  }

  caughtUp(): Promise<void> {
    if (this.#queue.behind) return this.#queue.until(() => !this.#queue.behind);
    // While nothing is written nobody else notices that compaction has caught up.
    this.#pace();
    const delayMs = this.#throttle.delayMs(this.#clock.monotonicMs());
    if (delayMs <= 0) return Promise.resolve();
    return new Promise((resolve) => this.#timers.after(delayMs, resolve));
  }

  latest(key: Uint8Array): StoredRecord | undefined {
    const record = this.#active.latest(key);
    if (record !== undefined) return record;
    return (this.#frozen ? this.#fromFrozen(key, NEWEST) : undefined) ?? this.#fromTree(key, NEWEST);
  }

  at(key: Uint8Array, revision: number): StoredRecord | undefined {
    return this.#fromMemtables(key, revision) ?? this.#fromTree(key, revision);
  }

  page(request: ScanRequest): ScanPage {
    const page = this.#scan(request, (round) => this.#treePageNow(round));
    if (page instanceof Promise)
      throw new KvError('INTERNAL', 'the tree did not answer at once, as it had promised');
    return page;
  }

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
  ): void {
    this.#active.put(
      key,
      value,
      modRevision,
      createRevision,
      version,
      subRevision,
      flags,
      lease,
      expiresAtMs,
    );
    const bytes = key.length + value.length;
    this.#unpaced += bytes;
    if (this.#throttle.limited) this.#throttle.spend(bytes);
    if (this.#unpaced >= PACE_BYTES) this.#pace();
  }

  compact(revision: number): void {
    if (revision > this.#compactRevision) this.#compactRevision = revision;
    this.#shared?.publishCompacted(revision);
  }

  load(request: LoadRequest): MaybePromise<void> {
    if (this.synchronous) return undefined;
    this.#loading = true;
    const isHere = (key: Uint8Array): boolean => this.#fromMemtables(key, NEWEST) !== undefined;
    const first = this.#loaded.load(this.#tree, request, isHere);
    const { naming } = request;
    if (naming === undefined || naming.length === 0) return first;
    const loadNamed = (): Promise<void> | undefined =>
      this.#loaded.load(this.#tree, { keys: this.#keysIn(naming), ranges: [] }, isHere);
    return first === undefined ? loadNamed() : first.then(loadNamed);
  }

  /** The keys that loaded rows name, as many as may be held. */
  #keysIn(naming: readonly NamingRows[]): Uint8Array[] {
    const keys: Uint8Array[] = [];
    let bytesLeft = this.#loaded.maxBytes(this.#tree);
    for (const { start, end, keyOf } of naming) {
      let from: Uint8Array | undefined = start;
      while (from !== undefined && bytesLeft > 0) {
        const { records, more } = this.page({ ...PAGE_OF_ROWS, start: from, end });
        for (const row of records) {
          const key = keyOf(row.key);
          if (key === undefined) continue;
          keys.push(new Uint8Array(key));
          bytesLeft -= key.length + RECORD_BYTES;
        }
        from = more ? keyAfter(records.at(-1)!.key) : undefined;
      }
    }
    return keys;
  }

  checkReadable(key: Uint8Array): MaybePromise<void> {
    // The bytes behind a key may be another one's by now.
    if (this.#checked.size > 0) this.#checked.delete(key);
    if (this.#active.has(key) || !this.#tree.mayContain(key)) return undefined;
    for (const { memtable } of this.#layers.newestFirst) if (memtable.has(key)) return undefined;
    if (this.synchronous && this.#tree.getNow !== undefined) {
      this.#checked.set(key, this.#tree.getNow(key, NEWEST));
      return undefined;
    }
    const record = this.#tree.get(key, NEWEST);
    return record instanceof Promise ? record.then(() => undefined) : undefined;
  }

  afterEntry(index: number, term: number, captureState: () => Uint8Array): void {
    if (this.#checked.size > 0) this.#checked.clear();
    this.#shared?.publishRevision(this.#active.largestRevision);
    if (this.#loading) {
      this.#loading = false;
      this.#loaded.clear();
      this.#dropFlushed();
    }
    if (!this.#active.full) return;
    this.#freeze(index, term, captureState);
    this.#queue.start();
  }

  get(key: Uint8Array, revision: number): MaybePromise<StoredRecord | undefined> {
    const record = this.#fromMemtables(key, revision) ?? this.#tree.get(key, revision);
    return record instanceof Promise ? record.then(live) : live(record);
  }

  scan(request: ScanRequest): MaybePromise<ScanPage> {
    const merged = (): MaybePromise<ScanPage> => this.#scan(request, (round) => this.#tree.scan(round));
    if (this.#layers.anyIn(request)) return merged();
    // Most of a large store is in the tree alone: nothing to merge, and a full page of it is the answer.
    const page = this.#tree.scan(request);
    if (page instanceof Promise) return page.then((later) => (isFull(later, request) ? later : merged()));
    return isFull(page, request) ? page : merged();
  }

  versions(request: VersionsRequest): MaybePromise<ScanPage> {
    return runMerge(
      new VersionsMerge(request),
      this.#layers,
      (layer, round) => layer.memtable.versions(round),
      (round) => this.#tree.versions(round),
    );
  }

  async checkpoint(index: number, term: number, captureState: () => Uint8Array): Promise<void> {
    this.#assertUsable();
    if (index > this.#frozenIndex || this.#active.recordCount > 0) this.#freeze(index, term, captureState);
    this.#queue.start();
    const waiting = new Set(this.#layers.waiting);
    await this.#queue.until(() => this.#layers.waiting.every((layer) => !waiting.has(layer)));
    try {
      await this.#tree.checkpoint();
    } catch (error) {
      throw this.#judge(error);
    }
  }

  snapshot(): Promise<TreeSnapshot> {
    return this.#tree.snapshot();
  }

  async install(applied: AppliedState, records: AsyncIterable<StoredRecord[]>): Promise<void> {
    this.#assertUsable();
    await this.#queue.hold();
    try {
      await this.#tree.install(applied, records);
      this.#layers.replaceAll();
      this.#active = this.#layers.active;
      this.#frozen = false;
      this.#loading = false;
      this.#loaded.clear();
      this.#compactRevision = 0;
      this.#frozenIndex = applied.index;
    } catch (error) {
      throw this.#judge(error);
    } finally {
      this.#queue.resume();
    }
  }

  stats(): EngineStats {
    return {
      memtableBytes: this.#layers.memoryBytes,
      frozenMemtables: this.#layers.waiting.length,
      writeLimitBytesPerSecond: this.#throttle.bytesPerSecond,
      tree: this.#tree.stats(),
    };
  }

  /** Ends after the flush under way; what was not flushed is in the log. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue.fail(new KvError('CLOSED', 'the engine is closed'));
    await this.#queue.hold();
    await this.#tree.close();
  }

  /** Lets the throttle follow how far flushes and compaction are behind. */
  #pace(): void {
    this.#unpaced = 0;
    const { usedBytes, sizeBytes } = this.#active;
    const waiting = this.#layers.waiting.length;
    const own = memtablePressure(waiting, usedBytes / sizeBytes, this.#maxFrozenMemtables);
    this.#throttle.update(Math.max(own, this.#tree.pressure ?? 0), this.#clock.monotonicMs());
  }

  #assertUsable(): void {
    if (this.#closed) throw new KvError('CLOSED', 'the engine is closed');
  }

  #freeze(index: number, term: number, captureState: () => Uint8Array): void {
    this.#layers.freeze({ index, term, state: captureState() }, this.#compactRevision);
    this.#active = this.#layers.active;
    this.#frozen = true;
    this.#frozenIndex = index;
  }

  #flushed(layer: Layer, elapsedMs: number): void {
    const { dataBytes, usedBytes, sizeBytes } = layer.memtable;
    // The time that one frozen early took was spent on files, not on what is in it.
    if (usedBytes * 2 >= sizeBytes) this.#throttle.drained(dataBytes, elapsedMs);
    this.#pace();
    if (layer.compactRevision > 0) this.#tree.compact(layer.compactRevision);
    if (!this.#loading) this.#dropFlushed();
  }

  #dropFlushed(): void {
    this.#layers.dropFlushed();
    this.#frozen = this.#layers.newestFirst.length > 1;
  }

  #fromMemtables(key: Uint8Array, revision: number): StoredRecord | undefined {
    const record = this.#active.at(key, revision);
    return record === undefined && this.#frozen ? this.#fromFrozen(key, revision) : record;
  }

  #fromFrozen(key: Uint8Array, revision: number): StoredRecord | undefined {
    const layers = this.#layers.newestFirst;
    for (let i = 1; i < layers.length; i++) {
      const record = layers[i]!.memtable.at(key, revision);
      if (record !== undefined) return record;
    }
    return undefined;
  }

  #fromTree(key: Uint8Array, revision: number): StoredRecord | undefined {
    if (this.#checked.size > 0 && revision === NEWEST && this.#checked.has(key))
      return this.#checked.get(key);
    const loaded = this.#loading ? this.#loaded.get(key, revision) : NOT_LOADED;
    if (loaded !== NOT_LOADED) return loaded;
    if (this.#tree.getNow === undefined) throw notLoaded();
    return this.#tree.getNow(key, revision);
  }

  #treePageNow(request: ScanRequest): ScanPage {
    const loaded = this.#loading ? this.#loaded.scan(request) : undefined;
    if (loaded !== undefined) return loaded;
    if (this.#tree.scanNow === undefined) throw notLoaded();
    return this.#tree.scanNow(request);
  }

  #scan(
    request: ScanRequest,
    readTree: (round: ScanRequest) => MaybePromise<ScanPage>,
  ): MaybePromise<ScanPage> {
    return runMerge(
      new ScanMerge(request),
      this.#layers,
      (layer, round) => layer.memtable.scan(round),
      readTree,
    );
  }

  /** A full disk is the caller's to retry; anything else that the tree could not write ends the engine. */
  #judge(error: unknown): Error {
    if (isNoSpace(error)) {
      return error instanceof KvError
        ? error
        : new KvError(
            'NO_SPACE',
            'no space left to flush memtables into the tree; what they hold is in the log',
            { cause: error },
          );
    }
    const failure = error instanceof Error ? error : new Error(String(error));
    if (!(failure instanceof KvError && (failure.code === 'CLOSED' || failure.code === 'CORRUPT')))
      this.#fail(failure);
    return failure;
  }

  #fail(error: Error): void {
    if (this.#failed || this.#closed) return;
    this.#failed = true;
    this.onFailure(error);
  }
}

function live(record: StoredRecord | undefined): StoredRecord | undefined {
  return record === undefined || (record.flags & FLAG_TOMBSTONE) !== 0 ? undefined : record;
}

/** A tree may give less than was asked for at a time. */
function isFull({ records, more }: ScanPage, { limit, maxBytes }: ScanRequest): boolean {
  if (!more || records.length >= limit) return true;
  let bytes = 0;
  for (const { key, value } of records) bytes += key.length + value.length;
  return bytes >= maxBytes;
}
