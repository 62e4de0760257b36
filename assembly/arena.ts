// The bump arena of one memtable, and the fixed words at the bottom of its memory.
//
//   0         4096       8192       8192 + SLOT_BYTES   arenaStart                     top    memory end
//   | statics | header   | slot 0   | slot 1 | ...      | tables, node slabs, versions | free |
//
//   header   +0  u32 top            first free byte of the arena
//            +4  u32 nodeTop        where the next node will stand in the current node slab, behind its tower
//            +8  u32 nodeEnd        end of the current node slab
//            +12 u32 hashTable      the hash index in use (published atomically)
//            +16 u32 keyCount
//            +20 u32 recordCount
//            +24 f64 dataBytes      bytes of keys and values of all records
//            +32 f64 largestRevision
//            +40 f64 smallestRevision
//            +48 u64 hashSeed
//            +56 u32 randomState    of the tower heights
//            +60 u32 height         levels of the skiplist in use
//            +64 u32 tail           last node of level 0, HEAD when empty
//            +68 u32 arenaStart     first byte behind the slots
//            +72 u32 nextHeight      of the tower of the node to come
//            +128 splice            MAX_HEIGHT x u32: the last insert's predecessors
//            +208 tower of the head node
//            +256 head node
//
//   slot     what one thread writes to while it searches; slot 0 is the writer's
//            +0     key stage       a key to look for
//            +65664 u32 cursorNode  where a collect call stopped
//            +65668 u32 cursorVersion
//            +65672 batch           BATCH_ENTRIES x {u32 node, u32 version}: what a collect call found
//
// Invariants: a thread has an instance of its own, whose slot says where it may write; a reader writes nowhere else. Arena memory is only
// ever handed out, never taken back before a reset; every block is 8-aligned (nodes in their slabs are 4-aligned); at least SLACK bytes behind `top` are inside the memory, so
// that eight-byte loads may read past the end of a key.
// Nodes live in slabs of their own, apart from the values: a search touches few pages, and the slabs stay in the caches.

export const HEADER: u32 = 4096;
export const TOP: u32 = HEADER;
export const NODE_TOP: u32 = HEADER + 4;
export const NODE_END: u32 = HEADER + 8;
export const HASH_TABLE: u32 = HEADER + 12;
export const KEY_COUNT: u32 = HEADER + 16;
export const RECORD_COUNT: u32 = HEADER + 20;
export const DATA_BYTES: u32 = HEADER + 24;
export const LARGEST_REVISION: u32 = HEADER + 32;
export const SMALLEST_REVISION: u32 = HEADER + 40;
export const HASH_SEED: u32 = HEADER + 48;
export const RANDOM_STATE: u32 = HEADER + 56;
export const HEIGHT: u32 = HEADER + 60;
export const TAIL: u32 = HEADER + 64;
export const ARENA_START: u32 = HEADER + 68;
export const NEXT_HEIGHT: u32 = HEADER + 72;
export const SPLICE: u32 = HEADER + 128;
export const HEAD: u32 = HEADER + 256;
const HEADER_BYTES: u32 = 512;
export const BATCH_ENTRIES: u32 = 256;
// The stage holds a key to look for: the longest stored key (64 KiB + 1), a bound made from it, and room for eight-byte loads.
export const STAGE_BYTES: u32 = 65536 + 128;
export const STAGE: u32 = 8192;
const CURSOR_NODE: u32 = STAGE_BYTES;
const CURSOR_VERSION: u32 = STAGE_BYTES + 4;
const BATCH: u32 = STAGE_BYTES + 8;
export const SLOT_BYTES: u32 = 68 << 10;
export const SLACK: u32 = 64;
const NODE_SLAB_BYTES: u32 = 32768;
const GROW_BYTES: u32 = 4 << 20;
const PAGE_SHIFT: u32 = 16;

/** Where this instance, that is this thread, may write. */
let slot: u32 = STAGE;

/** REQUIRES: no other thread uses slot `index`, and the memory was made with more slots than that. */
export function useSlot(index: u32): void {
  assert(BATCH + (BATCH_ENTRIES << 3) <= SLOT_BYTES, 'a slot is too small');
  slot = STAGE + index * SLOT_BYTES;
}
export function stage(): u32 {
  return slot;
}
export function batch(): u32 {
  return slot + BATCH;
}
export function setCursor(node: u32, version: u32): void {
  store<u32>(slot + CURSOR_NODE, node);
  store<u32>(slot + CURSOR_VERSION, version);
}
export function cursorNodeOf(): u32 {
  return load<u32>(slot + CURSOR_NODE);
}
export function cursorVersionOf(): u32 {
  return load<u32>(slot + CURSOR_VERSION);
}

/** The next place for a node: four beyond a multiple of eight, so that its key lies on one. */
export function alignNode(value: u32): u32 {
  return ((value + 3) & ~7) + 4;
}
export function align8(value: u32): u32 {
  return (value + 7) & ~7;
}

/** Empties the arena. What was in it stays in memory, but nothing points there any more. */
export function resetArena(slots: u32): void {
  assert(__heap_base <= HEADER, 'static data reaches into the header');
  assert(slots > 0, 'a memory without a slot for its writer');
  memory.fill(HEADER, 0, HEADER_BYTES);
  const start = STAGE + slots * SLOT_BYTES;
  store<u32>(ARENA_START, start);
  store<u32>(TOP, start);
}

/** Makes sure that `bytes` (and the slack) are inside the memory behind `top`. False: the memory cannot grow so far. */
export function ensureRoom(bytes: u32): bool {
  const end = (load<u32>(TOP) as u64) + (bytes as u64) + (SLACK as u64);
  const have = (memory.size() as u64) << PAGE_SHIFT;
  if (end <= have) return true;
  const missing = end - have;
  // A few megabytes at a time; near the maximum, only what is needed.
  const wanted = missing > (GROW_BYTES as u64) ? missing : (GROW_BYTES as u64);
  if (memory.grow(((wanted + 0xffff) >> PAGE_SHIFT) as i32) >= 0) return true;
  return memory.grow(((missing + 0xffff) >> PAGE_SHIFT) as i32) >= 0;
}

/** REQUIRES: ensureRoom(bytes). */
export function allocate(bytes: u32): u32 {
  const block = load<u32>(TOP);
  assert((block & 7) == 0, 'the arena lost its alignment');
  assert(((block + bytes) as u64) <= (memory.size() as u64) << PAGE_SHIFT, 'allocated past the memory');
  store<u32>(TOP, block + align8(bytes));
  return block;
}

/** Makes room for one node of at most `nodeBytes` behind its tower, and `arenaBytes` besides. False: no memory, nothing changed. */
export function reserveRoom(towerBytes: u32, nodeBytes: u32, arenaBytes: u32): bool {
  if (load<u32>(NODE_TOP) + nodeBytes <= load<u32>(NODE_END)) return ensureRoom(arenaBytes);
  const needBytes = align8(towerBytes + nodeBytes + 8);
  const slabBytes = needBytes > NODE_SLAB_BYTES ? needBytes : NODE_SLAB_BYTES;
  if (!ensureRoom(slabBytes + arenaBytes + 16)) return false;
  const slab = allocate(slabBytes);
  store<u32>(NODE_TOP, alignNode(slab + towerBytes));
  store<u32>(NODE_END, slab + slabBytes);
  return true;
}
