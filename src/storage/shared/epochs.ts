/**
 * Epochs: when memory that other threads may still look at can be used again (Fraser 2004, "Practical lock-freedom", section 5.2.3). One writer thread, a fixed number of
 * reader threads, nobody waits.
 *
 *     words   0 the global epoch   1-15 not used here   16 x (1 + reader) that reader's epoch, 0 while it reads nothing   (64 bytes each: no two threads write to one cache line)
 *
 * A reader stores the global epoch into its word, then loads pointers to shared things, follows them, and stores 0. The writer first makes a thing unreachable
 * (an atomic store that readers load atomically), then takes a stamp: the present epoch, which ends with it. The thing may be used again when every reader's word
 * is 0 or beyond the stamp: a reader that was seen idle loads its pointers later than it was seen, so it finds the thing unreachable.
 *
 * Invariants: all of this holds only in the one total order of sequentially consistent atomics, so every load and store here and every pointer that is published is one
 * (Atomics in JavaScript, `atomic` in WebAssembly); only the writer changes word 0; a reader's word is its own until its thread has ended.
 */
import { KvError } from '../../errors.ts';

const WORDS_PER_LINE = 16;
const IDLE = 0;

/** Words (32 bits each) that the epochs of so many readers take. */
export function epochWords(readers: number): number {
  return WORDS_PER_LINE * (1 + readers);
}

function readerWord(reader: number): number {
  return WORDS_PER_LINE * (1 + reader);
}

interface Retired {
  readonly stamp: number;
  readonly free: () => void;
}

/** The writer's side. */
export class Epochs {
  readonly #words: Int32Array;
  /** Readers from this number on have never been there. */
  #readers: number;
  /** In the order of their stamps. */
  #retired: Retired[] = [];

  /** `words`: epochWords(readers) zeroed words of shared memory. `expected`: none from this number on reads before `expect` was called for it. */
  constructor(words: Int32Array, readers: number, expected = readers) {
    if (words.length < epochWords(readers)) {
      throw new KvError('INTERNAL', `${words.length} words for the epochs of ${readers} readers`);
    }
    this.#words = words;
    this.#readers = expected;
    Atomics.store(words, 0, 1);
  }

  /** Call it before a reader's thread begins: the fewer there are, the less is looked at. */
  expect(reader: number): void {
    this.#readers = Math.max(this.#readers, reader + 1);
  }

  /** Whether a reader is inside. False: what was made unreachable before this call may be used again, without a stamp. */
  anyInside(): boolean {
    for (let reader = 0; reader < this.#readers; reader++)
      if (Atomics.load(this.#words, readerWord(reader)) !== IDLE) return true;
    return false;
  }

  /** Things that wait for readers to leave. */
  get waiting(): number {
    return this.#retired.length;
  }

  /**
   * Ends the present epoch and gives its stamp. Call it after something was made unreachable; one stamp may stand for many things.
   * Their memory may be used again when `isOver(stamp)`.
   */
  stamp(): number {
    const stamp = Atomics.load(this.#words, 0);
    // 0 stands for an idle reader, and comes up once in four thousand million stamps.
    const next = (stamp + 1) | 0;
    Atomics.store(this.#words, 0, next === IDLE ? 1 : next);
    return stamp;
  }

  /** True when no reader can see any more what was unreachable at the stamp. Stays true. REQUIRES: a stamp of the last 2^31. */
  isOver(stamp: number): boolean {
    for (let reader = 0; reader < this.#readers; reader++) {
      const epoch = Atomics.load(this.#words, readerWord(reader));
      // The difference, not the order: epochs go round.
      if (epoch !== IDLE && ((epoch - stamp) | 0) <= 0) return false;
    }
    return true;
  }

  /** Has `free` called when nobody can see any more what was made unreachable before this call: at once, or in a later `retire` or `collect`. */
  retire(free: () => void): void {
    this.#retired.push({ stamp: this.stamp(), free });
    this.collect();
  }

  /** Frees what may be freed now. Gives how many things still wait. */
  collect(): number {
    const retired = this.#retired;
    if (retired.length === 0) return 0;
    let over = 0;
    while (over < retired.length && this.isOver(retired[over]!.stamp)) over++;
    if (over === 0) return retired.length;
    this.#retired = retired.slice(over);
    for (let i = 0; i < over; i++) retired[i]!.free();
    return this.#retired.length;
  }

  /** Takes a reader for idle. REQUIRES: its thread has ended, or it stands for no thread. */
  forget(reader: number): void {
    Atomics.store(this.#words, readerWord(reader), IDLE);
    this.collect();
  }
}

/** One reader's side, in its own thread. */
export class EpochReader {
  readonly #words: Int32Array;
  readonly #word: number;

  constructor(words: Int32Array, reader: number) {
    this.#words = words;
    this.#word = readerWord(reader);
  }

  get inside(): boolean {
    return Atomics.load(this.#words, this.#word) !== IDLE;
  }

  /** Pointers to shared things may be loaded from here on. Not nested: the outermost reading enters and leaves. */
  enter(): void {
    Atomics.store(this.#words, this.#word, Atomics.load(this.#words, 0));
  }

  /** No pointer that was loaded since `enter` is used from here on. */
  leave(): void {
    Atomics.store(this.#words, this.#word, IDLE);
  }
}
