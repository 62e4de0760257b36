/** One reader thread of the stress test: reads in every way that there is until it is told to stop, and throws at the first thing that is not as it must be. */
import { KvError } from '../../src/errors.ts';
import type { Reader, ReaderSnapshot } from '../../src/threads/reader.ts';
import { checkValue, keyOf, newestOf, PAIRS, WORD } from './stress_schedule.ts';

export interface StressArgs {
  /** See WORD. */
  readonly words: SharedArrayBuffer;
  readonly firstRevision: number;
  readonly seed: number;
}

const READS_PER_TURN = 400;

class Checker {
  readonly #reader: Reader;
  readonly #words: Int32Array;
  readonly #first: number;
  readonly #seen = new Array<number>(PAIRS * 2).fill(0);
  #seenRevision = 0;
  #seed: number;

  constructor(reader: Reader, { words, firstRevision, seed }: StressArgs) {
    this.#reader = reader;
    this.#words = new Int32Array(words);
    this.#first = firstRevision;
    this.#seed = seed;
  }

  get stopped(): boolean {
    return Atomics.load(this.#words, WORD.STOP) !== 0;
  }

  turn(): void {
    for (let i = 0; i < READS_PER_TURN && !this.stopped; i++) {
      const dice = this.#below(100);
      if (dice < 80) this.#get(this.#below(2) === 0 ? 0 : this.#below(PAIRS));
      else if (dice < 98) this.#pairs();
      else this.#scan();
    }
  }

  #get(pair: number): void {
    const half = this.#below(2) === 0 ? 0 : 1;
    const acknowledged = Atomics.load(this.#words, WORD.ACKNOWLEDGED);
    const entry = this.#reader.getEntry(keyOf(pair, half));
    const begun = Atomics.load(this.#words, WORD.BEGUN);
    Atomics.add(this.#words, WORD.GETS, 1);
    const least = Math.max(newestOf(pair, acknowledged, this.#first), this.#seen[pair * 2 + half]!);
    if (entry === undefined) {
      if (least > 0) throw new Error(`${keyOf(pair, half)} is missing, ${least} was acknowledged`);
      return;
    }
    const named = checkValue(entry.value, pair, half);
    if (named !== entry.modRevision)
      throw new Error(`the value of ${named} under revision ${entry.modRevision}`);
    if (named < least)
      throw new Error(`${keyOf(pair, half)} shows ${named}, ${least} was acknowledged or seen`);
    if (named > begun) throw new Error(`${keyOf(pair, half)} shows ${named}, only ${begun} had begun`);
    this.#seen[pair * 2 + half] = named;
  }

  #snapshot(): ReaderSnapshot {
    const acknowledged = Atomics.load(this.#words, WORD.ACKNOWLEDGED);
    const snapshot = this.#reader.snapshot();
    if (snapshot.revision < acknowledged)
      throw new Error(`a snapshot at ${snapshot.revision}, ${acknowledged} was acknowledged`);
    if (snapshot.revision < this.#seenRevision) throw new Error('revisions went back');
    this.#seenRevision = snapshot.revision;
    return snapshot;
  }

  /** Both halves of some pairs, at one revision: exactly the transactions up to it. */
  #pairs(): void {
    const snapshot = this.#snapshot();
    Atomics.add(this.#words, WORD.SNAPSHOTS, 1);
    try {
      for (let i = 0; i < 3; i++) {
        const pair = this.#below(PAIRS);
        const wanted = newestOf(pair, snapshot.revision, this.#first);
        for (const half of [0, 1] as const) {
          const value = snapshot.get(keyOf(pair, half));
          const named = value === undefined ? 0 : checkValue(value, pair, half);
          if (named !== wanted)
            throw new Error(
              `at ${snapshot.revision} ${keyOf(pair, half)} shows ${named} instead of ${wanted}`,
            );
        }
      }
    } catch (error) {
      this.#compacted(error, snapshot);
    }
  }

  #scan(): void {
    const snapshot = this.#snapshot();
    Atomics.add(this.#words, WORD.SCANS, 1);
    const from = this.#below(PAIRS);
    const reverse = this.#below(2) === 0;
    const limit = 1 + this.#below(30);
    const wanted: string[] = [];
    for (let pair = 0; pair < PAIRS; pair++) {
      if (pair < from || newestOf(pair, snapshot.revision, this.#first) === 0) continue;
      wanted.push(keyOf(pair, 0), keyOf(pair, 1));
    }
    if (reverse) wanted.reverse();
    const keys: string[] = [];
    try {
      for (const { key, value, modRevision } of snapshot.scan({ start: keyOf(from, 0), reverse, limit })) {
        const name = Buffer.from(key).toString();
        keys.push(name);
        const pair = Number(name.slice(5, 8));
        const named = checkValue(value, pair, name.endsWith('1') ? 1 : 0);
        if (named !== modRevision || named !== newestOf(pair, snapshot.revision, this.#first))
          throw new Error(`a scan at ${snapshot.revision} shows ${name} of ${named}`);
      }
      const expected = wanted.slice(0, limit).join();
      if (keys.join() !== expected)
        throw new Error(`a scan at ${snapshot.revision} gave ${keys}, not ${expected}`);
    } catch (error) {
      this.#compacted(error, snapshot);
    }
  }

  /** Fine where the revision really is too old by now. */
  #compacted(error: unknown, snapshot: ReaderSnapshot): void {
    if (!(error instanceof KvError && error.code === 'COMPACTED')) throw error;
    if (Number(error.details['compactRevision']) <= snapshot.revision) throw error;
    Atomics.add(this.#words, WORD.COMPACTED, 1);
  }

  #below(limit: number): number {
    this.#seed = (Math.imul(this.#seed, 1103515245) + 12345) >>> 0;
    return (this.#seed >>> 8) % limit;
  }
}

export default async function read(reader: Reader, args: StressArgs): Promise<void> {
  const checker = new Checker(reader, args);
  for (let turn = 0; !checker.stopped; turn++) {
    checker.turn();
    // Messages are taken without the event loop as well: it gets a chance only now and then.
    if (turn % 4 === 3) await new Promise((resolve) => setImmediate(resolve));
  }
}
