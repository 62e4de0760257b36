/**
 * Finds out whether the writes of one transaction meet on a key. Decided from the operations alone, never from what the store holds, so that the
 * same request is refused or taken in every state.
 */

import { compareKeys } from '../storage/record.ts';
import type { Operation } from './command.ts';
import { equalKeys, hashKey } from './key_order.ts';

/** Below this many writes comparing all pairs is cheapest. */
const FEW = 16;

interface Interval {
  readonly start: Uint8Array;
  /** undefined: the one key `start`. */
  readonly end: Uint8Array | undefined;
}

/** True when two writes of the list (put, delete, touch) share a key or a possible key. */
export function writesOverlap(operations: readonly Operation[]): boolean {
  let writes = 0;
  let ranges = false;
  for (const operation of operations) {
    if (operation.type === 'range') continue;
    writes++;
    if (operation.type === 'delete' && operation.end !== undefined) ranges = true;
  }
  if (writes < 2) return false;
  if (ranges) return intervalsOverlap(operations);
  const keys = operations.filter((operation) => operation.type !== 'range').map((operation) => operation.key);
  if (writes <= FEW) return someEqualPair(keys);
  return !ascending(keys) && !distinctHashes(keys) && sortedNeighboursEqual(keys);
}

function someEqualPair(keys: readonly Uint8Array[]): boolean {
  for (let a = 1; a < keys.length; a++) {
    for (let b = 0; b < a; b++) if (equalKeys(keys[a] as Uint8Array, keys[b] as Uint8Array)) return true;
  }
  return false;
}

function ascending(keys: readonly Uint8Array[]): boolean {
  for (let at = 1; at < keys.length; at++) {
    if (compareKeys(keys[at - 1] as Uint8Array, keys[at] as Uint8Array) >= 0) return false;
  }
  return true;
}

function distinctHashes(keys: readonly Uint8Array[]): boolean {
  const seen = new Set<number>();
  for (const key of keys) seen.add(hashKey(key));
  return seen.size === keys.length;
}

function sortedNeighboursEqual(keys: readonly Uint8Array[]): boolean {
  const sorted = [...keys].sort(compareKeys);
  for (let at = 1; at < sorted.length; at++) {
    if (equalKeys(sorted[at - 1] as Uint8Array, sorted[at] as Uint8Array)) return true;
  }
  return false;
}

function intervalsOverlap(operations: readonly Operation[]): boolean {
  const intervals: Interval[] = [];
  for (const operation of operations) {
    if (operation.type === 'range') continue;
    const end = operation.type === 'delete' ? operation.end : undefined;
    if (end === undefined || compareKeys(operation.key, end) < 0)
      intervals.push({ start: operation.key, end });
  }
  intervals.sort((a, b) => compareKeys(a.start, b.start));
  let furthest: Uint8Array | undefined;
  for (let at = 0; at < intervals.length; at++) {
    const { start, end } = intervals[at] as Interval;
    const before = intervals[at - 1];
    if (before !== undefined && equalKeys(before.start, start)) return true;
    if (furthest !== undefined && compareKeys(start, furthest) < 0) return true;
    if (end !== undefined && (furthest === undefined || compareKeys(end, furthest) > 0)) furthest = end;
  }
  return false;
}
