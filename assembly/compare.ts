// Byte strings, eight bytes at a time.
//
// Invariant: up to seven bytes behind either string may be read (the arena and the stages keep that slack); they never matter.

/** Negative, zero or positive: the order of two byte strings as unsigned bytes, a shorter one before its extensions. */
export function compareBytes(a: u32, aLength: u32, b: u32, bLength: u32): i32 {
  const shared = aLength < bLength ? aLength : bLength;
  let at: u32 = 0;
  for (; at + 8 <= shared; at += 8) {
    const x = load<u64>(a + at);
    const y = load<u64>(b + at);
    if (x != y) return bswap<u64>(x) < bswap<u64>(y) ? -1 : 1;
  }
  const rest = shared - at;
  if (rest != 0) {
    const shift = (64 - (rest << 3)) as u64;
    const x = bswap<u64>(load<u64>(a + at)) >> shift;
    const y = bswap<u64>(load<u64>(b + at)) >> shift;
    if (x != y) return x < y ? -1 : 1;
  }
  return (aLength > bLength ? 1 : 0) - (aLength < bLength ? 1 : 0);
}

/** True when two byte strings of one length are the same. */
export function equalBytes(a: u32, b: u32, length: u32): bool {
  let at: u32 = 0;
  for (; at + 8 <= length; at += 8) {
    if (load<u64>(a + at) != load<u64>(b + at)) return false;
  }
  const rest = length - at;
  if (rest == 0) return true;
  return (load<u64>(a + at) ^ load<u64>(b + at)) << ((64 - (rest << 3)) as u64) == 0;
}
