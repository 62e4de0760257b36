/**
 * Where the heavy work of a tree is done: flushes and merges as jobs. Here: on this thread, in pieces. worker_runner.ts: on a thread of its own.
 *
 * Invariants: a job writes only files whose numbers it was given; a merge under way waits while a flush is under way; what a job was given (tables, the
 * memtable's memory) stays as it is until the job has ended.
 */
import { KvError } from '../../errors.ts';
import type { Ports } from '../../ports.ts';
import type { Disk } from '../disk.ts';
import type { MaybePromise } from '../record.ts';
import { TimeSlice } from '../time_slice.ts';
import type { WasmMemory } from '../wasm_module.ts';
import { runFlush } from './flush_job.ts';
import type { TableInfo, TableOptions } from './format.ts';
import type { KeySpan } from './levels.ts';
import { runMerge } from './merge_job.ts';
import { MergeMemoryPool } from './merge_memory.ts';

/** Of memory between merges: one merge of many runs, unless its values are very large. */
const MAX_POOLED_BYTES = 64 * 1024 * 1024;

/** File numbers that a job may use: [first, first + count). */
export interface FileNumbers {
  readonly first: number;
  readonly count: number;
}

interface JobFiles {
  /** Where tables lie. */
  readonly directory: string;
  readonly options: TableOptions;
  readonly numbers: FileNumbers;
}

/** Everything in a job can be sent to another thread. */
export interface FlushJob extends JobFiles {
  readonly memory: WasmMemory;
  readonly compactRevision: number;
}

export interface MergeJob extends JobFiles {
  /** Sorted runs, newest first. */
  readonly inputs: readonly (readonly TableInfo[])[];
  readonly compactRevision: number;
  /** Where tombstones must stay. */
  readonly below: readonly KeySpan[];
}

/** How the one who ordered a merge holds its reins. */
export interface MergeControl {
  /** Asked before so many bytes are handled; may wait. */
  take(bytes: number): MaybePromise<void>;
  /** The merge is to end with CANCELLED. */
  readonly cancelled: boolean;
}

export interface JobRunner {
  /** Tables written, synced and named; the directory is not synced. @throws DiskError, KvError; files may be left over then */
  flush(job: FlushJob): Promise<TableInfo[]>;
  /** The same. @throws also KvError CANCELLED, CORRUPT with the file of an input */
  merge(job: MergeJob, control: MergeControl): Promise<TableInfo[]>;
  /** REQUIRES: no job is under way, or is about to end. */
  close(): Promise<void>;
}

/** Hands out the numbers of a job. */
export function numberSource({ first, count }: FileNumbers): () => number {
  let next = first;
  return () => {
    if (next >= first + count)
      throw new KvError('INTERNAL', `a job writes more than the ${count} tables that were expected of it`);
    return next++;
  };
}

export interface InlineRunnerOptions {
  readonly disk: Disk;
  /** Called about every 256 KiB of work: lets others have the thread. Nothing when nobody else needs it. */
  readonly rest?: () => MaybePromise<void>;
  /** Reads and writes block: for a thread without an event loop to protect. */
  readonly blocking?: boolean;
  /** For merges. */
  readonly memories?: MergeMemoryPool;
}

export class InlineRunner implements JobRunner {
  readonly #disk: Disk;
  readonly #rest: () => MaybePromise<void>;
  readonly #blocking: boolean;
  readonly #memories: MergeMemoryPool;
  #flushes = 0;
  #waiting: (() => void)[] = [];

  constructor(options: InlineRunnerOptions) {
    this.#disk = options.disk;
    this.#rest = options.rest ?? (() => undefined);
    this.#blocking = options.blocking ?? false;
    this.#memories = options.memories ?? new MergeMemoryPool(MAX_POOLED_BYTES);
  }

  /** For the thread that serves requests: rests when a slice of time is over. */
  static inSlices(disk: Disk, ports: Ports): InlineRunner {
    const slice = new TimeSlice(ports);
    return new InlineRunner({ disk, rest: () => (slice.isOver() ? slice.rest() : undefined) });
  }

  async flush(job: FlushJob): Promise<TableInfo[]> {
    this.#flushes++;
    try {
      return await runFlush({
        disk: this.#disk,
        directory: job.directory,
        memory: job.memory,
        compactRevision: job.compactRevision,
        options: job.options,
        nextFileNumber: numberSource(job.numbers),
        pace: { step: () => this.#rest() },
        sync: this.#blocking,
      });
    } finally {
      this.#flushes--;
      if (this.#flushes === 0) for (const resolve of this.#waiting.splice(0)) resolve();
    }
  }

  merge(job: MergeJob, control: MergeControl): Promise<TableInfo[]> {
    return runMerge({
      disk: this.#disk,
      directory: job.directory,
      inputs: job.inputs,
      compactRevision: job.compactRevision,
      below: job.below,
      options: job.options,
      nextFileNumber: numberSource(job.numbers),
      pace: { step: (bytes) => this.#pace(bytes, control) },
      cancelled: () => control.cancelled,
      sync: this.#blocking,
      memories: this.#memories,
    });
  }

  async close(): Promise<void> {
    this.#memories.clear();
  }

  async #pace(bytes: number, control: MergeControl): Promise<void> {
    await control.take(bytes);
    while (this.#flushes > 0 && !control.cancelled)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    await this.#rest();
  }
}
