// A blocked bloom filter: all bits of a key lie in one block of 64 bytes, so a test costs one cache miss.
//
// Invariant: a bit is only ever set. The high half of a key's hash picks the block, seven groups of nine bits of the remixed hash pick the bits (Putze, Sanders
// and Singler 2007, "Cache-, hash- and space-efficient bloom filters").

const PROBES: u32 = 7;
const REMIX: u64 = 0xff51afd7ed558ccd;
/** Of the hash that filters are made from. */
export const BLOOM_SEED: u64 = 0x6b766f72756d;

function blockOf(bits: u32, hash: u64, blocks: u32): u32 {
  const block = (((hash >> 32) * (blocks as u64)) >> 32) as u32;
  return bits + (block << 6);
}

function probesOf(hash: u64): u64 {
  const mixed = hash * REMIX;
  return mixed ^ (mixed >> 29);
}

/** Adds a key's hash (hashBytes with BLOOM_SEED) to the filter of `blocks` blocks at `bits`. */
export function addHashToBloom(bits: u32, blocks: u32, hash: u64): void {
  const block = blockOf(bits, hash, blocks);
  let probes = probesOf(hash);
  for (let i: u32 = 0; i < PROBES; i++, probes >>= 9) {
    const place = block + ((((probes >> 6) & 7) as u32) << 3);
    store<u64>(place, load<u64>(place) | ((1 as u64) << (probes & 63)));
  }
}

/** False: a key with this hash was never added to the filter at `bits`. */
export function bloomMayContainHash(bits: u32, blocks: u32, hash: u64): bool {
  const block = blockOf(bits, hash, blocks);
  let probes = probesOf(hash);
  for (let i: u32 = 0; i < PROBES; i++, probes >>= 9) {
    const word = load<u64>(block + ((((probes >> 6) & 7) as u32) << 3));
    if (((word >> (probes & 63)) & 1) == 0) return false;
  }
  return true;
}
