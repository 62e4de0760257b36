// Merges the blocks of several inputs (sorted runs of tables) into one stream of records in record order, or in reverse.
//
//   input   +0  u32 descriptors   room for MAX_BLOCK_ENTRIES of them: the current block, decoded
//           +4  u32 keys          room for the keys of a block
//           +8  u32 keysBytes
//           +12 u32 raw           room for a payload that was compressed
//           +16 u32 rawBytes
//           +20 u32 blocks        list of blocks that lie in the input's window, in the order in which they are to be read
//           +24 u32 blockCount
//           +28 u32 nextBlock     the next one to decode
//           +32 u32 at            descriptor of the current record
//           +36 u32 last          descriptor of the block's last record in the direction of the merge
//           +40 u32 flags         LAST_WINDOW: no block follows the list. SEEKING: records before the seek point are still to be skipped
//           +44 u32 rank          inputs of a lower rank are newer: of equal records theirs is taken
//   block   +0 u32 payload  +4 u32 payloadLength (as stored)  +8 u32 rawLength  +12 u32 compression
//
// How it runs: JavaScript puts blocks into the windows, checked against their checksums, and calls a consumer (mergeInto, collectNewest,
// collectNewestReverse, collectVersions, collectRetained), which works until it is done, full, or needs the next window of an input; then calls it again.
// The state is that of this instance: one merge at a time in one memory.
//
// Invariants: `order` holds the inputs that have a current record, the one whose record is next first; an input that used its window up stands outside of it until it
// has blocks again, and nothing is taken from the others meanwhile. Records that come out of order are reported as damage, never passed on.

import { MAX_BLOCK_ENTRIES } from './block_builder';
import { decodeBlock } from './block_reader';
import { compareBytes } from './compare';
import { copyShort, DESCRIPTOR_BYTES, keyLengthOf, keyOf, modRevisionOf } from './entry';
import { lz4Decompress } from './lz4';

export const INPUT_BYTES: u32 = 64;
export const BLOCK_BYTES: u32 = 16;
const LAST_WINDOW: u32 = 1;
const SEEKING: u32 = 2;

/** What consumers answer. NEED_WINDOW, DAMAGED and DISORDERED are joined with the rank of an input: code | rank << 8. */
export const DONE: u32 = 0;
export const NEED_WINDOW: u32 = 1;
/** The block before `nextBlock` of the input is malformed. */
export const DAMAGED: u32 = 2;
/** The current record of the input does not come after the one before it. */
export const DISORDERED: u32 = 3;
/** What the consumer writes to is full: take what is there and call again. */
export const OUT_FULL: u32 = 4;
/** The limit of the call is reached and a record beyond it exists. */
export const MORE: u32 = 5;
/** The record is larger than the room for it although that is empty. */
export const TOO_LARGE: u32 = 6;
/** Compaction: the next record has another key, and a cut was wanted. */
export const CUT: u32 = 7;
/** Compaction: as many bytes were merged as were asked for. */
export const PAUSE: u32 = 8;

let inputs: u32 = 0;
let inputCount: u32 = 0;
let order: u32 = 0;
let orderCount: u32 = 0;
/** Inputs below this one were placed in the order at least once. */
let placed: u32 = 0;
/** The input that used its block up; 0: none. */
let pulled: u32 = 0;
let reverse: bool = false;
/** Where the merge begins (SEEKING), and where it ends: before this key, in reverse at it. No length limit: 0 address is "none". */
let seekKey: u32 = 0;
let seekLength: u32 = 0;
let seekRevision: f64 = 0;
let stopKey: u32 = 0;
let stopLength: u32 = 0;

/** The key that the consumer met last, MAX_ENTRY_KEY bytes and slack; `hasLast` false at the beginning. */
let lastKey: u32 = 0;
let lastKeyLength: u32 = 0;
let hasLast: bool = false;

/**
 * Begins a merge. `table` holds the inputs, newest first; `orderArea` 4 bytes for each; `lastKeyArea` MAX_ENTRY_KEY and slack.
 * Inputs with SEEKING begin at the first record at or after (seek key, seek revision) in record order, in reverse at the last one before it. `stop` 0: no end.
 */
export function startMerge(
  table: u32,
  count: u32,
  orderArea: u32,
  lastKeyArea: u32,
  isReverse: u32,
  seek: u32,
  seekBytes: u32,
  revision: f64,
  stop: u32,
  stopBytes: u32,
): void {
  inputs = table;
  inputCount = count;
  order = orderArea;
  orderCount = 0;
  placed = 0;
  pulled = 0;
  lastKey = lastKeyArea;
  lastKeyLength = 0;
  hasLast = false;
  reverse = isReverse != 0;
  seekKey = seek;
  seekLength = seekBytes;
  seekRevision = revision;
  stopKey = stop;
  stopLength = stopBytes;
}

export function currentOf(input: u32): u32 {
  return load<u32>(input, 32);
}

/** The last record, in the direction of the merge, of the input's block. */
export function lastRecordOfBlock(input: u32): u32 {
  return load<u32>(input, 36);
}

export function rankOf(input: u32): u32 {
  return load<u32>(input, 44);
}

/** How many records of the block come before a place in record order. */
function countBefore(descriptors: u32, count: u32, key: u32, keyLength: u32, revision: f64): u32 {
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    const descriptor = descriptors + middle * DESCRIPTOR_BYTES;
    const side = compareBytes(keyOf(descriptor), keyLengthOf(descriptor), key, keyLength);
    if (side < 0 || (side == 0 && modRevisionOf(descriptor) > revision)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A compressed payload (its length, then an LZ4 block) as it was: false when it is malformed or of another length. */
function decompress(source: u32, length: u32, target: u32, capacity: u32, rawLength: u32): bool {
  if (length < 4 || rawLength > capacity || load<u32>(source) != rawLength) return false;
  return lz4Decompress(source + 4, length - 4, target, rawLength) == (rawLength as i32);
}

/** Decodes the input's next block that has something within the bounds: DONE, or why not; `at` is 0 when the input is at its end. */
function loadBlock(input: u32): u32 {
  store<u32>(input, 0, 32);
  while (true) {
    const next = load<u32>(input, 28);
    if (next >= load<u32>(input, 24))
      return (load<u32>(input, 40) & LAST_WINDOW) != 0 ? DONE : NEED_WINDOW | (rankOf(input) << 8);
    const block = load<u32>(input, 20) + next * BLOCK_BYTES;
    store<u32>(input, next + 1, 28);
    let payload = load<u32>(block);
    let payloadLength = load<u32>(block, 4);
    if (load<u32>(block, 12) != 0) {
      const rawLength = load<u32>(block, 8);
      if (!decompress(payload, payloadLength, load<u32>(input, 12), load<u32>(input, 16), rawLength))
        return DAMAGED | (rankOf(input) << 8);
      payload = load<u32>(input, 12);
      payloadLength = rawLength;
    }
    const descriptors = load<u32>(input);
    const count = decodeBlock(payload, payloadLength, descriptors, load<u32>(input, 4), load<u32>(input, 8));
    if (count <= 0 || (count as u32) > MAX_BLOCK_ENTRIES) return DAMAGED | (rankOf(input) << 8);
    if (reverse ? boundReverse(input, descriptors, count) : boundForward(input, descriptors, count))
      return DONE;
  }
}

/** Sets `at` and `last` of a block that was decoded; false when nothing of it is wanted. Past the end, the input ends. */
function boundForward(input: u32, descriptors: u32, count: u32): bool {
  let from: u32 = 0;
  const flags = load<u32>(input, 40);
  if ((flags & SEEKING) != 0) {
    from = countBefore(descriptors, count, seekKey, seekLength, seekRevision);
    if (from == count) return false;
    store<u32>(input, flags & ~SEEKING, 40);
  }
  const last = descriptors + (count - 1) * DESCRIPTOR_BYTES;
  if (stopKey != 0 && compareBytes(keyOf(last), keyLengthOf(last), stopKey, stopLength) >= 0) {
    count = countBefore(descriptors, count, stopKey, stopLength, Infinity);
    store<u32>(input, load<u32>(input, 24), 28);
    store<u32>(input, load<u32>(input, 40) | LAST_WINDOW, 40);
    if (from >= count) return false;
  }
  store<u32>(input, descriptors + from * DESCRIPTOR_BYTES, 32);
  store<u32>(input, descriptors + (count - 1) * DESCRIPTOR_BYTES, 36);
  return true;
}

function boundReverse(input: u32, descriptors: u32, count: u32): bool {
  const flags = load<u32>(input, 40);
  if ((flags & SEEKING) != 0) {
    count = countBefore(descriptors, count, seekKey, seekLength, seekRevision);
    if (count == 0) return false;
    store<u32>(input, flags & ~SEEKING, 40);
  }
  let from: u32 = 0;
  if (stopKey != 0 && compareBytes(keyOf(descriptors), keyLengthOf(descriptors), stopKey, stopLength) < 0) {
    from = countBefore(descriptors, count, stopKey, stopLength, Infinity);
    store<u32>(input, load<u32>(input, 24), 28);
    store<u32>(input, load<u32>(input, 40) | LAST_WINDOW, 40);
    if (from >= count) return false;
  }
  store<u32>(input, descriptors + (count - 1) * DESCRIPTOR_BYTES, 32);
  store<u32>(input, descriptors + from * DESCRIPTOR_BYTES, 36);
  return true;
}

/** Whether the record of one input comes before another's in the merge. */
function comesBefore(a: u32, b: u32): bool {
  const x = currentOf(a);
  const y = currentOf(b);
  const side = compareBytes(keyOf(x), keyLengthOf(x), keyOf(y), keyLengthOf(y));
  if (side != 0) return reverse ? side > 0 : side < 0;
  const p = modRevisionOf(x);
  const q = modRevisionOf(y);
  if (p != q) return reverse ? p < q : p > q;
  return rankOf(a) < rankOf(b);
}

/** Puts an input with a current record into the order. */
function insert(input: u32): void {
  let at: u32 = orderCount;
  for (; at > 0; at--) {
    const other = load<u32>(order + ((at - 1) << 2));
    if (!comesBefore(input, other)) break;
    store<u32>(order + (at << 2), other);
  }
  store<u32>(order + (at << 2), input);
  orderCount++;
}

/** Makes every input stand in the order or at its end: DONE, or what is in the way. */
export function settle(): u32 {
  if (pulled == 0 && placed == inputCount) return DONE;
  if (pulled != 0) {
    const status = loadBlock(pulled);
    if (status != DONE) return status;
    if (currentOf(pulled) != 0) insert(pulled);
    pulled = 0;
  }
  while (placed < inputCount) {
    const input = inputs + placed * INPUT_BYTES;
    const status = loadBlock(input);
    if (status != DONE) return status;
    if (currentOf(input) != 0) insert(input);
    placed++;
  }
  return DONE;
}

/** The input whose record is next; 0 at the end. REQUIRES: settled. */
export function firstInput(): u32 {
  return orderCount == 0 ? 0 : load<u32>(order);
}

/** The record that is next; 0 at the end. REQUIRES: settled. */
export function nextRecord(): u32 {
  return orderCount == 0 ? 0 : currentOf(load<u32>(order));
}

/** The first input moved on to the record at `next`: where does it stand now? */
function reorder(input: u32, next: u32): void {
  store<u32>(input, next, 32);
  const count = orderCount;
  let at: u32 = 1;
  for (; at < count; at++) {
    const other = load<u32>(order + (at << 2));
    if (comesBefore(input, other)) break;
    store<u32>(order + ((at - 1) << 2), other);
  }
  store<u32>(order + ((at - 1) << 2), input);
}

/** Takes the first input, whose block is used up, out of the order. */
function pull(input: u32): void {
  orderCount--;
  for (let at: u32 = 0; at < orderCount; at++)
    store<u32>(order + (at << 2), load<u32>(order + ((at + 1) << 2)));
  pulled = input;
}

/** Moves the first input to its next record. */
export function advance(input: u32): void {
  const at = currentOf(input);
  if (at == load<u32>(input, 36)) pull(input);
  else reorder(input, reverse ? at - DESCRIPTOR_BYTES : at + DESCRIPTOR_BYTES);
}

/** Moves the first input over the records of its current key, as far as they are in its block. */
export function advanceKey(input: u32): void {
  let at = currentOf(input);
  const last = load<u32>(input, 36);
  const key = keyOf(at);
  // Equal keys share one address but for those at restart points.
  while (at != last) {
    at = reverse ? at - DESCRIPTOR_BYTES : at + DESCRIPTOR_BYTES;
    if (keyOf(at) != key) {
      reorder(input, at);
      return;
    }
  }
  pull(input);
}

/** How the record's key stands to the last key: below 0 is out of order for a merge forward. The first key is above. */
export function orderToLast(descriptor: u32): i32 {
  return hasLast ? compareBytes(keyOf(descriptor), keyLengthOf(descriptor), lastKey, lastKeyLength) : 1;
}

export function rememberKey(descriptor: u32): void {
  const length = keyLengthOf(descriptor);
  copyShort(lastKey, keyOf(descriptor), length);
  lastKeyLength = length;
  hasLast = true;
}
