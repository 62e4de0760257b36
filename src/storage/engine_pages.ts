/**
 * Pages over all layers of an engine: memtables and tree merged, a round at a time.
 *
 * A round takes one page from every source, from the same place on, and merges them up to where the first of those pages that are not at their end stops; the
 * next round goes on there. Rounds are synchronous but for the tree's page.
 *
 * Invariants: limits count what is shown; `more` is exact where the sources' is; a view never lives across a turn: what is collected is copied before the tree is
 * waited for, and the memtables are read anew in each round. The memtables of the first round are those of every round (they are pinned), so that a flush that
 * ends in between hides nothing: its records are then in both, and are given once.
 */
import type { Layer, Layers } from './engine_layers.ts';
import { nextByKey, nextVersion, pageCursor } from './merge.ts';
import {
  compareKeys,
  compareRecords,
  copyRecord,
  FLAG_TOMBSTONE,
  keyAfter,
  type MaybePromise,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
  type VersionsRequest,
} from './record.ts';

/** Records that a source is asked for in one round. */
const ROUND_RECORDS = 1024;

/** One request on its way through the rounds. */
interface PageMerge<Request> {
  /** What every source is asked in this round. */
  readonly round: Request;
  readonly page: { records: StoredRecord[]; more: boolean };
  /** Takes the sources' pages, newest source first; true when the page is done. */
  take(pages: readonly ScanPage[]): boolean;
}

/** What both kinds of pages count. */
class PageLimits {
  readonly page: { records: StoredRecord[]; more: boolean } = { records: [], more: false };
  readonly #limit: number;
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(limit: number, maxBytes: number) {
    this.#limit = limit;
    this.#maxBytes = maxBytes;
  }

  /** One more than may still be shown, to learn whether there is more. */
  get roundRecords(): number {
    return Math.min(this.#limit - this.page.records.length + 1, ROUND_RECORDS);
  }

  get roundBytes(): number {
    return Math.max(1, this.#maxBytes - this.#bytes + 1);
  }

  /** False when the page is full: the record is then what remains beyond it. */
  add(record: StoredRecord): boolean {
    if (this.page.records.length >= this.#limit || this.#bytes >= this.#maxBytes) {
      this.page.more = true;
      return false;
    }
    this.page.records.push(record);
    this.#bytes += record.key.length + record.value.length;
    return true;
  }
}

export class ScanMerge extends PageLimits implements PageMerge<ScanRequest> {
  readonly #request: ScanRequest;
  round: ScanRequest;

  constructor(request: ScanRequest) {
    super(request.limit, request.maxBytes);
    this.#request = request;
    this.round = this.#roundFrom(request.start, request.end);
  }

  take(pages: readonly ScanPage[]): boolean {
    const { reverse, tombstones } = this.#request;
    const sign = reverse ? -1 : 1;
    const bound = nearestEnd(pages, (a, b) => sign * compareKeys(a.key, b.key));
    const cursors = pages.map((page) => pageCursor(page.records));
    for (;;) {
      const record = nextByKey(cursors, reverse);
      if (record === undefined) break;
      if (bound !== undefined && sign * compareKeys(record.key, bound.key) > 0) break;
      if ((record.flags & FLAG_TOMBSTONE) !== 0 && tombstones !== true) continue;
      if (!this.add(record)) return true;
    }
    if (bound === undefined) return true;
    this.round = reverse
      ? this.#roundFrom(this.#request.start, bound.key.slice())
      : this.#roundFrom(keyAfter(bound.key), this.#request.end);
    return false;
  }

  #roundFrom(start: Uint8Array, end: Uint8Array | undefined): ScanRequest {
    const { revision, reverse, keysOnly } = this.#request;
    const limit = this.roundRecords;
    return { start, end, revision, reverse, limit, maxBytes: this.roundBytes, keysOnly, tombstones: true };
  }
}

export class VersionsMerge extends PageLimits implements PageMerge<VersionsRequest> {
  readonly #request: VersionsRequest;
  round: VersionsRequest;

  constructor(request: VersionsRequest) {
    super(request.limit, request.maxBytes);
    this.#request = request;
    this.round = this.#roundAfter(request.after);
  }

  take(pages: readonly ScanPage[]): boolean {
    const bound = nearestEnd(pages, compareRecords);
    const cursors = pages.map((page) => pageCursor(page.records));
    for (;;) {
      const record = nextVersion(cursors);
      if (record === undefined) break;
      if (bound !== undefined && compareRecords(record, bound) > 0) break;
      if (!this.add(record)) return true;
    }
    if (bound === undefined) return true;
    this.round = this.#roundAfter({ key: bound.key.slice(), modRevision: bound.modRevision });
    return false;
  }

  #roundAfter(after: VersionsRequest['after']): VersionsRequest {
    return { ...this.#request, after, limit: this.roundRecords, maxBytes: this.roundBytes };
  }
}

/** Of the last records of those pages that go on, the first in the merge's order. */
function nearestEnd(
  pages: readonly ScanPage[],
  order: (a: StoredRecord, b: StoredRecord) => number,
): StoredRecord | undefined {
  let nearest: StoredRecord | undefined;
  for (const { records, more } of pages) {
    const last = more ? records.at(-1) : undefined;
    if (last !== undefined && (nearest === undefined || order(last, nearest) < 0)) nearest = last;
  }
  return nearest;
}

/**
 * Runs a merge over memtables and tree: at once while the tree answers at once, else as a promise.
 * @param readLayer one layer's page for a round
 * @param readTree the tree's page for a round
 */
export function runMerge<Request>(
  merge: PageMerge<Request>,
  layers: Layers,
  readLayer: (layer: Layer, round: Request) => ScanPage,
  readTree: (round: Request) => MaybePromise<ScanPage>,
): MaybePromise<ScanPage> {
  const list = layers.newestFirst;
  for (;;) {
    const treePage = readTree(merge.round);
    if (treePage instanceof Promise) return continueLater(merge, layers, readLayer, readTree, treePage);
    if (takeRound(merge, list, readLayer, treePage)) return merge.page;
  }
}

function takeRound<Request>(
  merge: PageMerge<Request>,
  list: readonly Layer[],
  readLayer: (layer: Layer, round: Request) => ScanPage,
  treePage: ScanPage,
): boolean {
  const pages: ScanPage[] = [];
  for (const layer of list) if (layer.memtable.recordCount > 0) pages.push(readLayer(layer, merge.round));
  pages.push(treePage);
  return merge.take(pages);
}

async function continueLater<Request>(
  merge: PageMerge<Request>,
  layers: Layers,
  readLayer: (layer: Layer, round: Request) => ScanPage,
  readTree: (round: Request) => MaybePromise<ScanPage>,
  first: Promise<ScanPage>,
): Promise<ScanPage> {
  // In the turn of the first request still: the list is the one that belongs to the tree's state.
  const list = layers.pin();
  try {
    const { records } = merge.page;
    let treePage: MaybePromise<ScanPage> = first;
    let copied = 0;
    for (;;) {
      for (; copied < records.length; copied++) records[copied] = copyRecord(records[copied]!);
      if (takeRound(merge, list, readLayer, await treePage)) return merge.page;
      treePage = readTree(merge.round);
    }
  } finally {
    layers.unpin(list);
  }
}
