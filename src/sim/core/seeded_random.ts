/**
 * Chance that is the same every time: sfc32 (Chris Doty-Humphrey's "small fast counting" generator, from PractRand), seeded by a number or a text.
 *
 * Invariants: equal seeds give equal streams on every machine (32-bit integer arithmetic only); `fork(label)` depends on the seed and the label alone, never on how
 * much was drawn, so a draw added in one place does not shift the streams of others.
 */
import type { Random } from '../../ports.ts';

const FORK_MARK = 0x1f;

/** FNV-1a over the UTF-16 units of a text, continued from `hash`. */
function mixText(hash: number, text: string): number {
  let h = hash;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h;
}

/** The finalizer of MurmurHash3: every bit of the input reaches every bit of the output. */
function avalanche(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

export class SeededRandom implements Random {
  readonly #seed: string;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number | string) {
    this.#seed = String(seed);
    this.#a = avalanche(mixText(0x811c9dc5, this.#seed));
    this.#b = avalanche(mixText(0x9e3779b9, this.#seed));
    this.#c = avalanche(mixText(0x2545f491, this.#seed));
    for (let i = 0; i < 12; i++) this.#next32();
  }

  /** An independent stream of this seed. */
  fork(label: string): SeededRandom {
    return new SeededRandom(`${this.#seed}${String.fromCharCode(FORK_MARK)}${label}`);
  }

  /** Uniform in [0, 1), in steps of 2^-32. */
  next(): number {
    return this.#next32() / 0x1_0000_0000;
  }

  bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i++) bytes[i] = this.#next32();
    return bytes;
  }

  /** A whole number in [from, to], both included. */
  int(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1));
  }

  /** Uniform in [from, to). */
  between(from: number, to: number): number {
    return from + this.next() * (to - from);
  }

  /** True so often: 0 never, 1 always. */
  chance(share: number): boolean {
    return this.next() < share;
  }

  /** One of a list. REQUIRES: it is not empty. */
  pick<T>(list: readonly T[]): T {
    const picked = list[Math.floor(this.next() * list.length)];
    if (picked === undefined) throw new RangeError('nothing to pick from');
    return picked;
  }

  /** A new list in another order. */
  shuffled<T>(list: readonly T[]): T[] {
    const left = [...list];
    const out: T[] = [];
    while (left.length > 0) out.push(...left.splice(Math.floor(this.next() * left.length), 1));
    return out;
  }

  #next32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }
}
