/** Hashes of the keys that a filter is to know, gathered while the number of keys is not known yet: four bytes a key. */
import { KeyFilter } from './key_filter.ts';
import { hashKey } from './key_hash.ts';

const FIRST_HASHES = 4096;

export function hashOf(key: Uint8Array): number {
  return hashKey(key, 0, key.length);
}

export class HashList {
  #hashes = new Uint32Array(FIRST_HASHES);
  #count = 0;

  add(hash: number): void {
    if (this.#count === this.#hashes.length) {
      const larger = new Uint32Array(this.#count * 2);
      larger.set(this.#hashes);
      this.#hashes = larger;
    }
    this.#hashes[this.#count++] = hash;
  }

  /** A filter with room for as many keys again. */
  filter(): KeyFilter {
    const filter = new KeyFilter(this.#count * 2);
    for (let i = 0; i < this.#count; i++) filter.add(this.#hashes[i]!);
    return filter;
  }
}
