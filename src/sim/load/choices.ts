/**
 * What a client of the workload does next: drawn from its stream of chance and what it has seen.
 *
 * Key rooms, each with its own kind of traffic:
 *   r/  registers: single-key calls only (get, put, delete, compare-and-set), so that the search for a linearization can judge them key by key;
 *   k/  everything: batches, transactions over several keys, ranges deleted, scans, reads in the past, values of all sizes;
 *   t/  keys with a time to live: put, touch, get.
 *
 * Invariants: a value is put by one operation only; a key of r/ has at most MAX_UNKNOWN writes that are under way or of unknown outcome: then the slot goes on
 * under a new name (unknown outcomes are what makes the search for a linearization long).
 */
import type { CompareStep, OperationRecord, Step, WatcherRecord } from '../check/observations.ts';
import type { SeededRandom } from '../core/seeded_random.ts';
import type { Call } from './recorder.ts';
import { valueToken } from './values.ts';

export const MAX_UNKNOWN = 8;
const REGISTERS = 6;
const PLAIN_KEYS = 40;
const TTL_KEYS = 10;
/** How far back reads in the past and watches go. */
const PAST_REVISIONS = 300;

/** What all clients of a workload share. */
export class SharedKeys {
  /** By slot: how often it got a new name. */
  private readonly generations = new Array<number>(REGISTERS).fill(0);
  /** By key: writes under way, and of unknown outcome. */
  private readonly uncertain = new Map<string, number>();
  /** By key: the newest value that somebody was shown, for compares that hold. */
  private readonly shown = new Map<string, string | undefined>();

  register(slot: number): string {
    const at = slot % REGISTERS;
    const key = `r/${at}.${this.generations[at]}`;
    if ((this.uncertain.get(key) ?? 0) < MAX_UNKNOWN) return key;
    this.generations[at]!++;
    return `r/${at}.${this.generations[at]}`;
  }

  begins(call: Call): void {
    for (const key of writtenKeys(call.steps)) this.uncertain.set(key, (this.uncertain.get(key) ?? 0) + 1);
  }

  settled(operation: OperationRecord): void {
    if (operation.outcome !== 'info') {
      for (const key of writtenKeys(operation.steps)) {
        this.uncertain.set(key, (this.uncertain.get(key) ?? 1) - 1);
      }
    }
    if (operation.outcome !== 'ok') return;
    for (let at = 0; at < operation.results.length; at++) {
      const step = operation.steps[at];
      const result = operation.results[at];
      if (result?.type === 'get' && result.entry !== undefined)
        this.shown.set(result.entry.key, result.entry.value);
      if (step?.type === 'get' && result?.type === 'get' && result.entry === undefined)
        this.shown.set(step.key, undefined);
      if (step?.type === 'put' && operation.succeeded) this.shown.set(step.key, step.value);
    }
  }

  lastShown(key: string): string | undefined {
    return this.shown.get(key);
  }
}

function writtenKeys(steps: readonly Step[]): string[] {
  return steps.flatMap((step) => (step.type === 'put' || step.type === 'delete' ? [step.key] : []));
}

/** What a client of the workload is told to do. */
export interface CallSource {
  /** The next call of a client that has seen `seenRevision`. */
  next(seenRevision: number): Call;
  begins(call: Call): void;
  settled(operation: OperationRecord): void;
  /** A range to watch, and from where. */
  watch(seenRevision: number): WatchWish;
}

export interface WatchWish {
  readonly start: string;
  readonly end: string | undefined;
  /** 0: from now on. */
  readonly fromRevision: number;
  readonly filters?: WatcherRecord['filters'];
  readonly prevKv?: boolean | undefined;
}

export interface ChoiceLimits {
  readonly maxValueBytes: number;
  readonly maxKeyBytes: number;
}

export class Choices implements CallSource {
  readonly #random: SeededRandom;
  readonly #keys: SharedKeys;
  readonly #client: string;
  readonly #limits: ChoiceLimits;
  #values = 0;

  constructor(client: string, random: SeededRandom, keys: SharedKeys, limits: ChoiceLimits) {
    this.#client = client;
    this.#random = random;
    this.#keys = keys;
    this.#limits = limits;
  }

  begins(call: Call): void {
    this.#keys.begins(call);
  }

  settled(operation: OperationRecord): void {
    this.#keys.settled(operation);
  }

  next(seenRevision: number): Call {
    const random = this.#random;
    const timeoutMs = random.chance(0.1) ? random.int(20, 300) : random.int(1_000, 4_000);
    const room = random.next();
    if (room < 0.4) return { ...this.#register(), timeoutMs };
    if (room < 0.88) return { ...this.#plain(seenRevision), timeoutMs };
    return { ...this.#expiring(), timeoutMs };
  }

  /** A range to watch, and from where: from now on, from what was seen, from the past or the very beginning (which may be compacted), or from what is still to come. */
  watch(seenRevision: number): WatchWish {
    const random = this.#random;
    const range = random.pick([
      { start: 'k/', end: 'k0' },
      { start: 'r/', end: 'r0' },
      { start: 't/', end: 't0' },
      { start: 'k/1', end: 'k/3' },
      { start: '', end: undefined },
      { start: this.#plainKey(), end: undefined },
    ]);
    const end = range.end ?? (range.start === '' ? undefined : `${range.start}\0`);
    const from = random.next();
    const next = seenRevision + 1;
    const past = Math.max(2, next - random.int(0, PAST_REVISIONS));
    const fromRevision =
      from < 0.35
        ? 0
        : from < 0.6
          ? Math.max(2, next)
          : from < 0.87
            ? past
            : from < 0.95
              ? 2
              : next + random.int(1, 40);
    return { start: range.start, end, fromRevision };
  }

  /** A put of a new small value. */
  value(key: string): Step {
    return this.#put(key, 0);
  }

  #register(): Omit<Call, 'timeoutMs'> {
    const random = this.#random;
    const key = this.#keys.register(random.int(0, REGISTERS - 1));
    const chance = random.next();
    if (chance < 0.42) return { kind: 'get', steps: [{ type: 'get', key }], level: this.#level(0.7) };
    if (chance < 0.7) return { kind: 'put', steps: [this.#put(key, 0)] };
    if (chance < 0.78) return { kind: 'delete', steps: [{ type: 'delete', key }] };
    const from = this.#keys.lastShown(key);
    const compare: CompareStep = from === undefined ? { key, exists: false } : { key, value: from };
    return { kind: 'txn', compares: [compare], steps: [this.#put(key, 0)] };
  }

  #plain(seenRevision: number): Omit<Call, 'timeoutMs'> {
    const random = this.#random;
    const chance = random.next();
    const key = this.#plainKey();
    if (chance < 0.34) return { kind: 'put', steps: [this.#put(key, 0)] };
    if (chance < 0.4) return { kind: 'delete', steps: [{ type: 'delete', key }] };
    if (chance < 0.58) {
      const atRevision = random.chance(0.2) ? this.#past(seenRevision) : 0;
      return { kind: 'get', steps: [{ type: 'get', key }], level: this.#level(0.4), atRevision };
    }
    if (chance < 0.7) {
      const step: Step = {
        type: 'scan',
        ...this.#range(),
        reverse: random.chance(0.3),
        limit: random.chance(0.5) ? 0 : random.int(1, 12),
      };
      const atRevision = random.chance(0.2) ? this.#past(seenRevision) : 0;
      return { kind: 'scan', steps: [step], level: this.#level(0.5), atRevision };
    }
    if (chance < 0.82) return this.#batch();
    if (chance < 0.84) return { kind: 'txn', steps: [{ type: 'deleteRange', ...this.#range() }] };
    return this.#txn();
  }

  #batch(): Omit<Call, 'timeoutMs'> {
    const random = this.#random;
    const keys = this.#someKeys(random.chance(0.1) ? 20 : random.int(1, 5));
    const steps = keys.map((key): Step => (random.chance(0.2) ? { type: 'delete', key } : this.#put(key, 0)));
    return { kind: 'batch', steps };
  }

  #txn(): Omit<Call, 'timeoutMs'> {
    const random = this.#random;
    const [read, first, second, third] = this.#someKeys(4);
    const compares = [read!, first!].slice(0, random.int(0, 2)).map((key): CompareStep => {
      const value = this.#keys.lastShown(key);
      if (value !== undefined && random.chance(0.7)) return { key, value };
      return { key, exists: random.chance(0.5) };
    });
    const steps: Step[] = [{ type: 'get', key: read! }, this.#put(first!, 0), { type: 'get', key: first! }];
    if (random.chance(0.6)) steps.push(this.#put(second!, 0));
    if (random.chance(0.3)) steps.push({ type: 'delete', key: third! });
    const elseSteps: Step[] = [{ type: 'get', key: first! }];
    if (random.chance(0.3)) elseSteps.push(this.#put(third!, 0));
    return { kind: 'txn', compares, steps, elseSteps };
  }

  #expiring(): Omit<Call, 'timeoutMs'> {
    const random = this.#random;
    const key = `t/${random.int(0, TTL_KEYS - 1)}`;
    const ttlMs = random.chance(0.5) ? random.int(50, 500) : random.int(500, 3_000);
    const chance = random.next();
    if (chance < 0.45) return { kind: 'put', steps: [this.#put(key, ttlMs)] };
    if (chance < 0.65)
      return { kind: 'touch', steps: [{ type: 'touch', key, ttlMs: random.chance(0.1) ? 0 : ttlMs }] };
    if (chance < 0.7) return { kind: 'put', steps: [this.#put(key, 0)] };
    return { kind: 'get', steps: [{ type: 'get', key }], level: this.#level(0.8) };
  }

  #put(key: string, ttlMs: number): Extract<Step, { type: 'put' }> {
    return { type: 'put', key, value: valueToken(this.#client, ++this.#values, this.#sizeBytes(key)), ttlMs };
  }

  /** Mostly small; enough large ones that memtables fill and tables are merged within a run. */
  #sizeBytes(key: string): number {
    const random = this.#random;
    const chance = random.next();
    if (key.startsWith('k/') && chance < 0.12) return random.int(1_000, 6_000);
    if (key.startsWith('k/') && chance < 0.123) return this.#limits.maxValueBytes;
    return random.int(10, 100);
  }

  #plainKey(): string {
    const random = this.#random;
    // A few keys are wanted most; one is as long as a key may be.
    if (random.chance(0.004))
      return `k/${'long'.repeat(this.#limits.maxKeyBytes)}`.slice(0, this.#limits.maxKeyBytes);
    const at = random.chance(0.4) ? random.int(0, 5) : random.int(0, PLAIN_KEYS - 1);
    return `k/${String(at).padStart(2, '0')}`;
  }

  #someKeys(count: number): string[] {
    const keys = new Set<string>();
    while (keys.size < count) keys.add(this.#plainKey());
    return [...keys];
  }

  #range(): { start: string; end: string } {
    const random = this.#random;
    const from = random.int(0, PLAIN_KEYS - 1);
    const to = from + random.int(1, random.chance(0.3) ? PLAIN_KEYS : 6);
    return {
      start: `k/${String(from).padStart(2, '0')}`,
      end: to > 99 ? 'k0' : `k/${String(to).padStart(2, '0')}`,
    };
  }

  #level(linearizable: number): OperationRecord['level'] {
    const random = this.#random;
    if (random.chance(linearizable)) return 'linearizable';
    return random.chance(0.5) ? 'sequential' : 'eventual';
  }

  #past(seenRevision: number): number {
    return Math.max(1, seenRevision - this.#random.int(0, PAST_REVISIONS));
  }
}
