/**
 * What clients do that use the rest of the data model: leases, nested transactions, ranges with all their options, compaction by hand, watches with filters.
 *
 * Key rooms of their own: l/ keys that are attached to leases; n/ few keys, which transactions meet on again and again.
 *
 * Invariants: a value is put by one step only; a key is attached by a put that names the lease and by nothing else (no touch keeps it); leases are named by the ids that grants gave.
 */
import type { OperationRecord, Step } from '../check/observations.ts';
import type { CompareAsked, RangeAsked, TxnAsked, TxnStepAsked } from '../check/reference_txn.ts';
import type { SeededRandom } from '../core/seeded_random.ts';
import type { CallSource, WatchWish } from './choices.ts';
import { writesOf } from './direct_calls.ts';
import type { Call } from './recorder.ts';
import { valueToken } from './values.ts';

/** Parts of the data model that a run's workload may use beside the plain one. */
export const LOAD_PARTS = ['leases', 'nested', 'compaction', 'filters', 'rights', 'locks', 'quotas'] as const;
export type LoadPart = (typeof LOAD_PARTS)[number];

const LEASE_KEYS = 12;
const NESTED_KEYS = 12;
const MOST_LEASES = 8;
const MOST_DEPTH = 3;
const PAST_REVISIONS = 150;
const TARGETS = ['key', 'version', 'createRevision', 'modRevision', 'value'] as const;
const RELATIONS = ['=', '!=', '>', '<'] as const;

/** What all of them share. */
export class SharedModel {
  /** Leases that were granted and of which nobody knows that they are gone. */
  readonly leases: string[] = [];
  /** By key: the newest value that somebody put or was shown. */
  readonly shown = new Map<string, string>();
  /** The newest revision that somebody asked to compact to. */
  compacted = 0;

  settled(operation: OperationRecord): void {
    const { kind, outcome, errorCode, steps, results } = operation;
    const [step] = steps;
    const [result] = results;
    if (kind === 'leaseGrant' && result?.type === 'lease') this.leases.push(result.lease);
    if (kind === 'leaseRevoke' && step?.type === 'revoke' && outcome !== 'fail') this.#gone(step.lease);
    const missed =
      errorCode === 'LEASE_NOT_FOUND' ||
      (result?.type === 'lease' && result.ttlMs === 0) ||
      (result?.type === 'look' && result.remainingMs < 0);
    if (missed && step !== undefined && 'lease' in step) this.#gone(step.lease);
    if (outcome !== 'ok') return;
    for (const taken of operation.taken ?? steps)
      if (taken.type === 'put') this.shown.set(taken.key, taken.value);
  }

  #gone(lease: string | undefined): void {
    const at = this.leases.indexOf(lease ?? '');
    if (at >= 0) this.leases.splice(at, 1);
  }
}

export class ModelChoices implements CallSource {
  readonly #client: string;
  readonly #random: SeededRandom;
  readonly #shared: SharedModel;
  readonly #parts: ReadonlySet<LoadPart>;
  #values = 0;

  constructor(client: string, random: SeededRandom, shared: SharedModel, parts: ReadonlySet<LoadPart>) {
    this.#client = client;
    this.#random = random;
    this.#shared = shared;
    this.#parts = parts;
  }

  next(seenRevision: number): Call {
    const random = this.#random;
    const timeoutMs = random.chance(0.1) ? random.int(20, 300) : random.int(1_000, 4_000);
    return { ...this.#call(seenRevision), timeoutMs };
  }

  begins(): void {}

  settled(operation: OperationRecord): void {
    this.#shared.settled(operation);
  }

  watch(seenRevision: number): WatchWish {
    const random = this.#random;
    const room = random.pick(['l/', 'n/', 'k/', 'r/', 't/', '']);
    const fromRevision = random.chance(0.5) ? 0 : Math.max(2, seenRevision - random.int(0, PAST_REVISIONS));
    const filtered = this.#parts.has('filters') && random.chance(0.8);
    const noPut = random.chance(0.5);
    return {
      start: room,
      end: room === '' ? undefined : `${room[0]}0`,
      fromRevision,
      ...(filtered ? { filters: { noPut, noDelete: !noPut } } : {}),
      prevKv: random.chance(0.4),
    };
  }

  #call(seenRevision: number): Omit<Call, 'timeoutMs'> {
    const random = this.#random;
    const wanted: (() => Omit<Call, 'timeoutMs'>)[] = [];
    if (this.#parts.has('leases')) wanted.push(() => this.#lease());
    if (this.#parts.has('nested')) wanted.push(() => this.#nested(seenRevision));
    if (this.#parts.has('compaction') && random.chance(0.3)) return this.#past(seenRevision);
    if (wanted.length > 0) return random.pick(wanted)();
    const key = this.#key('n');
    return random.chance(0.5)
      ? { kind: 'put', steps: [this.#put(key)] }
      : { kind: random.chance(0.5) ? 'delete' : 'put', steps: [this.#put(key)] };
  }

  #lease(): Omit<Call, 'timeoutMs'> {
    const random = this.#random;
    const { leases } = this.#shared;
    const chance = random.next();
    if (leases.length === 0 || (chance < 0.12 && leases.length < MOST_LEASES)) {
      // Long ones outlive elections.
      const [least, most] = random.pick([
        [200, 1_500],
        [200, 1_500],
        [1_500, 6_000],
        [1_500, 6_000],
        [6_000, 20_000],
      ] as const);
      const ttlMs = random.int(least, most);
      return { kind: 'leaseGrant', steps: [{ type: 'grant', ttlMs }] };
    }
    // Some are kept alive, the oldest mostly; the others run out.
    const lease = random.chance(0.5) ? leases[0]! : random.pick(leases);
    if (chance < 0.27) {
      // Its answer names no revision in the order of all.
      return { kind: 'leaseKeepAlive', steps: [{ type: 'keepAlive', lease }], level: 'eventual' };
    }
    if (chance < 0.3) return { kind: 'leaseRevoke', steps: [{ type: 'revoke', lease }] };
    if (chance < 0.5)
      return { kind: 'put', steps: [{ ...this.#put(this.#key('l')), lease: random.pick(leases) }] };
    if (chance < 0.58) return { kind: 'put', steps: [this.#put(this.#key('l'))] };
    if (chance < 0.61) return { kind: 'delete', steps: [{ type: 'delete', key: this.#key('l') }] };
    if (chance < 0.68) return this.#attachSome(random.pick(leases));
    if (chance < 0.78)
      return { kind: 'leaseLook', steps: [{ type: 'look', lease: random.pick(leases) }], level: 'eventual' };
    if (chance < 0.9) return { kind: 'get', steps: [{ type: 'get', key: this.#key('l') }] };
    const scan: Step = { type: 'scan', start: 'l/', end: 'l0', limit: 0, reverse: false };
    return { kind: 'scan', steps: [scan] };
  }

  #attachSome(lease: string): Omit<Call, 'timeoutMs'> {
    const keys = new Set(Array.from({ length: this.#random.int(2, 5) }, () => this.#key('l')));
    const success = [...keys].map((key) => this.#nestedPut(key, lease, false));
    return this.#asked({ compares: [], success, failure: [] });
  }

  /** Compaction, and reads around it. */
  #past(seenRevision: number): Omit<Call, 'timeoutMs'> {
    const random = this.#random;
    const shared = this.#shared;
    if (random.chance(0.2)) {
      const revision = Math.max(1, seenRevision - random.int(0, PAST_REVISIONS));
      shared.compacted = Math.max(shared.compacted, revision);
      return { kind: 'compact', steps: [{ type: 'compact', revision }] };
    }
    const atRevision = Math.max(1, Math.min(seenRevision, shared.compacted + random.int(-20, 20)));
    const key = random.chance(0.5) ? this.#key('n') : `k/${String(random.int(0, 39)).padStart(2, '0')}`;
    return { kind: 'get', steps: [{ type: 'get', key }], atRevision };
  }

  #nested(seenRevision: number): Omit<Call, 'timeoutMs'> {
    const random = this.#random;
    if (random.chance(0.2)) {
      const range = this.#range(seenRevision);
      const level = random.chance(0.6) ? 'linearizable' : random.pick(['sequential', 'eventual'] as const);
      const asked = { compares: [], success: [range], failure: [] };
      return { kind: 'range', steps: [], nested: asked, level, atRevision: range.revision };
    }
    const keys = random.shuffled(Array.from({ length: NESTED_KEYS }, (_, at) => keyName('n', at)));
    return this.#asked(this.#txn(MOST_DEPTH, keys, seenRevision));
  }

  #asked(nested: TxnAsked): Omit<Call, 'timeoutMs'> {
    return { kind: 'nested', steps: writesOf(nested), nested };
  }

  /** `free`: keys that nothing of the whole writes yet. */
  #txn(depth: number, free: string[], seenRevision: number): TxnAsked {
    const random = this.#random;
    const steps = (most: number): TxnStepAsked[] =>
      Array.from({ length: random.int(0, most) }, () => this.#step(depth, free, seenRevision));
    const compares = Array.from({ length: random.int(0, 2) }, () => this.#compare(seenRevision));
    return { compares, success: [this.#step(depth, free, seenRevision), ...steps(2)], failure: steps(2) };
  }

  #step(depth: number, free: string[], seenRevision: number): TxnStepAsked {
    const random = this.#random;
    const { leases } = this.#shared;
    const chance = random.next();
    if (depth > 0 && chance < 0.3) return { type: 'txn', ...this.#txn(depth - 1, free, seenRevision) };
    const key = (random.chance(0.97) ? free.pop() : undefined) ?? this.#key('n');
    if (chance < 0.65) {
      const lease = leases.length > 0 && random.chance(0.25) ? random.pick(leases) : '0';
      return this.#nestedPut(key, lease, random.chance(0.3));
    }
    if (chance < 0.75) return { type: 'delete', key, end: undefined, prevKv: random.chance(0.3) };
    if (chance < 0.79) return { type: 'delete', ...this.#span(), prevKv: random.chance(0.3) };
    return this.#range(seenRevision);
  }

  #nestedPut(key: string, lease: string, prevKv: boolean): TxnStepAsked {
    return { type: 'put', key, value: this.#value(), lease, prevKv };
  }

  #compare(seenRevision: number): CompareAsked {
    const random = this.#random;
    const key = this.#key('n');
    const target = random.pick([
      'value',
      'value',
      'version',
      'createRevision',
      'modRevision',
      'lease',
    ] as const);
    const end = random.chance(0.3) ? this.#span(key).end : undefined;
    const relation = random.pick(RELATIONS);
    const near = Math.max(0, seenRevision - random.int(0, 40));
    const operand =
      target === 'value'
        ? (this.#shared.shown.get(key) ?? this.#value())
        : target === 'version'
          ? random.int(0, 3)
          : target === 'lease'
            ? (this.#shared.leases[0] ?? '0')
            : random.chance(0.3)
              ? 0
              : near;
    return { target, relation, key, end, operand };
  }

  #range(seenRevision: number): RangeAsked {
    const random = this.#random;
    const span = random.chance(0.2) ? { key: this.#key('n'), end: undefined } : this.#span();
    const bound = (): number => (random.chance(0.15) ? Math.max(1, seenRevision - random.int(0, 60)) : 0);
    return {
      type: 'range',
      ...span,
      revision: random.chance(0.12) ? Math.max(1, seenRevision - random.int(0, 40)) : 0,
      limit: random.chance(0.4) ? random.int(1, 5) : 0,
      sortTarget: random.pick(TARGETS),
      sortOrder: random.pick(['none', 'ascend', 'descend']),
      keysOnly: random.chance(0.15),
      countOnly: random.chance(0.1),
      counted: random.chance(0.5),
      minModRevision: bound(),
      maxModRevision: bound(),
      minCreateRevision: bound(),
      maxCreateRevision: bound(),
    };
  }

  #span(from = this.#key('n')): { key: string; end: string } {
    const to = Number(from.slice(2)) + this.#random.int(1, 4);
    return { key: from, end: keyName('n', to) };
  }

  #put(key: string): Extract<Step, { type: 'put' }> {
    return { type: 'put', key, value: this.#value(), ttlMs: 0 };
  }

  #value(): string {
    return valueToken(this.#client, ++this.#values, this.#random.int(10, 60));
  }

  #key(room: 'l' | 'n'): string {
    return keyName(room, this.#random.int(0, (room === 'l' ? LEASE_KEYS : NESTED_KEYS) - 1));
  }
}

function keyName(room: string, at: number): string {
  return `${room}/${String(at).padStart(2, '0')}`;
}
