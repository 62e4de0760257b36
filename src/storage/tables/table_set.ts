/**
 * The open tables of a tree, level by level, and point reads of them. The tree tells it of every change of the levels; merges and scans take files and
 * indexes from it.
 *
 * Invariants: readers see one version of the levels, the old one or the new one; a file stays open while a version that names it is the present one, is pinned, or
 * has a look-up waiting for a block; answers own their values. A look-up that waits goes on in the version that it began in.
 */
import { KvError } from '../../errors.ts';
import type { Ports } from '../../ports.ts';
import type { Disk } from '../disk.ts';
import type { MaybePromise, StoredRecord } from '../record.ts';
import type { WasmBuild } from '../wasm_module.ts';
import { BlockCache, ENTRY_BYTES } from './block_cache.ts';
import { BlockSource } from './block_source.ts';
import type { TableInfo } from './format.ts';
import type { IndexView } from './index_section.ts';
import { DAMAGED, LookupScratch, MISSING, NEED_BLOCK } from './lookup_scratch.ts';
import { type OpenTable, openTable, type TableDamage } from './open_table.ts';
import { ReadBudget } from './read_budget.ts';
import type { ReadableFile } from './table_file.ts';
import { MAX_KEY_BYTES, TableMemory } from './table_memory.ts';
import { TableVersion } from './table_version.ts';

export interface TableSetOptions {
  readonly disk: Disk;
  /** Where the table files lie. */
  readonly directory: string;
  readonly ports: Ports;
  /** Bytes of blocks that are kept in memory. 0: none. */
  readonly cacheBytes: number;
  readonly build?: WasmBuild;
}

/** A version of the levels whose files stay readable until it is released. */
export interface PinnedTables {
  /** Of open tables: level 0 newest first, the others in key order. The same object for all pins of a version. */
  readonly levels: readonly (readonly TableInfo[])[];
  /** May be called more than once. */
  release(): void;
}

export interface TableSetStats {
  readonly openTables: number;
  /** Filters, indexes and bounds of open tables. */
  readonly metaBytes: number;
  readonly cacheBytes: number;
  readonly cachedBlocks: number;
  /** Blocks that look-ups of this thread found in the cache. */
  readonly cacheHits: number;
  /** Blocks that were read from files: on this thread, and through the thread pool. */
  readonly cacheMisses: number;
  readonly readsNow: number;
  readonly readsLater: number;
  readonly evictions: number;
  /** Of the WebAssembly memory: in use, free, or waiting for readers. */
  readonly memoryBytes: number;
}

export class TableSet {
  /** Called for every damage that a read or an open found, before the error is thrown. */
  onDamage: (damage: TableDamage) => void = () => {};
  /** Called when the file of a table that no version names any more was closed: it may be removed. */
  onClosed: (fileNumber: number) => void = () => {};
  /** For reader threads. */
  readonly memory: TableMemory;
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #scratch: LookupScratch;
  readonly #cache: BlockCache;
  readonly #budget: ReadBudget;
  readonly #source: BlockSource;
  readonly #tables = new Map<number, OpenTable>();
  readonly #byAddress = new Map<number, OpenTable>();
  readonly #opening = new Set<number>();
  #current: TableVersion;
  #metaBytes = 0;
  #closed = false;
  /** What `close` waits for: opens, look-ups, pins, files that are being closed. */
  #busy = 0;
  #whenIdle: (() => void) | undefined;

  private constructor(options: TableSetOptions) {
    this.#disk = options.disk;
    this.#directory = options.directory;
    this.memory = new TableMemory(options.build ?? 'release');
    const { scratch } = this.memory.addReader();
    this.#scratch = new LookupScratch(this.memory, scratch);
    this.#cache = new BlockCache(this.memory, options.cacheBytes);
    this.#budget = new ReadBudget(options.ports.clock);
    this.#source = new BlockSource(this.memory, scratch, this.#cache, this.#budget);
    this.#current = new TableVersion(this.memory, []);
    this.memory.publish(this.#current.address);
  }

  /** A set without tables. @throws KvError UNAVAILABLE when there is no memory */
  static create(options: TableSetOptions): TableSet {
    return new TableSet(options);
  }

  /**
   * Opens a table, so that it can be published. One that never is stays open until `discard` or `close`.
   * @throws KvError CORRUPT when the file is damaged or is not what `info` says, CLOSED; DiskError when it cannot be opened
   */
  async openTable(info: TableInfo): Promise<void> {
    this.#checkOpen();
    const { fileNumber } = info;
    if (this.#tables.has(fileNumber) || this.#opening.has(fileNumber)) {
      throw new KvError('INTERNAL', `table ${fileNumber} is open already`);
    }
    this.#opening.add(fileNumber);
    this.#busy++;
    try {
      const table = await openTable(this.#disk, this.#directory, info, this.memory, (damage) =>
        this.onDamage(damage),
      );
      this.#tables.set(fileNumber, table);
      this.#byAddress.set(table.address, table);
      this.#metaBytes += table.bytes;
      if (this.#closed) this.#closeTable(table);
    } finally {
      this.#opening.delete(fileNumber);
      this.#done();
    }
    this.#checkOpen();
  }

  /** Closes a table that was opened, and is not published after all. */
  discard(fileNumber: number): void {
    const table = this.#table(fileNumber);
    if (table.uses > 0) throw new KvError('INTERNAL', `table ${fileNumber} is in use`);
    this.#closeTable(table);
  }

  /**
   * Makes these tables the levels that are read from now on: level 0 newest first, the others in key order, disjoint. Tables that are named no more are closed
   * when nobody reads them.
   */
  publish(levels: readonly (readonly number[])[]): void {
    this.#checkOpen();
    const version = new TableVersion(
      this.memory,
      levels.map((level) => level.map((fileNumber) => this.#table(fileNumber))),
    );
    this.#replace(version);
  }

  #replace(version: TableVersion): void {
    const old = this.#current;
    this.#current = version;
    this.memory.publish(version.address);
    this.#release(old);
  }

  /** False only when no table has a record of the key. Never reads a block. */
  mayContain(key: Uint8Array): boolean {
    const { length } = key;
    if (this.#closed) throw closedError();
    if (length > MAX_KEY_BYTES) return false;
    this.#scratch.stage(key);
    return this.#scratch.mayHold(this.#current.address, length);
  }

  /**
   * The newest record of a key at or below a revision, tombstones included; at once while files are warm. The record's key is the caller's (a copy, if it comes
   * later). @throws KvError CORRUPT, CLOSED
   */
  get(key: Uint8Array, revision: number): MaybePromise<StoredRecord | undefined> {
    const { length } = key;
    if (this.#closed) throw closedError();
    if (length > MAX_KEY_BYTES) return undefined;
    const scratch = this.#scratch;
    scratch.stage(key);
    const status = scratch.lookup(this.#current.address, length, revision);
    if (status === MISSING) return undefined;
    return status === NEED_BLOCK ? this.#readOn(key) : this.#answer(status, key);
  }

  /** Like get, but always at once, and may hold up this thread for the disk. */
  getNow(key: Uint8Array, revision: number): StoredRecord | undefined {
    const { length } = key;
    if (this.#closed) throw closedError();
    if (length > MAX_KEY_BYTES) return undefined;
    const scratch = this.#scratch;
    scratch.stage(key);
    let status = scratch.lookup(this.#current.address, length, revision);
    if (status === MISSING) return undefined;
    while (status === NEED_BLOCK) status = this.#readBlock();
    return this.#answer(status, key);
  }

  /** Brings a block that another thread reads from its file into the cache; nothing happens where `entry` is no index entry, or reads are slow. */
  bring(entry: number): void {
    const table = this.#closed || !this.#budget.warm ? undefined : this.#tableOf(entry);
    if (table === undefined || this.#cache.frameOf(entry) !== 0) return;
    try {
      this.#source.readNow(table, entry);
    } catch (error) {
      // Whoever needs the block is told.
      if (!(error instanceof KvError)) throw error;
    } finally {
      this.#source.release();
    }
  }

  #tableOf(entry: number): OpenTable | undefined {
    const { u32 } = this.memory;
    for (const table of this.#tables.values()) {
      const first = u32[(table.address + 24) >>> 2]!;
      const at = entry - first;
      if (at >= 0 && at < table.info.blockCount * ENTRY_BYTES)
        return at % ENTRY_BYTES === 0 ? table : undefined;
    }
    return undefined;
  }

  /** Whether a look-up that misses the cache would read on this thread: reads have been quick lately. */
  get warm(): boolean {
    return this.#budget.warm;
  }

  /** Keeps the present version's files readable. */
  pin(): PinnedTables {
    this.#checkOpen();
    const version = this.#current;
    version.holders++;
    this.#busy++;
    let held = true;
    return {
      levels: version.infos,
      release: () => {
        if (!held) return;
        held = false;
        this.#release(version);
        this.#done();
      },
    };
  }

  /** The file of an open table; for those who hold a pin. */
  file(fileNumber: number): ReadableFile {
    return this.#table(fileNumber).file;
  }

  /** The index of an open table; for those who hold a pin. */
  index(fileNumber: number): IndexView {
    return this.#table(fileNumber).index;
  }

  /** The first block of an open table that may hold keys at or after `key`; the count of its blocks when there is none. */
  seekBlock(fileNumber: number, key: Uint8Array): number {
    const table = this.#table(fileNumber);
    // Longer than any record's key: where its first bytes would be.
    const staged = key.length > MAX_KEY_BYTES ? key.subarray(0, MAX_KEY_BYTES) : key;
    this.#scratch.stage(staged);
    return this.#scratch.seekIndex(table.address, staged.length);
  }

  /** Tells of damage that another reader of a table's file found, and gives the error to throw. */
  damage(fileNumber: number, offset: number, problem: string): KvError {
    return this.#table(fileNumber).damage(offset, problem);
  }

  stats(): TableSetStats {
    const source = this.#source;
    return {
      openTables: this.#tables.size,
      metaBytes: this.#metaBytes,
      cacheBytes: this.#cache.usedBytes,
      cachedBlocks: this.#cache.frames,
      cacheHits: this.#scratch.cacheHits,
      cacheMisses: source.readsNow + source.readsLater,
      readsNow: source.readsNow,
      readsLater: source.readsLater,
      evictions: this.#cache.evictions,
      memoryBytes: this.memory.arenaBytes,
    };
  }

  /** Closes all files, when the look-ups that wait have been answered and every pin was released. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#replace(new TableVersion(this.memory, []));
      for (const table of [...this.#tables.values()]) if (table.uses === 0) this.#closeTable(table);
    }
    while (this.#busy > 0) {
      await new Promise<void>((resolve) => {
        const others = this.#whenIdle;
        this.#whenIdle = () => {
          others?.();
          resolve();
        };
      });
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw closedError();
  }

  #table(fileNumber: number): OpenTable {
    const table = this.#tables.get(fileNumber);
    if (table === undefined) throw new KvError('INTERNAL', `table ${fileNumber} is not open`);
    return table;
  }

  #wantedTable(): OpenTable {
    const table = this.#byAddress.get(this.#scratch.table);
    if (table === undefined) throw new KvError('INTERNAL', 'a look-up went into a table that is not open');
    return table;
  }

  #answer(status: number, key: Uint8Array): StoredRecord | undefined {
    try {
      if (status === MISSING) return undefined;
      if (status === DAMAGED) throw this.#malformed();
      return this.#scratch.record(key);
    } finally {
      this.#source.release();
    }
  }

  #malformed(): KvError {
    const offset = this.memory.u32[(this.#scratch.entry + 8) >>> 2]!;
    return this.#wantedTable().damage(offset, 'a block makes no sense, though its checksum is right');
  }

  /** Reads the block that the look-up wants, and goes on with it. */
  #readBlock(): number {
    const scratch = this.#scratch;
    return scratch.resume(this.#source.readNow(this.#wantedTable(), scratch.entry));
  }

  #readOn(key: Uint8Array): MaybePromise<StoredRecord | undefined> {
    let status: number = NEED_BLOCK;
    while (status === NEED_BLOCK) {
      if (!this.#budget.warm) return this.#readLater(new Uint8Array(key));
      status = this.#readBlock();
    }
    return this.#answer(status, key);
  }

  async #readLater(key: Uint8Array): Promise<StoredRecord | undefined> {
    const scratch = this.#scratch;
    const version = this.#current;
    version.holders++;
    this.#busy++;
    try {
      let status: number = NEED_BLOCK;
      while (status === NEED_BLOCK) {
        const saved = scratch.save();
        const { entry } = scratch;
        const table = this.#wantedTable();
        const stored = await this.#source.readLater(table, entry);
        // Others have used the scratch meanwhile.
        scratch.stage(key);
        scratch.restore(saved);
        status = scratch.resume(this.#source.place(table, entry, stored));
      }
      return this.#answer(status, key);
    } finally {
      this.#release(version);
      this.#done();
    }
  }

  #release(version: TableVersion): void {
    if (--version.holders > 0) return;
    version.retire();
    for (const level of version.levels)
      for (const table of level) if (--table.uses === 0) this.#closeTable(table);
  }

  #closeTable(table: OpenTable): void {
    const { fileNumber } = table.info;
    this.#tables.delete(fileNumber);
    this.#byAddress.delete(table.address);
    this.#metaBytes -= table.bytes;
    this.#cache.drop(this.memory.u32[(table.address + 24) >>> 2]!, table.info.blockCount);
    this.memory.retire(table.address, table.bytes);
    this.#busy++;
    const closed = () => {
      this.onClosed(fileNumber);
      this.#done();
    };
    // The descriptor is gone in either case, and nothing was written through it.
    table.file.close().then(closed, closed);
  }

  #done(): void {
    if (--this.#busy > 0) return;
    const whenIdle = this.#whenIdle;
    this.#whenIdle = undefined;
    whenIdle?.();
  }
}

function closedError(): KvError {
  return new KvError('CLOSED', 'the tables are closed');
}
