// The memtable: a node per key, and under each node the key's versions, newest first.
//
//   version   +0  u32 older         the version before, 0 for the oldest
//             +4  u32 valueWord     bits 0 to 23: valueLength; 24 to 26: phase; 31: a term follows
//             +8  f64 modRevision
//             +16 f64 createRevision
//             +24 f64 version
//             +32 u32 subRevision
//             +36 u32 flags         bit 0: tombstone
//             +40 u32 jump          an older version some way down, 0 for the oldest
//             +44 u32 depth         1 for the oldest, one more for each newer one
//             +48+phase value       valueLength bytes
//             [+48+align8(phase+valueLength)  term: i64 lease, f64 expiresAtMs]   only where one of the two is not zero
//
// `phase` is what the address of the value that was put had in its last three bits: JavaScript copies into shared memory by words only between places that agree in them.
//
// Invariants: modRevision falls strictly along `older`; a version never changes once it is linked, and it is linked by one atomic store
// when it is complete. `jump` makes the chain a skew-binary list (Myers 1983, "An applicative random-access stack"): a put adds it in
// constant time, and the version at an old revision is found in logarithmic time however often a key was overwritten.

import {
  ARENA_START,
  align8,
  allocate,
  BATCH_ENTRIES,
  batch,
  DATA_BYTES,
  ensureRoom,
  HASH_SEED,
  HEAD,
  KEY_COUNT,
  LARGEST_REVISION,
  NODE_TOP,
  RECORD_COUNT,
  reserveRoom,
  resetArena,
  SMALLEST_REVISION,
  setCursor,
  stage,
  TOP,
} from './arena';
import { equalBytes } from './compare';
import { fragmentOf } from './hash';
import { addToIndex, findNode, makeIndexRoom, resetIndex, tableBytes } from './hash_index';
import {
  insertNode,
  maxNodeBytes,
  nextNode,
  nextTowerBytes,
  nodeKey,
  nodeKeyLength,
  nodeVersions,
  previousNode,
  resetSkiplist,
  setNodeVersions,
} from './skiplist';

const VERSION_VALUE: u32 = 48;
const TERM_BYTES: u32 = 16;
const TOMBSTONE: u32 = 1;
const TERM: u32 = 0x80000000;
const PHASE_SHIFT: u32 = 24;
const LENGTH_MASK: u32 = 0xffffff;
const PHASE_MASK: u32 = 7;
const MAX_PHASE: u32 = 7;

export const PUT_DONE: u32 = 0;
export const PUT_STALE: u32 = 1;

/** The bytes of a version without a term. */
function versionBytes(word: u32): u32 {
  return align8(VERSION_VALUE + ((word >> PHASE_SHIFT) & PHASE_MASK) + (word & LENGTH_MASK));
}

/** The length of a version's value. */
export function valueLengthOf(version: u32): u32 {
  return load<u32>(version, 4) & LENGTH_MASK;
}

/** Describes a record as a table's block has it (entry.ts). */
export function describeVersion(descriptor: u32, node: u32, version: u32): void {
  store<u32>(descriptor, nodeKey(node));
  store<u32>(descriptor, nodeKeyLength(node), 4);
  const word = load<u32>(version, 4);
  store<u32>(descriptor, version + VERSION_VALUE + ((word >> PHASE_SHIFT) & PHASE_MASK), 8);
  store<u32>(descriptor, word & LENGTH_MASK, 12);
  for (let at: u32 = 0; at < 24; at += 8) store<u64>(descriptor + 16 + at, load<u64>(version + 8 + at));
  const term = (word & TERM) != 0;
  const place = version + versionBytes(word);
  store<i64>(descriptor, term ? load<i64>(place) : 0, 40);
  store<f64>(descriptor, term ? load<f64>(place, 8) : 0, 48);
  store<u32>(descriptor, load<u32>(version, 32), 56);
  store<u32>(descriptor, load<u32>(version, 36), 60);
}

function older(version: u32): u32 {
  return load<u32>(version);
}
function modRevision(version: u32): f64 {
  return load<f64>(version, 8);
}
function jump(version: u32): u32 {
  return load<u32>(version, 40);
}
function depth(version: u32): u32 {
  return version == 0 ? 0 : load<u32>(version, 44);
}

/** Makes the memory an empty memtable with 2^slotsLog2 index slots and scratch slots for so many threads. False: it is too small for that. */
export function resetMemtable(slotsLog2: u32, seed: u64, threads: u32): bool {
  resetArena(threads);
  forgetFound();
  if (!ensureRoom(tableBytes(slotsLog2))) return false;
  resetIndex(slotsLog2);
  resetSkiplist();
  store<u64>(HASH_SEED, seed);
  assert(load<u32>(TOP) > load<u32>(ARENA_START), 'an empty memtable has no hash index');
  return true;
}

/** Makes room for a put with a key and a value of these lengths. False: no memory, nothing changed. */
export function reservePut(keyLength: u32, valueLength: u32): bool {
  const arenaBytes = align8(VERSION_VALUE + MAX_PHASE + valueLength) + TERM_BYTES;
  return reserveRoom(nextTowerBytes(), maxNodeBytes(keyLength), arenaBytes);
}

/**
 * Commits a put. REQUIRES: reservePut, the value at TOP + VERSION_VALUE + phase and the key at NODE_TOP + NODE_KEY. `word`: length and phase of the
 * value. PUT_STALE changes nothing.
 */
export function commitPut(
  keyLength: u32,
  word: u32,
  revision: f64,
  createRevision: f64,
  count: f64,
  subRevision: u32,
  flags: u32,
  lease: i64,
  expiresAtMs: f64,
): u32 {
  const keyPlace = nodeKey(load<u32>(NODE_TOP));
  if (keyLength != foundLength || !equalBytes(stage(), keyPlace, keyLength)) {
    foundFragment = fragmentOf(keyPlace, keyLength, load<u64>(HASH_SEED));
    foundNode = findNode(keyPlace, keyLength, foundFragment);
  }
  foundLength = 0;
  const fragment = foundFragment;
  const node = foundNode;
  const previous = node == 0 ? 0 : nodeVersions(node);
  if (previous != 0 && modRevision(previous) >= revision) return PUT_STALE;
  const term = lease != 0 || expiresAtMs != 0;
  const bytes = versionBytes(word);
  const version = allocate(term ? bytes + TERM_BYTES : bytes);
  store<u32>(version, previous);
  store<u32>(version, term ? word | TERM : word, 4);
  store<f64>(version, revision, 8);
  store<f64>(version, createRevision, 16);
  store<f64>(version, count, 24);
  store<u32>(version, subRevision, 32);
  store<u32>(version, flags, 36);
  if (term) {
    store<i64>(version + bytes, lease);
    store<f64>(version + bytes, expiresAtMs, 8);
  }
  setJump(version, previous);
  if (node == 0) {
    makeIndexRoom(load<u32>(KEY_COUNT));
    const created = load<u32>(NODE_TOP);
    store<u32>(NODE_TOP, insertNode(created, keyLength, version));
    addToIndex(created, fragment);
    store<u32>(KEY_COUNT, load<u32>(KEY_COUNT) + 1);
  } else {
    setNodeVersions(node, version);
  }
  countRecord(revision, keyLength + (word & LENGTH_MASK));
  return PUT_DONE;
}

function setJump(version: u32, previous: u32): void {
  store<u32>(version, depth(previous) + 1, 44);
  let target = previous;
  if (previous != 0) {
    const first = jump(previous);
    if (first != 0) {
      const second = jump(first);
      if (depth(previous) - depth(first) == depth(first) - depth(second)) target = second;
    }
  }
  store<u32>(version, target, 40);
}

function countRecord(revision: f64, bytes: u32): void {
  const records = load<u32>(RECORD_COUNT);
  if (records == 0 || revision < load<f64>(SMALLEST_REVISION)) store<f64>(SMALLEST_REVISION, revision);
  if (revision > load<f64>(LARGEST_REVISION)) store<f64>(LARGEST_REVISION, revision);
  store<f64>(DATA_BYTES, load<f64>(DATA_BYTES) + (bytes as f64));
  store<u32>(RECORD_COUNT, records + 1);
}

// What the last search of the index found: a put mostly follows a look-up of its key. It holds while the stage has that key and nothing was added; a length of 0: nothing.
// Per instance.
let foundLength: u32 = 0;
let foundFragment: u32 = 0;
let foundNode: u32 = 0;

/** The stage holds another key now. */
export function forgetFound(): void {
  foundLength = 0;
}

/** The node of exactly the staged key, 0 when there is none. */
export function findStaged(length: u32): u32 {
  foundFragment = fragmentOf(stage(), length, load<u64>(HASH_SEED));
  foundNode = findNode(stage(), length, foundFragment);
  foundLength = length;
  return foundNode;
}

/** The newest version of the staged key, tombstones included; 0 when there is none. */
export function findLatest(length: u32): u32 {
  const node = findStaged(length);
  return node == 0 ? 0 : nodeVersions(node);
}

/** From a version down: the newest one at or below a revision, 0 when there is none. */
export function versionAt(newest: u32, revision: f64): u32 {
  let version = newest;
  while (version != 0 && modRevision(version) > revision) {
    const far = jump(version);
    version = far != 0 && modRevision(far) > revision ? far : older(version);
  }
  return version;
}

function emit(count: u32, node: u32, version: u32): void {
  assert(count < BATCH_ENTRIES, 'a batch is overfull');
  store<u32>(batch() + (count << 3), node);
  store<u32>(batch() + (count << 3), version, 4);
}

/** The node that follows in a direction, 0 at the end of the list. */
function step(node: u32, reverse: bool): u32 {
  if (!reverse) return nextNode(node);
  const previous = previousNode(node);
  return previous == HEAD ? 0 : previous;
}

/**
 * Collects, from `node` until `stop` (exclusive; 0: the end), the version of each key that is newest at `revision` into the batch, at
 * most `limit`. The cursor tells where to go on. Gives how many.
 */
export function collectKeys(
  node: u32,
  stop: u32,
  revision: f64,
  reverse: bool,
  tombstones: bool,
  limit: u32,
): u32 {
  let count: u32 = 0;
  while (node != stop && node != 0 && count < limit) {
    const version = versionAt(nodeVersions(node), revision);
    if (version != 0 && (tombstones || (load<u32>(version, 36) & TOMBSTONE) == 0))
      emit(count++, node, version);
    node = step(node, reverse);
  }
  setCursor(node == stop ? 0 : node, 0);
  return count;
}

/**
 * Collects versions in record order with smallest <= modRevision <= largest into the batch. `version` is where to go on within `node`;
 * 0 stands for the newest. The cursor tells where to go on. Gives how many.
 */
export function collectVersions(
  node: u32,
  version: u32,
  stop: u32,
  smallest: f64,
  largest: f64,
  limit: u32,
): u32 {
  let count: u32 = 0;
  while (node != stop && node != 0) {
    version = versionAt(version == 0 ? nodeVersions(node) : version, largest);
    while (version != 0 && modRevision(version) >= smallest) {
      if (count == limit) {
        setCursor(node, version);
        return count;
      }
      emit(count++, node, version);
      version = older(version);
    }
    version = 0;
    node = nextNode(node);
  }
  setCursor(0, 0);
  return count;
}
