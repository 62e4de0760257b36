/**
 * The tree on RocksDB (level-rocksdb 5, optional). docs/formats/rocksdb_tree.md describes rows and directories.
 *
 * Invariants
 * - A flush may take many batches. Its rows carry its number in their keys, and the last batch, written with fsync, also writes the state row with that
 *   number and the applied state. Rows with a larger number than the state row's are not shown, and are removed at open: so a flush is there as a whole or
 *   not at all, and what a crash left of one can neither hide nor replace anything.
 * - After a failed write nothing more is written (known failure 1: what a failed fsync left behind is unknown).
 * - `mayContain` asks a filter in memory that knows every key that was flushed since the tree was opened or found then.
 *
 * Cost: opening reads every row's key (to fill the filter and to find what a crash left over): some seconds per million rows.
 */
import { KvError } from '../../errors.ts';
import type { Ports, Timers } from '../../ports.ts';
import type { Disk } from '../disk.ts';
import type { AppliedState, ScanPage, ScanRequest, StoredRecord, VersionsRequest } from '../record.ts';
import { SerialLock } from '../serial_lock.ts';
import { TimeSlice } from '../time_slice.ts';
import type { Run, Tree, TreeSnapshot, TreeStats } from '../tree.ts';
import { type Generation, GenerationFiles } from './generation.ts';
import { HashList, hashOf } from './hash_list.ts';
import { KeyFilter } from './key_filter.ts';
import { type LevelDatabase, type LevelOpen, levelOpen, rocksDbError } from './level_binding.ts';
import { probeRocksDb } from './rocksdb_probe.ts';
import { removeRows, removeSuperseded } from './row_cleaner.ts';
import { encodeState, RECORDS_END, STATE_KEY } from './row_codec.ts';
import { everyRow, NEXT, newestRecord, STOP, scanRows, versionRows } from './row_reader.ts';
import { RowWriter } from './row_writer.ts';
import { RowsSnapshot } from './rows_snapshot.ts';

/** A pass that removes superseded versions begins when at least one row in so many may have become superseded since the last. */
const CLEAN_SHARE = 4;
const ROWS_PER_BATCH = 512;
const LAST_FLUSH_EVER = Number.MAX_SAFE_INTEGER;

export interface RocksDbTreeOptions {
  /** The real disk: RocksDB itself goes to the file system past this port. */
  readonly disk: Disk;
  readonly path: string;
  readonly ports: Ports;
  /** The binding, where it was loaded before. */
  readonly binding?: LevelOpen;
}

/** Probes and loads level-rocksdb. @throws KvError TREE_UNAVAILABLE that says why it cannot be used here and what to do. */
export async function loadRocksDb(timers: Timers): Promise<LevelOpen> {
  const url = await probeRocksDb({ timers });
  const binding: unknown = await import(url);
  return levelOpen(binding);
}

export class RocksDbTree implements Tree {
  readonly kind = 'rocksdb';
  readonly #ports: Ports;
  readonly #files: GenerationFiles;
  #generation: Generation;
  #lastFlush = 0;
  #durable: AppliedState | undefined;
  #filter = new KeyFilter(0);
  #recordCount = 0;
  #sizeBytes = 0;
  /** Bytes written that RocksDB may still hold in its own memory, where it does not count them. */
  #unsettledBytes = 0;
  #compactRevision = 0;
  /** Rows that the last pass left above its revision, and those flushed since: only among them can something new be superseded. */
  #unclean = 0;
  #cleaning: Promise<void> | undefined;
  #failure: KvError | undefined;
  #closed = false;
  readonly #snapshots = new Set<RowsSnapshot>();
  readonly #retired = new Set<Promise<void>>();
  /** Flushes and installs, one after the other. */
  readonly #writes = new SerialLock();

  private constructor(ports: Ports, files: GenerationFiles, generation: Generation) {
    this.#ports = ports;
    this.#files = files;
    this.#generation = generation;
  }

  /** @throws KvError TREE_UNAVAILABLE when the binding cannot be used here, CORRUPT, LOCKED, STORAGE_FAILED; DiskError */
  static async open(options: RocksDbTreeOptions): Promise<RocksDbTree> {
    const binding = options.binding ?? (await loadRocksDb(options.ports.timers));
    const files = new GenerationFiles(options.disk, options.path, binding);
    const generation = await files.openCurrent();
    const tree = new RocksDbTree(options.ports, files, generation);
    try {
      const state = await generation.readState();
      tree.#lastFlush = state?.flushId ?? 0;
      tree.#durable = state?.applied;
      await tree.#takeStock();
      await tree.#measure();
    } catch (error) {
      await generation.close();
      throw error;
    }
    return tree;
  }

  get durable(): AppliedState | undefined {
    return this.#durable;
  }

  async get(key: Uint8Array, revision: number): Promise<StoredRecord | undefined> {
    if (!this.mayContain(key)) return undefined;
    return this.#read((database, lastFlush) => newestRecord(database, lastFlush, key, revision));
  }

  mayContain(key: Uint8Array): boolean {
    return this.#filter.has(hashOf(key));
  }

  scan(request: ScanRequest): Promise<ScanPage> {
    return this.#read((database, lastFlush) => scanRows(database, lastFlush, request));
  }

  versions(request: VersionsRequest): Promise<ScanPage> {
    return this.#read((database, lastFlush) => versionRows(database, lastFlush, request));
  }

  flush(run: Run, applied: AppliedState): Promise<void> {
    return this.#writes.run(() => this.#failing(() => this.#flush(run, applied)));
  }

  /** A flush is durable by itself. */
  async checkpoint(): Promise<void> {
    this.#assertUsable();
  }

  compact(revision: number): void {
    if (revision <= this.#compactRevision) return;
    this.#compactRevision = revision;
    this.#clean();
  }

  /** @throws KvError NOT_FOUND when nothing was flushed yet, CLOSED */
  async snapshot(): Promise<TreeSnapshot> {
    this.#assertOpen();
    if (this.#durable === undefined)
      throw new KvError('NOT_FOUND', 'there is no snapshot of a tree into which nothing was flushed');
    const generation = this.#generation;
    const snapshot = new RowsSnapshot(generation, this.#lastFlush, this.#durable, (failure) => {
      this.#snapshots.delete(snapshot);
      if (failure !== undefined) this.#failure ??= rocksDbError(failure, 'cannot end a snapshot');
    });
    this.#snapshots.add(snapshot);
    return snapshot;
  }

  install(applied: AppliedState, records: AsyncIterable<StoredRecord[]>): Promise<void> {
    return this.#writes.run(() => this.#install(applied, records));
  }

  stats(): TreeStats {
    return { recordCount: this.#recordCount, sizeBytes: Math.max(this.#sizeBytes, this.#unsettledBytes) };
  }

  /** Ends background work and snapshots, waits for reads and closes the database. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#cleaning;
    await this.#writes.run(async () => undefined);
    await Promise.all([...this.#snapshots].map((snapshot) => snapshot.end()));
    await this.#generation.close();
    await Promise.all(this.#retired);
  }

  /** Waits until no removal of superseded versions is under way or wanted. */
  async settled(): Promise<void> {
    while (this.#cleaning !== undefined) await this.#cleaning;
  }

  #assertOpen(): void {
    if (this.#closed) throw new KvError('CLOSED', 'the tree is closed');
  }

  #assertUsable(): void {
    this.#assertOpen();
    if (this.#failure !== undefined) {
      throw new KvError('STORAGE_FAILED', `the RocksDB tree failed before: ${this.#failure.message}`, {
        cause: this.#failure,
      });
    }
  }

  /** A read of the database as of the last flush. `work` must begin its iterator before it waits for anything. */
  async #read<T>(work: (database: LevelDatabase, lastFlush: number) => Promise<T>): Promise<T> {
    this.#assertOpen();
    const generation = this.#generation;
    generation.retain();
    try {
      return await work(generation.database, this.#lastFlush);
    } finally {
      generation.release();
    }
  }

  /** Runs a write; when it fails, it was the last. */
  async #failing(write: () => Promise<void>): Promise<void> {
    this.#assertUsable();
    try {
      await write();
    } catch (error) {
      if (!this.#closed) this.#failure ??= rocksDbError(error, 'cannot write');
      throw error;
    }
  }

  async #flush(run: Run, applied: AppliedState): Promise<void> {
    const { database } = this.#generation;
    const flushId = this.#lastFlush + 1;
    const writer = new RowWriter(database, flushId, (key) => this.#filter.add(hashOf(key)));
    const slice = new TimeSlice(this.#ports);
    try {
      for (const record of run.records()) {
        if (!writer.put(record)) continue;
        await writer.write(false);
        this.#assertOpen();
        if (slice.isOver()) await slice.rest();
      }
      writer.putRaw(STATE_KEY, encodeState({ flushId, applied }));
      await writer.write(true);
    } finally {
      await writer.settled();
    }
    this.#lastFlush = flushId;
    this.#durable = copyApplied(applied);
    this.#recordCount += writer.rows;
    this.#unclean += writer.rows;
    this.#unsettledBytes += writer.totalBytes;
    if (this.#filter.count > this.#filter.capacity) this.#filter = await this.#filterOf(database);
    await this.#measure();
    this.#clean();
  }

  async #install(applied: AppliedState, records: AsyncIterable<StoredRecord[]>): Promise<void> {
    this.#assertUsable();
    const old = this.#generation;
    const fresh = await this.#files.openFresh(old.number + 1);
    const flushId = 1;
    let rows = 0;
    const writer = new RowWriter(fresh.database, flushId, () => undefined);
    try {
      for await (const page of records) {
        this.#assertOpen();
        for (const record of page) if (writer.put(record)) await writer.write(false);
      }
      writer.putRaw(STATE_KEY, encodeState({ flushId, applied }));
      await writer.write(true);
      rows = writer.rows;
      this.#assertOpen();
    } catch (error) {
      await writer.settled().catch(() => undefined); // the error that came first is the one to tell
      await fresh.close();
      await this.#files.remove(fresh.number);
      throw error;
    }
    const filter = await this.#filterOf(fresh.database);
    // From here on the new database may count after a crash, so it must count now, too.
    await this.#failing(() => this.#files.makeCurrent(fresh.number)).catch(async (error: unknown) => {
      await fresh.close();
      throw error;
    });
    this.#generation = fresh;
    this.#lastFlush = flushId;
    this.#durable = copyApplied(applied);
    this.#filter = filter;
    this.#recordCount = rows;
    this.#unclean = rows;
    this.#unsettledBytes = 0;
    this.#compactRevision = 0;
    await this.#measure();
    this.#retire(old);
  }

  /** Closes and removes a database when its last reader is done. */
  #retire(old: Generation): void {
    const retired = old
      .close()
      .then(() => this.#files.remove(old.number))
      .catch((error: unknown) => {
        // What could not be removed is removed at the next open. A tree that cannot close its database has failed.
        this.#failure ??= rocksDbError(error, `cannot remove ${old.directory}`);
      })
      .finally(() => this.#retired.delete(retired));
    this.#retired.add(retired);
  }

  /** Reads all row keys: counts them, fills the filter, and removes the rows of a flush that a crash cut short. */
  async #takeStock(): Promise<void> {
    const { database } = this.#generation;
    const pass = everyRow(database, LAST_FLUSH_EVER, false);
    const hashes = new HashList();
    let doomed: Buffer[] = [];
    let rows = 0;
    try {
      for (let ended = false; !ended; ) {
        ended = await pass.each(() => {
          if (pass.row.flushId > this.#lastFlush) doomed.push(pass.row.bytes);
          else {
            rows++;
            hashes.add(hashOf(pass.row.storedKey()));
          }
          return doomed.length >= ROWS_PER_BATCH ? STOP : NEXT;
        });
        if (doomed.length > 0) await removeRows(database, doomed);
        doomed = [];
      }
    } finally {
      await pass.end();
    }
    this.#recordCount = rows;
    this.#unclean = rows;
    this.#filter = hashes.filter();
  }

  /** A filter that knows every key of a database, with room for as many again. */
  async #filterOf(database: LevelDatabase): Promise<KeyFilter> {
    const hashes = new HashList();
    const pass = everyRow(database, LAST_FLUSH_EVER, false);
    try {
      await pass.each(() => {
        if (!pass.sameKey) hashes.add(hashOf(pass.row.storedKey()));
        return NEXT;
      });
    } finally {
      await pass.end();
    }
    return hashes.filter();
  }

  /** Asks RocksDB for the size of its files. */
  async #measure(): Promise<void> {
    const { database } = this.#generation;
    this.#sizeBytes = await new Promise<number>((resolve, reject) => {
      database.approximateSize(STATE_KEY, RECORDS_END, (error, size) =>
        error ? reject(rocksDbError(error, 'cannot measure')) : resolve(size ?? 0),
      );
    });
  }

  /** Starts a pass that removes superseded versions where it is wanted and not under way. */
  #clean(): void {
    const worthwhile = this.#unclean > 0 && this.#unclean * CLEAN_SHARE >= this.#recordCount;
    if (this.#cleaning !== undefined || this.#closed || this.#compactRevision === 0 || !worthwhile) return;
    const revision = this.#compactRevision;
    const generation = this.#generation;
    this.#unclean = 0;
    this.#cleaning = this.#runClean(generation, revision)
      .catch((error: unknown) => {
        this.#failure ??= rocksDbError(error, 'cannot remove superseded versions');
      })
      .then(() => {
        this.#cleaning = undefined;
        if (this.#compactRevision > revision && this.#failure === undefined) this.#clean();
      });
  }

  async #runClean(generation: Generation, revision: number): Promise<void> {
    const isWanted = () => !this.#closed && this.#generation === generation && this.#failure === undefined;
    generation.retain();
    try {
      const slice = new TimeSlice(this.#ports);
      const result = await removeSuperseded(generation.database, this.#lastFlush, revision, slice, isWanted);
      if (result === undefined || !isWanted()) return;
      this.#recordCount -= result.removedRows;
      this.#unclean += result.rowsAbove;
      await this.#measure();
    } finally {
      generation.release();
    }
  }
}

function copyApplied(applied: AppliedState): AppliedState {
  return { index: applied.index, term: applied.term, state: applied.state.slice() };
}
