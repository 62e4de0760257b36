/**
 * The clients of a round: real stores made by `connect`, each in a loop of its own, doing what is drawn and recording what they are told.
 *
 *   r/N      registers: get, put, delete, compare-and-set, of several clients at once; a key is given up after MAX_OPERATIONS or MAX_UNKNOWN unknown outcomes
 *   g/N/abc  groups of three keys that are only ever written together, by transactions that compare and by batches
 *   a/C/N    written once, by one client: what was acknowledged must be there for ever
 *   t/N      keys with a time to live
 *   f/N      volume: larger values, so that logs are cut and tables are made
 */
import type { Store } from '../../src/client/store_types.ts';
import type { Level, OperationRecord, Step } from '../../src/sim/check/observations.ts';
import type { SeededRandom } from '../raft/random.ts';
import { type Beneath, RecordedStore } from './recorded_store.ts';
import type { Recorder } from './recorder.ts';

const REGISTERS = 5;
const MAX_OPERATIONS = 160;
const MAX_UNKNOWN = 6;
const TIMEOUT_MS = 1_500;
const GROUP_KEYS = ['a', 'b', 'c'] as const;
const LAST_LIMIT_MS = 30_000;
export const MAX_TTL_MS = 4_000;

type Answer = Omit<Parameters<Recorder['ok']>[1], 'revision'>;

interface Register {
  readonly key: string;
  operations: number;
  unknown: number;
  lastSeen: string | undefined;
}

/** What all clients of a round share. */
export class Workload {
  readonly recorder: Recorder;
  readonly names: readonly string[];
  readonly #random: SeededRandom;
  readonly #endpoints: () => readonly string[];
  readonly #registers: Register[] = [];
  readonly #stores: RecordedStore[] = [];
  readonly #successes: number[];
  readonly #seenRevisions: number[] = [];
  #registersMade = 0;
  #timed = 0;
  #groups = 0;
  #running = true;
  #done: Promise<unknown> = Promise.resolve();

  constructor(recorder: Recorder, clients: number, random: SeededRandom, endpoints: () => readonly string[]) {
    this.recorder = recorder;
    this.#random = random;
    this.#endpoints = endpoints;
    this.names = Array.from({ length: clients }, (_, i) => `client-${i + 1}`);
    this.#successes = this.names.map(() => 0);
  }

  async start(): Promise<void> {
    for (const name of this.names)
      this.#stores.push(await RecordedStore.connect(this.#endpoints(), name, TIMEOUT_MS));
    this.#done = Promise.all(this.names.map((_, client) => this.#loop(client)));
    this.#done.catch(() => undefined);
  }

  /** How many calls of each client have succeeded. */
  get successes(): readonly number[] {
    return this.#successes;
  }

  /** No new calls; resolves when all have ended. */
  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }

  /** Reads every register once more: what was acknowledged must show. */
  async readAll(): Promise<void> {
    for (let number = 1; number <= this.#registersMade; number++)
      await this.#get(0, `r/${number}`, 'linearizable', 0, LAST_LIMIT_MS);
  }

  async close(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#stores.map(({ store }) => store.close()));
  }

  async #loop(client: number): Promise<void> {
    let once = 0;
    while (this.#running) {
      const dice = this.#random.next();
      if (dice < 0.62) await this.#useRegister(client);
      else if (dice < 0.74) await this.#useGroup(client);
      else if (dice < 0.84) await this.#put(client, `a/${client + 1}/${++once}`, 60, 0);
      else if (dice < 0.9) await this.#useTimed(client);
      else if (dice < 0.96)
        await this.#put(client, `f/${this.#random.below(60)}`, 1_000 + this.#random.below(15_000), 0);
      else await this.#readBehind(client);
      await new Promise((resolve) => setTimeout(resolve, this.#random.next() * 8));
    }
  }

  async #useRegister(client: number): Promise<void> {
    const register = this.#register(this.#random.below(REGISTERS));
    register.operations++;
    const dice = this.#random.next();
    let operation: OperationRecord;
    if (dice < 0.4) operation = await this.#get(client, register.key, 'linearizable', 0);
    else if (dice < 0.65) operation = await this.#put(client, register.key, this.#size(), 0);
    else if (dice < 0.72) operation = await this.#delete(client, register.key);
    else operation = await this.#compareAndSet(client, register);
    const [result] = operation.results;
    const [step] = operation.steps;
    if (operation.outcome === 'ok' && result?.type === 'get') register.lastSeen = result.entry?.value;
    if (operation.outcome === 'ok' && step?.type === 'put' && operation.succeeded)
      register.lastSeen = step.value;
    if (operation.outcome === 'info' && operation.kind !== 'get') register.unknown++;
  }

  #register(slot: number): Register {
    const current = this.#registers[slot];
    if (current !== undefined && current.operations < MAX_OPERATIONS && current.unknown < MAX_UNKNOWN)
      return current;
    const register = { key: `r/${++this.#registersMade}`, operations: 0, unknown: 0, lastSeen: undefined };
    this.#registers[slot] = register;
    return register;
  }

  async #useTimed(client: number): Promise<void> {
    const random = this.#random;
    if (this.#timed === 0 || random.chance(0.5)) {
      await this.#put(client, `t/${++this.#timed}`, 40, 300 + random.below(MAX_TTL_MS - 300));
      return;
    }
    const key = `t/${Math.max(1, this.#timed - random.below(20))}`;
    if (random.chance(0.7)) await this.#get(client, key, 'linearizable', 0);
    else await this.#touch(client, key, 300 + random.below(MAX_TTL_MS - 300));
  }

  /** Reads that promise less, or of the past. */
  async #readBehind(client: number): Promise<void> {
    const random = this.#random;
    const key = random.chance(0.7) ? `r/${1 + random.below(this.#registersMade)}` : `f/${random.below(60)}`;
    const level: Level = random.pick(['sequential', 'eventual', 'linearizable']);
    const seen = this.#seen(client);
    const revision = random.chance(0.3) && seen > 0 ? Math.max(1, seen - random.below(200)) : 0;
    await this.#get(client, key, level, revision);
  }

  async #useGroup(client: number): Promise<void> {
    const random = this.#random;
    if (this.#groups === 0 || random.chance(0.02)) this.#groups++;
    const group = `g/${Math.max(1, this.#groups - random.below(2))}`;
    const keys = GROUP_KEYS.map((letter) => `${group}/${letter}`);
    const gets: Step[] = keys.map((key) => ({ type: 'get', key }));
    if (random.chance(0.4)) {
      await this.#transact(client, 'txn', [], gets, []);
      return;
    }
    const puts: Step[] = keys.map((key) => ({
      type: 'put',
      key,
      value: this.recorder.value(30).name,
      ttlMs: 0,
    }));
    if (random.chance(0.5)) {
      await this.#transact(client, 'batch', [], puts, []);
      return;
    }
    const version = random.below(40);
    await this.#transact(client, 'txn', [{ key: keys[0]!, version }], puts, gets);
  }

  #seen(client: number): number {
    return this.#seenRevisions[client] ?? 0;
  }

  #saw(client: number, revision: number): void {
    this.#seenRevisions[client] = Math.max(this.#seen(client), revision);
  }

  #size(): number {
    return this.#random.chance(0.9) ? 40 : 2_000;
  }

  async #get(
    client: number,
    key: string,
    level: Level,
    revision: number,
    timeoutMs = TIMEOUT_MS,
  ): Promise<OperationRecord> {
    const steps: Step[] = [{ type: 'get', key }];
    return this.#ask(
      client,
      { kind: 'get', steps, level, atRevision: revision, seenRevision: this.#seen(client) },
      async (store) => {
        const options = { level, timeoutMs, revision: revision === 0 ? undefined : revision };
        const found = await store.getEntry(key, options);
        const entry = found === undefined ? undefined : this.recorder.entry(found);
        return { results: [{ type: 'get', entry }] };
      },
    );
  }

  async #put(client: number, key: string, sizeBytes: number, ttlMs: number): Promise<OperationRecord> {
    const { name, text } = this.recorder.value(sizeBytes);
    const steps: Step[] = [{ type: 'put', key, value: name, ttlMs }];
    return this.#ask(client, { kind: 'put', steps }, async (store) => {
      await store.put(key, text, { ttlMs: ttlMs === 0 ? undefined : ttlMs });
      return { results: [{ type: 'put' }] };
    });
  }

  async #delete(client: number, key: string): Promise<OperationRecord> {
    return this.#ask(client, { kind: 'delete', steps: [{ type: 'delete', key }] }, async (store) => {
      const { deleted } = await store.delete(key);
      return { results: [{ type: 'delete', deleted: deleted ? 1 : 0 }] };
    });
  }

  async #touch(client: number, key: string, ttlMs: number): Promise<OperationRecord> {
    return this.#ask(client, { kind: 'touch', steps: [{ type: 'touch', key, ttlMs }] }, async (store) => {
      const found = await store.touch(key, { ttlMs });
      return { results: [{ type: 'touch', found }] };
    });
  }

  async #compareAndSet(client: number, { key, lastSeen }: Register): Promise<OperationRecord> {
    const { text, name } = this.recorder.value(this.#size());
    const compares = [lastSeen === undefined ? { key, exists: false } : { key, value: lastSeen }];
    const steps: Step[] = [{ type: 'put', key, value: name, ttlMs: 0 }];
    return this.#ask(client, { kind: 'txn', compares, steps }, async (store) => {
      const compare = lastSeen === undefined ? { key, exists: false } : { key, value: padded(lastSeen) };
      const { succeeded } = await store.txn({
        compare: [compare],
        then: [{ type: 'put', key, value: text }],
      });
      return { succeeded, results: succeeded ? [{ type: 'put' }] : [] };
    });
  }

  async #transact(
    client: number,
    kind: 'txn' | 'batch',
    compares: readonly { readonly key: string; readonly version: number }[],
    steps: readonly Step[],
    elseSteps: readonly Step[],
  ): Promise<OperationRecord> {
    return this.#ask(client, { kind, compares, steps, elseSteps }, async (store) => {
      const then = steps.flatMap(operationOf);
      if (kind === 'batch') {
        const puts = then.flatMap((operation) => (operation.type === 'put' ? [operation] : []));
        await store.batch(puts);
        return { results: puts.map(() => ({ type: 'put' as const })) };
      }
      const answer = await store.txn({ compare: compares, then, else: elseSteps.flatMap(operationOf) });
      const results = answer.results.map((result) => {
        if (result.type === 'range' || result.type === 'txn')
          throw new Error(`nobody asked for a ${result.type}`);
        if (result.type !== 'get') return result;
        const entry = result.entry === undefined ? undefined : this.recorder.entry(result.entry);
        return { type: 'get' as const, entry };
      });
      return { succeeded: answer.succeeded, results };
    });
  }

  async #ask(
    client: number,
    asked: Omit<Parameters<Recorder['begin']>[0], 'client'>,
    call: (store: Store) => Promise<Answer>,
  ): Promise<OperationRecord> {
    const operation = this.recorder.begin({ client: this.names[client]!, ...asked });
    let writeIds: Beneath['writeIds'] = [];
    try {
      const told = await this.#stores[client]!.call(async (store, beneath) => {
        writeIds = beneath.writeIds;
        const answer = await call(store);
        return { ...answer, revision: beneath.revision };
      });
      this.recorder.ok(operation, told);
      this.#saw(client, told.revision);
      this.#successes[client]!++;
    } catch (error) {
      this.recorder.failed(operation, error);
    }
    operation.writeIds.push(...writeIds);
    return operation;
  }
}

/** The whole of a value, from its name. */
function padded(name: string): string {
  return name.padEnd(Number(name.split('/')[1]), '.');
}

function operationOf(
  step: Step,
): ({ type: 'get'; key: string } | { type: 'put'; key: string; value: string })[] {
  if (step.type === 'get') return [{ type: 'get', key: step.key }];
  if (step.type === 'put') return [{ type: 'put', key: step.key, value: padded(step.value) }];
  return [];
}
