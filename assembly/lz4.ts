// The LZ4 block format (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md), for the blocks of tables.
//
//   sequence := token:u8 [literal length: 255* u8] literals [offset:u16 [match length: 255* u8]]      token = literals << 4 | (match - 4)
//
// The last sequence has literals only. As the format asks, the last five bytes are literals and no match begins in the last twelve.
//
// Invariants: the compressor writes nothing past its capacity; the decompressor believes nothing: it reads only [source, source + length) and writes only
// [target, target + capacity), whatever it is given. Neither region may overlap the other.

const HASH_BITS: u32 = 12;
/** Scratch of the compressor: u32 x 4096, the position at which a four-byte word was seen last. */
export const LZ4_TABLE_BYTES: u32 = 4 << HASH_BITS;
const MIN_MATCH: u32 = 4;
const LAST_LITERALS: u32 = 5;
const MATCH_MARGIN: u32 = 12;
const MAX_OFFSET: u32 = 65535;
/** Every 64 misses the search takes a longer step: incompressible data costs little. */
const SKIP_SHIFT: u32 = 6;

function slotOf(table: u32, word: u32): u32 {
  return table + (((word * 2654435761) >> (32 - HASH_BITS)) << 2);
}

/** Copies in words when eight bytes more may be written and read on both sides. */
function copyLiterals(to: u32, from: u32, length: u32, toEnd: u32, fromEnd: u32): void {
  if (length > 64 || to + length + 8 > toEnd || from + length + 8 > fromEnd) {
    memory.copy(to, from, length);
    return;
  }
  for (let at: u32 = 0; at < length; at += 8) store<u64>(to + at, load<u64>(from + at));
}

/** Where a match that begins at `at` and `reference` ends. */
function matchEnd(at: u32, reference: u32, limit: u32): u32 {
  while (at + 8 <= limit) {
    const difference = load<u64>(at) ^ load<u64>(reference);
    if (difference != 0) return at + ((ctz<u64>(difference) >> 3) as u32);
    at += 8;
    reference += 8;
  }
  while (at < limit && load<u8>(at) == load<u8>(reference)) {
    at++;
    reference++;
  }
  return at;
}

/** The bytes that follow a nibble of 15. */
function writeLength(at: u32, length: u32): u32 {
  for (; length >= 255; length -= 255) store<u8>(at++, 255);
  store<u8>(at++, length as u8);
  return at;
}

/** Writes the token and the literals of a sequence. */
function writeLiterals(out: u32, from: u32, length: u32, match: u32, outEnd: u32, fromEnd: u32): u32 {
  const nibble = length < 15 ? length : 15;
  store<u8>(out++, ((nibble << 4) | (match < 15 ? match : 15)) as u8);
  if (nibble == 15) out = writeLength(out, length - 15);
  copyLiterals(out, from, length, outEnd, fromEnd);
  return out + length;
}

/** Compresses. `table` has LZ4_TABLE_BYTES of scratch. Gives the compressed length, 0 when that would pass `capacity`. */
export function lz4Compress(source: u32, length: u32, target: u32, capacity: u32, table: u32): u32 {
  memory.fill(table, 0, LZ4_TABLE_BYTES);
  const end = source + length;
  const outEnd = target + capacity;
  let out = target;
  let anchor = source;
  if (length > MATCH_MARGIN) {
    const lastStart = end - MATCH_MARGIN;
    const limit = end - LAST_LITERALS;
    let at = source + 1;
    let tries: u32 = 1 << SKIP_SHIFT;
    while (at <= lastStart) {
      const word = load<u32>(at);
      const slot = slotOf(table, word);
      let reference = source + load<u32>(slot);
      store<u32>(slot, at - source);
      if (reference >= at || at - reference > MAX_OFFSET || load<u32>(reference) != word) {
        at += tries++ >> SKIP_SHIFT;
        continue;
      }
      while (at > anchor && reference > source && load<u8>(at - 1) == load<u8>(reference - 1)) {
        at--;
        reference--;
      }
      const stop = matchEnd(at + MIN_MATCH, reference + MIN_MATCH, limit);
      const literals = at - anchor;
      const match = stop - at - MIN_MATCH;
      // Token, both lengths, literals and offset, and the token of the last sequence.
      if (((outEnd as i64) - (out as i64) < 6 + literals / 255 + literals + match / 255) as i64) return 0;
      out = writeLiterals(out, anchor, literals, match, outEnd, end);
      store<u16>(out, (at - reference) as u16);
      out += 2;
      if (match >= 15) out = writeLength(out, match - 15);
      at = stop;
      anchor = stop;
      tries = 1 << SKIP_SHIFT;
      if (at <= lastStart) store<u32>(slotOf(table, load<u32>(at - 2)), at - 2 - source);
    }
  }
  const literals = end - anchor;
  if (((outEnd as i64) - (out as i64) < 2 + literals / 255 + literals) as i64) return 0;
  return writeLiterals(out, anchor, literals, 0, outEnd, end) - target;
}

/** Copies a match, which may overlap what it makes. REQUIRES: out + length <= outEnd, offset bytes lie before `out`. */
function copyMatch(out: u32, offset: u32, length: u32, outEnd: u32): void {
  const from = out - offset;
  if (offset >= 8 && out + length + 8 <= outEnd) {
    for (let at: u32 = 0; at < length; at += 8) store<u64>(out + at, load<u64>(from + at));
    return;
  }
  for (let at: u32 = 0; at < length; at++) store<u8>(out + at, load<u8>(from + at));
}

/** Decompresses untrusted bytes. Gives the length of what came out, -1 when the bytes are malformed or it would pass `capacity`. */
export function lz4Decompress(source: u32, length: u32, target: u32, capacity: u32): i32 {
  const end = source + length;
  const outEnd = target + capacity;
  let at = source;
  let out = target;
  while (at < end) {
    const token = load<u8>(at++) as u32;
    let literals = token >> 4;
    if (literals == 15) {
      let byte: u32 = 255;
      while (byte == 255) {
        if (at == end || literals > capacity) return -1;
        byte = load<u8>(at++);
        literals += byte;
      }
    }
    if (literals > end - at || literals > outEnd - out) return -1;
    copyLiterals(out, at, literals, outEnd, end);
    at += literals;
    out += literals;
    if (at == end) return out - target;
    if (end - at < 2) return -1;
    const offset = load<u16>(at) as u32;
    at += 2;
    let match = token & 15;
    if (match == 15) {
      let byte: u32 = 255;
      while (byte == 255) {
        if (at == end || match > capacity) return -1;
        byte = load<u8>(at++);
        match += byte;
      }
    }
    match += MIN_MATCH;
    if (offset == 0 || offset > out - target || match > outEnd - out) return -1;
    copyMatch(out, offset, match, outEnd);
    out += match;
  }
  return -1;
}
