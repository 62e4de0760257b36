/**
 * Configurations of the search, packed: records of `width` 32-bit integers behind each other, with a hash table over them.
 *
 * Invariants: no two records are equal; a record's number is its place, in the order of insertion; clear() keeps the memory and costs what was in the set.
 */
const EMPTY = -1;
const FIRST_TABLE = 64;

export class ConfigurationSet {
  readonly width: number;
  count = 0;
  /** Record `i` begins at `i * width`. Replaced when it grows. */
  data: Int32Array;
  #table = new Int32Array(FIRST_TABLE).fill(EMPTY);
  /** The part of the table in use, less one. */
  #mask = FIRST_TABLE - 1;

  constructor(width: number) {
    this.width = width;
    this.data = new Int32Array(width * 32);
  }

  clear(): void {
    this.#mask = FIRST_TABLE - 1;
    this.#table.fill(EMPTY, 0, FIRST_TABLE);
    this.count = 0;
  }

  /** Adds the record that begins at `from[offset]`. @returns its number, or -1 when it is there already */
  add(from: Int32Array, offset: number): number {
    const { width } = this;
    let slot = hashOf(from, offset, width) & this.#mask;
    for (let at = this.#table[slot]!; at !== EMPTY; at = this.#table[slot]!) {
      if (this.#equals(at * width, from, offset)) return -1;
      slot = (slot + 1) & this.#mask;
    }
    const number = this.count++;
    this.#table[slot] = number;
    const start = number * width;
    if (start + width > this.data.length) {
      const larger = new Int32Array(this.data.length * 2);
      larger.set(this.data);
      this.data = larger;
    }
    for (let i = 0; i < width; i++) this.data[start + i] = from[offset + i]!;
    if (this.count * 2 > this.#mask) this.#rehash();
    return number;
  }

  #equals(start: number, from: Int32Array, offset: number): boolean {
    for (let i = 0; i < this.width; i++) if (this.data[start + i] !== from[offset + i]) return false;
    return true;
  }

  #rehash(): void {
    const size = (this.#mask + 1) * 4;
    if (size > this.#table.length) this.#table = new Int32Array(size);
    this.#table.fill(EMPTY, 0, size);
    this.#mask = size - 1;
    for (let number = 0; number < this.count; number++) {
      let slot = hashOf(this.data, number * this.width, this.width) & this.#mask;
      while (this.#table[slot] !== EMPTY) slot = (slot + 1) & this.#mask;
      this.#table[slot] = number;
    }
  }
}

function hashOf(data: Int32Array, offset: number, width: number): number {
  let hash = 0x9e3779b9;
  for (let i = 0; i < width; i++) {
    hash = Math.imul(hash ^ data[offset + i]!, 0x85ebca6b);
    hash ^= hash >>> 15;
  }
  hash = Math.imul(hash, 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
