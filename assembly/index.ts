// The whole ABI between the WebAssembly build and its JavaScript wrappers (src/storage/memtable.ts, src/storage/bloom.ts).
//

// header words of arena.ts and the version fields of memtable.ts through views; docs/formats/memtable.md is their contract.
// Checks on trusted addresses exist in the debug build only.

export * from './block_abi';
export * from './flush_abi';
export * from './lookup_abi';
export * from './merge_abi';

import { cursorNodeOf, cursorVersionOf, HEAD, STAGE_BYTES, stage, TAIL, useSlot } from './arena';
import { compareBytes } from './compare';
import {
  collectKeys,
  collectVersions,
  commitPut,
  findLatest,
  findStaged,
  forgetFound,
  reservePut,
  resetMemtable,
  versionAt,
} from './memtable';
import { findBefore, nextNode, nodeKey, nodeKeyLength } from './skiplist';

/** Makes the memory an empty memtable with 2^slotsLog2 index slots, for so many threads. 0: the memory cannot grow so far. */
export function reset(slotsLog2: u32, seed: u64, threads: u32): u32 {
  return resetMemtable(slotsLog2, seed, threads) ? 1 : 0;
}

/** Lets this instance search with slot `index` (0 unless this is called). REQUIRES: nobody else uses it. */
export function setSlot(index: u32): void {
  useSlot(index);
}

/** Makes room for one put. 0: the memory cannot grow so far; nothing changed. */
export function reserve(keyLength: u32, valueLength: u32): u32 {
  return reservePut(keyLength, valueLength) ? 1 : 0;
}

/** Commits a put whose key and value are in place; `valueWord` as in memtable.ts, without a term. 0 done; 1 not above the key's newest revision, nothing changed. */
export function commit(
  keyLength: u32,
  valueWord: u32,
  modRevision: f64,
  createRevision: f64,
  version: f64,
  subRevision: u32,
  flags: u32,
  lease: i64,
  expiresAtMs: f64,
): u32 {
  return commitPut(
    keyLength,
    valueWord,
    modRevision,
    createRevision,
    version,
    subRevision,
    flags,
    lease,
    expiresAtMs,
  );
}

/** The newest version of the staged key, 0 when there is none. */
export function find(keyLength: u32): u32 {
  assert(keyLength <= STAGE_BYTES - 8, 'a staged key is too long');
  return findLatest(keyLength);
}

/** The newest version at or below a revision of the staged key, 0 when there is none. */
export function findAt(keyLength: u32, revision: f64): u32 {
  assert(keyLength <= STAGE_BYTES - 8, 'a staged key is too long');
  return versionAt(findLatest(keyLength), revision);
}

/** The first node at or after the staged key (`after` 0) or strictly after it (`after` 1); 0: none. */
export function seek(keyLength: u32, after: u32): u32 {
  forgetFound();
  const node = nextNode(findBefore(stage(), keyLength));
  if (node == 0 || after == 0) return node;
  return compareBytes(nodeKey(node), nodeKeyLength(node), stage(), keyLength) == 0 ? nextNode(node) : node;
}

/** The node of exactly the staged key, 0 when there is none. */
export function nodeOf(keyLength: u32): u32 {
  return findStaged(keyLength);
}

/** The last node before the staged key, 0: none. */
export function seekBefore(keyLength: u32): u32 {
  forgetFound();
  const node = findBefore(stage(), keyLength);
  return node == HEAD ? 0 : node;
}

/** The first node, 0: none. */
export function first(): u32 {
  return nextNode(HEAD);
}

/** The last node, 0: none. */
export function last(): u32 {
  const node = atomic.load<u32>(TAIL);
  return node == HEAD ? 0 : node;
}

/** See collectKeys in memtable.ts. */
export function collect(node: u32, stop: u32, revision: f64, reverse: u32, tombstones: u32, limit: u32): u32 {
  return collectKeys(node, stop, revision, reverse != 0, tombstones != 0, limit);
}

/** See collectVersions in memtable.ts. */
export function collectAll(node: u32, version: u32, stop: u32, smallest: f64, largest: f64, limit: u32): u32 {
  return collectVersions(node, version, stop, smallest, largest, limit);
}

/** Where the last collect call stopped: the node, 0 at the end. */
export function cursorNode(): u32 {
  return cursorNodeOf();
}

/** Where the last collectAll call stopped: the version within the node. */
export function cursorVersion(): u32 {
  return cursorVersionOf();
}
