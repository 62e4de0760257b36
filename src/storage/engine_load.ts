/**
 * What a tree that must go to disk was asked for ahead of an entry: copies of its newest versions, and of ranges, for synchronous reads.
 *
 * Invariants: it answers for what was loaded and throws for anything else (a wrong plan must not pass for an absent key). It is forgotten after the
 * entry. Memtables that were flushed since the load stay readable until then (engine.ts), so what is here and what is in memtables always
 * adds up to everything, whichever of the two a flush found it in.
 */
import { KvError } from '../errors.ts';
import type { LoadRequest } from './engine_port.ts';
import {
  compareKeys,
  copyRecord,
  type KeyRange,
  keyAfter,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
} from './record.ts';
import type { Tree } from './tree.ts';

/** Stands for the newest revision. */
export const NEWEST = Number.MAX_SAFE_INTEGER;
const PAGE_RECORDS = 1024;
const PAGE_BYTES = 4 * 1024 * 1024;

interface LoadedRange extends KeyRange {
  readonly revision: number;
  /** Ascending, tombstones included. */
  readonly records: readonly StoredRecord[];
}

/** Each byte as one character: a map key. */
function mapKey(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
}

export class LoadedReads {
  /** Per revision, what was newest at or below it. */
  readonly #keys = new Map<number, Map<string, StoredRecord | undefined>>();
  #ranges: LoadedRange[] = [];

  /**
   * Asks the tree for all that `request` names; keys that `isHere` knows are left out for the newest revision.
   * @returns a promise only when the tree had to go to disk.
   */
  load(tree: Tree, request: LoadRequest, isHere: (key: Uint8Array) => boolean): Promise<void> | undefined {
    const waits: Promise<void>[] = [];
    const older = request.revisions ?? [];
    for (const key of request.keys) {
      const absent = !tree.mayContain(key);
      if (absent || !isHere(key)) this.#loadKey(tree, key, NEWEST, absent, waits);
      for (const revision of older) this.#loadKey(tree, key, revision, absent, waits);
    }
    for (const range of request.ranges)
      for (const revision of [NEWEST, ...older]) waits.push(this.#loadRange(tree, range, revision));
    for (const rows of request.naming ?? []) waits.push(this.#loadRange(tree, rows, NEWEST));
    return waits.length === 0 ? undefined : Promise.all(waits).then(() => undefined);
  }

  clear(): void {
    if (this.#keys.size > 0) this.#keys.clear();
    if (this.#ranges.length > 0) this.#ranges = [];
  }

  /** @throws KvError INTERNAL when it was not loaded. */
  get(key: Uint8Array, revision: number): StoredRecord | undefined {
    const name = mapKey(key);
    const exact = this.#keys.get(revision);
    if (exact?.has(name)) return exact.get(name);
    const newest = this.#keys.get(NEWEST);
    if (newest?.has(name)) {
      const record = newest.get(name);
      if (record === undefined || record.modRevision <= revision) return record;
    }
    for (const range of this.#ranges) {
      if (compareKeys(key, range.start) < 0 || (range.end !== undefined && compareKeys(key, range.end) >= 0))
        continue;
      const record = range.records[lowerBound(range.records, key)];
      const found = record !== undefined && compareKeys(record.key, key) === 0 ? record : undefined;
      if (range.revision === revision) return found;
      if (range.revision === NEWEST && (found === undefined || found.modRevision <= revision)) return found;
    }
    throw notLoaded();
  }

  /** @throws KvError INTERNAL when no loaded range holds it. */
  scan(request: ScanRequest): ScanPage {
    const { start, end, revision, reverse, limit } = request;
    const range =
      this.#ranges.find((one) => one.revision === revision && holds(one, start, end)) ??
      this.#newestFor(request);
    if (range === undefined) throw notLoaded();
    const from = lowerBound(range.records, start);
    const to = end === undefined ? range.records.length : lowerBound(range.records, end);
    if (to <= from) return { records: [], more: false };
    const records = reverse
      ? range.records.slice(Math.max(from, to - limit), to).reverse()
      : range.records.slice(from, Math.min(to, from + limit));
    return { records, more: to - from > records.length };
  }

  /** A range of newest versions also answers for an older revision that all of them are below. */
  #newestFor({ start, end, revision }: ScanRequest): LoadedRange | undefined {
    return this.#ranges.find(
      (one) =>
        one.revision === NEWEST &&
        holds(one, start, end) &&
        one.records.every((record) => record.modRevision <= revision),
    );
  }

  #loadKey(tree: Tree, key: Uint8Array, revision: number, absent: boolean, waits: Promise<void>[]): void {
    const name = mapKey(key);
    const records = this.#recordsAt(revision);
    if (records.has(name)) return;
    const keep = (record: StoredRecord | undefined): void => {
      records.set(name, record === undefined ? undefined : copyRecord(record));
    };
    const answer = absent ? undefined : tree.get(key, revision);
    if (answer instanceof Promise) waits.push(answer.then(keep));
    else keep(answer);
  }

  #recordsAt(revision: number): Map<string, StoredRecord | undefined> {
    const known = this.#keys.get(revision);
    if (known !== undefined) return known;
    const fresh = new Map<string, StoredRecord | undefined>();
    this.#keys.set(revision, fresh);
    return fresh;
  }

  async #loadRange(tree: Tree, { start, end }: KeyRange, revision: number): Promise<void> {
    const records: StoredRecord[] = [];
    const [first, last] = [start.slice(), end?.slice()];
    let from: Uint8Array = first;
    for (;;) {
      const page = await tree.scan({
        start: from,
        end: last,
        revision,
        reverse: false,
        limit: PAGE_RECORDS,
        maxBytes: PAGE_BYTES,
        keysOnly: false,
        tombstones: true,
      });
      for (const record of page.records) records.push(copyRecord(record));
      if (!page.more) break;
      from = keyAfter(records.at(-1)!.key);
    }
    this.#ranges.push({ start: first, end: last, revision, records });
  }
}

function holds(range: KeyRange, start: Uint8Array, end: Uint8Array | undefined): boolean {
  if (compareKeys(start, range.start) < 0) return false;
  return range.end === undefined || (end !== undefined && compareKeys(end, range.end) <= 0);
}

function lowerBound(records: readonly StoredRecord[], key: Uint8Array): number {
  let low = 0;
  let high = records.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(records[middle]!.key, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function notLoaded(): KvError {
  return new KvError('INTERNAL', 'a read of something that was not loaded before the entry');
}
