/**
 * Reads over RocksDB rows: the newest version of a key, scans, all versions.
 *
 * Invariants: an iterator is a consistent view as of the moment it was made; rows of a flush later than `lastFlush` (one that is under way) are passed over, so an
 * answer shows whole flushes only; of several rows of one version the first (the newest flush's) counts.
 */
import type { ScanPage, ScanRequest, StoredRecord, VersionsRequest } from '../record.ts';
import { type LevelDatabase, type LevelIterator, type LevelRange, rocksDbError } from './level_binding.ts';
import {
  boundAfterKey,
  boundAfterVersion,
  boundOf,
  boundOfVersion,
  RECORDS_END,
  RECORDS_START,
  Row,
} from './row_codec.ts';

/** So many rows of one key are passed one by one; then the iterator is sent to the next key. */
const SEEK_AFTER_ROWS = 16;
const READ_AHEAD_BYTES = 64 * 1024;

/** What a visitor of rows answers. */
export const NEXT = 0;
export const NEXT_KEY = 1;
export const STOP = 2;
export type Step = typeof NEXT | typeof NEXT_KEY | typeof STOP;

/** One pass over record rows, in slices if wanted. */
export class RowPass {
  readonly #iterator: LevelIterator;
  readonly #lastFlush: number;
  /** The row being visited, and the one before it (visible rows only). */
  row = new Row();
  previous = new Row();
  #visited = false;
  #passed = 0;

  constructor(database: LevelDatabase, range: LevelRange, lastFlush: number) {
    this.#iterator = database.iterator({ highWaterMark: READ_AHEAD_BYTES, ...range });
    this.#lastFlush = lastFlush;
  }

  /** True when the row being visited is of the same key as the one visited before it. */
  get sameKey(): boolean {
    return this.#visited && this.row.hasKeyOf(this.previous);
  }

  /** True when the row being visited is an older flush's row of the version visited before it. REQUIRES: sameKey. */
  get sameVersion(): boolean {
    return this.row.modRevision === this.previous.modRevision;
  }

  /**
   * Visits rows from where it stopped the last time, until `visit` says STOP or there are no more.
   * @returns true at the end.
   * @throws KvError CORRUPT, STORAGE_FAILED
   */
  each(visit: (value: Buffer) => Step): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const onRow = (error: Error | null | undefined, key?: Buffer, value?: Buffer): void => {
        if (error) {
          reject(rocksDbError(error, 'cannot read'));
          return;
        }
        if (key === undefined) {
          resolve(true);
          return;
        }
        let step: Step;
        try {
          step = this.#visit(key, value ?? key, visit);
        } catch (cause) {
          reject(cause);
          return;
        }
        if (step === STOP) resolve(false);
        else this.#iterator.next(onRow);
      };
      this.#iterator.next(onRow);
    });
  }

  end(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#iterator.end((error) => (error ? reject(rocksDbError(error, 'cannot end a read')) : resolve()));
    });
  }

  #visit(key: Buffer, value: Buffer, visit: (value: Buffer) => Step): Step {
    this.row.parse(key);
    if (this.row.flushId > this.#lastFlush) return NEXT;
    if (!this.sameKey) this.#passed = 0;
    const step = visit(value);
    const { row } = this;
    this.row = this.previous;
    this.previous = row;
    this.#visited = true;
    if (step === NEXT_KEY && ++this.#passed > SEEK_AFTER_ROWS) this.#iterator.seek(boundAfterKey(row));
    return step;
  }
}

/** The newest version of a key at or below `revision`. */
export async function newestRecord(
  database: LevelDatabase,
  lastFlush: number,
  key: Uint8Array,
  revision: number,
): Promise<StoredRecord | undefined> {
  const range = { gte: boundOfVersion(key, revision), lt: boundAfterVersion(key, 0) };
  const pass = new RowPass(database, range, lastFlush);
  let found: StoredRecord | undefined;
  try {
    await pass.each((value) => {
      found = pass.row.record(value);
      return STOP;
    });
  } finally {
    await pass.end();
  }
  return found;
}

/** Collects a page until a limit is reached. */
class Page {
  readonly records: StoredRecord[] = [];
  readonly #limit: number;
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(limit: number, maxBytes: number) {
    this.#limit = limit;
    this.#maxBytes = maxBytes;
  }

  /** Adds a record; false when the page is full now. */
  add(record: StoredRecord): boolean {
    this.records.push(record);
    this.#bytes += record.key.length + record.value.length;
    return this.records.length < this.#limit && this.#bytes < this.#maxBytes;
  }
}

export async function scanRows(
  database: LevelDatabase,
  lastFlush: number,
  request: ScanRequest,
): Promise<ScanPage> {
  const range = {
    gte: boundOf(request.start),
    lt: request.end === undefined ? RECORDS_END : boundOf(request.end),
    reverse: request.reverse,
  };
  const pass = new RowPass(database, range, lastFlush);
  const page = new Page(request.limit, request.maxBytes);
  try {
    const more = request.reverse
      ? await scanBackward(pass, page, request)
      : !(await scanForward(pass, page, request));
    return { records: page.records, more };
  } finally {
    await pass.end();
  }
}

/** Within a key the newest version comes first: the first that is old enough is the answer. Gives true at the end. */
function scanForward(pass: RowPass, page: Page, request: ScanRequest): Promise<boolean> {
  let done = false;
  return pass.each((value) => {
    const { row } = pass;
    if (!pass.sameKey) done = false;
    if (done) return NEXT_KEY;
    if (row.modRevision > request.revision) return NEXT;
    done = true;
    if (row.isTombstone && request.tombstones !== true) return NEXT_KEY;
    return page.add(row.record(value, request.keysOnly)) ? NEXT_KEY : STOP;
  });
}

/** Within a key the oldest version comes first: the last that is old enough is the answer, known when the key is over. Gives true when there may be more. */
async function scanBackward(pass: RowPass, page: Page, request: ScanRequest): Promise<boolean> {
  let best: StoredRecord | undefined;
  let full = false;
  const take = () => {
    if (best !== undefined) full = !page.add(best);
    best = undefined;
  };
  const ended = await pass.each((value) => {
    const { row } = pass;
    if (!pass.sameKey) take();
    if (full) return STOP;
    if (row.modRevision > request.revision) return NEXT;
    // A later row of the same version is a newer flush's: it replaces this one as a newer version would.
    best = row.isTombstone && request.tombstones !== true ? undefined : row.record(value, request.keysOnly);
    return NEXT;
  });
  if (ended) take();
  return !ended;
}

export async function versionRows(
  database: LevelDatabase,
  lastFlush: number,
  request: VersionsRequest,
): Promise<ScanPage> {
  const { after, start, end } = request;
  const lt = end === undefined ? RECORDS_END : boundOf(end);
  const first = boundOf(start);
  const behind = after === undefined ? undefined : boundAfterVersion(after.key, after.modRevision);
  const range = behind === undefined || first.compare(behind) > 0 ? { gte: first, lt } : { gt: behind, lt };
  const pass = new RowPass(database, range, lastFlush);
  const page = new Page(request.limit, request.maxBytes);
  try {
    const ended = await pass.each((value) => {
      const { row } = pass;
      if (pass.sameKey && pass.sameVersion) return NEXT;
      if (row.modRevision > request.maxRevision) return NEXT;
      if (row.modRevision < request.minRevision) return NEXT_KEY;
      return page.add(row.record(value)) ? NEXT : STOP;
    });
    return { records: page.records, more: !ended };
  } finally {
    await pass.end();
  }
}

/** A pass over everything; without values where they are not needed. */
export function everyRow(database: LevelDatabase, lastFlush: number, values: boolean): RowPass {
  return new RowPass(database, { gte: RECORDS_START, lt: RECORDS_END, values }, lastFlush);
}
