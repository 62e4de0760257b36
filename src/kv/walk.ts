/**
 * Looks at the live keys of a range one after the other, page by page: however many there are and whatever their values weigh, no more than a page is held.
 */
import type { KvEngine } from '../storage/engine_port.ts';
import { type KeyRange, keyAfter, type StoredRecord } from '../storage/record.ts';

const PAGE_BYTES = 1024 * 1024;
const PAGE_KEYS = 1024;
/** Most walks that end early end soon. */
const FIRST_PAGE_KEYS = 256;

export interface Walk extends KeyRange {
  readonly revision: number;
  readonly reverse: boolean;
  /** Keys looked at, at most. */
  readonly most: number;
  /** Asked before each page: whether the records need come with their values. */
  readonly withValues: () => boolean;
}

/**
 * Shows each key's record, a view valid for the call, until `look` says false. Gives how many were shown.
 * REQUIRES: the range is loaded; nothing is written meanwhile.
 */
export function walkRange(engine: KvEngine, walk: Walk, look: (record: StoredRecord) => boolean): number {
  const { revision, reverse, most, withValues } = walk;
  let { start, end } = walk;
  let seen = 0;
  while (seen < most) {
    const limit = Math.min(most - seen, seen === 0 ? FIRST_PAGE_KEYS : PAGE_KEYS);
    const keysOnly = !withValues();
    const page = engine.page({ start, end, revision, reverse, limit, maxBytes: PAGE_BYTES, keysOnly });
    for (const record of page.records) {
      seen++;
      if (!look(record)) return seen;
    }
    const last = page.records.at(-1);
    if (!page.more || last === undefined) break;
    if (reverse) end = new Uint8Array(last.key);
    else start = keyAfter(last.key);
  }
  return seen;
}
