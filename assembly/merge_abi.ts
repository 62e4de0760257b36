// The ABI of merges (merge.ts, merge_collect.ts, merge_compact.ts).

import { startMerge } from './merge';
import { resetCollect } from './merge_collect';

/** See startMerge in merge.ts. */
export function beginMerge(
  table: u32,
  count: u32,
  orderArea: u32,
  lastKeyArea: u32,
  reverse: u32,
  seek: u32,
  seekLength: u32,
  seekRevision: f64,
  stop: u32,
  stopLength: u32,
): void {
  resetCollect();
  startMerge(table, count, orderArea, lastKeyArea, reverse, seek, seekLength, seekRevision, stop, stopLength);
}

export { nextRecord } from './merge';
export {
  collectedCount,
  collectedEnd,
  collectedTaken,
  collectInto,
  collectNewest,
  collectNewestReverse,
  collectRetained,
  collectVersions,
  neededBytes,
} from './merge_collect';
export { mergedBytes, mergeInto, setRangesBelow } from './merge_compact';
