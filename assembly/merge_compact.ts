// The consumer of a merge (merge.ts) that compaction runs: what is kept goes into the blocks of a table (block_builder.ts).
//
//   range    +0 u32 smallestKey  +4 u32 smallestKeyLength  +8 u32 largestKey  +12 u32 largestKeyLength      both ends belong to it
//
// Invariant: a tombstone at or below the compact revision goes only when its key lies in none of the ranges, which are what lies below the output: sorted, and
// disjoint.

import { ADDED, addEntry, CUT as BUILDER_CUT, TOO_LARGE as BUILDER_TOO_LARGE } from './block_builder';
import { compareBytes } from './compare';
import { flagsOf, keyLengthOf, keyOf, valueLengthOf } from './entry';
import {
  advance,
  CUT,
  currentOf,
  DISORDERED,
  DONE,
  firstInput,
  OUT_FULL,
  PAUSE,
  rankOf,
  settle,
  TOO_LARGE,
} from './merge';
import { DROPPED, dealtWith, judge, KEPT_LAST, TOMBSTONE } from './merge_collect';

const RANGE_BYTES: u32 = 16;
/** What a record counts for besides key and value. */
const RECORD_COST: u32 = 32;

let ranges: u32 = 0;
let rangesEnd: u32 = 0;
let merged: u32 = 0;

/** What lies below the output: tombstones of keys in these ranges stay. */
export function setRangesBelow(list: u32, count: u32): void {
  ranges = list;
  rangesEnd = list + count * RANGE_BYTES;
}

/** Bytes that the last mergeInto call went through. */
export function mergedBytes(): u32 {
  return merged;
}

/** Whether something may lie below a key. REQUIRES: asked with ascending keys. */
function somethingBelow(descriptor: u32): bool {
  const key = keyOf(descriptor);
  const length = keyLengthOf(descriptor);
  for (; ranges < rangesEnd; ranges += RANGE_BYTES)
    if (compareBytes(load<u32>(ranges, 8), load<u32>(ranges, 12), key, length) >= 0) break;
  return ranges < rangesEnd && compareBytes(load<u32>(ranges), load<u32>(ranges, 4), key, length) <= 0;
}

/** Merges into a builder until it is full (OUT_FULL, TOO_LARGE, CUT), `bytesLimit` bytes were gone through (PAUSE), or a window is needed. */
export function mergeInto(builder: u32, compactRevision: f64, bytesLimit: u32): u32 {
  merged = 0;
  while (merged < bytesLimit) {
    const status = settle();
    if (status != DONE) return status;
    const input = firstInput();
    if (input == 0) return DONE;
    const descriptor = currentOf(input);
    const fate = judge(descriptor, compactRevision);
    if (fate == DISORDERED) return DISORDERED | (rankOf(input) << 8);
    const dropped =
      fate == DROPPED ||
      (fate == KEPT_LAST && (flagsOf(descriptor) & TOMBSTONE) != 0 && !somethingBelow(descriptor));
    if (!dropped) {
      const added = addEntry(builder, descriptor);
      if (added != ADDED)
        return added == BUILDER_CUT ? CUT : added == BUILDER_TOO_LARGE ? TOO_LARGE : OUT_FULL;
    }
    dealtWith(descriptor, fate);
    merged += keyLengthOf(descriptor) + valueLengthOf(descriptor) + RECORD_COST;
    advance(input);
  }
  return PAUSE;
}
