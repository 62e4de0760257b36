/**
 * What a tree of tables consists of at a moment, in memory and on disk: the levels, the manifest that names them, the open tables, the files.
 *
 * The order of every change: new table files are written, synced and named by whoever made them; `commit` syncs their directory, opens them, replaces the
 * manifest, and only then shows the new levels to readers. A crash anywhere leaves the old state or the new one, and perhaps files that no manifest names:
 * they are removed at the next open, or here once nobody reads them any more.
 *
 * Invariants: changes come one after the other; `applied` and the levels change together (known failure 7); after a change whose outcome on disk is
 * unknown nothing is changed any more (known failure 1), reads go on.
 */
import { KvError } from '../../errors.ts';
import type { Ports } from '../../ports.ts';
import { type Disk, DiskError } from '../disk.ts';
import { makeDurableDirectory } from '../durable_directory.ts';
import type { AppliedState } from '../record.ts';
import { SerialLock } from '../serial_lock.ts';
import { type TableInfo, tablePath } from './format.ts';
import type { FileNumbers } from './job_runner.ts';
import { Levels } from './levels.ts';
import {
  MANIFEST_NAME,
  MANIFEST_TEMPORARY_NAME,
  type Manifest,
  readManifest,
  replaceManifest,
} from './manifest.ts';
import { removeIfThere, removeOrphans } from './orphan_files.ts';
import { TableSet } from './table_set.ts';

export const TABLES_DIRECTORY = 'tables';
/** Tables that are opened at a time at the start. */
const OPEN_AT_ONCE = 8;

export interface TableStoreOptions {
  readonly disk: Disk;
  readonly path: string;
  readonly ports: Ports;
  readonly blockCacheBytes: number;
}

/** A change of the whole. */
export interface StoreChange {
  /** Gives the new levels from those of the moment. */
  readonly levels: (levels: Levels) => Levels;
  /** New tables, whose files are finished but whose directory is not synced. */
  readonly added: readonly TableInfo[];
  /** Unchanged when undefined. */
  readonly applied?: AppliedState;
  /** Unchanged when undefined. */
  readonly compactRevision?: number;
}

export class TableStore {
  readonly directory: string;
  readonly set: TableSet;
  readonly #disk: Disk;
  readonly #path: string;
  #manifest: Manifest;
  #nextFileNumber: number;
  /** Newer than the manifest's until the next change is written. */
  #compactRevision: number;
  #failure: KvError | undefined;
  readonly #changes = new SerialLock();
  /** Tables that no manifest names any more and whose files are still there. */
  readonly #leaving = new Set<number>();
  #tidyWaiters: (() => void)[] = [];
  /** Called when other levels were published. */
  onPublished: () => void = () => {};
  #named: Set<number>;

  private constructor(options: TableStoreOptions, manifest: Manifest, set: TableSet) {
    this.#disk = options.disk;
    this.#path = options.path;
    this.directory = `${options.path}/${TABLES_DIRECTORY}`;
    this.set = set;
    this.#manifest = manifest;
    this.#nextFileNumber = manifest.nextFileNumber;
    this.#compactRevision = manifest.compactRevision;
    this.#named = numbersOf(manifest.levels);
    set.onClosed = (fileNumber) => this.#closed(fileNumber);
  }

  /**
   * Opens what a directory holds, or makes an empty store there; removes what a crash left behind. Reads the manifest and, of each table, filter and index: no data.
   * @throws KvError CORRUPT for a damaged or missing file that must be there, STORAGE_FAILED; DiskError
   */
  static async open(options: TableStoreOptions): Promise<TableStore> {
    const { disk, path, ports } = options;
    const directory = `${path}/${TABLES_DIRECTORY}`;
    await makeDurableDirectory(disk, directory);
    const manifest = (await readManifest(disk, path)) ?? (await createManifest(disk, path));
    await removeIfThere(disk, `${path}/${MANIFEST_TEMPORARY_NAME}`);
    const named = numbersOf(manifest.levels);
    await removeOrphans(disk, directory, (fileNumber, finished) => !finished || !named.has(fileNumber));
    const set = TableSet.create({ disk, directory, ports, cacheBytes: options.blockCacheBytes });
    try {
      await openAll(
        set,
        directory,
        manifest.levels.all().map((table) => table.info),
      );
      set.publish(manifest.levels.fileNumbers());
    } catch (error) {
      await set.close();
      throw error;
    }
    return new TableStore(options, manifest, set);
  }

  get levels(): Levels {
    return this.#manifest.levels;
  }

  /** Another number whenever other levels are published. */
  get version(): number {
    return this.#manifest.sequence;
  }

  get applied(): AppliedState | undefined {
    return this.#manifest.applied;
  }

  get compactRevision(): number {
    return this.#compactRevision;
  }

  get failure(): KvError | undefined {
    return this.#failure;
  }

  /** Goes to disk with the next change: until then nothing was dropped because of it. */
  raiseCompactRevision(revision: number): boolean {
    if (revision <= this.#compactRevision) return false;
    this.#compactRevision = revision;
    return true;
  }

  /** @throws KvError STORAGE_FAILED after a failure that was final */
  assertUsable(): void {
    if (this.#failure === undefined) return;
    throw new KvError('STORAGE_FAILED', `no table is written after a failure: ${this.#failure.message}`, {
      cause: this.#failure,
    });
  }

  /** Numbers for new files, never given before to a file that a manifest named. */
  reserve(count: number): FileNumbers {
    const first = this.#nextFileNumber;
    this.#nextFileNumber += count;
    return { first, count };
  }

  /**
   * Makes a change durable, then visible.
   * @throws KvError STORAGE_FAILED (final), CLOSED; DiskError NO_SPACE: nothing has changed then
   */
  commit(change: StoreChange): Promise<void> {
    return this.#changes.run(async () => {
      this.assertUsable();
      try {
        await this.#commit(change);
      } catch (error) {
        throw this.judge(error);
      }
    });
  }

  async #commit(change: StoreChange): Promise<void> {
    const { added } = change;
    if (added.length > 0) {
      await this.#disk.syncDirectory(this.directory).catch((error) => {
        throw finalError('cannot sync the directory of the tables', error);
      });
    }
    const levels = change.levels(this.levels);
    const opened = await this.#open(added);
    const applied = change.applied ?? this.applied;
    const compactRevision = change.compactRevision ?? this.#compactRevision;
    const manifest: Manifest = {
      sequence: this.#manifest.sequence + 1,
      nextFileNumber: this.#nextFileNumber,
      applied: applied === undefined ? undefined : copyApplied(applied),
      compactRevision,
      levels,
    };
    try {
      await replaceManifest(this.#disk, this.#path, manifest);
    } catch (error) {
      for (const fileNumber of opened) this.set.discard(fileNumber);
      throw error;
    }
    this.#manifest = manifest;
    if (change.compactRevision !== undefined) this.#compactRevision = change.compactRevision;
    const before = this.#named;
    this.#named = numbersOf(levels);
    for (const fileNumber of before) if (!this.#named.has(fileNumber)) this.#leaving.add(fileNumber);
    this.set.publish(levels.fileNumbers());
    this.onPublished();
  }

  /** Opens new tables. What was just written and does not read back was never there: the disk lies. */
  async #open(added: readonly TableInfo[]): Promise<number[]> {
    const opened: number[] = [];
    try {
      for (const info of added) {
        await this.set.openTable(info);
        opened.push(info.fileNumber);
      }
    } catch (error) {
      for (const fileNumber of opened) this.set.discard(fileNumber);
      if (error instanceof KvError && error.code === 'CORRUPT')
        throw finalError('a table that was just written does not read back', error);
      throw error;
    }
    return opened;
  }

  /** Remembers a failure that was final. Gives the error to throw: KvErrors and NO_SPACE as they are, all else as STORAGE_FAILED. */
  judge(error: unknown): unknown {
    if (error instanceof DiskError && error.code === 'NO_SPACE') return error;
    const failure = error instanceof KvError ? error : finalError('the tables cannot be written', error);
    if (failure.code === 'STORAGE_FAILED' || failure.code === 'INTERNAL') this.#failure ??= failure;
    return failure;
  }

  /** Removes the files of a job that failed or was given up. A disk that refuses leaves them to the next open. */
  async discard(numbers: FileNumbers): Promise<void> {
    const { first, count } = numbers;
    try {
      await removeOrphans(
        this.#disk,
        this.directory,
        (fileNumber) => fileNumber >= first && fileNumber < first + count && !this.#named.has(fileNumber),
      );
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
    }
  }

  /** Waits until the files of tables that nobody reads any more are removed. */
  async tidy(): Promise<void> {
    // Of those that leave, the ones still open are pinned.
    while (this.#leaving.size > Math.max(0, this.set.stats().openTables - this.#named.size))
      await new Promise<void>((resolve) => this.#tidyWaiters.push(resolve));
  }

  async close(): Promise<void> {
    await this.#changes.run(async () => undefined);
    await this.set.close();
    while (this.#leaving.size > 0) await new Promise<void>((resolve) => this.#tidyWaiters.push(resolve));
  }

  /** A table is read no more: its file goes, if the manifest does not name it (at the end, all are closed). */
  #closed(fileNumber: number): void {
    if (!this.#leaving.has(fileNumber)) return;
    void this.#remove(fileNumber).then(() => {
      this.#leaving.delete(fileNumber);
      for (const wake of this.#tidyWaiters.splice(0)) wake();
    });
  }

  async #remove(fileNumber: number): Promise<void> {
    // After a failure it is not known what a restart will find the manifest to name.
    if (this.#failure !== undefined) return;
    try {
      await removeIfThere(this.#disk, tablePath(this.directory, fileNumber));
    } catch (error) {
      // What could not be removed now is removed by the next open.
      if (!(error instanceof DiskError)) throw error;
    }
  }
}

/** The first manifest: from then on its absence is damage. */
async function createManifest(disk: Disk, path: string): Promise<Manifest> {
  const directory = `${path}/${TABLES_DIRECTORY}`;
  const names = await disk.list(directory);
  const table = names.find((name) => name.endsWith('.kvt'));
  if (table !== undefined) {
    const file = `${path}/${MANIFEST_NAME}`;
    const problem = `the manifest is missing, but there are tables (${table}): which of them count is not known`;
    throw new KvError('CORRUPT', `${file}: ${problem}`, { details: { file, offset: 0, problem } });
  }
  const manifest: Manifest = {
    sequence: 1,
    nextFileNumber: 1,
    applied: undefined,
    compactRevision: 0,
    levels: Levels.empty,
  };
  await replaceManifest(disk, path, manifest);
  return manifest;
}

async function openAll(set: TableSet, directory: string, tables: readonly TableInfo[]): Promise<void> {
  const waiting = tables.values();
  const openOnes = async (): Promise<void> => {
    for (const info of waiting) {
      try {
        await set.openTable(info);
      } catch (error) {
        throw asMissing(error, tablePath(directory, info.fileNumber));
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: OPEN_AT_ONCE }, openOnes));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** A file that the manifest names and that is not there was lost. */
function asMissing(error: unknown, file: string): unknown {
  if (!(error instanceof DiskError && error.code === 'NOT_FOUND')) return error;
  const problem = 'the manifest names this table, and the file is missing';
  return new KvError('CORRUPT', `${file}: ${problem}`, {
    cause: error,
    details: { file, offset: 0, problem },
  });
}

function finalError(what: string, cause: unknown): KvError {
  const message = cause instanceof Error ? cause.message : String(cause);
  const details = cause instanceof DiskError ? { file: cause.path, diskError: cause.code } : {};
  return new KvError('STORAGE_FAILED', `${what}: ${message}`, { cause, details });
}

function numbersOf(levels: Levels): Set<number> {
  return new Set(levels.fileNumbers().flat());
}

function copyApplied(applied: AppliedState): AppliedState {
  return { index: applied.index, term: applied.term, state: new Uint8Array(applied.state) };
}
