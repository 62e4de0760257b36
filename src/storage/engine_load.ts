/**
 * What a tree that must go to disk was asked for ahead of an entry: copies of its newest versions, and of ranges, for synchronous reads.
 *
 * An entry may name any number of keys and ranges of any size. What is held of them is bounded: from a tree that can also answer at once, no more is taken than fits
 * MAX_LOADED_BYTES, without values where nobody needs them and no further into a range than will be looked; what was left out is read from the tree when it is asked for.
 * So the bound decides when something is read, never what is found. A tree that cannot answer at once (RocksDB's) is asked for everything.
 *
 * Invariants: it answers for what was loaded, whole or with its values where those are asked for, and for nothing else (a wrong plan must not pass for an absent key). It is forgotten after the
 * entry, and so is what comes later still. Memtables that were flushed since the load stay readable until then (engine.ts), so what is here and what is in memtables always
 * adds up to everything, whichever of the two a flush found it in.
 */
import { KvError } from '../errors.ts';
import type { KeyVersion, LoadRange, LoadRequest } from './engine_port.ts';
import {
  compareKeys,
  copyRecord,
  FLAG_TOMBSTONE,
  type KeyRange,
  keyAfter,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
} from './record.ts';
import type { Tree } from './tree.ts';

/** Stands for the newest revision. */
export const NEWEST = Number.MAX_SAFE_INTEGER;
/** What `get` gives for what was not loaded. */
export const NOT_LOADED = null;
/** What a record takes beside its key and value. */
export const RECORD_BYTES = 256;

const MAX_LOADED_BYTES = 64 * 1024 * 1024;
const PAGE_RECORDS = 1024;
const PAGE_BYTES = 1024 * 1024;
/** Reads under way at a time: a record may have 8 MiB. */
const KEYS_AT_ONCE = 16;
const RANGES_AT_ONCE = 4;

interface LoadedRange extends KeyRange {
  readonly revision: number;
  readonly keysOnly: boolean;
  /** Ascending, tombstones included. */
  readonly records: readonly StoredRecord[];
  /** The largest modRevision in it. */
  readonly newest: number;
}

type IsHere = (key: Uint8Array) => boolean;

/** Each byte as one character: a map key. */
function mapKey(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
}

export class LoadedReads {
  /** Per revision, what was newest at or below it. */
  readonly #keys = new Map<number, Map<string, StoredRecord | undefined>>();
  readonly #mostBytes: number;
  #ranges: LoadedRange[] = [];
  #bytes = 0;
  /** Grows with every `clear`: what was asked for before it is not kept. */
  #turn = 0;

  constructor(mostBytes: number = MAX_LOADED_BYTES) {
    this.#mostBytes = mostBytes;
  }

  /** What may be held of a tree. */
  maxBytes(tree: Tree): number {
    return answersNow(tree) ? this.#mostBytes : Number.POSITIVE_INFINITY;
  }

  /** What is held. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Asks the tree for what `request` names; keys that `isHere` knows are left out for the newest revision. The request's bytes are looked at in this call only.
   * @returns a promise only when the tree had to go to disk.
   */
  load(tree: Tree, request: LoadRequest, isHere: IsHere): Promise<void> | undefined {
    const { keys, ranges, older = [], naming = [] } = request;
    const waits: Promise<void>[] = [];
    let at = 0;
    for (; at < keys.length && waits.length < KEYS_AT_ONCE; at++)
      this.#loadKey(tree, { key: keys[at]!, revision: NEWEST }, isHere, waits);
    if (at === keys.length && older.length === 0 && ranges.length === 0 && naming.length === 0)
      return waits.length === 0 ? undefined : Promise.all(waits).then(() => undefined);
    const versions: KeyVersion[] = [];
    for (; at < keys.length; at++) versions.push({ key: new Uint8Array(keys[at]!), revision: NEWEST });
    for (const { key, revision } of older) versions.push({ key: new Uint8Array(key), revision });
    return this.#loadRest(tree, versions, distinct([...ranges, ...naming.map(wholeRange)]), isHere, waits);
  }

  clear(): void {
    this.#turn++;
    this.#bytes = 0;
    if (this.#keys.size > 0) this.#keys.clear();
    if (this.#ranges.length > 0) this.#ranges = [];
  }

  get(key: Uint8Array, revision: number): StoredRecord | undefined | typeof NOT_LOADED {
    const name = mapKey(key);
    const exact = this.#keys.get(revision);
    if (exact?.has(name)) return exact.get(name);
    const newest = this.#keys.get(NEWEST);
    if (newest?.has(name)) {
      const record = newest.get(name);
      if (record === undefined || record.modRevision <= revision) return record;
    }
    for (const range of this.#ranges) {
      if (range.keysOnly || !contains(range, key)) continue;
      const record = range.records[lowerBound(range.records, key)];
      const found = record !== undefined && compareKeys(record.key, key) === 0 ? record : undefined;
      if (range.revision === revision) return found;
      if (range.revision === NEWEST && (found === undefined || found.modRevision <= revision)) return found;
    }
    return NOT_LOADED;
  }

  /** Where a page begins within what was loaded: as much of it as is here. undefined: nothing of it is. */
  scan(request: ScanRequest): ScanPage | undefined {
    let beginning: LoadedRange | undefined;
    for (const range of this.#ranges) {
      if (!speaksOf(range, request)) continue;
      if (holds(range, request.start, request.end)) return pageOf(range, request);
      if (beginning === undefined && holdsBeginning(range, request)) beginning = range;
    }
    if (beginning === undefined) return undefined;
    const { records } = pageOf(beginning, request);
    return records.length === 0 ? undefined : { records, more: true };
  }

  async #loadRest(
    tree: Tree,
    versions: readonly KeyVersion[],
    ranges: readonly LoadRange[],
    isHere: IsHere,
    first: readonly Promise<void>[],
  ): Promise<void> {
    const turn = this.#turn;
    await Promise.all(first);
    for (let at = 0; at < versions.length; ) {
      const waits: Promise<void>[] = [];
      if (turn !== this.#turn || !this.#hasRoom(tree)) break;
      for (; at < versions.length && waits.length < KEYS_AT_ONCE; at++)
        this.#loadKey(tree, versions[at]!, isHere, waits);
      await Promise.all(waits);
    }
    let next = 0;
    const loadSome = async (): Promise<void> => {
      while (next < ranges.length && turn === this.#turn && this.#hasRoom(tree))
        await this.#loadRange(tree, ranges[next++]!);
    };
    await Promise.all(Array.from({ length: Math.min(ranges.length, RANGES_AT_ONCE) }, loadSome));
  }

  #hasRoom(tree: Tree): boolean {
    return this.#bytes < this.maxBytes(tree);
  }

  #loadKey(tree: Tree, { key, revision }: KeyVersion, isHere: IsHere, waits: Promise<void>[]): void {
    const absent = !tree.mayContain(key);
    if (revision === NEWEST && !absent && isHere(key)) return;
    const name = mapKey(key);
    const turn = this.#turn;
    const records = this.#recordsAt(revision);
    if (records.has(name)) return;
    const keep = (record: StoredRecord | undefined): void => {
      if (turn !== this.#turn || !this.#hasRoom(tree)) return;
      records.set(name, record === undefined ? undefined : copyRecord(record));
      this.#bytes += key.length + (record?.value.length ?? 0) + RECORD_BYTES;
    };
    let answer: ReturnType<Tree['get']>;
    try {
      answer = absent ? undefined : tree.get(key, revision);
    } catch (error) {
      // Nobody asks any more what comes of the others.
      for (const wait of waits) wait.catch(() => undefined);
      throw error;
    }
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

  async #loadRange(tree: Tree, range: LoadRange): Promise<void> {
    const { start, end, reverse } = range;
    const turn = this.#turn;
    const all = !answersNow(tree);
    const revision = range.revision === 0 ? NEWEST : range.revision;
    const keysOnly = range.keysOnly && !all;
    const records: StoredRecord[] = [];
    const page = { revision, reverse, keysOnly, limit: PAGE_RECORDS, maxBytes: PAGE_BYTES, tombstones: true };
    let live = 0;
    let newest = 0;
    let more = true;
    // What is still to be read.
    let [from, to] = [start, end];
    while (more && (all || (live < range.limit && this.#hasRoom(tree)))) {
      const answer = await tree.scan({ ...page, start: from, end: to });
      if (turn !== this.#turn) return;
      for (const record of answer.records) {
        records.push(copyRecord(record));
        this.#bytes += record.key.length + record.value.length + RECORD_BYTES;
        if ((record.flags & FLAG_TOMBSTONE) === 0) live++;
        if (record.modRevision > newest) newest = record.modRevision;
      }
      const last = records.at(-1);
      more = answer.more && last !== undefined;
      if (last === undefined) break;
      if (reverse) to = last.key;
      else from = keyAfter(last.key);
    }
    if (more && records.length === 0) return;
    if (reverse) records.reverse();
    const known = { start: more && reverse ? to! : start, end: more && !reverse ? from : end };
    this.#ranges.push({ ...known, revision, keysOnly, records, newest });
  }
}

function answersNow(tree: Tree): boolean {
  return tree.getNow !== undefined && tree.scanNow !== undefined;
}

/** Copies, each once. */
function distinct(ranges: readonly LoadRange[]): LoadRange[] {
  const known = new Map<string, LoadRange>();
  for (const { start, end, revision, reverse, keysOnly, limit } of ranges) {
    const bounds = `${mapKey(start)}\n${start.length}\n${end === undefined ? '' : mapKey(end)}`;
    const name = `${revision} ${reverse} ${keysOnly} ${end === undefined} ${bounds}`;
    const same = known.get(name);
    if (same !== undefined && same.limit >= limit) continue;
    known.set(name, {
      start: new Uint8Array(start),
      end: end === undefined ? undefined : new Uint8Array(end),
      revision,
      reverse,
      keysOnly,
      limit,
    });
  }
  return [...known.values()];
}

function wholeRange({ start, end }: KeyRange): LoadRange {
  return { start, end, revision: 0, reverse: false, keysOnly: false, limit: Number.POSITIVE_INFINITY };
}

/** Whether a range's records are those that the request would show. Newest versions also answer for an older revision that all of them are at or below. */
function speaksOf(range: LoadedRange, { revision, keysOnly }: ScanRequest): boolean {
  if (range.keysOnly && !keysOnly) return false;
  return range.revision === revision || (range.revision === NEWEST && range.newest <= revision);
}

function contains({ start, end }: KeyRange, key: Uint8Array): boolean {
  return compareKeys(key, start) >= 0 && (end === undefined || compareKeys(key, end) < 0);
}

function holds(range: KeyRange, start: Uint8Array, end: Uint8Array | undefined): boolean {
  if (compareKeys(start, range.start) < 0) return false;
  return range.end === undefined || (end !== undefined && compareKeys(end, range.end) <= 0);
}

/** Whether a range holds the side on which the request begins. */
function holdsBeginning(range: KeyRange, { start, end, reverse }: ScanRequest): boolean {
  if (!reverse) return contains(range, start);
  if (end === undefined) return range.end === undefined;
  return (range.end === undefined || compareKeys(end, range.end) <= 0) && compareKeys(end, range.start) > 0;
}

/** What the request would show of a range. */
function pageOf({ records }: LoadedRange, { start, end, reverse, limit }: ScanRequest): ScanPage {
  const from = lowerBound(records, start);
  const to = end === undefined ? records.length : lowerBound(records, end);
  if (to <= from) return { records: [], more: false };
  const shown = reverse
    ? records.slice(Math.max(from, to - limit), to).reverse()
    : records.slice(from, Math.min(to, from + limit));
  return { records: shown, more: to - from > shown.length };
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
