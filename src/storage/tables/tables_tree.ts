/**
 * The tree on Kvorum's own tables: immutable sorted files in levels, written from memtables, compacted in the background (docs/decisions/0009_leveled_compaction.md).
 *
 *     MANIFEST    which tables there are, and the applied state up to which they hold everything (manifest.ts)
 *     tables/     the table files (docs/formats/table.md)
 *
 * Invariants
 * - A flush is durable when it answers: tables written and synced, their names synced, then the manifest replaced. `durable` moves with it, never before (known failures
 *   6 and 7); a crash anywhere leaves the flush whole or absent.
 * - No space (known failure 8): a flush fails with NO_SPACE and leaves nothing behind, so that it can be tried again; a compaction is given up in silence until there
 *   is room. Any other failure of a write or a sync is the last write: STORAGE_FAILED from then on, reads go on.
 * - Damage (known failure 9): reads that need the damaged bytes fail with CORRUPT, all others go on; a table in which damage was met is kept as it is and is never
 *   compacted, so that bad bytes do not get a good checksum.
 */
import { isDamage, KvError } from '../../errors.ts';
import type { Ports } from '../../ports.ts';
import type { Disk } from '../disk.ts';
import {
  type AppliedState,
  copyRecord,
  type MaybePromise,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
  type VersionsRequest,
} from '../record.ts';
import { SerialLock } from '../serial_lock.ts';
import type { Run, Tree, TreeSnapshot, TreeStats } from '../tree.ts';
import type { CompactionOptions } from './compaction_picker.ts';
import { lastLevelFor } from './compaction_picker.ts';
import { Compactor } from './compactor.ts';
import { type DamagedTable, DamageList } from './damage_list.ts';
import type { TableInfo, TableOptions } from './format.ts';
import { type FileNumbers, InlineRunner, type JobRunner, numberSource } from './job_runner.ts';
import { LEVEL_COUNT, Levels, type PlacedTable } from './levels.ts';
import { RunPins } from './pinned_runs.ts';
import { buildTables } from './record_table_builder.ts';
import { TableScanner } from './scan.ts';
import { SharedTables } from './shared_tables.ts';
import { TableStore } from './table_store.ts';
import { TablesSnapshot } from './tables_snapshot.ts';
import { type TablesTreeStats, treeMetrics, treeStats } from './tree_stats.ts';

const MIB = 1024 * 1024;
const BITS_PER_KEY = 10;
/** An install may write any number of tables. */
const INSTALL_NUMBERS = 1_000_000;

export interface TablesTreeSettings {
  readonly blockSizeBytes: number;
  readonly tableSizeBytes: number;
  readonly blockCacheBytes: number;
  readonly compression: 'none' | 'lz4';
  /** Bytes a second of compaction while nothing presses. */
  readonly compactionRateBytes: number;
  /** About the bytes of `l0Trigger` flushes: what the levels' sizes start from. */
  readonly levelBaseBytes: number;
  readonly growth: number;
  readonly l0Trigger: number;
}

export const DEFAULT_SETTINGS: TablesTreeSettings = {
  blockSizeBytes: 4096,
  tableSizeBytes: 64 * MIB,
  blockCacheBytes: 128 * MIB,
  compression: 'none',
  compactionRateBytes: 128 * MIB,
  levelBaseBytes: 256 * MIB,
  growth: 10,
  l0Trigger: 4,
};

export interface TablesTreeOptions {
  readonly disk: Disk;
  readonly path: string;
  readonly ports: Ports;
  readonly settings?: Partial<TablesTreeSettings>;
  /** Where flushes and merges run; on this thread, in slices, unless given. Closed with the tree. */
  readonly runner?: JobRunner;
  readonly onDamage?: (error: Error) => void;
}

export class TablesTree implements Tree {
  readonly kind = 'tables';
  readonly shared: SharedTables;
  onDamage: (error: Error) => void;
  readonly #disk: Disk;
  readonly #store: TableStore;
  readonly #runner: JobRunner;
  readonly #compactor: Compactor;
  readonly #scanner: TableScanner;
  readonly #runs: RunPins;
  readonly #damages = new DamageList();
  readonly #tables: TableOptions;
  readonly #picking: CompactionOptions;
  /** Flushes and installs, one after the other. */
  readonly #writes = new SerialLock();
  readonly #snapshots = new Set<TablesSnapshot>();
  #bytesFlushed = 0;
  #closed = false;

  private constructor(options: TablesTreeOptions, settings: TablesTreeSettings, store: TableStore) {
    const { disk, ports } = options;
    const { blockSizeBytes, tableSizeBytes, compression, levelBaseBytes, growth, l0Trigger } = settings;
    this.onDamage = options.onDamage ?? (() => undefined);
    this.#disk = disk;
    this.#store = store;
    this.shared = new SharedTables(store.set, store.directory, ports.timers);
    this.#runner = options.runner ?? InlineRunner.inSlices(disk, ports);
    this.#tables = { blockSizeBytes, bitsPerKey: BITS_PER_KEY, compression, tableSizeBytes };
    this.#picking = { levelBaseBytes, growth, l0Trigger, tableSizeBytes };
    this.#runs = new RunPins(store.set);
    this.#scanner = new TableScanner({ tables: this.#runs, ports });
    this.#compactor = new Compactor({
      disk,
      store,
      runner: this.#runner,
      ports,
      picking: this.#picking,
      tables: this.#tables,
      idleBytesPerSecond: settings.compactionRateBytes,
      damaged: this.#damages.fileNumbers,
      onDamage: (_, error) => this.#damaged(error),
    });
    store.onPublished = () => {
      this.#scanner.tablesChanged();
      this.#damages.keepOnly(store.levels);
    };
  }

  /**
   * Opens the tree of a directory, or begins one there. Takes over the runner, also when it fails.
   * @throws KvError CORRUPT naming file and offset, STORAGE_FAILED, UNAVAILABLE (no memory); DiskError
   */
  static async open(options: TablesTreeOptions): Promise<TablesTree> {
    const settings: TablesTreeSettings = { ...DEFAULT_SETTINGS, ...options.settings };
    const { disk, path, ports } = options;
    try {
      const { blockCacheBytes } = settings;
      const store = await TableStore.open({ disk, path, ports, blockCacheBytes });
      const tree = new TablesTree(options, settings, store);
      tree.#compactor.wake();
      return tree;
    } catch (error) {
      await options.runner?.close();
      throw error;
    }
  }

  get durable(): AppliedState | undefined {
    return this.#store.applied;
  }

  /** Reads have been quick lately. */
  get synchronous(): boolean {
    return this.#store.set.warm;
  }

  get pressure(): number {
    return this.#compactor.pressure;
  }

  get(key: Uint8Array, revision: number): MaybePromise<StoredRecord | undefined> {
    try {
      const record = this.#store.set.get(key, revision);
      return record instanceof Promise ? record.catch((error) => this.#notice(error)) : record;
    } catch (error) {
      return this.#notice(error);
    }
  }

  getNow(key: Uint8Array, revision: number): StoredRecord | undefined {
    try {
      return this.#store.set.getNow(key, revision);
    } catch (error) {
      return this.#notice(error);
    }
  }

  mayContain(key: Uint8Array): boolean {
    return this.#store.set.mayContain(key);
  }

  scan(request: ScanRequest): MaybePromise<ScanPage> {
    return this.#noticing(() => this.#scanner.scan(request));
  }

  scanNow(request: ScanRequest): ScanPage {
    try {
      return this.#scanner.scanNow(request);
    } catch (error) {
      return this.#notice(error);
    }
  }

  versions(request: VersionsRequest): MaybePromise<ScanPage> {
    return this.#noticing(() => this.#scanner.versions(request));
  }

  /** @throws KvError STORAGE_FAILED (final), CLOSED; DiskError NO_SPACE: may be tried again */
  flush(run: Run, applied: AppliedState): Promise<void> {
    return this.#writes.run(async () => {
      this.#assertUsable();
      const { tableSizeBytes } = this.#tables;
      const numbers = this.#store.reserve(
        16 + 4 * Math.ceil((run.dataBytes + 64 * run.recordCount) / tableSizeBytes),
      );
      const compactRevision = run.source?.compactRevision ?? 0;
      await this.#writing(numbers, async () => {
        const added = run.recordCount === 0 ? [] : await this.#writeRun(run, numbers);
        await this.#store.commit({
          levels: (levels) => levels.withFlush(added, compactRevision),
          added,
          applied,
        });
        this.#bytesFlushed += bytesOf(added);
      });
      this.#compactor.wake();
    });
  }

  /** A flush is durable by itself. */
  async checkpoint(): Promise<void> {
    this.#assertUsable();
  }

  compact(revision: number): void {
    if (this.#store.raiseCompactRevision(revision) && !this.#closed) this.#compactor.wake();
  }

  /** @throws KvError NOT_FOUND when nothing was flushed yet, CLOSED, UNAVAILABLE (no memory) */
  async snapshot(): Promise<TreeSnapshot> {
    this.#assertOpen();
    const { applied, compactRevision } = this.#store;
    if (applied === undefined)
      throw new KvError('NOT_FOUND', 'there is no snapshot of a tree into which nothing was flushed');
    const { runs, release } = this.#runs.pinRuns();
    let snapshot: TablesSnapshot | undefined;
    const letGo = (): void => {
      if (snapshot !== undefined) this.#snapshots.delete(snapshot);
      release();
    };
    try {
      snapshot = new TablesSnapshot({ pinned: { runs, release: letGo }, applied, compactRevision });
    } catch (error) {
      release();
      throw error;
    }
    this.#snapshots.add(snapshot);
    return snapshot;
  }

  /** @throws what the stream throws; KvError STORAGE_FAILED (final), CLOSED; DiskError NO_SPACE. The old content is there then. */
  install(applied: AppliedState, records: AsyncIterable<StoredRecord[]>): Promise<void> {
    return this.#writes.run(async () => {
      this.#assertUsable();
      await this.#compactor.hold();
      try {
        await this.#install(applied, records);
      } finally {
        this.#compactor.resume();
      }
    });
  }

  stats(): TreeStats {
    const { levels } = this.#store;
    let recordCount = 0;
    let sizeBytes = 0;
    for (const { info } of levels.all()) {
      recordCount += info.recordCount;
      sizeBytes += info.fileBytes;
    }
    return { recordCount, sizeBytes, metrics: treeMetrics(this.tableStats()) };
  }

  tableStats(): TablesTreeStats {
    return treeStats(this.#store, this.#compactor, this.#bytesFlushed, this.damages().length);
  }

  /** Tables in which damage was met. */
  damages(): DamagedTable[] {
    return this.#damages.list(this.#store.levels);
  }

  /** Waits until no compaction is under way or wanted, and the files that it replaced are gone, but for those that a snapshot or a scan holds. */
  async settled(): Promise<void> {
    await this.#compactor.settled();
    await this.#store.tidy();
  }

  /** Gives up compaction and an install under way, ends snapshots, waits for a flush under way. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#compactor.close();
    await this.#writes.run(async () => undefined);
    await this.#runner.close();
    this.shared.close();
    this.#scanner.close();
    for (const snapshot of [...this.#snapshots]) snapshot.release();
    await this.#store.close();
  }

  #assertOpen(): void {
    if (this.#closed) throw new KvError('CLOSED', 'the tree is closed');
  }

  #assertUsable(): void {
    this.#assertOpen();
    this.#store.assertUsable();
  }

  #writeRun(run: Run, numbers: FileNumbers): Promise<TableInfo[]> {
    const { directory } = this.#store;
    const options = this.#tables;
    if (run.source !== undefined) {
      const { memory, compactRevision } = run.source;
      return this.#runner.flush({ directory, memory, compactRevision, options, numbers });
    }
    const records = pagesOf(run);
    const nextFileNumber = numberSource(numbers);
    return buildTables({ disk: this.#disk, directory, records, options, nextFileNumber });
  }

  /** Runs what writes tables and commits them. When it fails their files go, unless it is unknown whether the manifest names them. */
  async #writing(numbers: FileNumbers, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const judged = error instanceof StreamFailure ? error.cause : this.#store.judge(error);
      if (this.#store.failure === undefined) await this.#store.discard(numbers);
      throw judged;
    }
  }

  async #install(applied: AppliedState, records: AsyncIterable<StoredRecord[]>): Promise<void> {
    const { directory } = this.#store;
    const numbers = this.#store.reserve(INSTALL_NUMBERS);
    await this.#writing(numbers, async () => {
      const added = await buildTables({
        disk: this.#disk,
        directory,
        records: this.#whileOpen(records),
        options: this.#tables,
        nextFileNumber: numberSource(numbers),
      });
      this.#assertOpen();
      const levels = this.#contentOf(added);
      await this.#store.commit({ levels: () => levels, added, applied, compactRevision: 0 });
    });
  }

  /** Levels that hold a whole content. */
  #contentOf(tables: readonly TableInfo[]): Levels {
    const flushSequence = this.#store.levels.flushSequence + 1;
    const level = lastLevelFor(bytesOf(tables), this.#picking);
    const placed: PlacedTable[] = tables.map((info) => ({ info, flushSequence, cleanedRevision: 0 }));
    return Levels.of(
      Array.from({ length: LEVEL_COUNT }, (_, at) => (at === level ? placed : [])),
      flushSequence,
    );
  }

  async *#whileOpen(records: AsyncIterable<StoredRecord[]>): AsyncGenerator<StoredRecord[], void, void> {
    try {
      for await (const page of records) {
        this.#assertOpen();
        yield page;
      }
    } catch (error) {
      throw new StreamFailure(error);
    }
  }

  #noticing(read: () => MaybePromise<ScanPage>): MaybePromise<ScanPage> {
    try {
      const page = read();
      return page instanceof Promise ? page.catch((error) => this.#notice(error)) : page;
    } catch (error) {
      return this.#notice(error);
    }
  }

  #notice(error: unknown): never {
    if (error instanceof KvError && isDamage(error)) this.#damaged(error);
    throw error;
  }

  #damaged(error: KvError): void {
    this.#damages.note(error);
    this.onDamage(error);
  }
}

/** What the source of an install threw: not a failure of the disk. */
class StreamFailure extends Error {
  constructor(cause: unknown) {
    super('the source of an install failed', { cause });
  }
}

function bytesOf(tables: readonly TableInfo[]): number {
  return tables.reduce((sum, info) => sum + info.fileBytes, 0);
}

const PAGE_RECORDS = 256;

/** The records of a run in pages. Copies: the views in a record live for one step. */
async function* pagesOf(run: Run): AsyncGenerator<StoredRecord[], void, void> {
  let page: StoredRecord[] = [];
  for (const record of run.records()) {
    page.push(copyRecord(record));
    if (page.length < PAGE_RECORDS) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}
