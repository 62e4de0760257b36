// Packs records, given in record order, into the blocks of a table (docs/formats/table.md).
//
//   builder  +0  u32 target           payload bytes at which a block is closed
//            +4  u32 out              the region that finished blocks are written to, one behind the other
//            +8  u32 outEnd
//            +12 u32 list             one LIST_BYTES entry per finished block, see below
//            +16 u32 listCapacity
//            +20 u32 listCount
//            +24 u32 hashes           u64 hash of every distinct key, for the bloom filter
//            +28 u32 hashCapacity
//            +32 u32 hashCount
//            +36 u32 keys             last keys of finished blocks
//            +40 u32 keysEnd
//            +44 u32 keysTop
//            +48 u32 at               where the next entry goes
//            +52 u32 blockStart       0: no block is open
//            +56 u32 entries          of the open block, as are the following
//            +60 u32 distinctKeys
//            +64 u32 tombstones
//            +68 u32 restarts
//            +72 u32 keyBytes         sum of the full key lengths
//            +76 u32 lastKeyLength    of the last record added; 0 at the start of a table
//            +80 f64 largestRevision
//            +88 f64 smallestRevision
//            +96 u32 firstKey         where the first key of the open block lies in `out`
//            +100 u32 firstKeyLength
//            +104 u32 cutWanted       not 0: stop before the next other key
//            +112 f64 dataBytes       keys and values of the open block
//            +120 f64 lastRevision    of the last record added
//            +128 restart offsets     u32 x MAX_RESTARTS
//            +512 last key            MAX_ENTRY_KEY bytes
//
//   list     +0 u32 start  +4 u32 payloadLength  +8 u32 firstKey  +12 u32 firstKeyLength  +16 u32 lastKey  +20 u32 lastKeyLength
//            +24 f64 largestRevision  +32 f64 smallestRevision  +40 f64 dataBytes  +48 u32 entries  +52 u32 distinctKeys  +56 u32 tombstones
//
// Invariants: a block is closed before its payload would pass the target, unless that would leave it empty; TRAILER bytes are left behind each payload;
// whoever uses the builder drains it (takes blocks, hashes and keys, then calls drained) when it says FULL, and calls again with the same record.

import { BLOOM_SEED } from './bloom';
import { compareBytes } from './compare';
import {
  copyShort,
  entryBytes,
  flagsOf,
  keyLengthOf,
  keyOf,
  MAX_ENTRY_KEY,
  modRevisionOf,
  sharedPrefix,
  valueLengthOf,
  writeEntry,
} from './entry';
import { hashBytes } from './hash';

export const ADDED: u32 = 0;
/** Drain what is finished, then add the same record again. */
export const FULL: u32 = 1;
/** The region is empty and the record does not fit: give the builder a larger one. */
export const TOO_LARGE: u32 = 2;
/** A cut was wanted, and the record's key is another: finish the table, then start the next one with this record. */
export const CUT: u32 = 3;

export const BUILDER_BYTES: u32 = 512 + MAX_ENTRY_KEY + 64;
export const LIST_BYTES: u32 = 64;
export const TRAILER: u32 = 5;
export const RESTART_INTERVAL: u32 = 16;
export const MAX_BLOCK_ENTRIES: u32 = 1024;
/** Full key lengths of the entries of a block: bounds what decoding needs. */
export const MAX_BLOCK_KEY_BYTES: u32 = 16384;
const RESTARTS: u32 = 128;
const LAST_KEY: u32 = 512;
const TOMBSTONE: u32 = 1;
const SLACK: u32 = 16;

/** Makes a builder for a new table. */
export function initBuilder(
  builder: u32,
  target: u32,
  out: u32,
  outBytes: u32,
  list: u32,
  listCapacity: u32,
  hashes: u32,
  hashCapacity: u32,
  keys: u32,
  keysBytes: u32,
): void {
  memory.fill(builder, 0, RESTARTS);
  store<u32>(builder, target);
  store<u32>(builder, out, 4);
  store<u32>(builder, out + outBytes, 8);
  store<u32>(builder, list, 12);
  store<u32>(builder, listCapacity, 16);
  store<u32>(builder, hashes, 24);
  store<u32>(builder, hashCapacity, 28);
  store<u32>(builder, keys, 36);
  store<u32>(builder, keys + keysBytes, 40);
  drained(builder);
}

/** Everything finished was taken. REQUIRES: no block is open. */
export function drained(builder: u32): void {
  assert(load<u32>(builder, 52) == 0, 'a builder was drained with an open block');
  store<u32>(builder, load<u32>(builder, 4), 48);
  store<u32>(builder, 0, 20);
  store<u32>(builder, 0, 32);
  store<u32>(builder, load<u32>(builder, 36), 44);
}

/** The next record begins a new table. REQUIRES: drained. */
export function beginTable(builder: u32): void {
  store<u32>(builder, 0, 76);
  store<u32>(builder, 0, 104);
}

/** Closes the open block, if any. */
export function finishBlock(builder: u32): void {
  const start = load<u32>(builder, 52);
  if (start == 0) return;
  const restarts = load<u32>(builder, 68);
  let at = load<u32>(builder, 48);
  memory.copy(at, builder + RESTARTS, restarts << 2);
  at += restarts << 2;
  store<u32>(at, restarts);
  at += 4;
  const lastKeyLength = load<u32>(builder, 76);
  const lastKey = load<u32>(builder, 44);
  copyShort(lastKey, builder + LAST_KEY, lastKeyLength);
  store<u32>(builder, lastKey + lastKeyLength, 44);
  const count = load<u32>(builder, 20);
  const entry = load<u32>(builder, 12) + count * LIST_BYTES;
  store<u32>(entry, start);
  store<u32>(entry, at - start, 4);
  store<u32>(entry, load<u32>(builder, 96), 8);
  store<u32>(entry, load<u32>(builder, 100), 12);
  store<u32>(entry, lastKey, 16);
  store<u32>(entry, lastKeyLength, 20);
  store<f64>(entry, load<f64>(builder, 80), 24);
  store<f64>(entry, load<f64>(builder, 88), 32);
  store<f64>(entry, load<f64>(builder, 112), 40);
  store<u32>(entry, load<u32>(builder, 56), 48);
  store<u32>(entry, load<u32>(builder, 60), 52);
  store<u32>(entry, load<u32>(builder, 64), 56);
  store<u32>(builder, count + 1, 20);
  store<u32>(builder, at + TRAILER, 48);
  store<u32>(builder, 0, 52);
}

function openBlock(builder: u32): void {
  store<u32>(builder, load<u32>(builder, 48), 52);
  memory.fill(builder + 56, 0, 20);
  store<f64>(builder, 0, 80);
  store<f64>(builder, Infinity, 88);
  store<f64>(builder, 0, 112);
}

/** Adds the record of a descriptor. Gives ADDED, or why it could not be added yet. */
export function addEntry(builder: u32, descriptor: u32): u32 {
  const key = keyOf(descriptor);
  const keyLength = keyLengthOf(descriptor);
  const lastKeyLength = load<u32>(builder, 76);
  const lastKey = builder + LAST_KEY;
  const common = sharedPrefix(lastKey, lastKeyLength, key, keyLength);
  const isNew = common != keyLength || common != lastKeyLength;
  assert(
    lastKeyLength == 0 || compareBytes(lastKey, lastKeyLength, key, keyLength) <= 0,
    'records for a table are out of order',
  );
  assert(
    isNew || lastKeyLength == 0 || modRevisionOf(descriptor) < load<f64>(builder, 120),
    'versions for a table are out of order',
  );
  if (isNew && lastKeyLength != 0 && load<u32>(builder, 104) != 0) {
    finishBlock(builder);
    return CUT;
  }
  let shared: u32 = 0;
  let restart = true;
  if (load<u32>(builder, 52) != 0) {
    const entries = load<u32>(builder, 56);
    restart = entries % RESTART_INTERVAL == 0;
    shared = restart ? 0 : common;
    const restartBytes = (load<u32>(builder, 68) + (restart ? 2 : 1)) << 2;
    const bytes =
      load<u32>(builder, 48) - load<u32>(builder, 52) + entryBytes(descriptor, shared) + restartBytes;
    if (
      bytes > load<u32>(builder) ||
      entries == MAX_BLOCK_ENTRIES ||
      load<u32>(builder, 72) + keyLength > MAX_BLOCK_KEY_BYTES
    ) {
      finishBlock(builder);
      shared = 0;
      restart = true;
    }
  }
  if (load<u32>(builder, 52) == 0) {
    const most = entryBytes(descriptor, 0) + 8 + TRAILER + SLACK;
    // A block that is opened grows up to the target.
    const target = load<u32>(builder) + TRAILER + SLACK;
    const free = load<u32>(builder, 8) - load<u32>(builder, 48);
    const empty = load<u32>(builder, 20) == 0;
    if (
      free < (most > target ? most : target) ||
      load<u32>(builder, 20) == load<u32>(builder, 16) ||
      load<u32>(builder, 32) + MAX_BLOCK_ENTRIES > load<u32>(builder, 28) ||
      load<u32>(builder, 40) - load<u32>(builder, 44) < MAX_ENTRY_KEY + SLACK
    )
      return empty ? TOO_LARGE : FULL;
    openBlock(builder);
  }
  append(builder, descriptor, shared, restart, isNew || lastKeyLength == 0);
  return ADDED;
}

function append(builder: u32, descriptor: u32, shared: u32, restart: bool, isNew: bool): void {
  const key = keyOf(descriptor);
  const keyLength = keyLengthOf(descriptor);
  const at = load<u32>(builder, 48);
  const start = load<u32>(builder, 52);
  if (restart) {
    const restarts = load<u32>(builder, 68);
    store<u32>(builder + RESTARTS + (restarts << 2), at - start);
    store<u32>(builder, restarts + 1, 68);
  }
  const end = writeEntry(at, descriptor, shared);
  store<u32>(builder, end, 48);
  const entries = load<u32>(builder, 56);
  if (entries == 0) {
    store<u32>(builder, end - valueLengthOf(descriptor) - keyLength, 96);
    store<u32>(builder, keyLength, 100);
  }
  store<u32>(builder, entries + 1, 56);
  store<u32>(builder, load<u32>(builder, 72) + keyLength, 72);
  if ((flagsOf(descriptor) & TOMBSTONE) != 0) store<u32>(builder, load<u32>(builder, 64) + 1, 64);
  const revision = modRevisionOf(descriptor);
  store<f64>(builder, revision, 120);
  if (revision > load<f64>(builder, 80)) store<f64>(builder, revision, 80);
  if (revision < load<f64>(builder, 88)) store<f64>(builder, revision, 88);
  store<f64>(builder, load<f64>(builder, 112) + ((keyLength + valueLengthOf(descriptor)) as f64), 112);
  if (!isNew) return;
  const hashCount = load<u32>(builder, 32);
  store<u64>(load<u32>(builder, 24) + (hashCount << 3), hashBytes(key, keyLength, BLOOM_SEED));
  store<u32>(builder, hashCount + 1, 32);
  store<u32>(builder, load<u32>(builder, 60) + 1, 60);
  copyShort(builder + LAST_KEY, key, keyLength);
  store<u32>(builder, keyLength, 76);
}
