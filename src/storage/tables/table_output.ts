/**
 * The tables that one job writes, one after the other: opens them as records come, cuts them near `tableSizeBytes`, and takes them all back when the job fails.
 *
 * Invariant: a table ends between two different keys; no table is without records.
 */
import type { Disk } from '../disk.ts';
import type { MaybePromise } from '../record.ts';
import type { BlockBuilder } from './block_builder.ts';
import { type TableInfo, type TableOptions, tablePath } from './format.ts';
import { TableWriter } from './table_writer.ts';

/** Lets a job be slowed down, stopped (by throwing), or others have the thread. */
export interface Pace {
  /** Called about every 256 KiB of output. */
  step(bytes: number): MaybePromise<void>;
}

export interface TableOutputOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly options: TableOptions;
  readonly nextFileNumber: () => number;
  readonly pace?: Pace;
  /** Writes block this thread: for one without an event loop to protect. Default false. */
  readonly sync?: boolean;
}

export class TableOutput {
  readonly #job: TableOutputOptions;
  readonly #builder: BlockBuilder;
  readonly #tables: TableInfo[] = [];
  #writer: TableWriter | undefined;

  constructor(job: TableOutputOptions, builder: BlockBuilder) {
    this.#job = job;
    this.#builder = builder;
  }

  /** What may still be added to the table before it should be cut; 0 or less: it should be. */
  get roomBytes(): number {
    return this.#job.options.tableSizeBytes - (this.#writer?.fileBytes ?? 0) - this.#builder.pendingBytes;
  }

  /**
   * Writes what the builder holds, and drains it.
   * @throws DiskError, KvError, and what the pace throws; call `discard` then
   */
  async write(): Promise<void> {
    const builder = this.#builder;
    builder.finishBlock();
    if (builder.blockCount === 0) return;
    const { disk, directory, options, nextFileNumber, pace, sync } = this.#job;
    this.#writer ??= await TableWriter.create(disk, directory, nextFileNumber(), options, sync);
    const before = this.#writer.fileBytes;
    const written = this.#writer.writeBlocks(builder);
    if (written !== undefined) await written;
    const rest = pace?.step(this.#writer.fileBytes - before);
    if (rest !== undefined) await rest;
  }

  /** Finishes the table with what the builder holds; the next record begins another. @throws like `write` */
  async cut(): Promise<void> {
    await this.write();
    if (this.#writer !== undefined) this.#tables.push(await this.#writer.finish());
    this.#writer = undefined;
    this.#builder.beginTable();
  }

  /** Finishes the last table; gives all. The caller syncs the directory. @throws like `write` */
  async finish(): Promise<TableInfo[]> {
    await this.cut();
    return this.#tables;
  }

  /** Removes every table, finished or not. What a disk refuses to remove is not named by any manifest; the next start removes it. */
  async discard(): Promise<void> {
    await this.#writer?.abandon();
    const { disk, directory } = this.#job;
    await Promise.allSettled(
      this.#tables.splice(0).map(({ fileNumber }) => disk.remove(tablePath(directory, fileNumber))),
    );
  }
}
