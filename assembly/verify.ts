// Checks a decoded block the way a verifier wants it: every entry, not only the one that was asked for.
//
//   summary  +0  u32 problem       0, OUT_OF_ORDER, NOT_FOUND or NOT_IN_FILTER: of the first entry that has one
//            +4  u32 entry         which one
//            +8  u32 distinctKeys  of the block alone
//            +12 u32 tombstones
//            +16 f64 dataBytes     keys and values
//            +24 f64 largestRevision
//            +32 f64 smallestRevision
//
// Invariant: writes only the summary, the scratch descriptor and the key buffer.

import { FOUND, seekInBlock } from './block_reader';
import { BLOOM_SEED, bloomMayContainHash } from './bloom';
import { compareBytes } from './compare';
import {
  compareDescriptors,
  DESCRIPTOR_BYTES,
  flagsOf,
  keyLengthOf,
  keyOf,
  modRevisionOf,
  valueLengthOf,
  valueOf,
} from './entry';
import { hashBytes } from './hash';

const OUT_OF_ORDER: u32 = 1;
const NOT_FOUND: u32 = 2;
const NOT_IN_FILTER: u32 = 3;
const TOMBSTONE: u32 = 1;

/** Whether a search of the block (payload and restarts) leads to this very entry. */
function leadsTo(payload: u32, length: u32, descriptor: u32, scratch: u32, keyBuffer: u32): bool {
  const key = keyOf(descriptor);
  const keyLength = keyLengthOf(descriptor);
  const revision = modRevisionOf(descriptor);
  if (seekInBlock(payload, length, key, keyLength, revision, scratch, keyBuffer) != FOUND) return false;
  return valueOf(scratch) == valueOf(descriptor) && modRevisionOf(scratch) == revision;
}

/**
 * Checks the `count` entries that decodeBlock found in a payload, and sums them up. `blocks` 0: there is no filter to check. `scratch` is a descriptor,
 * `keyBuffer` holds MAX_ENTRY_KEY bytes and slack.
 */
export function checkEntries(
  payload: u32,
  length: u32,
  descriptors: u32,
  count: u32,
  bits: u32,
  blocks: u32,
  scratch: u32,
  keyBuffer: u32,
  summary: u32,
): void {
  let problem: u32 = 0;
  let entry: u32 = 0;
  let distinctKeys: u32 = 0;
  let tombstones: u32 = 0;
  let dataBytes: f64 = 0;
  let largest: f64 = 0;
  let smallest: f64 = Infinity;
  for (let i: u32 = 0; i < count; i++) {
    const descriptor = descriptors + i * DESCRIPTOR_BYTES;
    const key = keyOf(descriptor);
    const keyLength = keyLengthOf(descriptor);
    const before = descriptor - DESCRIPTOR_BYTES;
    const isNew = i == 0 || compareBytes(keyOf(before), keyLengthOf(before), key, keyLength) != 0;
    let wrong: u32 = 0;
    if (i != 0 && compareDescriptors(before, descriptor) >= 0) wrong = OUT_OF_ORDER;
    else if (!leadsTo(payload, length, descriptor, scratch, keyBuffer)) wrong = NOT_FOUND;
    else if (
      isNew &&
      blocks != 0 &&
      !bloomMayContainHash(bits, blocks, hashBytes(key, keyLength, BLOOM_SEED))
    )
      wrong = NOT_IN_FILTER;
    if (wrong != 0 && problem == 0) {
      problem = wrong;
      entry = i;
    }
    if (isNew) distinctKeys++;
    if ((flagsOf(descriptor) & TOMBSTONE) != 0) tombstones++;
    dataBytes += (keyLength + valueLengthOf(descriptor)) as f64;
    const revision = modRevisionOf(descriptor);
    if (revision > largest) largest = revision;
    if (revision < smallest) smallest = revision;
  }
  store<u32>(summary, problem);
  store<u32>(summary, entry, 4);
  store<u32>(summary, distinctKeys, 8);
  store<u32>(summary, tombstones, 12);
  store<f64>(summary, dataBytes, 16);
  store<f64>(summary, largest, 24);
  store<f64>(summary, smallest, 32);
}
