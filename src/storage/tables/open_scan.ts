/**
 * One scan, or one walk over versions, under way over pinned tables: gives its pages one after the other and remembers where it stands.
 *
 * Invariants: what was given last is kept (a small page whole, else its last batch), so that a page that begins anywhere within it can be served: what the engine
 * merges with memtables does not always use all of a page. `more` is exact: a page ends as full only when a record that would be shown follows.
 */
import { compareKeys, type MaybePromise, type ScanPage, type StoredRecord } from '../record.ts';
import { type FillInput, MergeCursor, MORE, OUT_FULL } from './merge_cursor.ts';
import type { TableSource } from './merge_input.ts';
import type { MergeMemory } from './merge_memory.ts';

const REGION_BYTES = 256 * 1024;
/** A page up to this size is kept whole, else its last batch. */
const MAX_KEPT_BYTES = REGION_BYTES;
const MAX_KEPT_RECORDS = 2048;
const MAX_LIMIT = 0x7fffffff;
const WINDOW_BYTES = 256 * 1024;
const MIN_FIRST_WINDOW_BYTES = 4 * 1024;
const MAX_FIRST_WINDOW_BYTES = 64 * 1024;
/** What a record is guessed to take, to choose the first window. */
const GUESSED_RECORD_BYTES = 512;

/** A place in record order: from (key, revision) on; in reverse, all before it. */
export interface Place {
  readonly key: Uint8Array;
  readonly revision: number;
}

/** All of a request but where it begins and how much it wants. */
export interface ScanShape {
  readonly kind: 'newest' | 'versions';
  readonly reverse: boolean;
  readonly tombstones: boolean;
  readonly keysOnly: boolean;
  /** `newest`: 0 and the revision to show. `versions`: the versions wanted. */
  readonly smallestRevision: number;
  readonly largestRevision: number;
  /** Where it ends: before this key, in reverse with this key. */
  readonly stop: Uint8Array | undefined;
}

export interface PinnedRuns {
  /** Newest first. */
  readonly runs: readonly (readonly TableSource[])[];
  release(): void;
}

export class OpenScan {
  readonly shape: ScanShape;
  readonly memory: MergeMemory;
  readonly cursor: MergeCursor;
  /** The set's version that it reads. */
  readonly version: number;
  idleSinceMs = 0;
  /** Reads on this thread until it must make way for others; for whoever fills the inputs. */
  budgetBytes = 0;
  /** Never wait. */
  atOnce = false;
  /** The last page given, or its last batch, which ends where the merge stands. */
  #kept: StoredRecord[] = [];
  readonly #pinned: PinnedRuns;
  readonly #consume: () => number;
  #records: StoredRecord[] = [];
  /** Where the last batch begins in `#records`, and whether this page has any batch. */
  #batchStart = 0;
  #isFresh = false;
  #limitLeft = 0;
  #bytesLeft = 0;
  #maxBytes = 0;

  /** Takes over the pin. @throws KvError UNAVAILABLE (no memory) */
  constructor(
    memory: MergeMemory,
    pinned: PinnedRuns,
    version: number,
    shape: ScanShape,
    from: Place | undefined,
    limit: number,
    maxBytes: number,
    fill: (scan: OpenScan) => FillInput,
  ) {
    this.memory = memory;
    this.#pinned = pinned;
    this.version = version;
    this.shape = shape;
    const { reverse, stop, smallestRevision, largestRevision, kind } = shape;
    const guess = Math.min(maxBytes, limit * GUESSED_RECORD_BYTES);
    const firstWindowBytes = Math.max(MIN_FIRST_WINDOW_BYTES, Math.min(guess, MAX_FIRST_WINDOW_BYTES));
    const bounds = {
      reverse,
      seek: from,
      stop,
      smallestRevision,
      largestRevision,
      firstWindowBytes,
      windowBytes: WINDOW_BYTES,
    };
    this.cursor = new MergeCursor(memory, pinned.runs, bounds, fill(this));
    this.cursor.gatherInto(REGION_BYTES);
    const { exports } = memory;
    const tombstones = shape.tombstones ? 1 : 0;
    const keysOnly = shape.keysOnly ? 1 : 0;
    const newest = reverse ? exports.collectNewestReverse : exports.collectNewest;
    this.#consume =
      kind === 'newest'
        ? () => newest(largestRevision, tombstones, keysOnly, this.#limitLeft, this.#bytesLeft)
        : () => exports.collectVersions(smallestRevision, largestRevision, this.#limitLeft, this.#bytesLeft);
  }

  /** Whether a page from a place on can come from what is kept and what follows. */
  reaches(from: Place | undefined): boolean {
    const first = this.#kept[0];
    const last = this.#kept.at(-1);
    if (from === undefined || first === undefined || last === undefined) return false;
    const toFirst = compareKeys(from.key, first.key);
    if (this.shape.reverse) return toFirst <= 0 && compareKeys(from.key, last.key) >= 0;
    const toLast = compareKeys(from.key, last.key);
    if (this.shape.kind === 'newest') return toFirst >= 0 && (toLast <= 0 || isNextKey(from.key, last.key));
    if (toFirst < 0 || (toFirst === 0 && from.revision > first.modRevision)) return false;
    return toLast < 0 || (toLast === 0 && from.revision >= last.modRevision - 1);
  }

  /** The next page. `from` is undefined right after opening. @throws KvError CORRUPT */
  page(from: Place | undefined, limit: number, maxBytes: number): MaybePromise<ScanPage> {
    this.#records = [];
    this.#batchStart = 0;
    this.#isFresh = false;
    this.#limitLeft = Math.min(limit, MAX_LIMIT);
    this.#maxBytes = maxBytes;
    this.#bytesLeft = maxBytes;
    for (const record of this.#kept) {
      if (from !== undefined && !this.#isFrom(record, from)) continue;
      if (this.#limitLeft <= 0 || this.#bytesLeft <= 0) return this.#end(true);
      this.#records.push(record);
      this.#limitLeft--;
      this.#bytesLeft -= record.key.length + record.value.length;
    }
    if (this.#kept.length > 0 && (this.#limitLeft <= 0 || this.#bytesLeft <= 0)) return this.#end(true);
    return this.#gather();
  }

  /** Gives the tables back; the memory is the caller's again. */
  close(): void {
    this.cursor.close();
    this.#pinned.release();
    this.#kept = [];
    this.#records = [];
  }

  #isFrom(record: StoredRecord, from: Place): boolean {
    const side = compareKeys(record.key, from.key);
    if (this.shape.reverse) return side < 0;
    return side > 0 || (side === 0 && record.modRevision <= from.revision);
  }

  #gather(): MaybePromise<ScanPage> {
    for (;;) {
      const status = this.cursor.gather(this.#consume);
      if (status instanceof Promise)
        return status.then((answer) => (this.#took(answer) ? this.#gather() : this.#end(answer === MORE)));
      if (!this.#took(status)) return this.#end(status === MORE);
    }
  }

  /** Takes what was gathered; true when there is more to gather for this page. */
  #took(status: number): boolean {
    const before = this.#records.length;
    this.#bytesLeft -= this.cursor.take(this.#records);
    const count = this.#records.length - before;
    this.#limitLeft -= count;
    if (count > 0) {
      this.#batchStart = before;
      this.#isFresh = true;
    }
    return status === OUT_FULL;
  }

  #end(more: boolean): ScanPage {
    const records = this.#records;
    this.#records = [];
    // Without anything new, what is kept still ends where the merge stands.
    if (more && this.#isFresh) {
      const isSmall =
        this.#maxBytes - this.#bytesLeft <= MAX_KEPT_BYTES && records.length <= MAX_KEPT_RECORDS;
      this.#kept = records.slice(isSmall ? 0 : this.#batchStart);
    }
    return { records, more };
  }
}

function isNextKey(key: Uint8Array, before: Uint8Array): boolean {
  return (
    key.length === before.length + 1 &&
    key[before.length] === 0 &&
    compareKeys(key.subarray(0, -1), before) === 0
  );
}
