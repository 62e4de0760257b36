/**
 * Which keys a set of grants covers: a union of ranges, asked whether a request lies in it whole.
 *
 * Invariants: ranges are kept merged (ascending, apart from each other, none empty), so a request that only several grants together cover is found in one of
 * them; a request that covers no key at all is in no set.
 */
import { compareKeys, keyAfter } from '../storage/record.ts';

interface Covered {
  readonly start: Uint8Array;
  end: Uint8Array;
}

export interface KeysOrRange {
  readonly key: Uint8Array;
  /** [key, end) when present, else the one key. */
  readonly end: Uint8Array | undefined;
}

export class RangeSet {
  private readonly merged: Covered[] = [];

  constructor(parts: Iterable<KeysOrRange>) {
    const sorted: Covered[] = [];
    for (const { key, end } of parts) {
      const covered = { start: key, end: end ?? keyAfter(key) };
      if (compareKeys(covered.start, covered.end) < 0) sorted.push(covered);
    }
    sorted.sort((a, b) => compareKeys(a.start, b.start));
    for (const next of sorted) {
      const last = this.merged.at(-1);
      if (last === undefined || compareKeys(last.end, next.start) < 0) this.merged.push(next);
      else if (compareKeys(last.end, next.end) < 0) last.end = next.end;
    }
  }

  coversKey(key: Uint8Array): boolean {
    const found = this.lastFrom(key);
    return found !== undefined && compareKeys(key, found.end) < 0;
  }

  /** Whether every key of [start, end) is in the set. */
  coversRange(start: Uint8Array, end: Uint8Array): boolean {
    if (compareKeys(start, end) >= 0) return false;
    const found = this.lastFrom(start);
    return found !== undefined && compareKeys(end, found.end) <= 0;
  }

  /** The last range that begins at or before a key. */
  private lastFrom(key: Uint8Array): Covered | undefined {
    let low = 0;
    let high = this.merged.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { start } = this.merged[middle] as Covered;
      if (compareKeys(start, key) <= 0) low = middle + 1;
      else high = middle;
    }
    return this.merged[low - 1];
  }
}
