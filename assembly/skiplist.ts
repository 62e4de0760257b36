// The skiplist: every key's node in key order, forwards by towers, backwards by one pointer.
//
//   node   +0  u32 versions   newest version of the key (atomic)
//          +4  u32 previous   the node before on level 0, HEAD for the first (atomic)
//          +8  u32 keyLength
//          +12 u32 height     of the tower
//          +16 key            keyLength bytes
//          +16+align4(keyLength)  tower: height x u32 next (atomic), 0 at the end
//
// The key stands before the tower so that the writer can put it into place before the height is drawn.
//
// Invariants: a node is complete before it is linked, level 0 first; a reader that runs beside the writer sees a node or not, never half
// of one. SPLICE holds, for each level, the last node at or before the latest insert: keys that arrive in order need two
// comparisons and no search. One node in four has a tower higher by one.

import { align8, HEAD, HEIGHT, RANDOM_STATE, SPLICE, TAIL } from './arena';
import { compareBytes } from './compare';

export const MAX_HEIGHT: u32 = 12;
export const NODE_KEY: u32 = 16;

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
function tower(node: u32): u32 {
  return node + NODE_KEY + ((load<u32>(node, 8) + 3) & ~3);
}
function nextAt(node: u32, level: u32): u32 {
  return atomic.load<u32>(tower(node) + (level << 2));
}
export function nextNode(node: u32): u32 {
  return atomic.load<u32>(tower(node));
}
function spliceAt(level: u32): u32 {
  return load<u32>(SPLICE + (level << 2));
}

/** The most bytes that a node for a key of this length takes. */
export function maxNodeBytes(keyLength: u32): u32 {
  return align8(NODE_KEY + ((keyLength + 3) & ~3) + (MAX_HEIGHT << 2));
}

/** REQUIRES: a zeroed header. */
export function resetSkiplist(): void {
  store<u32>(HEAD, MAX_HEIGHT, 12);
  store<u32>(HEIGHT, 1);
  store<u32>(TAIL, HEAD);
  store<u32>(RANDOM_STATE, 0x9e3779b9);
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
    const next = nextAt(node, level - 1);
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
    const next = nextAt(node, level - 1);
    if (next != known && next != 0 && compareNode(next, key, length) < 0) {
      node = next;
      continue;
    }
    known = next;
    level--;
    store<u32>(SPLICE + (level << 2), node);
  }
}

function drawHeight(): u32 {
  let x = load<u32>(RANDOM_STATE);
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  store<u32>(RANDOM_STATE, x);
  const height: u32 = 1 + (ctz<u32>(x | 0x400000) >> 1);
  return height < MAX_HEIGHT ? height : MAX_HEIGHT;
}

/**
 * Links a node whose key is in place behind the header, and gives the bytes it took.
 * REQUIRES: the key is not in the list; maxNodeBytes(length) are free at `node`.
 */
export function insertNode(node: u32, length: u32, version: u32): u32 {
  assert(node > HEAD && (node & 7) == 0, 'a node lies where none can be');
  const height = drawHeight();
  store<u32>(node, version);
  store<u32>(node, length, 8);
  store<u32>(node, height, 12);
  seekSplice(nodeKey(node), length);
  if (height > load<u32>(HEIGHT)) store<u32>(HEIGHT, height);
  const links = tower(node);
  const before = spliceAt(0);
  const after = nextNode(before);
  assert(before == HEAD || compareNode(before, nodeKey(node), length) < 0, 'the skiplist lost its order');
  assert(after == 0 || compareNode(after, nodeKey(node), length) > 0, 'the skiplist lost its order');
  store<u32>(node, before, 4);
  for (let level: u32 = 0; level < height; level++) {
    const place = tower(spliceAt(level)) + (level << 2);
    store<u32>(links + (level << 2), load<u32>(place));
    atomic.store<u32>(place, node);
    store<u32>(SPLICE + (level << 2), node);
  }
  if (after == 0) atomic.store<u32>(TAIL, node);
  else atomic.store<u32>(after, node, 4);
  return align8(links + (height << 2) - node);
}
