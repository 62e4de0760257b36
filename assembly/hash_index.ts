// The hash index: open addressing with linear probing, from a key to its node.
//
//   table   +0 u32 shift (32 - log2 of the slots)   +4 u32 slots   +8 slot 0, slot 1, ...
//   slot    u64: low half the hash fragment, high half the node; 0 is empty
//
// Invariants: a key is in the first empty-free run of slots that starts at (fragment >>> shift); nothing is ever removed; a slot is
// published with one atomic store, a bigger table with one atomic store of its address, so a reader sees the old or the new one,
// and both are right. A home slot is the *top* bits of the fragment: doubling moves slot i to 2i or 2i+1, so a rehash reads and
// writes memory in order (a few milliseconds for 300,000 keys, page faults included) and is done at once.

import { allocate, ensureRoom, HASH_TABLE } from './arena';
import { equalBytes } from './compare';
import { nodeKey, nodeKeyLength } from './skiplist';

const SLOTS: u32 = 8;
const MAX_LOG2: u32 = 26;

/** REQUIRES: ensureRoom(tableBytes(log2)). */
function createTable(log2: u32): u32 {
  const slots: u32 = 1 << log2;
  const table = allocate(SLOTS + (slots << 3));
  memory.fill(table + SLOTS, 0, slots << 3);
  store<u32>(table, 32 - log2);
  store<u32>(table, slots, 4);
  return table;
}

export function tableBytes(log2: u32): u32 {
  return SLOTS + (((1 as u32) << log2) << 3);
}

/** REQUIRES: 1 <= log2 <= 26 and room. */
export function resetIndex(log2: u32): void {
  assert(log2 >= 1 && log2 <= MAX_LOG2, 'the hash index has an impossible size');
  store<u32>(HASH_TABLE, createTable(log2));
}

/** The node of a key, 0 when there is none. */
export function findNode(key: u32, length: u32, fragment: u32): u32 {
  const table = atomic.load<u32>(HASH_TABLE);
  const mask = load<u32>(table, 4) - 1;
  let at = fragment >> load<u32>(table);
  while (true) {
    const slot = atomic.load<u64>(table + SLOTS + (at << 3));
    if (slot == 0) return 0;
    if ((slot as u32) == fragment) {
      const node = (slot >> 32) as u32;
      if (nodeKeyLength(node) == length && equalBytes(nodeKey(node), key, length)) return node;
    }
    at = (at + 1) & mask;
  }
}

function insertSlot(table: u32, fragment: u32, slot: u64): void {
  const mask = load<u32>(table, 4) - 1;
  let at = fragment >> load<u32>(table);
  while (load<u64>(table + SLOTS + (at << 3)) != 0) at = (at + 1) & mask;
  atomic.store<u64>(table + SLOTS + (at << 3), slot);
}

/** Adds a node whose key is not in the index. REQUIRES: makeIndexRoom before it. */
export function addToIndex(node: u32, fragment: u32): void {
  insertSlot(load<u32>(HASH_TABLE), fragment, ((node as u64) << 32) | (fragment as u64));
}

/**
 * Doubles the table when `keyCount` keys fill five eighths of it. Where memory does not allow that, probing runs just grow longer: a key takes
 * at least 68 bytes, so a memory without room for 16 more bytes per present slot ends before 14/16 of the slots are in use.
 */
export function makeIndexRoom(keyCount: u32): void {
  const old = load<u32>(HASH_TABLE);
  const slots = load<u32>(old, 4);
  if (keyCount < (slots >> 1) + (slots >> 3)) return;
  const log2: u32 = 33 - load<u32>(old);
  if (log2 > MAX_LOG2 || !ensureRoom(tableBytes(log2))) {
    assert(keyCount < slots - (slots >> 4), 'the hash index is overfull');
    return;
  }
  const table = createTable(log2);
  for (let at: u32 = 0; at < slots; at++) {
    const slot = load<u64>(old + SLOTS + (at << 3));
    if (slot != 0) insertSlot(table, slot as u32, slot);
  }
  atomic.store<u32>(HASH_TABLE, table);
}
