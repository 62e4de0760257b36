/**
 * Finds out whether the writes of one transaction meet on a key. Decided from the operations alone, never from what the store holds, so that the
 * same request is refused or taken in every state.
 *
 * Writes that can run together are those of one list and of the transactions nested in it; the two branches of a transaction never run together. A put (or touch) that meets
 * another write is refused; deletes may meet (the later one finds less). etcd decides alike but for two gaps: it does not see a put before a delete in a later
 * nested transaction, nor a put within a delete of everything from a key on.
 */

import { compareKeys, keyAfter } from '../storage/record.ts';
import type { Operation, TxnBody } from './command.ts';
import { equalKeys, hashKey } from './key_order.ts';

/** Below this many writes comparing all pairs is cheapest. */
const FEW = 16;

/** 'deletes': some deletes share a key or a possible key, and that is all. 'writes': a put or touch shares one with another write. */
export type Meeting = 'apart' | 'deletes' | 'writes';

interface Interval {
  readonly start: Uint8Array;
  readonly end: Uint8Array;
  readonly isDelete: boolean;
  /** Position of its operation in the list looked at: what one nested transaction writes was compared before. */
  item: number;
}

/** How the writes of a transaction meet, in the worse of its branches. */
export function txnMeeting(txn: TxnBody): Meeting {
  return worse(writesMeeting(txn.success), writesMeeting(txn.failure));
}

/** How the writes of a list meet. */
export function writesMeeting(operations: readonly Operation[]): Meeting {
  let writes = 0;
  let simple = true;
  for (const operation of operations) {
    if (operation.type === 'range') continue;
    writes++;
    if (operation.type === 'txn' || (operation.type === 'delete' && operation.end !== undefined))
      simple = false;
  }
  if (writes === 0 || (writes === 1 && simple)) return 'apart';
  if (simple && distinct(singleKeys(operations))) return 'apart';
  const found: { meeting: Meeting } = { meeting: 'apart' };
  intervalsOf(operations, found);
  return found.meeting;
}

function singleKeys(operations: readonly Operation[]): readonly Uint8Array[] {
  const keys: Uint8Array[] = [];
  for (const operation of operations) {
    if (operation.type !== 'range' && operation.type !== 'txn') keys.push(operation.key);
  }
  return keys;
}

function distinct(keys: readonly Uint8Array[]): boolean {
  if (keys.length <= FEW) return !someEqualPair(keys);
  return ascending(keys) || distinctHashes(keys);
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

/** What a list may write, sorted; `found` learns of the worst meeting within it. */
function intervalsOf(operations: readonly Operation[], found: { meeting: Meeting }): Interval[] {
  const intervals: Interval[] = [];
  for (let item = 0; item < operations.length; item++) {
    const operation = operations[item] as Operation;
    if (operation.type === 'range') continue;
    if (operation.type === 'txn') {
      for (const branch of [operation.success, operation.failure]) {
        for (const interval of intervalsOf(branch, found)) {
          interval.item = item;
          intervals.push(interval);
        }
      }
      continue;
    }
    const start = operation.key;
    const isDelete = operation.type === 'delete';
    const end = (isDelete ? operation.end : undefined) ?? keyAfter(start);
    if (compareKeys(start, end) < 0) intervals.push({ start, end, isDelete, item });
  }
  // Deletes first: those that begin at a put's key hold it.
  intervals.sort((a, b) => compareKeys(a.start, b.start) || Number(b.isDelete) - Number(a.isDelete));
  found.meeting = worse(found.meeting, sweep(intervals));
  return intervals;
}

/** How sorted intervals of different items meet. */
function sweep(intervals: readonly Interval[]): Meeting {
  const deletes = new Furthest();
  const puts = new Furthest();
  let meeting: Meeting = 'apart';
  for (const interval of intervals) {
    if (puts.reaches(interval)) return 'writes';
    if (deletes.reaches(interval)) {
      if (!interval.isDelete) return 'writes';
      meeting = 'deletes';
    }
    (interval.isDelete ? deletes : puts).add(interval);
  }
  return meeting;
}

/** Of the intervals so far the one that ends last, and the one that ends last among those of other items. */
class Furthest {
  private first: Interval | undefined;
  private second: Interval | undefined;

  /** Whether one of another item reaches beyond the start of `interval`, which begins no earlier than any so far. */
  reaches(interval: Interval): boolean {
    const other = this.first?.item === interval.item ? this.second : this.first;
    return other !== undefined && compareKeys(interval.start, other.end) < 0;
  }

  add(interval: Interval): void {
    const { first, second } = this;
    if (first === undefined || first.item === interval.item) {
      if (first === undefined || compareKeys(interval.end, first.end) > 0) this.first = interval;
    } else if (compareKeys(interval.end, first.end) > 0) {
      this.first = interval;
      this.second = first;
    } else if (second === undefined || compareKeys(interval.end, second.end) > 0) {
      this.second = interval;
    }
  }
}

function worse(a: Meeting, b: Meeting): Meeting {
  if (a === 'writes' || b === 'writes') return 'writes';
  return a === 'deletes' ? a : b;
}
