/**
 * Merging the pages of several sources into one. The sources are given newest first: of two records with the same key and revision (a memtable
 * on its way into the tree is for a moment in both) the first source's is taken.
 */
import { compareKeys, compareRecords, type StoredRecord } from './record.ts';

/** A place in a list of records that come in the merge's order. */
export interface PageCursor {
  readonly records: readonly StoredRecord[];
  at: number;
}

export function pageCursor(records: readonly StoredRecord[]): PageCursor {
  return { records, at: 0 };
}

/**
 * The next key's newest record among sources that hold at most one record per key, ascending or (reverse) descending; moves past it everywhere.
 * undefined at the end.
 */
export function nextByKey(cursors: readonly PageCursor[], reverse: boolean): StoredRecord | undefined {
  let best: StoredRecord | undefined;
  for (const cursor of cursors) {
    const record = cursor.records[cursor.at];
    if (record === undefined) continue;
    if (best === undefined) {
      best = record;
      continue;
    }
    const order = compareKeys(record.key, best.key);
    if (order === 0 ? record.modRevision > best.modRevision : reverse ? order > 0 : order < 0) best = record;
  }
  if (best === undefined) return undefined;
  for (const cursor of cursors) {
    const record = cursor.records[cursor.at];
    if (record !== undefined && (record === best || compareKeys(record.key, best.key) === 0)) cursor.at++;
  }
  return best;
}

/** The next record in record order; moves past it, and past its doubles, everywhere. undefined at the end. */
export function nextVersion(cursors: readonly PageCursor[]): StoredRecord | undefined {
  let best: StoredRecord | undefined;
  for (const cursor of cursors) {
    const record = cursor.records[cursor.at];
    if (record !== undefined && (best === undefined || compareRecords(record, best) < 0)) best = record;
  }
  if (best === undefined) return undefined;
  for (const cursor of cursors) {
    const record = cursor.records[cursor.at];
    if (record !== undefined && (record === best || compareRecords(record, best) === 0)) cursor.at++;
  }
  return best;
}
