/**
 * Which keys may be in the tree: a split block bloom filter (Putze, Sanders, Singler 2007: "Cache-, hash- and space-efficient bloom filters") over 32-bit key
 * hashes, one bit in each of a block's eight words, so that a look-up touches one cache line.
 *
 * Invariant: never false for a key that was added. Keys that have left the tree stay until the filter is built anew.
 */
const WORDS = 8;
/** Bytes per key at the capacity: about 0.1 % false positives. */
const BYTES_PER_KEY = 2;
const MAX_BLOCKS = 1 << 24;

export class KeyFilter {
  /** Keys that it holds with the intended precision. */
  readonly capacity: number;
  #words: Uint32Array;
  #shift: number;
  #count = 0;

  constructor(wantedCapacity: number) {
    let blocks = 32;
    while (blocks * WORDS * 4 < wantedCapacity * BYTES_PER_KEY && blocks < MAX_BLOCKS) blocks *= 2;
    this.capacity = Math.floor((blocks * WORDS * 4) / BYTES_PER_KEY);
    this.#words = new Uint32Array(blocks * WORDS);
    this.#shift = 32 - Math.log2(blocks);
  }

  /** Distinct hashes added (nearly: a false positive is not counted). */
  get count(): number {
    return this.#count;
  }

  get sizeBytes(): number {
    return this.#words.byteLength;
  }

  add(hash: number): void {
    const words = this.#words;
    const base = (hash >>> this.#shift) * WORDS;
    let fresh = 0;
    for (let i = 0; i < WORDS; i++) {
      const bit = bitOf(hash, i);
      const word = words[base + i]!;
      fresh |= ~word & bit;
      words[base + i] = word | bit;
    }
    if (fresh !== 0) this.#count++;
  }

  has(hash: number): boolean {
    const words = this.#words;
    const base = (hash >>> this.#shift) * WORDS;
    return (
      (words[base]! & bitOf(hash, 0)) !== 0 &&
      (words[base + 1]! & bitOf(hash, 1)) !== 0 &&
      (words[base + 2]! & bitOf(hash, 2)) !== 0 &&
      (words[base + 3]! & bitOf(hash, 3)) !== 0 &&
      (words[base + 4]! & bitOf(hash, 4)) !== 0 &&
      (words[base + 5]! & bitOf(hash, 5)) !== 0 &&
      (words[base + 6]! & bitOf(hash, 6)) !== 0 &&
      (words[base + 7]! & bitOf(hash, 7)) !== 0
    );
  }
}

/** Odd multipliers of the Parquet format's filter. */
const SALTS = Int32Array.of(
  0x47b6137b,
  0x44974d91,
  0x8824ad5b,
  0xa2b7289d,
  0x705495c7,
  0x2df1424b,
  0x9efc4947,
  0x5c6bfb31,
);

function bitOf(hash: number, word: number): number {
  return 1 << (Math.imul(hash, SALTS[word]!) >>> 27);
}
