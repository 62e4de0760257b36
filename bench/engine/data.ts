/**
 * The keys and values of the engine benchmark: 16-byte keys and incompressible 1 KiB values, the same ones in every process and for every peer.
 *
 * Invariants
 * - Everything follows from the count: two processes that were told the same count use the same keys in the same order, and every value can be checked
 *   against the key it was read by.
 * - A million keys cost 16 MB and no objects: `at` hands out one of a ring of Buffers. A Buffer holds its key until `RING` more were asked for, which is
 *   more than any driver keeps in flight.
 */
import { createHash } from 'node:crypto';
import { VALUE_BYTES } from '../load.ts';

export const KEY_BYTES = 16;
const KEY_WORDS = KEY_BYTES / 4;
/** A power of two. */
const RING = 1 << 15;
const VALUES = 64;
const DIGITS = 12;

export type KeyKind = 'shuffled' | 'sorted' | 'absent';

/** Numbers 0 to count - 1, shuffled by a fixed generator. */
function shuffle(count: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  let state = 42;
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

export class KeySet {
  readonly count: number;
  readonly #ids: Uint32Array;
  readonly #words: Uint32Array;
  readonly #ring: Buffer[];
  readonly #ringWords: Uint32Array;
  #next = 0;

  /** `absent`: keys that lie between the others, in shuffled order, so that no bound of a table tells that they are not there. */
  constructor(count: number, kind: KeyKind) {
    this.count = count;
    this.#ids = kind === 'sorted' ? Uint32Array.from({ length: count }, (_, i) => i) : shuffle(count);
    const bytes = Buffer.alloc(count * KEY_BYTES);
    for (let i = 0; i < count; i++) bytes.latin1Write(keyText(this.#ids[i]!, kind), i * KEY_BYTES, KEY_BYTES);
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, count * KEY_WORDS);
    const ring = Buffer.alloc(RING * KEY_BYTES);
    this.#ringWords = new Uint32Array(ring.buffer, ring.byteOffset, RING * KEY_WORDS);
    this.#ring = Array.from({ length: RING }, (_, i) => ring.subarray(i * KEY_BYTES, (i + 1) * KEY_BYTES));
  }

  /** The key at a position; positions go round. */
  at(n: number): Buffer {
    const from = (n % this.count) * KEY_WORDS;
    const slot = this.#next;
    this.#next = (slot + 1) & (RING - 1);
    const words = this.#words;
    const ring = this.#ringWords;
    const to = slot * KEY_WORDS;
    ring[to] = words[from]!;
    ring[to + 1] = words[from + 1]!;
    ring[to + 2] = words[from + 2]!;
    ring[to + 3] = words[from + 3]!;
    return this.#ring[slot]!;
  }

  /** Which key stands at a position: its number in sorted order. */
  id(n: number): number {
    return this.#ids[n % this.count]!;
  }
}

function keyText(id: number, kind: KeyKind): string {
  if (kind !== 'absent') return `key-${String(id).padStart(DIGITS, '0')}`;
  const tens = String(Math.floor(id / 10)).padStart(DIGITS - 1, '0');
  return `key-${tens}${'abcdefghij'[id % 10]}`;
}

/** The values: each is a stream of hashes of its number, so every process makes the same ones and no codec makes them smaller. */
export function makeEngineValues(): Buffer[] {
  return Array.from({ length: VALUES }, (_, i) =>
    createHash('shake256', { outputLength: VALUE_BYTES }).update(`value ${i}`).digest(),
  );
}

export class Data {
  readonly keys: KeySet;
  readonly values: readonly Buffer[] = makeEngineValues();

  constructor(keys: KeySet) {
    this.keys = keys;
  }

  valueOf(n: number): Buffer {
    return this.values[this.keys.id(n) % VALUES]!;
  }

  /** The same keys in another order, or those between them. */
  withKeys(kind: KeyKind): Data {
    return new Data(new KeySet(this.keys.count, kind));
  }

  /** Checks what a read of the key at a position gave. @throws Error when it is not what was written. */
  check(n: number, answer: Uint8Array | undefined): void {
    if (answer === undefined) throw new Error(`key ${this.keys.id(n)} is not there`);
    const value = this.valueOf(n);
    if (answer.length !== value.length || answer[0] !== value[0] || answer[1] !== value[1])
      throw new Error(`key ${this.keys.id(n)} reads ${answer.length} B that were not written`);
  }
}
