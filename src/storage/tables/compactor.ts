/**
 * Compaction in the background: picks (compaction_picker.ts), has a runner merge, commits.
 *
 * Invariants: one compaction at a time; it changes nothing that a reader could see but the place of records, and drops only what the compact revision allows; a
 * compaction that finds no space is given up without a trace and tried again later; a table in which damage was met is in no compaction from then on.
 */
import { KvError } from '../../errors.ts';
import type { Ports, TimerHandle } from '../../ports.ts';
import { type Disk, DiskError } from '../disk.ts';
import {
  type Compaction,
  type CompactionOptions,
  type Merge,
  type Move,
  pendingCompactionBytes,
  pickCompaction,
} from './compaction_picker.ts';
import { parseTableName, type TableInfo, type TableOptions } from './format.ts';
import { garbageBytes } from './garbage.ts';
import type { FileNumbers, JobRunner, MergeControl } from './job_runner.ts';
import { bytesOfTables, type PlacedTable } from './levels.ts';
import { compactionRate, RateLimiter } from './rate_limiter.ts';
import type { TableStore } from './table_store.ts';

const RETRY_MS = 5_000;
/** Runs in level 0, as multiples of the trigger, from which writers are slowed, and with which they stand still. */
const SLOW_AT = 2;
const STOP_AT = 5;
/** The same for the bytes that wait to be rewritten, as multiples of levelBaseBytes. */
const SLOW_AT_BASES = 64;
const STOP_AT_BASES = 256;
/** A compaction that damage keeps from its work slows writers no more than this: repair needs them. */
const BLOCKED_PRESSURE = 0.75;

export interface CompactorOptions {
  readonly disk: Disk;
  readonly store: TableStore;
  readonly runner: JobRunner;
  readonly ports: Ports;
  readonly picking: CompactionOptions;
  readonly tables: TableOptions;
  /** Bytes a second while nothing presses. */
  readonly idleBytesPerSecond: number;
  /** Numbers of damaged tables; `onDamage` adds to it. */
  readonly damaged: ReadonlySet<number>;
  /** A merge met damage in a table. */
  readonly onDamage: (fileNumber: number, error: KvError) => void;
}

export class Compactor {
  /** Bytes that compactions have written, and read, since the tree was opened. */
  bytesWritten = 0;
  bytesRead = 0;
  /** Tables that moved without being rewritten. */
  tablesMoved = 0;
  compactions = 0;
  readonly #options: CompactorOptions;
  readonly #limiter: RateLimiter;
  #running: Promise<void> | undefined;
  #control: { cancelled: boolean } | undefined;
  #retry: TimerHandle | undefined;
  /** Nothing is begun while this is above 0. */
  #holds = 0;
  #blocked = false;
  #pressure = 0;

  constructor(options: CompactorOptions) {
    this.#options = options;
    this.#limiter = new RateLimiter(options.ports);
  }

  get running(): boolean {
    return this.#control !== undefined;
  }

  /** How far behind: 0 up to SLOW_AT, 1 when writers must wait. */
  get pressure(): number {
    return this.#pressure;
  }

  get pendingBytes(): number {
    return pendingCompactionBytes(this.#options.store.levels, this.#options.picking);
  }

  /** Something changed: looks for work. */
  wake(): void {
    this.#measure();
    if (this.#running !== undefined || this.#retry !== undefined || this.#holds > 0) return;
    if (this.#options.store.failure !== undefined) return;
    this.#running = this.#run();
  }

  /** Gives up what is under way and begins nothing until `resume`. */
  async hold(): Promise<void> {
    this.#holds++;
    if (this.#control !== undefined) this.#control.cancelled = true;
    // A merge that waits for its turn must hear of it.
    this.#limiter.setRate(Number.POSITIVE_INFINITY);
    await this.#running;
  }

  resume(): void {
    this.#holds--;
    this.wake();
  }

  /** Waits until nothing is under way or wanted. What was given up for want of space does not count. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async close(): Promise<void> {
    this.#retry?.cancel();
    this.#retry = undefined;
    await this.hold();
    this.#limiter.release();
  }

  async #run(): Promise<void> {
    // Not in the turn of whoever woke it.
    await new Promise<void>((resolve) => this.#options.ports.timers.afterIo(resolve));
    const { store, picking, damaged } = this.#options;
    while (this.#holds === 0 && store.failure === undefined) {
      const next = pickCompaction(store.levels, store.compactRevision, picking, damaged);
      this.#blocked = next === undefined && damaged.size > 0;
      if (next === undefined || !(await this.#compact(next))) break;
      this.#measure();
    }
    this.#measure();
    // In the turn that found nothing more to do, so that whatever comes next starts anew.
    this.#running = undefined;
  }

  /** False: not now. */
  async #compact(compaction: Compaction): Promise<boolean> {
    const control = { cancelled: false };
    this.#control = control;
    try {
      if (compaction.kind === 'move') await this.#move(compaction);
      else if (await this.#hasRoom(compaction)) await this.#merge(compaction, control);
      else return this.#later();
      this.compactions++;
      return true;
    } catch (error) {
      return this.#survives(error, compaction);
    } finally {
      this.#control = undefined;
    }
  }

  async #move({ tables, level }: Move): Promise<void> {
    await this.#options.store.commit({
      levels: (levels) => levels.withChange({ removed: tables, added: tables, level }),
      added: [],
    });
    this.tablesMoved += tables.length;
  }

  async #merge(merge: Merge, control: { cancelled: boolean }): Promise<void> {
    const { store, runner, tables } = this.#options;
    const { compactRevision } = store;
    const inputs = merge.inputs.flat();
    const inputBytes = bytesOfTables(inputs);
    const numbers = store.reserve(16 + 4 * Math.ceil(inputBytes / merge.tableSizeBytes));
    try {
      const outputs = await runner.merge(
        {
          directory: store.directory,
          inputs: merge.inputs.map((run) => run.map((table) => table.info)),
          compactRevision,
          below: merge.below,
          options: { ...tables, tableSizeBytes: merge.tableSizeBytes },
          numbers,
        },
        this.#controlOf(control),
      );
      this.bytesRead += inputBytes;
      this.bytesWritten += bytesOf(outputs);
      if (control.cancelled) throw new KvError('CANCELLED', 'the compaction was given up');
      await this.#commitMerge(merge, inputs, outputs, compactRevision);
    } catch (error) {
      await this.#discard(numbers);
      throw error;
    }
  }

  async #commitMerge(
    merge: Merge,
    inputs: readonly PlacedTable[],
    outputs: readonly TableInfo[],
    cleanedRevision: number,
  ): Promise<void> {
    checkOutputs(inputs, outputs, cleanedRevision);
    const flushSequence = Math.max(...inputs.map((table) => table.flushSequence));
    const added = outputs.map((info) => ({ info, flushSequence, cleanedRevision }));
    await this.#options.store.commit({
      levels: (levels) => levels.withChange({ removed: inputs, added, level: merge.level }),
      added: outputs,
    });
  }

  #controlOf(control: { readonly cancelled: boolean }): MergeControl {
    const limiter = this.#limiter;
    return {
      take: (bytes) => (control.cancelled ? undefined : limiter.take(bytes)),
      get cancelled() {
        return control.cancelled;
      },
    };
  }

  /** After a final failure files stay: which manifest a restart finds is not known, and it removes what that one does not name. */
  async #discard(numbers: FileNumbers): Promise<void> {
    const { store } = this.#options;
    if (store.failure === undefined) await store.discard(numbers);
  }

  /** Whether the outputs fit, with room for a flush, by estimate: compaction must not take the last space from the log. */
  async #hasRoom(merge: Merge): Promise<boolean> {
    const { disk, store, tables } = this.#options;
    const inputs = merge.inputs.flat();
    const lower = new Set(store.levels.level(merge.level).filter((table) => inputs.includes(table)));
    const records = [...lower].reduce((sum, { info }) => sum + info.recordCount, 0);
    // What a tombstone from above takes with it: on a full disk that is what makes the merge possible.
    const hiddenBytes = records === 0 ? 0 : bytesOfTables([...lower]) / records;
    const isBottom = merge.below.length === 0;
    let outputBytes = 0;
    for (const table of inputs) {
      const hidden = lower.has(table) ? 0 : hiddenBytes;
      outputBytes += table.info.fileBytes - garbageBytes(table, store.compactRevision, isBottom, hidden);
    }
    const needed = tables.tableSizeBytes + Math.max(0, outputBytes);
    return (await disk.spaceLeftBytes(store.directory)) >= needed;
  }

  #later(): boolean {
    if (this.#holds > 0) return false;
    this.#retry = this.#options.ports.timers.after(RETRY_MS, () => {
      this.#retry = undefined;
      this.wake();
    });
    return false;
  }

  /** After a compaction failed: whether to look for another one at once. */
  #survives(error: unknown, compaction: Compaction): boolean {
    const { store } = this.#options;
    if (error instanceof KvError) {
      if (error.code === 'CANCELLED') return false;
      // No memory for it, or no space: both may come back.
      if (error.code === 'UNAVAILABLE' || error.code === 'NO_SPACE') return this.#later();
    }
    const damaged = compaction.kind === 'merge' ? damagedInput(error, compaction) : undefined;
    if (damaged !== undefined) {
      this.#options.onDamage(damaged.fileNumber, damaged.error);
      return true;
    }
    const judged = store.judge(error);
    return judged instanceof DiskError ? this.#later() : false;
  }

  /** Follows the levels: how urgent compaction is, how much writers must be slowed. */
  #measure(): void {
    const { store, picking, idleBytesPerSecond } = this.#options;
    const runs = store.levels.runCount() / picking.l0Trigger;
    const bases = pendingCompactionBytes(store.levels, picking) / picking.levelBaseBytes;
    const pressure = Math.max(share(runs, SLOW_AT, STOP_AT), share(bases, SLOW_AT_BASES, STOP_AT_BASES));
    this.#pressure = this.#blocked ? Math.min(pressure, BLOCKED_PRESSURE) : pressure;
    if (this.#holds > 0) return;
    const urgency = Math.max(share(runs, 1, STOP_AT), share(bases, 0, STOP_AT_BASES));
    this.#limiter.setRate(compactionRate(urgency, idleBytesPerSecond));
  }
}

/** Where a value lies between two others, from 0 to 1. */
function share(value: number, low: number, high: number): number {
  return Math.min(1, Math.max(0, (value - low) / (high - low)));
}

function bytesOf(tables: readonly TableInfo[]): number {
  return tables.reduce((sum, info) => sum + info.fileBytes, 0);
}

/** The input that an error tells the damage of: bytes that are wrong, or that the disk does not give. */
function damagedInput(error: unknown, merge: Merge): { fileNumber: number; error: KvError } | undefined {
  const damage = asDamage(error);
  const path = String(damage?.details['file'] ?? '');
  const named = parseTableName(path.slice(path.lastIndexOf('/') + 1));
  const input = merge.inputs.flat().find((table) => table.info.fileNumber === named?.fileNumber);
  if (damage === undefined || input === undefined || named?.finished !== true) return undefined;
  return { fileNumber: input.info.fileNumber, error: damage };
}

function asDamage(error: unknown): KvError | undefined {
  if (error instanceof KvError) return error.code === 'CORRUPT' ? error : undefined;
  if (!(error instanceof DiskError) || error.code !== 'IO') return undefined;
  const { path, message } = error;
  return new KvError('CORRUPT', `${path}: cannot be read: ${message}`, {
    cause: error,
    details: { file: path, offset: 0, problem: message },
  });
}

/** A merge that lost or invented records must not be committed. */
function checkOutputs(
  inputs: readonly PlacedTable[],
  outputs: readonly TableInfo[],
  compactRevision: number,
): void {
  const before = inputs.reduce((sum, table) => sum + table.info.recordCount, 0);
  const after = outputs.reduce((sum, info) => sum + info.recordCount, 0);
  const isRight = compactRevision === 0 ? after === before : after <= before;
  if (!isRight) throw new KvError('INTERNAL', `a merge of ${before} records gave ${after}`);
}
