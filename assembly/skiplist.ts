// The skiplist: every key's node in key order, forwards by towers, backwards by one pointer.
//
//   tower  -4  u32 next        the next node of level 0 (atomic), 0 at the end; of level 1 at -8, and so on, as high as was drawn
//   node   +0  u32 versions    newest version of the key (atomic)
//          +4  u32 previous    the node before on level 0, HEAD for the first (atomic)
//          +8  u32 keyLength
//          +12 key             keyLength bytes
//
// The height of the node to come is drawn ahead, so that the writer can put a key into its final place behind the tower. A node lies four bytes beyond
// a multiple of eight: its key is 8-aligned, which copies and hashes are quicker for.
//
// Invariants: a node is complete before it is linked, level 0 first; a reader that runs beside the writer sees a node or not, never half
// of one. SPLICE holds, for each level, the last node at or before the latest insert: keys that arrive in order need two
// comparisons and no search. One node in four has a tower higher by one.

import { alignNode, HEAD, HEIGHT, NEXT_HEIGHT, RANDOM_STATE, SPLICE, TAIL } from './arena';
import { compareBytes } from './compare';

export const MAX_HEIGHT: u32 = 12;
export const NODE_KEY: u32 = 12;

export function nodeVersions(node: u32): u32 {
  return atomic.load<u32>(node);
}
export function setNodeVersions(node: u32, version: u32): void {
  atomic.store<u32>(node, version);
}
export function previousNode(node: u32): u32 {
  return atomic.load<u32>(node, 4);
}
export function nodeKeyLength(node: u32): u32 {
  return load<u32>(node, 8);
}
export function nodeKey(node: u32): u32 {
  return node + NODE_KEY;
}
function linkPlace(node: u32, level: u32): u32 {
  return node - 4 - (level << 2);
}
export function nextNode(node: u32): u32 {
  return atomic.load<u32>(node - 4);
}
function spliceAt(level: u32): u32 {
  return load<u32>(SPLICE + (level << 2));
}

/** The most bytes that a node for a key of this length takes, with the tower of the node after it. */
export function maxNodeBytes(keyLength: u32): u32 {
  return NODE_KEY + keyLength + (MAX_HEIGHT << 2) + 8;
}

/** The bytes in front of the next node. */
export function nextTowerBytes(): u32 {
  return load<u32>(NEXT_HEIGHT) << 2;
}

/** REQUIRES: a zeroed header. */
export function resetSkiplist(): void {
  store<u32>(HEIGHT, 1);
  store<u32>(TAIL, HEAD);
  store<u32>(RANDOM_STATE, 0x9e3779b9);
  drawHeight();
  for (let level: u32 = 0; level < MAX_HEIGHT; level++) store<u32>(SPLICE + (level << 2), HEAD);
}

function compareNode(node: u32, key: u32, length: u32): i32 {
  return compareBytes(nodeKey(node), nodeKeyLength(node), key, length);
}

/** The last node before a key, HEAD when there is none. */
export function findBefore(key: u32, length: u32): u32 {
  let node: u32 = HEAD;
  let known: u32 = 0;
  for (let level = load<u32>(HEIGHT); level > 0; ) {
    const next = atomic.load<u32>(linkPlace(node, level - 1));
    if (next != known && next != 0 && compareNode(next, key, length) < 0) {
      node = next;
      continue;
    }
    known = next;
    level--;
  }
  return node;
}

/** Brings SPLICE to where a key belongs. REQUIRES: the key is not in the list. */
function seekSplice(key: u32, length: u32): void {
  const last = spliceAt(0);
  if (last == HEAD || compareNode(last, key, length) < 0) {
    const next = nextNode(last);
    if (next == 0 || compareNode(next, key, length) > 0) return;
  }
  let node: u32 = HEAD;
  let known: u32 = 0;
  for (let level = load<u32>(HEIGHT); level > 0; ) {
    // Only this thread writes.
    const next = load<u32>(linkPlace(node, level - 1));
    if (next != known && next != 0 && compareNode(next, key, length) < 0) {
      node = next;
      continue;
    }
    known = next;
    level--;
    store<u32>(SPLICE + (level << 2), node);
  }
}

/** Draws the height of the node to come. */
function drawHeight(): void {
  let x = load<u32>(RANDOM_STATE);
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  store<u32>(RANDOM_STATE, x);
  const height: u32 = 1 + (ctz<u32>(x | 0x400000) >> 1);
  store<u32>(NEXT_HEIGHT, height < MAX_HEIGHT ? height : MAX_HEIGHT);
}

/**
 * Links a node whose key is in place behind the header, and gives where the next node may stand.
 * REQUIRES: the key is not in the list; nextTowerBytes are free before `node`, maxNodeBytes(length) from it on.
 */
export function insertNode(node: u32, length: u32, version: u32): u32 {
  assert(node > HEAD && (node & 7) == 4, 'a node lies where none can be');
  const key = nodeKey(node);
  const height = load<u32>(NEXT_HEIGHT);
  store<u32>(node, version);
  store<u32>(node, length, 8);
  seekSplice(key, length);
  if (height > load<u32>(HEIGHT)) store<u32>(HEIGHT, height);
  const before = spliceAt(0);
  const after = nextNode(before);
  assert(before == HEAD || compareNode(before, key, length) < 0, 'the skiplist lost its order');
  assert(after == 0 || compareNode(after, key, length) > 0, 'the skiplist lost its order');
  store<u32>(node, before, 4);
  for (let level: u32 = 0; level < height; level++) {
    const place = linkPlace(spliceAt(level), level);
    store<u32>(linkPlace(node, level), load<u32>(place));
    atomic.store<u32>(place, node);
    store<u32>(SPLICE + (level << 2), node);
  }
  if (after == 0) atomic.store<u32>(TAIL, node);
  else atomic.store<u32>(after, node, 4);
  drawHeight();
  return alignNode(node + NODE_KEY + length + nextTowerBytes());
}
