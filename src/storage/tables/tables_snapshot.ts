/**
 * A consistent view of pinned tables, for copying the whole tree elsewhere: pages of records in record order.
 *
 * What compaction may drop it leaves out, tombstones at or below the compact revision among it. Memory is bounded: one window of each run.
 */
import { KvError } from '../../errors.ts';
import type { AppliedState, MaybePromise, StoredRecord } from '../record.ts';
import type { TreeSnapshot } from '../tree.ts';
import type { WasmBuild } from '../wasm_module.ts';
import { DONE, type FillInput, MergeCursor, OUT_FULL } from './merge_cursor.ts';
import { MergeMemory } from './merge_memory.ts';
import type { PinnedRuns } from './open_scan.ts';

const WINDOW_BYTES = 256 * 1024;
const REGION_BYTES = 256 * 1024;
const MAX_RECORDS = 0x7fffffff;

export interface TablesSnapshotOptions {
  /** Taken over: released with the snapshot. */
  readonly pinned: PinnedRuns;
  readonly applied: AppliedState;
  readonly compactRevision: number;
  readonly build?: WasmBuild;
  /** How windows are read. Default: off the event loop. */
  readonly fill?: FillInput;
}

export class TablesSnapshot implements TreeSnapshot {
  readonly applied: AppliedState;
  readonly #pinned: PinnedRuns;
  readonly #cursor: MergeCursor;
  readonly #consume: () => number;
  #bytesLeft = 0;
  #records: StoredRecord[] = [];
  #done = false;
  #released = false;
  /** A page is being read: what it reads into must stay until then. */
  #reading = false;

  /** @throws KvError UNAVAILABLE (no memory) */
  constructor(options: TablesSnapshotOptions) {
    const { pinned, applied, compactRevision, build } = options;
    this.applied = applied;
    this.#pinned = pinned;
    const memory = new MergeMemory(build);
    const bounds = {
      reverse: false,
      seek: undefined,
      stop: undefined,
      smallestRevision: 0,
      largestRevision: Number.MAX_SAFE_INTEGER,
      firstWindowBytes: WINDOW_BYTES,
      windowBytes: WINDOW_BYTES,
    };
    this.#cursor = new MergeCursor(
      memory,
      pinned.runs,
      bounds,
      options.fill ?? ((input) => input.fillLater()),
    );
    this.#cursor.gatherInto(REGION_BYTES);
    const { exports } = memory;
    this.#consume = () => exports.collectRetained(compactRevision, MAX_RECORDS, this.#bytesLeft);
  }

  /** @throws KvError CORRUPT with `file`, `offset` and `problem`; CLOSED once it is released */
  next(maxBytes: number): MaybePromise<StoredRecord[]> {
    if (this.#released) throw new KvError('CLOSED', 'the snapshot was released');
    if (this.#reading)
      throw new KvError('INTERNAL', 'a page of a snapshot was asked for before the one before it came');
    if (this.#done) return [];
    this.#records = [];
    // A page that is not the last must not be empty.
    this.#bytesLeft = Math.max(1, maxBytes);
    const more = this.#gather();
    if (!(more instanceof Promise)) return this.#take();
    this.#reading = true;
    return more.then(
      () => {
        this.#reading = false;
        const records = this.#take();
        if (this.#released) this.#letGo();
        return records;
      },
      (error: unknown) => {
        this.#reading = false;
        if (this.#released) this.#letGo();
        throw error;
      },
    );
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    if (!this.#reading) this.#letGo();
  }

  #letGo(): void {
    this.#cursor.close();
    this.#pinned.release();
  }

  #take(): StoredRecord[] {
    const records = this.#records;
    this.#records = [];
    return records;
  }

  #gather(): MaybePromise<void> {
    for (;;) {
      const status = this.#cursor.gather(this.#consume);
      if (status instanceof Promise)
        return status.then((answer) => (this.#took(answer) ? this.#gather() : undefined));
      if (!this.#took(status)) return undefined;
    }
  }

  #took(status: number): boolean {
    this.#bytesLeft -= this.#cursor.take(this.#records);
    if (status === DONE) this.#done = true;
    return status === OUT_FULL;
  }
}
