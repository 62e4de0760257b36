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
  MAX_ENTRY_KEY,
  MAX_ENTRY_VALUE,
  readEntry,
  sharedPrefix,
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

// What skim found in front of the key suffix of an entry. Per instance.
let skimShared: u32 = 0;
let skimUnshared: u32 = 0;
let skimRevision: u32 = 0;
let skimSuffix: u32 = 0;

/** Past one varint; beyond `end` when there is none. */
function skipVarint(at: u32, end: u32): u32 {
  while (at < end && load<u8>(at) >= 0x80) at++;
  return at + 1;
}

/**
 * Goes over an entry without decoding it: only what it takes to compare its key and to find the next one. Gives where the entry ends, 0 when its lengths make no
 * sense (numbers are looked at by readEntry, when the entry is the one that is wanted).
 */
function skim(at: u32, end: u32, previousKeyLength: u32): u32 {
  let shared: u32 = 0;
  let unshared: u32 = 0;
  let valueLength: u32 = 0;
  if (end - at > 4) {
    const head = load<u32>(at);
    if ((head & 0x808080) == 0) {
      // Three short lengths and the shape.
      shared = head & 0x7f;
      unshared = (head >> 8) & 0x7f;
      valueLength = (head >> 16) & 0x7f;
      return skimRest(at + 3, end, shared, unshared, valueLength, previousKeyLength);
    }
  }
  shared = lengthAt(at, end);
  unshared = lengthAt(lengthEnd, end);
  valueLength = lengthAt(lengthEnd, end);
  if (lengthEnd == 0) return 0;
  return skimRest(lengthEnd, end, shared, unshared, valueLength, previousKeyLength);
}

/** Where the last lengthAt stopped, 0 after damage. */
let lengthEnd: u32 = 0;

function lengthAt(at: u32, end: u32): u32 {
  if (at == 0) return 0;
  let value: u32 = 0;
  for (let shift: u32 = 0; shift < 28; shift += 7) {
    if (at >= end) break;
    const byte = load<u8>(at++) as u32;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      lengthEnd = at;
      return value;
    }
  }
  lengthEnd = 0;
  return 0;
}

function skimRest(
  at: u32,
  end: u32,
  shared: u32,
  unshared: u32,
  valueLength: u32,
  previousKeyLength: u32,
): u32 {
  if (at >= end) return 0;
  const shape = load<u8>(at++) as u32;
  skimRevision = at;
  at = skipVarint(at, end);
  at = skipVarint(at, end);
  at = skipVarint(at, end);
  at = skipVarint(at, end);
  if ((shape & 0x80) != 0) at += 8;
  if ((shape & 0x40) != 0) at = skipVarint(at, end);
  if (at > end || shared > previousKeyLength || shared + unshared == 0) return 0;
  if (shared + unshared > MAX_ENTRY_KEY || valueLength > MAX_ENTRY_VALUE) return 0;
  if (unshared + valueLength > end - at) return 0;
  skimShared = shared;
  skimUnshared = unshared;
  skimSuffix = at;
  return at + unshared + valueLength;
}

/** The modRevision of the entry skimmed last. */
function revisionOfSkimmed(): f64 {
  let value: u64 = 0;
  let at = skimRevision;
  for (let shift: u64 = 0; at < skimSuffix && shift <= 49; shift += 7) {
    const byte = load<u8>(at++) as u64;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  return value as f64;
}

/**
 * Looks in one block for the newest version of a key at or below a revision: FOUND fills in the descriptor (its key lies in `keyBuffer`, which holds
 * MAX_ENTRY_KEY bytes and slack), NOT_HERE: there is none here or in later blocks, BEYOND: it may be in the next block, MALFORMED.
 *
 * Entries that are passed over are not decoded, nor are their keys put together: how much of the key an entry has in common with what is looked for follows from
 * how much it shares with the entry before it.
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
    if (place < payload || place >= end || skim(place, end, 0) == 0) return MALFORMED;
    const order = compareBytes(skimSuffix, skimUnshared, key, keyLength);
    if (order < 0 || (order == 0 && revisionOfSkimmed() > revision)) low = middle;
    else high = middle;
  }
  let at = payload + load<u32>(end + (low << 2));
  if (at < payload || at >= end) return MALFORMED;
  let previousLength: u32 = 0;
  /** Bytes that the entry before has in common with the key; it comes before what is looked for. */
  let common: u32 = 0;
  while (at < end) {
    const next = skim(at, end, previousLength);
    if (next == 0) return MALFORMED;
    const shared = skimShared;
    previousLength = shared + skimUnshared;
    if (shared == 0) common = 0;
    if (shared < common) return NOT_HERE;
    if (shared == common) {
      common += sharedPrefix(skimSuffix, skimUnshared, key + common, keyLength - common);
      if (common == keyLength) {
        if (previousLength > keyLength) return NOT_HERE;
        if (revisionOfSkimmed() <= revision) {
          if (readEntry(at, end, keyLength, descriptor) != next) return MALFORMED;
          copyShort(keyBuffer, key, keyLength);
          store<u32>(descriptor, keyBuffer);
          return FOUND;
        }
      } else if (common < previousLength) {
        if (load<u8>(skimSuffix + common - shared) > load<u8>(key + common)) return NOT_HERE;
      }
    }
    at = next;
  }
  return BEYOND;
}
