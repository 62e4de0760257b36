/**
 * Clients that contend for locks and offices with the recipes of the real client (`store.lock`, `store.election`), write under their fencing tokens, and lose them: what
 * check/contention_check.ts judges.
 *
 * Key rooms: LINES (c/) for the places in line, which only the recipes write; g/ for what the tokens guard, one key for each line.
 *
 * Invariants: everybody waits with a time limit; whoever has died does nothing any more; whatever is written to g/ is compared with its token's place.
 */
import type { Held } from '../../client/lock_types.ts';
import type { Store } from '../../client/store_types.ts';
import { KvError } from '../../errors.ts';
import type {
  ContentionRecord,
  HoldSeen,
  LeaderLook,
  LeaderSeen,
  LeadersSeen,
} from '../check/contention_check.ts';
import { LINES } from '../check/observations.ts';
import type { TxnAsked } from '../check/reference_txn.ts';
import type { SeededRandom } from '../core/seeded_random.ts';
import { attempt } from './changes.ts';
import { writesOf } from './direct_calls.ts';
import type { ClientRecorder } from './recorder.ts';
import { tokenOf, valueBytes, valueToken } from './values.ts';

const LOCKS = [`${LINES}lock-1`, `${LINES}lock-2`] as const;
const OFFICES = [`${LINES}office`] as const;
const VALUE_BYTES = 30;
const MOST_IDLE_MS = 1_500;
const decoder = new TextDecoder();

/** One client that contends, from its start to its end. */
export interface Contender {
  readonly name: string;
  /** What it contends with: a client of its own, since the recipes work in the background. */
  readonly store: Store;
  /** What it writes under its tokens with. */
  readonly recorder: ClientRecorder;
  readonly random: SeededRandom;
  /** Whether it is dead. */
  readonly gone: () => boolean;
  /** Takes one of the calls that are left; false: there are none. */
  readonly takes: () => boolean;
  /** Lets a little time pass. */
  readonly pause: (mean: number) => Promise<void>;
  readonly sleep: (delayMs: number) => Promise<void>;
}

export class Contention {
  readonly record: ContentionRecord & {
    readonly holds: HoldSeen[];
    readonly looks: LeaderLook[];
    readonly observers: LeadersSeen[];
    readonly fences: Map<string, number>;
  } = { holds: [], looks: [], observers: [], fences: new Map() };
  readonly #nowMs: () => number;
  #values = 0;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Contends until the calls are used up, or so many have been made. */
  async live(one: Contender, calls: number): Promise<void> {
    const { random } = one;
    const stop = new AbortController();
    if (random.chance(0.4)) void this.#observe(one, random.pick(OFFICES), stop.signal);
    for (let done = 0; done < calls && !one.gone() && one.takes(); done++) {
      if (random.chance(0.15)) await this.#look(one, random.pick(OFFICES));
      else await this.#contend(one);
      if (!one.gone()) await one.pause(random.chance(0.1) ? 10 : 1);
    }
    stop.abort();
  }

  /** It died: what it had, it has no more. */
  died(name: string): void {
    for (const hold of this.record.holds) if (hold.client === name) this.#ended(hold);
  }

  async #contend(one: Contender): Promise<void> {
    const { store, random } = one;
    const isLock = random.chance(0.65);
    const line = isLock ? random.pick(LOCKS) : random.pick(OFFICES);
    const ttlMs = random.chance(0.6) ? random.int(300, 1_500) : random.int(1_500, 6_000);
    const timeoutMs = random.chance(0.4) ? random.int(30, 400) : random.int(400, 4_000);
    const askedMs = this.#nowMs();
    try {
      if (isLock) {
        const lock = await store.lock(line, { ttlMs, timeoutMs });
        const hold = this.#holds(one, line, lock, ttlMs, askedMs);
        await this.#work(one, hold);
        await this.#giveUp(one, hold, () => lock.release({ timeoutMs: 2_000 }));
      } else {
        const office = await store.election(line).campaign(this.#said(one), { ttlMs, timeoutMs });
        const hold = this.#holds(one, line, office, ttlMs, askedMs);
        await this.#work(one, hold, () => office.proclaim(this.#said(one), { timeoutMs: 1_000 }));
        await this.#giveUp(one, hold, () => office.resign({ timeoutMs: 2_000 }));
      }
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
    }
  }

  #holds(one: Contender, line: string, held: Held, ttlMs: number, askedMs: number): HoldSeen {
    const hold: HoldSeen = {
      line,
      client: one.name,
      ttlMs,
      askedMs,
      toldMs: this.#nowMs(),
      key: decoder.decode(held.key),
      fence: held.fence,
      endMs: Number.POSITIVE_INFINITY,
    };
    this.record.holds.push(hold);
    if (held.signal.aborted || one.gone()) this.#ended(hold);
    else held.signal.addEventListener('abort', () => this.#ended(hold), { once: true });
    return hold;
  }

  #ended(hold: HoldSeen): void {
    hold.endMs = Math.min(hold.endMs, this.#nowMs());
  }

  /** Writes under the token, whether it has been lost meanwhile or not. */
  async #work(one: Contender, hold: HoldSeen, proclaim?: () => Promise<void>): Promise<void> {
    const { random } = one;
    // Long enough that it ends meanwhile where nothing renews it.
    if (random.chance(0.25)) await one.sleep(Math.min(MOST_IDLE_MS, hold.ttlMs * random.between(0.5, 1.5)));
    const writes = random.int(0, 4);
    for (let done = 0; done < writes && !one.gone() && one.takes(); done++) {
      if (proclaim !== undefined && random.chance(0.4)) await attempt(proclaim);
      else await this.#write(one, hold);
      if (!one.gone()) await one.pause(random.chance(0.15) ? 10 : 0.5);
    }
  }

  async #giveUp(one: Contender, hold: HoldSeen, release: () => Promise<void>): Promise<void> {
    if (one.gone()) return;
    this.#ended(hold);
    await attempt(release);
    // The token is stale by now, or will be soon.
    if (!one.gone() && one.random.chance(0.4) && one.takes()) await this.#write(one, hold);
  }

  async #write({ name, recorder, random }: Contender, { line, key, fence }: HoldSeen): Promise<void> {
    const value = this.#token(name);
    this.record.fences.set(value, fence);
    const guarded = `g/${line.slice(LINES.length)}`;
    const nested: TxnAsked = {
      compares: [{ target: 'createRevision', relation: '=', key, end: undefined, operand: fence }],
      success: [{ type: 'put', key: guarded, value, lease: '0', prevKv: random.chance(0.3) }],
      failure: [],
    };
    await recorder.perform({
      kind: 'nested',
      steps: writesOf(nested),
      nested,
      timeoutMs: random.int(500, 3_000),
    });
  }

  async #look({ store }: Contender, line: string): Promise<void> {
    const askedMs = this.#nowMs();
    await attempt(async () => {
      const leader = await store.election(line).leader({ timeoutMs: 2_000 });
      const seen = leader === undefined ? undefined : this.#seen(leader);
      this.record.looks.push({ line, askedMs, toldMs: this.#nowMs(), leader: seen });
    });
  }

  async #observe({ store, name, gone }: Contender, line: string, signal: AbortSignal): Promise<void> {
    const leaders: LeaderSeen[] = [];
    this.record.observers.push({ line, client: name, leaders });
    await attempt(async () => {
      for await (const leader of store.election(line).observe({ signal })) {
        if (gone()) return;
        leaders.push(this.#seen(leader));
      }
    });
  }

  #seen(leader: {
    readonly key: Uint8Array;
    readonly value: Uint8Array;
    readonly fence: number;
    readonly revision: number;
  }): LeaderSeen {
    const { fence, revision } = leader;
    const key = decoder.decode(leader.key);
    return { key, value: tokenOf(leader.value), fence, revision, toldMs: this.#nowMs() };
  }

  #said({ name }: Contender): Uint8Array {
    return valueBytes(this.#token(name));
  }

  /** One count for all: a client's recorder has no other source of values. */
  #token(name: string): string {
    return valueToken(`${name}-c`, ++this.#values, VALUE_BYTES);
  }
}
