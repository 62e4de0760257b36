// Reads the blocks of a table: a whole one into descriptors, or one key of it.
//
// Invariants: nothing in a payload is believed: damage gives MALFORMED, never a read or write outside of payload, descriptors and key area. The payload's
// memory has SLACK readable bytes behind it.

import { MAX_BLOCK_ENTRIES } from './block_builder';
import { compareBytes } from './compare';
import {
  copyShort,
  DESCRIPTOR_BYTES,
  entryShared,
  entrySuffix,
  entryUnshared,
  modRevisionOf,
  readEntry,
} from './entry';

export const MALFORMED: i32 = -1;
export const NOT_HERE: i32 = 0;
export const FOUND: i32 = 1;
/** Every record of the block comes before what was looked for. */
export const BEYOND: i32 = 2;

/** The end of the entries of a payload, 0 when it is malformed. */
function entriesEnd(payload: u32, length: u32): u32 {
  if (length < 16) return 0;
  const restarts = load<u32>(payload + length - 4);
  if (restarts == 0 || restarts > MAX_BLOCK_ENTRIES || (restarts << 2) + 4 > length) return 0;
  return payload + length - 4 - (restarts << 2);
}

/**
 * Decodes a whole block. Descriptors go to `descriptors` (room for MAX_BLOCK_ENTRIES), keys to `keys`; values stay where they are.
 * Gives the number of entries, or MALFORMED.
 */
export function decodeBlock(payload: u32, length: u32, descriptors: u32, keys: u32, keysBytes: u32): i32 {
  const end = entriesEnd(payload, length);
  if (end == 0) return MALFORMED;
  const keysEnd = keys + keysBytes - 8;
  let at = payload;
  let count: u32 = 0;
  let key: u32 = 0;
  let keyLength: u32 = 0;
  let free = keys;
  let descriptor = descriptors;
  while (at < end) {
    if (count == MAX_BLOCK_ENTRIES) return MALFORMED;
    at = readEntry(at, end, keyLength, descriptor);
    if (at == 0) return MALFORMED;
    const length = entryShared + entryUnshared;
    if (entryUnshared != 0 || entryShared != keyLength) {
      if (free + length > keysEnd) return MALFORMED;
      copyShort(free, key, entryShared);
      copyShort(free + entryShared, entrySuffix, entryUnshared);
      key = free;
      keyLength = length;
      free += length;
    }
    store<u32>(descriptor, key);
    descriptor += DESCRIPTOR_BYTES;
    count++;
  }
  return count == 0 ? MALFORMED : count;
}

/**
 * Looks in one block for the newest version of a key at or below a revision: FOUND fills in the descriptor (its key lies in `keyBuffer`, which holds
 * MAX_ENTRY_KEY bytes and slack), NOT_HERE: there is none here or in later blocks, BEYOND: it may be in the next block, MALFORMED.
 */
export function seekInBlock(
  payload: u32,
  length: u32,
  key: u32,
  keyLength: u32,
  revision: f64,
  descriptor: u32,
  keyBuffer: u32,
): i32 {
  const end = entriesEnd(payload, length);
  if (end == 0) return MALFORMED;
  let low: u32 = 0;
  let high: u32 = load<u32>(payload + length - 4);
  // The last restart whose entry comes before what is looked for.
  while (low + 1 < high) {
    const middle = (low + high) >> 1;
    const place = payload + load<u32>(end + (middle << 2));
    if (place < payload || place >= end || readEntry(place, end, 0, descriptor) == 0 || entryShared != 0)
      return MALFORMED;
    const order = compareBytes(entrySuffix, entryUnshared, key, keyLength);
    if (order < 0 || (order == 0 && modRevisionOf(descriptor) > revision)) low = middle;
    else high = middle;
  }
  let at = payload + load<u32>(end + (low << 2));
  if (at < payload || at >= end) return MALFORMED;
  let length2: u32 = 0;
  while (at < end) {
    at = readEntry(at, end, length2, descriptor);
    if (at == 0) return MALFORMED;
    copyShort(keyBuffer + entryShared, entrySuffix, entryUnshared);
    length2 = entryShared + entryUnshared;
    const order = compareBytes(keyBuffer, length2, key, keyLength);
    if (order > 0) return NOT_HERE;
    if (order == 0 && modRevisionOf(descriptor) <= revision) {
      store<u32>(descriptor, keyBuffer);
      return FOUND;
    }
  }
  return BEYOND;
}
