/**
 * Reading several runs as one: pages of a scan, pages of versions, and the merge of all records in record order.
 *
 * Invariants: a run's newer versions of a key are never in a later run of the list; a record met in two runs is given once.
 */
import {
  compareKeys,
  FLAG_TOMBSTONE,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
  type VersionsRequest,
} from '../record.ts';
import { RecordReader } from '../snapshot/record_codec.ts';
import { compareBytes } from './key_hash.ts';
import { KeyCursor, type LeafRun, orderToKey, RecordCursor } from './leaf_run.ts';

function orderKeys(a: RecordReader, b: RecordReader): number {
  return compareBytes(a.bytes, a.keyStart, a.keyLength, b.bytes, b.keyStart, b.keyLength);
}

/** The cursor with the next key: the smallest, or in reverse the greatest. */
function nextKey(cursors: readonly KeyCursor[], reverse: boolean): KeyCursor | undefined {
  let best: KeyCursor | undefined;
  for (const cursor of cursors) {
    if (!cursor.valid) continue;
    if (best === undefined) best = cursor;
    else {
      const order = orderKeys(cursor.reader, best.reader);
      if (reverse ? order > 0 : order < 0) best = cursor;
    }
  }
  return best;
}

function isPastEnd(reader: RecordReader, request: ScanRequest): boolean {
  if (request.reverse) return orderToKey(reader, request.start) < 0;
  return request.end !== undefined && orderToKey(reader, request.end) >= 0;
}

/** One page of a scan, at once; `more` is exact. Records are views of leaves. */
export function scanRuns(runs: readonly LeafRun[], request: ScanRequest): ScanPage {
  const { revision, reverse, keysOnly } = request;
  const cursors = runs.map((run) => new KeyCursor(run));
  for (const cursor of cursors) {
    if (reverse) cursor.seekBefore(request.end);
    else cursor.seek(request.start);
  }
  const records: StoredRecord[] = [];
  const found = new RecordReader(new Uint8Array(0));
  const current = new RecordReader(new Uint8Array(0));
  let bytes = 0;
  for (;;) {
    const first = nextKey(cursors, reverse);
    if (first === undefined || isPastEnd(first.reader, request)) return { records, more: false };
    current.bytes = first.reader.bytes;
    current.read(first.reader.start);
    if (!takeNewest(cursors, current, revision, reverse, found)) continue;
    if ((found.flags & FLAG_TOMBSTONE) !== 0 && request.tombstones !== true) continue;
    if (records.length >= request.limit || bytes >= request.maxBytes) return { records, more: true };
    const record = found.record(keysOnly);
    records.push(record);
    bytes += record.key.length + record.value.length;
  }
}

/** Moves every cursor over the key at `current`, leaving `found` on its newest version at or below `revision`; false when there is none. */
function takeNewest(
  cursors: readonly KeyCursor[],
  current: RecordReader,
  revision: number,
  reverse: boolean,
  found: RecordReader,
): boolean {
  let any = false;
  for (const cursor of cursors) {
    while (cursor.valid && orderKeys(cursor.reader, current) === 0) {
      const offset = cursor.newestAtOrBelow(revision);
      if (offset >= 0) {
        const before = any ? found.modRevision : -1;
        const { bytes, start } = found;
        found.bytes = cursor.reader.bytes;
        found.read(offset);
        if (any && found.modRevision <= before) {
          found.bytes = bytes;
          found.read(start);
        }
        any = true;
      }
      if (reverse) cursor.previous();
      else cursor.next();
    }
  }
  return any;
}

/** All records of several runs in record order. */
export class RunMergeCursor {
  readonly cursors: readonly RecordCursor[];
  /** The cursor on the next record; undefined at the end. */
  current: RecordCursor | undefined;

  /** REQUIRES: the cursors stand where the merge shall begin. */
  constructor(cursors: readonly RecordCursor[]) {
    this.cursors = cursors;
    this.#choose();
  }

  next(): void {
    const { current } = this;
    if (current === undefined) return;
    const { reader } = current;
    for (const cursor of this.cursors) {
      if (cursor === current || !cursor.valid) continue;
      if (cursor.reader.modRevision === reader.modRevision && orderKeys(cursor.reader, reader) === 0)
        cursor.next();
    }
    current.next();
    this.#choose();
  }

  #choose(): void {
    let best: RecordCursor | undefined;
    for (const cursor of this.cursors) {
      if (!cursor.valid) continue;
      if (best === undefined) best = cursor;
      else {
        const order = orderKeys(cursor.reader, best.reader);
        if (order < 0 || (order === 0 && cursor.reader.modRevision > best.reader.modRevision)) best = cursor;
      }
    }
    this.current = best;
  }
}

/** One page of versions, at once; `more` is exact. Records are views of leaves. */
export function versionsOfRuns(runs: readonly LeafRun[], request: VersionsRequest): ScanPage {
  const { after, minRevision, maxRevision } = request;
  const cursors = runs.map((run) => {
    const cursor = new RecordCursor(run, minRevision, maxRevision);
    if (after === undefined || compareKeys(after.key, request.start) < 0)
      cursor.seek(request.start, Number.POSITIVE_INFINITY);
    else cursor.seek(after.key, after.modRevision - 1);
    return cursor;
  });
  const merge = new RunMergeCursor(cursors);
  const records: StoredRecord[] = [];
  let bytes = 0;
  for (; merge.current !== undefined; merge.next()) {
    const { reader } = merge.current;
    if (request.end !== undefined && orderToKey(reader, request.end) >= 0) break;
    if (records.length >= request.limit || bytes >= request.maxBytes) return { records, more: true };
    records.push(reader.record());
    bytes += reader.keyLength + reader.valueLength;
  }
  return { records, more: false };
}

/**
 * Decides which versions compaction drops from a stream in record order: all that a newer one at or below the compact revision supersedes, and, where
 * nothing can lie below (`dropTombstones`), the tombstones at or below it.
 */
export class VersionDropper {
  readonly #revision: number;
  readonly #dropTombstones: boolean;
  readonly #last = new RecordReader(new Uint8Array(0));
  #hasLast = false;
  #superseded = false;

  constructor(compactRevision: number, dropTombstones: boolean) {
    this.#revision = compactRevision;
    this.#dropTombstones = dropTombstones;
  }

  /** REQUIRES: called for every record of the stream, in order. The reader's bytes must not change afterwards. */
  drops(reader: RecordReader): boolean {
    if (!this.#hasLast || orderKeys(this.#last, reader) !== 0) {
      this.#last.bytes = reader.bytes;
      this.#last.keyStart = reader.keyStart;
      this.#last.keyLength = reader.keyLength;
      this.#hasLast = true;
      this.#superseded = false;
    }
    if (this.#superseded) return true;
    if (reader.modRevision > this.#revision) return false;
    this.#superseded = true;
    return this.#dropTombstones && (reader.flags & FLAG_TOMBSTONE) !== 0;
  }
}
