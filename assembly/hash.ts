// The hash of keys: a seeded multiply-and-fold over eight-byte words.
//
// Not cryptographic. The seed keeps one memory's collisions from being another's; every step is a bijection of the state, so
// keys that differ in one word never collide in the 64-bit result.
// Up to seven bytes behind the key may be read; they never matter.

const MULTIPLIER: u64 = 0x9e3779b97f4a7c15;
const FINISH: u64 = 0xd6e8feb86659fd93;

function mix(state: u64, word: u64): u64 {
  const product = (state ^ word) * MULTIPLIER;
  return product ^ (product >> 32);
}

export function hashBytes(key: u32, length: u32, seed: u64): u64 {
  let state = mix(seed, length as u64);
  let at: u32 = 0;
  for (; at + 8 <= length; at += 8) state = mix(state, load<u64>(key + at));
  const rest = length - at;
  if (rest != 0) state = mix(state, load<u64>(key + at) << ((64 - (rest << 3)) as u64));
  state *= FINISH;
  return state ^ (state >> 32);
}

/** The 32 bits that the hash index keeps of a key's hash. */
export function fragmentOf(key: u32, length: u32, seed: u64): u32 {
  return (hashBytes(key, length, seed) >> 32) as u32;
}
