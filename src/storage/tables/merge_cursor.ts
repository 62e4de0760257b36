/**
 * A merge of several runs of tables under way: runs a consumer of assembly/merge.ts, gives the inputs their windows when they need them, and makes records of
 * what was gathered.
 *
 * Invariants: records own their bytes: those of one batch share one allocation; whatever is damaged is thrown as KvError CORRUPT that names file and
 * offset; after `close` the memory belongs to whoever gave it.
 */
import { KvError } from '../../errors.ts';
import type { MaybePromise, StoredRecord } from '../record.ts';
import { DESCRIPTOR_BYTES, MAX_ENTRY_KEY_BYTES } from './block_layout.ts';
import { INPUT_BYTES, type MergeBounds, MergeInput, type TableSource } from './merge_input.ts';
import type { MergeMemory } from './merge_memory.ts';

// assembly/merge.ts
export const DONE = 0;
const NEED_WINDOW = 1;
const DAMAGED = 2;
const DISORDERED = 3;
export const OUT_FULL = 4;
export const MORE = 5;
export const TOO_LARGE = 6;
export const CUT = 7;

const LIST_CAPACITY = 2048;
const NO_BYTES = new Uint8Array(0);

/** How an input gets its next window. */
export type FillInput = (input: MergeInput) => MaybePromise<void>;

export class MergeCursor {
  readonly memory: MergeMemory;
  readonly inputs: readonly MergeInput[];
  readonly #fill: FillInput;
  #region = 0;
  #regionBytes = 0;
  #list = 0;

  /** `runs`: newest first. REQUIRES: the memory has no other merge. @throws KvError UNAVAILABLE (no memory) */
  constructor(
    memory: MergeMemory,
    runs: readonly (readonly TableSource[])[],
    bounds: MergeBounds,
    fill: FillInput,
  ) {
    this.memory = memory;
    this.#fill = fill;
    const table = memory.allocate(runs.length * INPUT_BYTES);
    const order = memory.allocate(runs.length * 4);
    const lastKey = memory.allocate(MAX_ENTRY_KEY_BYTES);
    this.inputs = runs.map(
      (run, rank) => new MergeInput(memory, table + rank * INPUT_BYTES, rank, run, bounds),
    );
    const { seek, stop, reverse } = bounds;
    const seekAt = seek === undefined ? 0 : memory.put(seek.key);
    const stopAt = stop === undefined ? 0 : memory.put(stop);
    memory.exports.beginMerge(
      table,
      runs.length,
      order,
      lastKey,
      reverse ? 1 : 0,
      seekAt,
      seek?.key.length ?? 0,
      seek?.revision ?? 0,
      stopAt,
      stop?.length ?? 0,
    );
  }

  /** Makes room for records that are to be gathered. */
  gatherInto(regionBytes: number): void {
    const { memory } = this;
    if (this.#list === 0) this.#list = memory.allocate(LIST_CAPACITY * DESCRIPTOR_BYTES);
    this.#region = memory.allocate(regionBytes);
    this.#regionBytes = regionBytes;
    memory.exports.collectInto(this.#region, regionBytes, this.#list, LIST_CAPACITY);
  }

  /** Reads the first window of every input off the event loop, all at the same time. */
  async prefetch(): Promise<void> {
    // All of them, so that nothing is read into the memory any more when one has failed.
    const results = await Promise.allSettled(this.inputs.map((input) => input.fillLater()));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /**
   * Runs a consumer until it has an answer other than that it needs a window.
   * @throws KvError CORRUPT with `file`, `offset` and `problem`; DiskError when a table cannot be opened
   */
  run(consumer: () => number): MaybePromise<number> {
    for (;;) {
      const answer = consumer();
      const status = answer & 0xff;
      if (status !== NEED_WINDOW) {
        if (status === DAMAGED) throw this.#input(answer).damaged('a block is malformed');
        if (status === DISORDERED)
          throw this.#input(answer).damaged('the records of a block are out of order');
        return status;
      }
      const waits = this.#fill(this.#input(answer));
      if (waits !== undefined) return waits.then(() => this.run(consumer));
    }
  }

  /** The same for consumers that gather: DONE or MORE ends it, OUT_FULL is for the caller to take records and go on. */
  gather(consumer: () => number): MaybePromise<number> {
    const status = this.run(consumer);
    if (status instanceof Promise) return status.then((answer) => this.#gathered(consumer, answer));
    return this.#gathered(consumer, status);
  }

  #gathered(consumer: () => number, status: number): MaybePromise<number> {
    if (status !== TOO_LARGE) return status;
    this.gatherInto(Math.max(2 * this.#regionBytes, this.memory.exports.neededBytes()));
    return this.gather(consumer);
  }

  /** Takes what was gathered. Gives the bytes of keys and values. */
  take(records: StoredRecord[]): number {
    const { exports } = this.memory;
    const count = exports.collectedCount();
    if (count === 0) return 0;
    const length = exports.collectedEnd() - this.#region;
    // Not from a pool, and not zeroed first: filled at once.
    const slab = Buffer.allocUnsafeSlow(length);
    slab.set(this.memory.bytes.subarray(this.#region, this.#region + length));
    const { buffer } = slab;
    for (let i = 0; i < count; i++) records.push(this.#record(this.#list + i * DESCRIPTOR_BYTES, buffer));
    exports.collectedTaken();
    return length;
  }

  close(): void {
    for (const input of this.inputs) input.close();
  }

  #record(descriptor: number, slab: ArrayBufferLike): StoredRecord {
    const { words, floats } = this.memory;
    const word = descriptor >>> 2;
    const float = descriptor >>> 3;
    const valueLength = words[word + 3]!;
    const hasLease = words[word + 10] !== 0 || words[word + 11] !== 0;
    return {
      key: new Uint8Array(slab, words[word]! - this.#region, words[word + 1]!),
      value:
        valueLength === 0 ? NO_BYTES : new Uint8Array(slab, words[word + 2]! - this.#region, valueLength),
      modRevision: floats[float + 2]!,
      createRevision: floats[float + 3]!,
      version: floats[float + 4]!,
      subRevision: words[word + 14]!,
      flags: words[word + 15]!,
      lease: hasLease ? this.memory.longs[(descriptor + 40) >>> 3]! : 0n,
      expiresAtMs: floats[float + 6]!,
    };
  }

  #input(answer: number): MergeInput {
    const input = this.inputs[answer >>> 8];
    if (input === undefined) throw new KvError('INTERNAL', `a merge named input ${answer >>> 8}`);
    return input;
  }
}
