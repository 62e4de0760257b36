/**
 * The section on a large set of keys (1 M unless told otherwise: 1 GB with 1 KiB values).
 *
 * Load in key order (a new store each round), reopen the last store, random gets, gets of absent keys, full scans, then random overwrites: all keys once without
 * counting, to come to a steady state with compaction, then all of them again. Time bounds each half, for Kvorum less tightly: its whole data shall be written twice.
 * Before the overwrites Kvorum's engine is measured without what lies above it (engine_level.ts).
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { VALUE_BYTES } from '../load.ts';
import { Data, KEY_BYTES, KeySet } from './data.ts';
import { EngineLevel } from './engine_level.ts';
import type { EngineStore, OpenPeer } from './peer.ts';
import type { Task } from './protocol.ts';
import { Cases, repeated, type Section } from './section.ts';
import { type Operation, timeStretch, toStretch } from './stretch.ts';

const ENTRY_BYTES = KEY_BYTES + VALUE_BYTES;
/** Loads of which the slower counts: each writes everything anew, and the disk is still busy with it afterwards. */
const MAX_LOADS = 2;
/** How long half of the overwrites may take, as a multiple of a round's seconds. */
const OVERWRITE_ROUNDS = { kvorum: 10, peer: 6 } as const;
/** A prime: another order than the one that the keys were read in. */
const STRIDE = 7_919;
/** Rows of the engine alone say something only when most reads find something. */
const MIN_FLUSHED_SHARE = 0.5;
const SPOT_CHECKS = 1_000;

export class LargeSection implements Section {
  readonly plan: readonly string[];
  readonly #open: OpenPeer;
  readonly #task: Task;
  readonly #data: Data;
  readonly #sorted: Data;
  readonly #absent: Data;
  readonly #cases: Cases;
  #loads = 0;
  /** Rounds of each case so far. */
  readonly #rounds = new Map<string, number>();
  #store: EngineStore | undefined;

  constructor(open: OpenPeer, task: Task) {
    this.plan = [
      ...repeated(Math.min(task.rounds, MAX_LOADS), ['load']),
      'reopen',
      ...repeated(task.rounds + 1, ['get']),
      ...repeated(task.rounds + 1, ['absent']),
      ...repeated(task.rounds, ['scan']),
      ...(task.peer === 'kvorum' ? ['engine'] : []),
      // A Map has no files to rewrite.
      ...(task.peer === 'js-map' ? [] : ['overwrite']),
    ];
    this.#open = open;
    this.#task = task;
    this.#data = new Data(new KeySet(task.keys, 'shuffled'));
    this.#sorted = this.#data.withKeys('sorted');
    this.#absent = this.#data.withKeys('absent');
    this.#cases = new Cases(task.peer);
  }

  async step(name: string): Promise<void> {
    const { seconds } = this.#task;
    if (name === 'load') await this.#load();
    else if (name === 'reopen') this.#store = await this.#openStore();
    else if (name === 'get')
      await this.#timed('embedded get 1m', this.#opened.get, seconds / 2, this.#opened.getNote);
    else if (name === 'absent')
      await this.#timed(
        'embedded get absent',
        this.#opened.getAbsent(this.#absent),
        seconds / 3,
        this.#opened.getNote,
      );
    else if (name === 'scan') await this.#scan();
    else if (name === 'engine') await this.#engine();
    else if (name === 'overwrite') await this.#overwrite();
  }

  get #opened(): EngineStore {
    if (this.#store === undefined) throw new Error('the store is not open');
    return this.#store;
  }

  get #directory(): string {
    return join(this.#task.directory, `store-${this.#loads}`);
  }

  #openStore(): Promise<EngineStore> {
    return this.#open(this.#directory, 'os', this.#data);
  }

  async #load(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
    this.#loads++;
    this.#store = await this.#openStore();
    const startedMs = performance.now();
    await this.#store.load(this.#sorted);
    const stretch = toStretch(this.#task.keys, startedMs, performance.now());
    await this.#cases.add('embedded load sorted', stretch, this.#store.loadNote, ENTRY_BYTES);
    await this.#closeStore();
  }

  /** The first round warms up: the program, and the page cache, with at most one pass over the keys. */
  async #timed(name: string, operation: Operation, seconds: number, note: string): Promise<void> {
    const round = this.#rounds.get(name) ?? 0;
    this.#rounds.set(name, round + 1);
    const { keys } = this.#task;
    if (round === 0) await timeStretch(operation, 0, { operations: keys, seconds: this.#task.seconds });
    else {
      const limit = { operations: Number.POSITIVE_INFINITY, seconds };
      const first = Math.floor((keys / (this.#task.rounds + 1)) * round);
      await this.#cases.add(name, await timeStretch(operation, first, limit), note);
    }
  }

  async #scan(): Promise<void> {
    const startedMs = performance.now();
    const { entries, bytes } = await this.#opened.scan();
    const stretch = toStretch(entries, startedMs, performance.now());
    if (entries !== this.#task.keys || bytes !== entries * ENTRY_BYTES)
      throw new Error(`a scan gave ${entries} entries, ${bytes} B, of ${this.#task.keys}`);
    await this.#cases.add('embedded scan', stretch, 'in key order, values copied', ENTRY_BYTES);
  }

  /** Kvorum's engine alone, on the files that the store left. */
  async #engine(): Promise<void> {
    await this.#closeStore();
    const level = await EngineLevel.open(this.#directory);
    try {
      const { rounds, seconds } = this.#task;
      for (let round = 0; round <= rounds; round++) {
        const first = Math.floor((this.#task.keys / (rounds + 1)) * round);
        const gets = await level.get(this.#data, first, seconds / 3);
        const absent = await level.get(this.#absent, first, seconds / 3);
        if (absent.found > 0) throw new Error('the engine found keys that are not there');
        if (round === 0) continue; // warm-up
        if (gets.found < gets.stretch.operations * MIN_FLUSHED_SHARE) {
          console.error('the engine alone is left out: too little of this data was flushed (--large-keys)');
          break;
        }
        const share = ((gets.found / gets.stretch.operations) * 100).toFixed(0);
        await this.#cases.add('engine get 1m', gets.stretch, `${level.note}; ${share} % were flushed`);
        await this.#cases.add('engine get absent', absent.stretch, level.note);
        const startedMs = performance.now();
        const { entries } = await level.scan();
        const stretch = toStretch(entries, startedMs, performance.now());
        await this.#cases.add('engine scan', stretch, level.note, ENTRY_BYTES);
      }
    } finally {
      await level.close();
    }
    this.#store = await this.#openStore();
  }

  async #overwrite(): Promise<void> {
    const store = this.#opened;
    const { keys, seconds } = this.#task;
    const rounds = this.#task.peer === 'kvorum' ? OVERWRITE_ROUNDS.kvorum : OVERWRITE_ROUNDS.peer;
    const limit = { operations: keys, seconds: seconds * rounds };
    const { operation, note } = store.puts[0]!;
    const elsewhere = { ...operation, run: (n: number) => operation.run((n * STRIDE) % keys) } as Operation;
    const settling = await timeStretch(operation, 0, limit);
    const stretch = await timeStretch(elsewhere, 0, limit);
    const share = ((settling.operations + stretch.operations) / keys).toFixed(1);
    await this.#cases.add('embedded overwrite', stretch, `${note}; ${share}x the data written`, ENTRY_BYTES);
    await timeStretch(store.get, 0, { operations: Math.min(SPOT_CHECKS, keys), seconds });
  }

  async #closeStore(): Promise<void> {
    const store = this.#store;
    this.#store = undefined;
    await store?.close();
  }

  results() {
    return this.#cases.results();
  }

  async close(): Promise<void> {
    this.#cases.close();
    await this.#closeStore();
    await rm(this.#task.directory, { recursive: true, force: true });
  }
}
