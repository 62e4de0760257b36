// Consumers of a merge (merge.ts) that gather records for JavaScript: pages of scans, of versions, and of snapshots.
//
// What is gathered is packed: descriptors (entry.ts) in a list, key and value of each record one behind the other in a region.
//
// Invariants: calls add to what was gathered until it is taken (collectedTaken); limits count what was gathered since; a record is gathered whole or not at all; MORE is answered only
// when a record that would be shown does follow. In reverse, the versions of a key come oldest first: the best so far waits behind what is gathered (the
// candidate) until the key is over, and survives calls.

import {
  copyShort,
  DESCRIPTOR_BYTES,
  flagsOf,
  keyLengthOf,
  keyOf,
  modRevisionOf,
  valueLengthOf,
  valueOf,
} from './entry';
import {
  advance,
  advanceKey,
  currentOf,
  DISORDERED,
  DONE,
  firstInput,
  lastRecordOfBlock,
  MORE,
  OUT_FULL,
  orderToLast,
  rankOf,
  rememberKey,
  settle,
  TOO_LARGE,
} from './merge';

export const TOMBSTONE: u32 = 1;
const SLACK: u32 = 16;

let region: u32 = 0;
let regionEnd: u32 = 0;
let list: u32 = 0;
let listCapacity: u32 = 0;

let count: u32 = 0;
let top: u32 = 0;
let bytes: f64 = 0;
let needed: u32 = 0;

/** What was gathered has been taken: the next call starts anew. */
let taken: bool = true;

/** The newest visible version of the last key is known. */
let decided: bool = false;
/** Revision of the last key's record that was dealt with. */
let lastRevision: f64 = Infinity;
/** A version of the last key at or below the compact revision was met: older ones go. */
let superseded: bool = false;
/** Reverse: a version of the last key waits in the list at `count`, its bytes at `top`. */
let hasCandidate: bool = false;

/** A merge begins. */
export function resetCollect(): void {
  decided = false;
  lastRevision = Infinity;
  superseded = false;
  hasCandidate = false;
  count = 0;
  taken = true;
}

/** Where records are gathered from now on. REQUIRES: what was gathered was taken, and its place stays as it is until the next call. */
export function collectInto(regionStart: u32, regionBytes: u32, descriptors: u32, capacity: u32): void {
  if (hasCandidate && count != 0) copyDescriptor(list, list + count * DESCRIPTOR_BYTES);
  if (hasCandidate && list != descriptors) copyDescriptor(descriptors, list);
  count = 0;
  region = regionStart;
  regionEnd = regionStart + regionBytes - SLACK;
  list = descriptors;
  listCapacity = capacity;
  taken = true;
}

/** What was gathered was taken. */
export function collectedTaken(): void {
  taken = true;
}

/** How many records the last call gathered. */
export function collectedCount(): u32 {
  return count;
}

/** Where the bytes of the records that the last call gathered end. */
export function collectedEnd(): u32 {
  return top;
}

/** After TOO_LARGE: the bytes that the region must have. */
export function neededBytes(): u32 {
  return needed;
}

function copyDescriptor(to: u32, from: u32): void {
  memory.copy(to, from, DESCRIPTOR_BYTES);
}

function begin(): void {
  if (!taken) return;
  taken = false;
  if (hasCandidate) {
    const candidate = list + count * DESCRIPTOR_BYTES;
    const keyLength = keyLengthOf(candidate);
    memory.copy(region, keyOf(candidate), keyLength + valueLengthOf(candidate));
    if (count != 0) copyDescriptor(list, candidate);
    store<u32>(list, region);
    store<u32>(list, region + keyLength, 8);
  }
  count = 0;
  top = region;
  bytes = 0;
}

/** Puts a record behind what is gathered, without counting it: DONE, or why there is no room. */
function place(descriptor: u32, keysOnly: bool): u32 {
  const keyLength = keyLengthOf(descriptor);
  const valueLength = keysOnly ? 0 : valueLengthOf(descriptor);
  const length = keyLength + valueLength;
  if (count == listCapacity) return OUT_FULL;
  if (length + 8 > regionEnd - top) {
    needed = length + 8 + SLACK;
    return count == 0 ? TOO_LARGE : OUT_FULL;
  }
  const to = list + count * DESCRIPTOR_BYTES;
  copyDescriptor(to, descriptor);
  store<u32>(to, top);
  store<u32>(to, top + keyLength, 8);
  store<u32>(to, valueLength, 12);
  copyShort(top, keyOf(descriptor), keyLength);
  if (valueLength != 0) memory.copy(top + keyLength, valueOf(descriptor), valueLength);
  return DONE;
}

/** The record that was placed last counts. */
function take(): void {
  const placed = list + count * DESCRIPTOR_BYTES;
  const length = keyLengthOf(placed) + valueLengthOf(placed);
  top += length;
  bytes += length as f64;
  count++;
}

/** Of every key its newest version at or below the revision. `tombstones` 0: not those keys of which that is a tombstone. */
export function collectNewest(revision: f64, tombstones: u32, keysOnly: u32, limit: u32, maxBytes: f64): u32 {
  begin();
  while (true) {
    const status = settle();
    if (status != DONE) return status;
    const input = firstInput();
    if (input == 0) return DONE;
    const descriptor = currentOf(input);
    const side = orderToLast(descriptor);
    if (side < 0) return DISORDERED | (rankOf(input) << 8);
    if (side > 0) {
      rememberKey(descriptor);
      decided = false;
    }
    if (!decided) {
      if (modRevisionOf(descriptor) > revision) {
        advance(input);
        continue;
      }
      if (tombstones != 0 || (flagsOf(descriptor) & TOMBSTONE) == 0) {
        if (count >= limit || bytes >= maxBytes) return MORE;
        const room = place(descriptor, keysOnly != 0);
        if (room != DONE) return room;
        take();
      }
      decided = true;
    }
    advanceKey(input);
  }
}

/** The same with keys descending. REQUIRES: the merge runs in reverse. */
export function collectNewestReverse(
  revision: f64,
  tombstones: u32,
  keysOnly: u32,
  limit: u32,
  maxBytes: f64,
): u32 {
  begin();
  while (true) {
    const status = settle();
    if (status != DONE) return status;
    const input = firstInput();
    const descriptor = input == 0 ? 0 : currentOf(input);
    const side = descriptor == 0 ? -1 : orderToLast(descriptor);
    if (side != 0) {
      if (hasCandidate) {
        if (side > 0) return DISORDERED | (rankOf(input) << 8);
        if (tombstones != 0 || (flagsOf(list + count * DESCRIPTOR_BYTES) & TOMBSTONE) == 0) {
          if (count >= limit || bytes >= maxBytes) return MORE;
          take();
        }
        hasCandidate = false;
      }
      if (descriptor == 0) return DONE;
      rememberKey(descriptor);
    }
    const best = newestOfGroup(descriptor, lastRecordOfBlock(input), revision);
    if (best != 0) {
      const before = hasCandidate ? modRevisionOf(list + count * DESCRIPTOR_BYTES) : -1;
      if (modRevisionOf(best) > before) {
        const room = place(best, keysOnly != 0);
        if (room != DONE) return room;
        hasCandidate = true;
      }
    }
    advanceKey(input);
  }
}

/** Walking back from a record over those that share its key's address: the newest at or below the revision, 0: none. */
function newestOfGroup(descriptor: u32, last: u32, revision: f64): u32 {
  const key = keyOf(descriptor);
  let best: u32 = 0;
  for (let at = descriptor; keyOf(at) == key; at -= DESCRIPTOR_BYTES) {
    if (modRevisionOf(at) <= revision) best = at;
    if (at == last) break;
  }
  return best;
}

/** Looks at the next record: whether its key is new, and whether it was seen before. Gives 0 new to us, 1 seen, or DISORDERED. */
function meet(descriptor: u32): u32 {
  const side = orderToLast(descriptor);
  if (side < 0) return DISORDERED;
  if (side > 0) {
    rememberKey(descriptor);
    lastRevision = Infinity;
    superseded = false;
    return 0;
  }
  const revision = modRevisionOf(descriptor);
  return revision > lastRevision ? DISORDERED : revision == lastRevision ? 1 : 0;
}

/** Every version with smallest <= modRevision <= largest. */
export function collectVersions(smallest: f64, largest: f64, limit: u32, maxBytes: f64): u32 {
  begin();
  while (true) {
    const status = settle();
    if (status != DONE) return status;
    const input = firstInput();
    if (input == 0) return DONE;
    const descriptor = currentOf(input);
    const met = meet(descriptor);
    if (met == DISORDERED) return DISORDERED | (rankOf(input) << 8);
    const revision = modRevisionOf(descriptor);
    if (met == 0 && revision >= smallest && revision <= largest) {
      if (count >= limit || bytes >= maxBytes) return MORE;
      const room = place(descriptor, false);
      if (room != DONE) return room;
      take();
    }
    lastRevision = revision;
    advance(input);
  }
}

/** Every version but those that compaction at a revision may drop when nothing lies below. */
export function collectRetained(compactRevision: f64, limit: u32, maxBytes: f64): u32 {
  begin();
  while (true) {
    const status = settle();
    if (status != DONE) return status;
    const input = firstInput();
    if (input == 0) return DONE;
    const descriptor = currentOf(input);
    const fate = judge(descriptor, compactRevision);
    if (fate == DISORDERED) return DISORDERED | (rankOf(input) << 8);
    if (fate == KEPT || (fate == KEPT_LAST && (flagsOf(descriptor) & TOMBSTONE) == 0)) {
      if (count >= limit || bytes >= maxBytes) return MORE;
      const room = place(descriptor, false);
      if (room != DONE) return room;
      take();
    }
    dealtWith(descriptor, fate);
    advance(input);
  }
}

/** What compaction does with a record. DISORDERED is an answer too. */
export const KEPT: u32 = 16;
export const DROPPED: u32 = 17;
/** The newest at or below the compact revision: kept unless it is a tombstone with nothing below it. */
export const KEPT_LAST: u32 = 18;

/** What compaction at a revision does with the next record of the merge; call dealtWith when that is done. */
export function judge(descriptor: u32, compactRevision: f64): u32 {
  const met = meet(descriptor);
  if (met == DISORDERED) return DISORDERED;
  if (met == 1 || superseded) return DROPPED;
  return modRevisionOf(descriptor) <= compactRevision ? KEPT_LAST : KEPT;
}

export function dealtWith(descriptor: u32, fate: u32): void {
  lastRevision = modRevisionOf(descriptor);
  if (fate == KEPT_LAST) superseded = true;
}
