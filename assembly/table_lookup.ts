// Point reads of immutable tables: down the levels, through bounds, revisions, bloom filters and block indexes, into blocks that lie in the cache.
//
//   version  +0 u32 levelCount  +4 u32 0  +8 {u32 first, u32 count} x levelCount     `first`: the level's table slots
//   slot     16 B: +0 u32 table  +4 u32 largestKey  +8 u32 largestKeyLength  +12 u32 0
//   table    +0 u32 filter (its first block)  +4 u32 filterBlocks
//            +8 u32 smallestKey  +12 u32 smallestKeyLength  +16 u32 largestKey  +20 u32 largestKeyLength
//            +24 u32 entries  +28 u32 entryCount  +32 u32 keys  +36 u32 prefixes  +40 u32 skip
//            +48 f64 fileNumber  +56 f64 smallestRevision  +64 f64 largestRevision
//   entry    40 B, as in the file (docs/formats/table.md): +0 u32 keyOffset  +4 u32 keyLength  +8 u32 offset  +12 u32 length
//            +16 f64 largestRevision  +24 u32 blockCrc  +28 u32 rawLength  +32 u32 frame  +36 u32 recency
//   prefixes u64 x entryCount: the eight bytes of each separator behind the first `skip`, which all keys within the bounds share
//
//   scratch  +0 descriptor of the record found (entry.ts)
//            +64 u32 version  +68 u32 level  +72 u32 position  +76 u32 table  +80 u32 entry  +84 u32 keyLength
//            +88 f64 revision  +96 u64 hash  +104 f64 cacheHits
//            +4096 the key looked for  +73728 key buffer
//
// Invariants: versions, tables and entries never change once published, but for an entry's last two words: `frame` (the payload of the block in the cache,
// 0: it is not there) is written by the one writer alone, `recency` by any reader; what a reader may still look at is not reused before it has left its
// epoch. Nothing but a thread's own scratch is written here besides. An index is trusted because prepareIndex has gone over all of it.

import { BEYOND, FOUND, MALFORMED, NOT_HERE, seekInBlock } from './block_reader';
import { BLOOM_SEED, bloomMayContainHash } from './bloom';
import { compareBytes } from './compare';
import { MAX_ENTRY_HEADER, MAX_ENTRY_KEY, MAX_ENTRY_VALUE, sharedPrefix } from './entry';
import { hashBytes } from './hash';

/** What a look-up gives: nothing at or below the revision; the descriptor is filled in; a block is missing; a block makes no sense. */
const MISSING: u32 = 0;
const HAVE: u32 = 1;
const NEED_BLOCK: u32 = 2;
const DAMAGED: u32 = 3;

const KEY: u32 = 4096;
const KEY_BUFFER: u32 = 73728;
const TABLE_SLOT_BYTES: u32 = 16;
const ENTRY_BYTES: u32 = 40;
/** Trailer, and the least that a payload can be. */
const TRAILER_BYTES: u32 = 5;
const MIN_PAYLOAD: u32 = 16;
const MAX_PAYLOAD: u32 = MAX_ENTRY_HEADER + MAX_ENTRY_KEY + MAX_ENTRY_VALUE + 64;
/** Reads count up to here; see block_cache.ts. */
const MAX_RECENCY: u32 = 3;

/** The eight bytes of a key behind `skip`, as a number that orders like they do; zeros stand for what is missing. */
function prefixOf(key: u32, length: u32, skip: u32): u64 {
  if (length <= skip) return 0;
  const rest = length - skip;
  const word = bswap<u64>(load<u64>(key + skip));
  return rest >= 8 ? word : word & ~(u64.MAX_VALUE >> ((rest << 3) as u64));
}

/** The first entry whose separator is at or after the key, 0: the key is behind them all. REQUIRES: the key is within the table's bounds. */
function findEntry(table: u32, key: u32, keyLength: u32): u32 {
  const count = load<u32>(table, 28);
  const prefixes = load<u32>(table, 36);
  const prefix = prefixOf(key, keyLength, load<u32>(table, 40));
  let low: u32 = 0;
  let rest = count;
  while (rest != 0) {
    const half = rest >> 1;
    if (load<u64>(prefixes + ((low + half) << 3)) < prefix) {
      low += half + 1;
      rest -= half + 1;
    } else rest = half;
  }
  const entries = load<u32>(table, 24);
  if (low == count) return 0;
  if (load<u64>(prefixes + (low << 3)) == prefix) {
    // Separators that the eight bytes do not tell from the key, or from each other.
    const keys = load<u32>(table, 32);
    let high = low + 1;
    let step: u32 = 1;
    while (high < count && load<u64>(prefixes + (high << 3)) == prefix) {
      high += step;
      step <<= 1;
    }
    if (high > count) high = count;
    while (low < high) {
      const middle = (low + high) >> 1;
      const entry = entries + middle * ENTRY_BYTES;
      if (compareBytes(keys + load<u32>(entry), load<u32>(entry, 4), key, keyLength) < 0) low = middle + 1;
      else high = middle;
    }
    if (low == count) return 0;
  }
  return entries + low * ENTRY_BYTES;
}

function isSeparator(table: u32, entry: u32, key: u32, keyLength: u32): bool {
  return (
    load<u32>(entry, 4) == keyLength &&
    compareBytes(load<u32>(table, 32) + load<u32>(entry), keyLength, key, keyLength) == 0
  );
}

/** Past blocks that hold nothing of the key but versions above the revision. */
function skipNewer(table: u32, entry: u32, end: u32, key: u32, keyLength: u32, revision: f64): u32 {
  if (!isSeparator(table, entry, key, keyLength)) return entry;
  // A block whose separator is the key, behind one of which the same is true, holds this key alone, and only older versions than that one.
  for (let next = entry + ENTRY_BYTES; next < end; next += ENTRY_BYTES) {
    if (load<f64>(next, 16) <= revision || !isSeparator(table, next, key, keyLength)) break;
    entry = next;
  }
  return entry;
}

/** Looks in the block of an entry, and in those behind it while the key goes on there. `frame`: of the first, 0 for what the cache has. */
function searchFrom(scratch: u32, table: u32, entry: u32, frame: u32): u32 {
  const key = scratch + KEY;
  const keyLength = load<u32>(scratch, 84);
  const revision = load<f64>(scratch, 88);
  const end = load<u32>(table, 24) + load<u32>(table, 28) * ENTRY_BYTES;
  while (true) {
    if (frame == 0) {
      frame = atomic.load<u32>(entry, 32);
      if (frame == 0) {
        store<u32>(scratch, table, 76);
        store<u32>(scratch, entry, 80);
        return NEED_BLOCK;
      }
      store<f64>(scratch, load<f64>(scratch, 104) + 1, 104);
      const recency = atomic.load<u32>(entry, 36);
      if (recency < MAX_RECENCY) atomic.store<u32>(entry, recency + 1, 36);
    }
    const status = seekInBlock(
      frame,
      load<u32>(entry, 28),
      key,
      keyLength,
      revision,
      scratch,
      scratch + KEY_BUFFER,
    );
    if (status == FOUND) return HAVE;
    if (status == NOT_HERE) return MISSING;
    if (status == MALFORMED) {
      store<u32>(scratch, table, 76);
      store<u32>(scratch, entry, 80);
      return DAMAGED;
    }
    assert(status == BEYOND, 'a search of a block gave an unknown answer');
    if (!isSeparator(table, entry, key, keyLength)) return MISSING;
    entry += ENTRY_BYTES;
    if (entry == end) return MISSING;
    frame = 0;
  }
}

function inFilter(table: u32, hash: u64): bool {
  return bloomMayContainHash(load<u32>(table), load<u32>(table, 4), hash);
}

function atOrAfterSmallest(table: u32, key: u32, keyLength: u32): bool {
  return compareBytes(key, keyLength, load<u32>(table, 8), load<u32>(table, 12)) >= 0;
}

function atOrBeforeLargest(slot: u32, key: u32, keyLength: u32): bool {
  return compareBytes(key, keyLength, load<u32>(slot, 4), load<u32>(slot, 8)) <= 0;
}

/** Of a level of disjoint tables in key order, the slot of the only one that may hold the key; 0: none does. */
function slotFor(first: u32, count: u32, key: u32, keyLength: u32): u32 {
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (atOrBeforeLargest(first + middle * TABLE_SLOT_BYTES, key, keyLength)) high = middle;
    else low = middle + 1;
  }
  if (low == count) return 0;
  const slot = first + low * TABLE_SLOT_BYTES;
  return atOrAfterSmallest(load<u32>(slot), key, keyLength) ? slot : 0;
}

function searchTable(scratch: u32, table: u32, key: u32, keyLength: u32, revision: f64): u32 {
  let entry = findEntry(table, key, keyLength);
  if (entry == 0) return MISSING;
  const end = load<u32>(table, 24) + load<u32>(table, 28) * ENTRY_BYTES;
  entry = skipNewer(table, entry, end, key, keyLength, revision);
  return searchFrom(scratch, table, entry, 0);
}

/** Goes down from a table of level 0 or a level below it. */
function walk(scratch: u32, version: u32, level: u32, position: u32): u32 {
  const key = scratch + KEY;
  const keyLength = load<u32>(scratch, 84);
  const revision = load<f64>(scratch, 88);
  const hash = load<u64>(scratch, 96);
  const levels = load<u32>(version);
  if (level == 0 && levels != 0) {
    const first = load<u32>(version, 8);
    const count = load<u32>(version, 12);
    for (; position < count; position++) {
      const slot = first + position * TABLE_SLOT_BYTES;
      const table = load<u32>(slot);
      if (!inFilter(table, hash) || load<f64>(table, 56) > revision) continue;
      if (!atOrBeforeLargest(slot, key, keyLength) || !atOrAfterSmallest(table, key, keyLength)) continue;
      const status = searchTable(scratch, table, key, keyLength, revision);
      if (status != MISSING) {
        store<u32>(scratch, 0, 68);
        store<u32>(scratch, position, 72);
        return status;
      }
    }
    level = 1;
  }
  for (; level < levels; level++) {
    const place = version + 8 + (level << 3);
    const slot = slotFor(load<u32>(place), load<u32>(place, 4), key, keyLength);
    if (slot == 0) continue;
    const table = load<u32>(slot);
    if (load<f64>(table, 56) > revision || !inFilter(table, hash)) continue;
    const status = searchTable(scratch, table, key, keyLength, revision);
    if (status != MISSING) {
      store<u32>(scratch, level, 68);
      return status;
    }
  }
  return MISSING;
}

/**
 * The newest record of the key in the scratch at or below a revision. Gives HAVE with the descriptor filled in, MISSING, DAMAGED for a block that makes no
 * sense, or NEED_BLOCK: the scratch says which entry's block, and `resume` goes on. The state (64 to 104) may be put aside meanwhile.
 */
export function lookup(scratch: u32, version: u32, keyLength: u32, revision: f64): u32 {
  assert(keyLength <= MAX_ENTRY_KEY, 'a key to look for is too long');
  store<u32>(scratch, version, 64);
  store<u32>(scratch, keyLength, 84);
  store<f64>(scratch, revision, 88);
  store<u64>(scratch, hashBytes(scratch + KEY, keyLength, BLOOM_SEED), 96);
  return walk(scratch, version, 0, 0);
}

/** Goes on with a look-up that gave NEED_BLOCK. `frame`: the payload of the block. REQUIRES: state and key are in the scratch. */
export function resume(scratch: u32, frame: u32): u32 {
  const status = searchFrom(scratch, load<u32>(scratch, 76), load<u32>(scratch, 80), frame);
  if (status != MISSING) return status;
  const level = load<u32>(scratch, 68);
  const version = load<u32>(scratch, 64);
  return level == 0
    ? walk(scratch, version, 0, load<u32>(scratch, 72) + 1)
    : walk(scratch, version, level + 1, 0);
}

/** 0 only when no table of the version has a record of the key in the scratch. Reads no blocks. */
export function mayHold(scratch: u32, version: u32, keyLength: u32): u32 {
  assert(keyLength <= MAX_ENTRY_KEY, 'a key to look for is too long');
  const key = scratch + KEY;
  const hash = hashBytes(key, keyLength, BLOOM_SEED);
  const levels = load<u32>(version);
  for (let level: u32 = 0; level < levels; level++) {
    const place = version + 8 + (level << 3);
    const first = load<u32>(place);
    const count = load<u32>(place, 4);
    if (level != 0) {
      const slot = slotFor(first, count, key, keyLength);
      if (slot != 0 && inFilter(load<u32>(slot), hash)) return 1;
      continue;
    }
    for (let position: u32 = 0; position < count; position++) {
      const slot = first + position * TABLE_SLOT_BYTES;
      const table = load<u32>(slot);
      if (!inFilter(table, hash) || !atOrBeforeLargest(slot, key, keyLength)) continue;
      if (atOrAfterSmallest(table, key, keyLength)) return 1;
    }
  }
  return 0;
}

/** The number of the first entry of a table whose separator is at or after the key in the scratch; the count of entries: none is. */
export function seekIndex(scratch: u32, table: u32, keyLength: u32): u32 {
  const key = scratch + KEY;
  const count = load<u32>(table, 28);
  if (!atOrAfterSmallest(table, key, keyLength)) return 0;
  if (compareBytes(key, keyLength, load<u32>(table, 16), load<u32>(table, 20)) > 0) return count;
  const entry = findEntry(table, key, keyLength);
  return entry == 0 ? count : (entry - load<u32>(table, 24)) / ENTRY_BYTES;
}

/**
 * Goes over the whole index of a table, whose words but `skip` are set, and fills in the prefixes. `keysLength`: bytes of the separators; `dataEnd`: where the
 * last block must end in the file. Gives 0 when everything holds, else (entry << 3) + problem: 1 separators that do not fill the keys one behind the other, 2 separators out of order,
 * 3 blocks that do not follow each other, 4 a length, 5 a revision, 6 words that are not zero, 7 bounds that are not those of the table.
 */
export function prepareIndex(table: u32, keysLength: u32, dataEnd: u32): u32 {
  const keys = load<u32>(table, 32);
  const count = load<u32>(table, 28);
  const prefixes = load<u32>(table, 36);
  const entries = load<u32>(table, 24);
  const smallest = load<u32>(table, 8);
  const smallestLength = load<u32>(table, 12);
  let last = smallest;
  let lastLength = smallestLength;
  let end: u32 = 0;
  let keysEnd: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const entry = entries + i * ENTRY_BYTES;
    const problem = i << 3;
    const keyOffset = load<u32>(entry);
    const keyLength = load<u32>(entry, 4);
    if (keyLength == 0 || keyLength > MAX_ENTRY_KEY || keyOffset != keysEnd) return problem | 1;
    if (keyLength > keysLength - keysEnd) return problem | 1;
    keysEnd += keyLength;
    const key = keys + keyOffset;
    if (compareBytes(last, lastLength, key, keyLength) > 0) return problem | 2;
    last = key;
    lastLength = keyLength;
    const length = load<u32>(entry, 12);
    if (load<u32>(entry, 8) != end || length > dataEnd - end) return problem | 3;
    const rawLength = load<u32>(entry, 28);
    if (length < TRAILER_BYTES + 5 || rawLength < MIN_PAYLOAD || rawLength > MAX_PAYLOAD) return problem | 4;
    // A compressed block is never longer than a plain one.
    if (length - TRAILER_BYTES > rawLength) return problem | 4;
    end += length;
    const revision = load<f64>(entry, 16);
    if (!(revision >= 0 && revision <= load<f64>(table, 64))) return problem | 5;
    if (load<u64>(entry, 32) != 0) return problem | 6;
  }
  if (keysEnd != keysLength) return (count << 3) | 1;
  if (end != dataEnd) return (count << 3) | 3;
  if (compareBytes(last, lastLength, load<u32>(table, 16), load<u32>(table, 20)) < 0) return (count << 3) | 7;
  const skip = sharedPrefix(smallest, smallestLength, last, lastLength);
  store<u32>(table, skip, 40);
  for (let i: u32 = 0; i < count; i++) {
    const entry = entries + i * ENTRY_BYTES;
    store<u64>(prefixes + (i << 3), prefixOf(keys + load<u32>(entry), load<u32>(entry, 4), skip));
  }
  return 0;
}
