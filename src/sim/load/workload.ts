/**
 * What clients do to a simulated cluster while it is being broken: several of them, each one call at a time, in bursts and pauses, with watches that come and
 * go, some of them slow; clients die and others take their place. All from the seed.
 *
 * Two observers watch every key from the first revision on: with what they are told the history of a run is complete, and every other account can be held against it.
 *
 * Invariants: at most `ops` calls; everything is written down (recorder.ts); `pause`, `settle` and `judge` may be called in this order only, once each.
 */
import type { Channel } from '../../client/channel.ts';
import type { Store } from '../../client/store_types.ts';
import type { StoreUpkeep } from '../../client/upkeep_types.ts';
import { KvError } from '../../errors.ts';
import type { Ports } from '../../ports.ts';
import { lastCovered } from '../check/event_history.ts';
import type { WatcherRecord } from '../check/observations.ts';
import type { SeededRandom } from '../core/seeded_random.ts';
import { type CallSource, Choices, SharedKeys } from './choices.ts';
import { Contention } from './contention.ts';
import type { DirectCalls } from './direct_calls.ts';
import { Lulls } from './lulls.ts';
import { type LoadPart, ModelChoices, SharedModel } from './model_choices.ts';
import { type ClientRecorder, Recorder } from './recorder.ts';
import { type Login, RightsLoad, ROOT_LOGIN, type SlotKind } from './rights_load.ts';
import { UpkeepLoad } from './upkeep_load.ts';

/** A client of a world, as the workload needs it. */
export interface WorkloadClient {
  readonly store: Store;
  readonly direct: DirectCalls;
  readonly ports: Ports;
  close(): Promise<void>;
  /** Its process ends without a word. */
  crash(): void;
}

export interface WorkloadOptions {
  /** Calls in all. */
  readonly ops: number;
  /** The virtual time over which they are spread, more or less. */
  readonly spreadMs: number;
  /** Quiet stretches beside that, in all. Default: none. */
  readonly lullMs?: number | undefined;
  readonly random: SeededRandom;
  /** The world's time. */
  readonly nowMs: () => number;
  /** Lets virtual time pass. */
  readonly sleep: (delayMs: number) => Promise<void>;
  /** Makes a client whose channel is overheard, if somebody wants to listen. `login`: who it is, where rights are enforced. */
  readonly connect: (
    name: string,
    listen: ((channel: Channel) => Channel) | undefined,
    login: Login | undefined,
  ) => WorkloadClient;
  /** What looks after the store: asked for where the part `quotas` is used. */
  readonly upkeep?: (() => StoreUpkeep) | undefined;
  readonly limits: { readonly maxValueBytes: number; readonly maxKeyBytes: number };
  /** At once. Default: 8 to 16, drawn. */
  readonly clients?: number | undefined;
  /** What of the data model some clients use beside the plain calls. Default: nothing. */
  readonly parts?: ReadonlySet<LoadPart> | undefined;
}

/** Watches of one client at a time. */
const MAX_WATCHES = 2;
/** Calls before which a watch is begun. */
const WATCH_SHARE = 0.04;
/** Pauses of slow watchers: for a moment, and for so long that compaction may go past what they need next. */
const SLOW_MS: readonly [number, number] = [50, 1_500];
const STUCK_MS: readonly [number, number] = [1_500, 6_000];
const OBSERVERS = 2;
/** A watch tells how far it is at least this often (5 s) while its node is well. */
const PROGRESS_MS = 30_000;
const PROBE_TIMEOUT_MS = 5_000;
/** Clients of the other parts of the model, and those with few rights, at once. */
const MODEL_SLOTS: readonly [number, number] = [3, 5];
const RIGHTS_SLOTS: readonly [number, number] = [3, 5];
const LOCKS_SLOTS: readonly [number, number] = [3, 5];
/** Of the usual pause between two calls. */
const HASTE = 0.1;
const HASTE_IN_LINE = 0.3;

interface Client {
  readonly name: string;
  readonly recorder: ClientRecorder;
  readonly real: WorkloadClient;
  readonly choices: CallSource;
  readonly hasty: boolean;
  watches: number;
  gone: boolean;
}

export class Workload {
  readonly recorder: Recorder;
  /** Resolves when all calls are done (or were given up with their clients). */
  readonly done: Promise<void>;
  readonly #options: WorkloadOptions;
  readonly #random: SeededRandom;
  readonly #keys = new SharedKeys();
  readonly #model = new SharedModel();
  readonly #rights: RightsLoad | undefined;
  readonly #contention: Contention | undefined;
  readonly #kinds: readonly SlotKind[];
  readonly #lulls: Lulls;
  readonly #stopWatches: AbortController[] = [];
  #left: number;
  #names = 0;
  #running = 0;
  #finish: () => void = () => undefined;
  #stopped = false;
  #prober: { readonly recorder: ClientRecorder; readonly values: Choices } | undefined;

  constructor(options: WorkloadOptions) {
    this.#options = options;
    this.#random = options.random;
    this.#left = options.ops;
    const plain = options.clients ?? this.#random.int(8, 16);
    this.#kinds = slotKinds(plain, this.#parts, this.#random.fork('slots'));
    if (this.#parts.has('rights'))
      this.#rights = new RightsLoad(this.#random.fork('rights'), options.nowMs, options.sleep);
    this.#lulls = new Lulls(options.lullMs ?? 0, options.ops, this.#random.fork('lulls'));
    this.recorder = new Recorder(options.nowMs);
    this.recorder.rights = this.#rights?.record;
    if (this.#parts.has('locks')) this.#contention = new Contention(options.nowMs);
    this.recorder.contention = this.#contention?.record;
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  /** Begins: users and their rights, where they are enforced, then observers, then the clients, each in its own time. */
  start(): void {
    this.#running = this.#kinds.length;
    if (this.#rights === undefined) this.#begin();
    else void this.#enforce(this.#rights).then(() => this.#begin());
  }

  #begin(): void {
    for (let at = 1; at <= OBSERVERS; at++) {
      const client = this.#client(`observer-${at}`, 'plain');
      void this.#observe(client);
    }
    if (this.#parts.has('quotas')) void this.#lookAfter();
    this.#kinds.forEach((kind, at) => {
      void this.#runSlot(kind, this.#random.fork(`slot ${at}`));
    });
  }

  /** Quotas and alarms, while clients work; afterwards no alarm may keep anybody from anything. */
  async #lookAfter(): Promise<void> {
    const { nowMs, sleep, upkeep } = this.#options;
    if (upkeep === undefined) throw new Error('nobody looks after this store');
    const load = new UpkeepLoad(this.#random.fork('upkeep'), nowMs, sleep, upkeep());
    this.recorder.upkeep = load.record;
    await load.run(() => this.#running > 0);
    await load.tidy(() => !this.#stopped);
  }

  async #enforce(rights: RightsLoad): Promise<void> {
    const first = this.#options.connect('first', undefined, undefined);
    await rights.setUp(first.store);
    first.crash();
    const root = this.#options.connect('root', undefined, ROOT_LOGIN);
    void rights.change(root.store, () => this.#running > 0);
  }

  /** Calls that wait for an answer, in words. */
  pending(): string[] {
    return this.recorder
      .pending()
      .map(
        ({ id, client, kind, steps }) =>
          `${kind} ${id} of ${client} (${JSON.stringify(steps[0]).slice(0, 80)})`,
      );
  }

  /** A write and a linearizable read of it by a client of its own. @throws KvError when either fails */
  async probe(): Promise<void> {
    const { recorder, values } = this.#theProber();
    const put = await recorder.perform({
      kind: 'put',
      steps: [values.value('z/probe')],
      timeoutMs: PROBE_TIMEOUT_MS,
    });
    if (put.outcome !== 'ok') throw probeFailed('write', put.errorCode);
    const get = await recorder.perform({
      kind: 'get',
      steps: [{ type: 'get', key: 'z/probe' }],
      timeoutMs: PROBE_TIMEOUT_MS,
    });
    if (get.outcome !== 'ok') throw probeFailed('read', get.errorCode);
  }

  /**
   * After all is healed and `done`: waits until every watch that is open was told of everything, and reads everything once more. Gives the revision up to which open watches
   * must have been told.
   */
  async settle(): Promise<number> {
    this.#stopped = true;
    const { nowMs, sleep } = this.#options;
    const { recorder } = this.#theProber();
    for (let tries = 0; tries < 20; tries++) {
      try {
        await this.probe();
        break;
      } catch (error) {
        if (!(error instanceof KvError)) throw error;
        await sleep(250);
      }
    }
    const mustReach = this.recorder.newestRevision;
    const deadlineMs = nowMs() + PROGRESS_MS;
    const open = (): WatcherRecord[] => this.recorder.watchers.filter(({ ended }) => ended === undefined);
    while (nowMs() < deadlineMs && open().some((watcher) => !hasReached(watcher, mustReach))) await sleep(50);
    const everything = { type: 'scan', start: '', end: '~', limit: 0, reverse: false } as const;
    await recorder.perform({ kind: 'scan', steps: [everything], timeoutMs: PROBE_TIMEOUT_MS });
    for (const controller of this.#stopWatches) controller.abort();
    return mustReach;
  }

  get #parts(): ReadonlySet<LoadPart> {
    return this.#options.parts ?? NO_PARTS;
  }

  #theProber(): { readonly recorder: ClientRecorder; readonly values: Choices } {
    if (this.#prober === undefined) {
      const { recorder } = this.#client('prober', 'plain');
      this.#prober = { recorder, values: this.#plainChoices('prober') };
    }
    return this.#prober;
  }

  #client(name: string, kind: SlotKind): Client {
    const recorder = this.recorder.client(name);
    const rights = this.#rights;
    const login = rights?.login(kind);
    const real = this.#options.connect(name, (channel) => recorder.listen(channel), login);
    recorder.use(real.store, real.direct);
    const choices =
      kind === 'plain'
        ? this.#plainChoices(name)
        : kind === 'rights' && rights !== undefined && login !== undefined
          ? rights.choices(name, login.user, this.#random.fork(name))
          : new ModelChoices(name, this.#random.fork(name), this.#model, this.#parts);
    return { name, recorder, real, choices, hasty: kind === 'rights', watches: 0, gone: false };
  }

  #plainChoices(name: string): Choices {
    return new Choices(name, this.#random.fork(name), this.#keys, this.#options.limits);
  }

  /** One client after another in the same place, until the calls are used up. */
  async #runSlot(kind: SlotKind, random: SeededRandom): Promise<void> {
    const { sleep, spreadMs } = this.#options;
    await sleep(random.int(1, Math.max(1, Math.floor(spreadMs / 50))));
    while (this.#left > 0) {
      if (kind === 'locks') {
        await this.#contend(`c${++this.#names}`, random);
        continue;
      }
      const client = this.#client(`c${++this.#names}`, kind);
      const calls = random.chance(0.3) ? random.int(10, 60) : Number.POSITIVE_INFINITY;
      const dies = await this.#runClient(client, calls, random);
      if (!dies) client.recorder.gone();
      if (!dies)
        await client.real
          .close()
          .catch((error: unknown) => this.recorder.strangeErrors.push({ operation: 'close', error }));
    }
    this.#running--;
    if (this.#running === 0) this.#finish();
  }

  /** True when the client died: then its last call never settles. */
  async #runClient(client: Client, calls: number, random: SeededRandom): Promise<boolean> {
    const { sleep, spreadMs, ops, nowMs } = this.#options;
    // Who has few rights is in a hurry: what goes wrong when they change goes wrong within moments.
    const haste = client.hasty ? HASTE : 1;
    const meanMs = (haste * spreadMs * this.#kinds.length) / Math.max(1, ops);
    let burst = 0;
    for (let done = 0; done < calls && this.#left > 0; done++) {
      this.#left--;
      this.#lulls.call(nowMs());
      if (client.watches < MAX_WATCHES && random.chance(WATCH_SHARE)) void this.#watch(client, random);
      const call = client.choices.next(client.recorder.seenRevision);
      client.choices.begins(call);
      const performed = client.recorder.perform(call);
      if (done + 1 >= calls && random.chance(0.5)) {
        // In the middle of its last call, more or less.
        await sleep(random.int(1, 30));
        client.gone = true;
        client.recorder.gone();
        client.real.crash();
        return true;
      }
      client.choices.settled(await performed);
      const quietMs = this.#lulls.quietMs(nowMs(), random);
      if (quietMs > 0) {
        burst = 0;
        await sleep(quietMs);
      }
      if (burst > 0) {
        burst--;
        continue;
      }
      if (random.chance(0.05)) burst = random.int(5, 40);
      await sleep(random.chance(0.05) ? meanMs * random.int(5, 20) : meanMs * 1.2 * random.next());
    }
    return false;
  }

  /** The life of a contender, which may end in the middle of whatever it does. */
  async #contend(name: string, random: SeededRandom): Promise<void> {
    const { sleep, spreadMs, ops } = this.#options;
    const contention = this.#contention;
    if (contention === undefined) throw new Error('nobody contends in this workload');
    const client = this.#client(name, 'locks');
    const line = this.#options.connect(`${name}-line`, undefined, this.#rights?.login('locks'));
    const meanMs = (HASTE_IN_LINE * spreadMs * this.#kinds.length) / Math.max(1, ops);
    const contender = {
      name,
      store: line.store,
      recorder: client.recorder,
      random,
      gone: () => client.gone,
      takes: () => this.#left > 0 && this.#left-- > 0,
      pause: (mean: number) => sleep(2 * mean * meanMs * random.next()),
      sleep,
    };
    const diesAfterMs = random.chance(0.4) ? random.int(50, spreadMs) : undefined;
    const calls = random.chance(0.5) ? random.int(3, 15) : Number.POSITIVE_INFINITY;
    const strange = (operation: string) => (error: unknown) =>
      void this.recorder.strangeErrors.push({ operation, error });
    const lives = contention.live(contender, calls).catch(strange('contending'));
    const dies = diesAfterMs === undefined ? new Promise<void>(() => undefined) : sleep(diesAfterMs);
    const dead = await Promise.race([lives.then(() => false), dies.then(() => true)]);
    client.gone = true;
    contention.died(name);
    client.recorder.gone();
    if (dead) {
      client.real.crash();
      line.crash();
      return;
    }
    for (const real of [client.real, line]) await real.close().catch(strange('close'));
  }

  async #watch(client: Client, random: SeededRandom): Promise<void> {
    const { sleep, spreadMs } = this.#options;
    client.watches++;
    const { fromRevision, ...wish } = client.choices.watch(client.recorder.seenRevision);
    const controller = new AbortController();
    this.#stopWatches.push(controller);
    const pauseMs = random.chance(0.4) ? random.int(...STUCK_MS) : random.int(...SLOW_MS);
    // In the end everybody is to be told in time.
    const pause = async (): Promise<void> => {
      if (!this.#stopped) await sleep(pauseMs * random.next());
    };
    const slow = random.chance(0.3) ? pause : undefined;
    if (random.chance(0.6)) {
      const forMs = random.int(100, Math.max(200, spreadMs / 2));
      void sleep(forMs).then(() => controller.abort());
    }
    await client.recorder.watch(wish, fromRevision, controller.signal, slow);
    client.watches--;
  }

  /** Watches everything; after COMPACTED, from the first revision that is still there. */
  async #observe(client: Client): Promise<void> {
    const controller = new AbortController();
    this.#stopWatches.push(controller);
    let fromRevision = 2;
    while (!this.#stopped || !controller.signal.aborted) {
      const record = await client.recorder.watch(
        { start: '', end: undefined },
        fromRevision,
        controller.signal,
      );
      if (record.ended?.how !== 'error') return;
      fromRevision = Math.max(fromRevision - 1, record.ended.compactRevision, lastCovered(record)) + 1;
      await this.#options.sleep(100);
    }
  }
}

/** Parts whose clients do nothing else. */
const OWN_SLOTS: ReadonlySet<LoadPart> = new Set(['rights', 'locks', 'quotas']);
const NO_PARTS: ReadonlySet<LoadPart> = new Set();

function slotKinds(plain: number, parts: ReadonlySet<LoadPart>, random: SeededRandom): SlotKind[] {
  const kinds = new Array<SlotKind>(plain).fill('plain');
  const hasModel = [...parts].some((part) => !OWN_SLOTS.has(part));
  if (hasModel) kinds.push(...new Array<SlotKind>(random.int(...MODEL_SLOTS)).fill('model'));
  if (parts.has('rights')) kinds.push(...new Array<SlotKind>(random.int(...RIGHTS_SLOTS)).fill('rights'));
  if (parts.has('locks')) kinds.push(...new Array<SlotKind>(random.int(...LOCKS_SLOTS)).fill('locks'));
  return kinds;
}

/** As the Store would say it: such a failure may pass. */
function probeFailed(what: string, code: string | undefined): KvError {
  return new KvError('UNAVAILABLE', `the ${what} failed with ${code}`);
}

function hasReached(watcher: WatcherRecord, revision: number): boolean {
  return watcher.fromRevision > revision || (watcher.batches.at(-1)?.revision ?? 0) >= revision;
}
