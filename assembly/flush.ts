// Packs a frozen memtable into the blocks of a table, in the memtable's own memory, and makes the table's filter.
//
//   cursor   +0  u32 node      the node to go on with, 0 at the end
//            +4  u32 version   the version of it to go on with, 0: the newest
//            +8  u32 records   packed so far
//            +16 descriptor    of the record that is being added
//
// Invariants: the memtable is only read: nothing below its `top` and none of its scratch (stage, batch, cursor, header) is written, as other threads go
// on reading it. The cursor and the builder lie in a region behind `top` that belongs to the flush alone.

import { HEAD } from './arena';
import { ADDED, addEntry } from './block_builder';
import { addHashToBloom } from './bloom';
import { describeVersion, valueLengthOf } from './memtable';
import { nextNode, nodeKeyLength, nodeVersions } from './skiplist';

/** The budget is used up: call again. The other answers are those of addEntry. */
export const PAUSED: u32 = 4;
/** Every record was added; the last block may be open. */
export const FLUSHED: u32 = 5;

const DESCRIPTOR: u32 = 16;

/** Sets a cursor to the memtable's first record. */
export function flushStart(cursor: u32): void {
  store<u32>(cursor, nextNode(HEAD));
  store<u32>(cursor, 0, 4);
  store<u32>(cursor, 0, 8);
}

/**
 * Adds records to the builder until about `budgetBytes` of keys and values were added (PAUSED), the builder must be seen to (FULL, TOO_LARGE, CUT), or
 * there are no more (FLUSHED). Of the versions at or below `compactRevision`, only the newest one of each key is taken.
 */
export function flushStep(cursor: u32, builder: u32, compactRevision: f64, budgetBytes: u32): u32 {
  const descriptor = cursor + DESCRIPTOR;
  let node = load<u32>(cursor);
  let version = load<u32>(cursor, 4);
  let records = load<u32>(cursor, 8);
  let bytes: u32 = 0;
  let answer = FLUSHED;
  while (node != 0) {
    if (version == 0) version = nodeVersions(node);
    if (bytes >= budgetBytes) {
      answer = PAUSED;
      break;
    }
    describeVersion(descriptor, node, version);
    answer = addEntry(builder, descriptor);
    if (answer != ADDED) break;
    answer = FLUSHED;
    records++;
    bytes += nodeKeyLength(node) + valueLengthOf(version);
    version = load<f64>(version, 8) <= compactRevision ? 0 : load<u32>(version);
    if (version == 0) node = nextNode(node);
  }
  store<u32>(cursor, node);
  store<u32>(cursor, version, 4);
  store<u32>(cursor, records, 8);
  return answer;
}

/** Adds `count` u64 hashes (of a builder) to the filter of `blocks` blocks at `bits`. */
export function addHashes(bits: u32, blocks: u32, hashes: u32, count: u32): void {
  const end = hashes + (count << 3);
  for (let at = hashes; at < end; at += 8) addHashToBloom(bits, blocks, load<u64>(at));
}
