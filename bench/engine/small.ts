/**
 * The sections on a small set of keys (100 k unless told otherwise).
 *
 * `small`: new keys put one at a time, gets, batches of ten; every round in a new store. `fsync`: many callers, acknowledged once the disk has it.
 * The first round warms the program up, finds the peer's fastest way of putting, and does not count.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { loadCount } from '../load.ts';
import { Data, KeySet } from './data.ts';
import type { EngineStore, OpenPeer, PutMode } from './peer.ts';
import type { Task } from './protocol.ts';
import { Cases, repeated, type Section } from './section.ts';
import { multiplied, timeStretch, toStretch } from './stretch.ts';

const BATCH = 10;
const MANY_CALLERS = 256;
/** No peer warms up for longer. */
const WARM_UP_SECONDS = 1.5;

/** The stores of one process, each in a directory of its own that goes with it. */
class Stores {
  readonly #open: OpenPeer;
  readonly #task: Task;
  readonly #data: Data;
  readonly #opened = new Map<EngineStore, string>();
  #count = 0;

  constructor(open: OpenPeer, task: Task, data: Data) {
    this.#open = open;
    this.#task = task;
    this.#data = data;
  }

  async open(durability: 'os' | 'fsync'): Promise<EngineStore> {
    const directory = join(this.#task.directory, `store-${this.#count++}`);
    const store = await this.#open(directory, durability, this.#data);
    this.#opened.set(store, directory);
    return store;
  }

  async drop(store: EngineStore): Promise<void> {
    await store.close();
    await rm(this.#opened.get(store)!, { recursive: true, force: true });
    this.#opened.delete(store);
  }

  async dropAll(): Promise<void> {
    for (const store of [...this.#opened.keys()]) await this.drop(store);
  }
}

export class SmallSection implements Section {
  readonly plan: readonly string[];
  readonly #task: Task;
  readonly #data: Data;
  readonly #stores: Stores;
  readonly #cases: Cases;
  #round = 0;
  #mode = 0;
  #store: EngineStore | undefined;
  /** Keys that the store of this round holds: positions 0 to this. */
  #filled = 0;

  constructor(open: OpenPeer, task: Task) {
    this.plan = repeated(task.rounds + 1, ['put', 'get', 'batch']);
    this.#task = task;
    this.#data = new Data(new KeySet(task.keys, 'shuffled'));
    this.#stores = new Stores(open, task, this.#data);
    this.#cases = new Cases(task.peer);
  }

  async step(name: string): Promise<void> {
    if (name === 'put') await this.#put();
    else if (name === 'get') await this.#get();
    else await this.#batch();
  }

  async #put(): Promise<void> {
    this.#store = await this.#stores.open('os');
    if (this.#round === 0) {
      [this.#mode, this.#filled] = await this.#fastest(this.#store.puts);
      return;
    }
    const { operation, note } = this.#store.puts[this.#mode]!;
    const { keys } = this.#task;
    const stretch = await timeStretch(operation, 0, {
      operations: keys,
      seconds: Number.POSITIVE_INFINITY,
    });
    this.#filled = keys;
    await this.#cases.add('embedded put os', stretch, note);
  }

  /** Tries every way of putting, one behind the other on different keys: the index of the fastest, and how many keys were put. */
  async #fastest(modes: readonly PutMode[]): Promise<[number, number]> {
    const operations = Math.floor(this.#task.keys / modes.length);
    const rates: number[] = [];
    let filled = 0;
    for (const { operation } of modes) {
      const limit = { operations, seconds: WARM_UP_SECONDS / modes.length };
      const stretch = await timeStretch(operation, filled, limit);
      rates.push(stretch.opsPerSecond);
      filled += stretch.operations;
    }
    return [rates.indexOf(Math.max(...rates)), filled];
  }

  async #get(): Promise<void> {
    const store = this.#store!;
    const warm = this.#round === 0;
    const stretch = await timeStretch(store.get, 0, {
      operations: warm ? this.#filled : Number.POSITIVE_INFINITY,
      seconds: warm ? WARM_UP_SECONDS : this.#task.seconds / 3,
    });
    if (!warm) await this.#cases.add('embedded get 100k', stretch, store.getNote);
    await this.#stores.drop(store);
  }

  async #batch(): Promise<void> {
    const store = await this.#stores.open('os');
    const warm = this.#round === 0;
    const stretch = await timeStretch(store.batch(BATCH), 0, {
      operations: Math.floor(this.#task.keys / BATCH),
      seconds: warm ? WARM_UP_SECONDS : Number.POSITIVE_INFINITY,
    });
    const note = `${store.batchNote}; latency of a whole batch`;
    if (!warm) await this.#cases.add('embedded batch10', multiplied(stretch, BATCH), note);
    await this.#stores.drop(store);
    this.#round++;
  }

  results() {
    return this.#cases.results();
  }

  async close(): Promise<void> {
    this.#cases.close();
    await this.#stores.dropAll();
  }
}

export class FsyncSection implements Section {
  readonly plan: readonly string[];
  readonly #task: Task;
  readonly #stores: Stores;
  readonly #cases: Cases;
  #round = 0;

  constructor(open: OpenPeer, task: Task) {
    this.plan = repeated(task.rounds + 1, ['put']);
    this.#task = task;
    this.#stores = new Stores(open, task, new Data(new KeySet(task.keys, 'shuffled')));
    this.#cases = new Cases(task.peer);
  }

  async step(): Promise<void> {
    const store = await this.#stores.open('fsync');
    const warm = this.#round++ === 0;
    const count = warm ? Math.ceil(this.#task.keys / 4) : this.#task.keys;
    const { operation, note } = store.puts[0]!;
    const startedMs = performance.now();
    const { latency } = await loadCount(MANY_CALLERS, count, async (n) => operation.run(n));
    const stretch = toStretch(count, startedMs, performance.now(), latency);
    if (!warm) await this.#cases.add(`embedded put fsync ${MANY_CALLERS}`, stretch, note);
    await this.#stores.drop(store);
  }

  results() {
    return this.#cases.results();
  }

  async close(): Promise<void> {
    this.#cases.close();
    await this.#stores.dropAll();
  }
}
