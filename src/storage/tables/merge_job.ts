/**
 * Compaction: merges sorted runs of tables into new tables, leaving out what may go.
 *
 * A version goes when a newer one of its key at or below the compact revision is among the inputs; a tombstone at or below it goes when nothing that is older than the
 * inputs may hold its key (`below`).
 *
 * Invariants: all versions of a key lie in one output (a table is cut between different keys only); outputs are disjoint and in key order; when the job fails or is
 * cancelled, everything that it wrote is removed. Files are synced and named; the directory is not synced.
 */
import { KvError } from '../../errors.ts';
import type { Disk } from '../disk.ts';
import { compareKeys, type MaybePromise } from '../record.ts';
import { BlockBuilder } from './block_builder.ts';
import { type TableInfo, type TableOptions, tablePath } from './format.ts';
import { InputTable } from './input_table.ts';
import { CUT, DONE, MergeCursor, OUT_FULL, TOO_LARGE } from './merge_cursor.ts';
import type { MergeMemory, MergeMemoryPool } from './merge_memory.ts';
import { TableWriter } from './table_writer.ts';

/** Bytes merged between two steps of the pace. */
const STEP_BYTES = 256 * 1024;
const WINDOW_BYTES = 256 * 1024;
const RANGE_BYTES = 16;

export interface MergePace {
  /** Called about every 256 KiB with the bytes gone through since; may wait. */
  step(bytes: number): MaybePromise<void>;
}

/** Keys from one to another, both included. */
export interface KeyBounds {
  readonly smallestKey: Uint8Array;
  readonly largestKey: Uint8Array;
}

export interface MergeJobOptions {
  readonly disk: Disk;
  readonly directory: string;
  /** Sorted runs of disjoint tables, newest first. */
  readonly inputs: readonly (readonly TableInfo[])[];
  readonly compactRevision: number;
  /** What is older than the inputs and may hold their keys: there tombstones stay. In any order. */
  readonly below: readonly KeyBounds[];
  readonly options: TableOptions;
  readonly nextFileNumber: () => number;
  readonly pace: MergePace;
  /** Asked after every step of the pace: true ends the job. */
  readonly cancelled: () => boolean;
  /** Reads and writes block: for a thread without an event loop to protect. Default false. */
  readonly sync?: boolean;
  /** Where the memory to merge in comes from and goes back to. */
  readonly memories: MergeMemoryPool;
}

/**
 * Runs a compaction. Gives the tables written, in key order; none when everything was dropped.
 * @throws KvError CANCELLED; CORRUPT with the `file` of an input, `offset` and `problem`; UNAVAILABLE (no memory); DiskError
 */
export async function runMerge(job: MergeJobOptions): Promise<TableInfo[]> {
  const merge = new MergeJob(job);
  try {
    const tables = await merge.run();
    // Only now: of a job that failed, a read or a write may still be under way.
    merge.giveBack();
    return tables;
  } catch (error) {
    await merge.removeOutputs();
    throw error;
  } finally {
    merge.close();
  }
}

class MergeJob {
  readonly #job: MergeJobOptions;
  readonly #sync: boolean;
  readonly #memory: MergeMemory;
  readonly #cursor: MergeCursor;
  readonly #builder: BlockBuilder;
  readonly #outputs: TableInfo[] = [];
  #writer: TableWriter | undefined;
  #mergedBytes = 0;
  #cutWanted = false;

  constructor(job: MergeJobOptions) {
    this.#job = job;
    this.#sync = job.sync ?? false;
    const memory = job.memories.take();
    this.#memory = memory;
    const runs = job.inputs.map((run) =>
      run.map((info) => new InputTable(job.disk, job.directory, info, this.#sync)),
    );
    const bounds = {
      reverse: false,
      seek: undefined,
      stop: undefined,
      smallestRevision: 0,
      largestRevision: Number.MAX_SAFE_INTEGER,
      firstWindowBytes: WINDOW_BYTES,
      windowBytes: WINDOW_BYTES,
    };
    this.#cursor = new MergeCursor(memory, runs, bounds, (input) =>
      this.#sync ? input.fillNow() : input.fillLater(),
    );
    this.#setRangesBelow();
    const { blockSizeBytes } = job.options;
    // Not from the memory's end: there, it would lengthen the memory with every job.
    const allocate = (bytes: number): number => memory.allocate(bytes);
    const builderAt = allocate(BlockBuilder.sizeBytes({ blockSizeBytes }));
    this.#builder = new BlockBuilder(memory.memory, memory.exports, builderAt, { blockSizeBytes, allocate });
  }

  async run(): Promise<TableInfo[]> {
    const { exports } = this.#memory;
    const { compactRevision, options } = this.#job;
    const { address } = this.#builder;
    const consume = (): number => {
      const status = exports.mergeInto(address, compactRevision, this.#bytesToStep());
      this.#mergedBytes += exports.mergedBytes();
      return status;
    };
    for (;;) {
      const running = this.#cursor.run(consume);
      const status = running instanceof Promise ? await running : running;
      if (status === TOO_LARGE) this.#builder.makeRoomFor(exports.nextRecord());
      else if (status === OUT_FULL) await this.#write();
      else if (status === CUT || status === DONE) {
        await this.#write();
        await this.#finishTable();
      }
      if (status === DONE) return this.#outputs;
      if (this.#mergedBytes >= STEP_BYTES) await this.#step();
      if (!this.#cutWanted && this.#tableBytes() >= options.tableSizeBytes) {
        this.#builder.wantCut();
        this.#cutWanted = true;
      }
    }
  }

  /** Removes all that was written. What a failing disk keeps is removed by the next start: no manifest names it. */
  async removeOutputs(): Promise<void> {
    await this.#writer?.abandon();
    const { disk, directory } = this.#job;
    await Promise.allSettled(
      this.#outputs.map(({ fileNumber }) => disk.remove(tablePath(directory, fileNumber))),
    );
  }

  close(): void {
    this.#cursor.close();
  }

  /** REQUIRES: the job has ended well. */
  giveBack(): void {
    this.#job.memories.give(this.#memory);
  }

  /** How far to merge before looking at the pace and at the table's size. */
  #bytesToStep(): number {
    const toPace = STEP_BYTES - this.#mergedBytes;
    const toCut = this.#cutWanted ? toPace : this.#job.options.tableSizeBytes - this.#tableBytes();
    return Math.max(1, Math.min(toPace, toCut));
  }

  #tableBytes(): number {
    return (this.#writer?.fileBytes ?? 0) + this.#builder.pendingBytes;
  }

  async #step(): Promise<void> {
    const bytes = this.#mergedBytes;
    this.#mergedBytes = 0;
    const waits = this.#job.pace.step(bytes);
    if (waits !== undefined) await waits;
    if (this.#job.cancelled()) throw new KvError('CANCELLED', 'the compaction was cancelled');
  }

  /** Writes the finished blocks and the open one. */
  async #write(): Promise<void> {
    this.#builder.finishBlock();
    if (this.#builder.blockCount === 0) return;
    const { disk, directory, options, nextFileNumber } = this.#job;
    this.#writer ??= await TableWriter.create(disk, directory, nextFileNumber(), options, this.#sync);
    const written = this.#writer.writeBlocks(this.#builder);
    if (written !== undefined) await written;
  }

  async #finishTable(): Promise<void> {
    if (this.#writer !== undefined) this.#outputs.push(await this.#writer.finish());
    this.#writer = undefined;
    this.#builder.beginTable();
    this.#cutWanted = false;
  }

  /** Lists the ranges below, sorted and joined where they overlap, for WebAssembly. */
  #setRangesBelow(): void {
    const memory = this.#memory;
    const ranges = joinRanges(this.#job.below);
    const list = memory.allocate(ranges.length * RANGE_BYTES);
    ranges.forEach(({ smallestKey, largestKey }, i) => {
      const smallestAt = memory.put(smallestKey);
      const largestAt = memory.put(largestKey);
      const at = (list + i * RANGE_BYTES) >>> 2;
      memory.words[at] = smallestAt;
      memory.words[at + 1] = smallestKey.length;
      memory.words[at + 2] = largestAt;
      memory.words[at + 3] = largestKey.length;
    });
    memory.exports.setRangesBelow(list, ranges.length);
  }
}

function joinRanges(ranges: readonly KeyBounds[]): KeyBounds[] {
  const joined: KeyBounds[] = [];
  for (const range of [...ranges].sort((a, b) => compareKeys(a.smallestKey, b.smallestKey))) {
    const last = joined.at(-1);
    if (last === undefined || compareKeys(last.largestKey, range.smallestKey) < 0) joined.push(range);
    else if (compareKeys(last.largestKey, range.largestKey) < 0)
      joined[joined.length - 1] = { smallestKey: last.smallestKey, largestKey: range.largestKey };
  }
  return joined;
}
