/**
 * Flushes frozen memtables into the tree, oldest first, one at a time, in the background.
 *
 * Invariants: a memtable counts as flushed only when the tree has taken all of it with its AppliedState; NO_SPACE is retried after a pause, for as long as it
 * lasts; any other failure is final, and is told once.
 */
import { KvError } from '../errors.ts';
import type { Clock, TimerHandle, Timers } from '../ports.ts';
import { DiskError } from './disk.ts';
import type { Layer, Layers } from './engine_layers.ts';
import type { Memtable } from './memtable.ts';
import { compareKeys, type StoredRecord } from './record.ts';
import type { Run, Tree } from './tree.ts';
import type { WasmMemory } from './wasm_module.ts';

const RETRY_MS = 500;

/** Whether an error says that there is no room for now: the disk is full, or the memory in which tables keep their indexes is (UNAVAILABLE). */
export function isNoSpace(error: unknown): boolean {
  if (error instanceof DiskError) return error.code === 'NO_SPACE';
  return error instanceof KvError && (error.code === 'NO_SPACE' || error.code === 'UNAVAILABLE');
}

export interface FlushQueueOptions {
  readonly layers: Layers;
  readonly tree: Tree;
  readonly timers: Timers;
  readonly maxFrozenMemtables: number;
  readonly onFailure: (error: Error) => void;
  readonly clock: Clock;
  /** A memtable is in the tree now, after so many milliseconds of work. */
  readonly onFlushed: (layer: Layer, elapsedMs: number) => void;
}

interface Waiter {
  readonly isOver: () => boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class FlushQueue {
  readonly #options: FlushQueueOptions;
  #running: Promise<void> | undefined;
  #retry: { timer: TimerHandle; wake: () => void } | undefined;
  #held = false;
  #noSpace = false;
  #behind = false;
  #failure: Error | undefined;
  #waiters: Waiter[] = [];

  constructor(options: FlushQueueOptions) {
    this.#options = options;
  }

  /** Writes must wait: too many memtables do. */
  get behind(): boolean {
    return this.#behind;
  }

  get noSpace(): boolean {
    return this.#noSpace;
  }

  /** Something was frozen. */
  start(): void {
    const idle = this.#options.layers.waiting.length === 0;
    if (idle) this.#noSpace = false;
    this.#update();
    if (idle || this.#running !== undefined || this.#held || this.#failure !== undefined) return;
    this.#running = this.#run();
  }

  /** Resolves when `isOver` holds, which is looked at after every flush; rejects when flushing failed for good. */
  until(isOver: () => boolean): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (isOver()) return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiters.push({ isOver, resolve, reject }));
  }

  /** Lets the flush under way end and begins no other until `resume`. */
  async hold(): Promise<void> {
    this.#held = true;
    this.#retry?.wake();
    await this.#running;
  }

  resume(): void {
    this.#held = false;
    this.start();
  }

  /** Flushing is over for good; whoever waits is told. */
  fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }

  /** REQUIRES: something waits. */
  async #run(): Promise<void> {
    for (;;) {
      const layer = this.#options.layers.waiting[0];
      if (layer === undefined || this.#held || this.#failure !== undefined) break;
      const { clock } = this.#options;
      const startedMs = clock.monotonicMs();
      try {
        await this.#options.tree.flush(
          new CompactedRun(layer.memtable, layer.compactRevision),
          layer.applied!,
        );
      } catch (error) {
        if (!(await this.#survives(error))) break;
        continue;
      }
      layer.flushed = true;
      this.#noSpace = false;
      this.#options.onFlushed(layer, clock.monotonicMs() - startedMs);
      this.#update();
    }
    // In the turn that found nothing more to do, so that whatever is frozen next starts anew.
    this.#running = undefined;
  }

  /** After a failed flush: whether to try again. */
  async #survives(error: unknown): Promise<boolean> {
    if (this.#failure !== undefined) return false;
    if (isNoSpace(error)) {
      this.#noSpace = true;
      this.#update();
      if (!this.#held) await this.#pause();
      return true;
    }
    const failure = error instanceof Error ? error : new Error(String(error));
    this.fail(failure);
    this.#options.onFailure(failure);
    return false;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#retry?.timer.cancel();
        this.#retry = undefined;
        resolve();
      };
      this.#retry = { timer: this.#options.timers.after(RETRY_MS, wake), wake };
    });
  }

  #update(): void {
    this.#behind = this.#options.layers.waiting.length >= this.#options.maxFrozenMemtables;
    const waiters = this.#waiters;
    this.#waiters = waiters.filter((waiter) => !waiter.isOver());
    for (const waiter of waiters) if (!this.#waiters.includes(waiter)) waiter.resolve();
  }
}

/** A memtable without the versions that a newer one at or below `compactRevision` supersedes. Its counts are upper bounds. */
export class CompactedRun implements Run {
  readonly source: { readonly memory: WasmMemory; readonly compactRevision: number };
  readonly #run: Run;
  readonly #compactRevision: number;

  constructor(memtable: Memtable, compactRevision: number) {
    this.#run = memtable;
    this.#compactRevision = compactRevision;
    this.source = { memory: memtable.sharedMemory, compactRevision };
  }

  get recordCount(): number {
    return this.#run.recordCount;
  }

  get dataBytes(): number {
    return this.#run.dataBytes;
  }

  records(): IterableIterator<StoredRecord> {
    const records = this.#run.records();
    return this.#compactRevision === 0 ? records : new CompactedRecords(records, this.#compactRevision);
  }
}

class CompactedRecords implements IterableIterator<StoredRecord> {
  readonly #records: IterableIterator<StoredRecord>;
  readonly #compactRevision: number;
  /** The key of which a version at or below the compact revision has been shown: older ones go. */
  #key = new Uint8Array(256);
  #keyLength = -1;

  constructor(records: IterableIterator<StoredRecord>, compactRevision: number) {
    this.#records = records;
    this.#compactRevision = compactRevision;
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<StoredRecord, undefined> {
    for (;;) {
      const step = this.#records.next();
      if (step.done === true) return { done: true, value: undefined };
      const record = step.value;
      if (record.modRevision > this.#compactRevision) return { done: false, value: record };
      if (this.#isSuperseded(record.key)) continue;
      if (record.key.length > this.#key.length) this.#key = new Uint8Array(record.key.length * 2);
      this.#key.set(record.key);
      this.#keyLength = record.key.length;
      return { done: false, value: record };
    }
  }

  #isSuperseded(key: Uint8Array): boolean {
    return key.length === this.#keyLength && compareKeys(key, this.#key.subarray(0, this.#keyLength)) === 0;
  }
}
