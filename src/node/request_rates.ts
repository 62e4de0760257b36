/**
 * Requests per second of quotas, as this node takes them: what is too much is refused before anything is done for it.
 *
 * A token bucket for each quota that has such a limit: it holds what a second allows, and fills at that rate. A request takes one token of every quota that a key of it, or a part of its range, falls
 * under; where one has none left, the request is refused and takes none.
 *
 * Invariants: as many buckets as quotas; a quota that stays as it is keeps its bucket when others change; nothing is looked at where no quota has such a limit.
 */
import { KvError } from '../errors.ts';
import type { Command, Operation } from '../kv/command.ts';
import { USER_SPACE_END } from '../kv/keyspace.ts';
import { PrefixIndex } from '../kv/prefix_index.ts';
import { type QuotaState, shownPrefix } from '../kv/quotas.ts';
import type { Clock } from '../ports.ts';
import { decodeCommand } from '../wire/command_codec.ts';

interface Bucket {
  readonly prefix: Uint8Array;
  readonly perSecond: number;
  parent: Bucket | undefined;
  tokens: number;
  filledMs: number;
}

/** What is asked of the service, as far as it matters here (api/pipeline.ts). */
export interface RatedCall {
  readonly operation: string;
  /** The first argument. */
  readonly request: unknown;
}

export class RequestRates {
  readonly #inForce: () => readonly QuotaState[];
  readonly #clock: Clock;
  #quotas: readonly QuotaState[] = [];
  #buckets = new PrefixIndex<Bucket>([]);

  /** `inForce`: QuotaService.inForce, another array whenever something changes. */
  constructor(inForce: () => readonly QuotaState[], clock: Clock) {
    this.#inForce = inForce;
    this.#clock = clock;
  }

  /** @throws KvError RATE_LIMITED */
  begin(call: RatedCall): void {
    const quotas = this.#inForce();
    if (quotas !== this.#quotas) this.#follow(quotas);
    if (this.#buckets.entries.length === 0) return;
    const met = new Set<Bucket>();
    this.#meet(call, met);
    if (met.size === 0) return;
    const nowMs = this.#clock.monotonicMs();
    for (const bucket of met) {
      const { perSecond, prefix } = bucket;
      bucket.tokens = Math.min(perSecond, bucket.tokens + ((nowMs - bucket.filledMs) * perSecond) / 1_000);
      bucket.filledMs = nowMs;
      if (bucket.tokens < 1) {
        const message = `the quota of ${shownPrefix(prefix)} allows ${perSecond} requests a second at each node`;
        const retryAfterMs = Math.ceil(((1 - bucket.tokens) * 1_000) / perSecond);
        throw new KvError('RATE_LIMITED', message, { details: { retryAfterMs } });
      }
    }
    for (const bucket of met) bucket.tokens--;
  }

  #follow(quotas: readonly QuotaState[]): void {
    const nowMs = this.#clock.monotonicMs();
    const buckets: Bucket[] = [];
    for (const { prefix, maxRequestsPerSecond: perSecond } of quotas) {
      if (perSecond === 0) continue;
      const known = this.#buckets.find(prefix);
      const fresh = { prefix, perSecond, parent: undefined, tokens: perSecond, filledMs: nowMs };
      buckets.push(known?.perSecond === perSecond ? known : fresh);
    }
    this.#buckets = new PrefixIndex(buckets);
    this.#quotas = quotas;
  }

  #meet({ operation, request }: RatedCall, met: Set<Bucket>): void {
    if (operation === 'write') {
      const command = commandIn(request);
      if (command !== undefined) this.#meetCommand(command, met);
    } else if (
      operation === 'get' ||
      operation === 'scan' ||
      operation === 'range' ||
      operation === 'watch'
    ) {
      const { start, key = start, end } = partsOf(request);
      if (key !== undefined) this.#meetKeys(key, operation === 'scan' ? (end ?? USER_SPACE_END) : end, met);
    }
  }

  #meetCommand(command: Command, met: Set<Bucket>): void {
    if (command.type === 'write') this.#meetOperation(command.operation, met);
    else if (command.type === 'txn') this.#meetOperation({ ...command, type: 'txn' }, met);
  }

  #meetOperation(operation: Operation, met: Set<Bucket>): void {
    if (operation.type === 'txn') {
      for (const { key, end } of operation.compares) this.#meetKeys(key, end, met);
      for (const one of operation.success) this.#meetOperation(one, met);
      for (const one of operation.failure) this.#meetOperation(one, met);
    } else {
      const ranged = operation.type === 'delete' || operation.type === 'range';
      this.#meetKeys(operation.key, ranged ? operation.end : undefined, met);
    }
  }

  #meetKeys(key: Uint8Array, end: Uint8Array | undefined, met: Set<Bucket>): void {
    if (end !== undefined) this.#buckets.addMeeting(key, end, met);
    else for (let one = this.#buckets.deepest(key); one !== undefined; one = one.parent) met.add(one);
  }
}

/** undefined: the service will say what is wrong with it. */
function commandIn(request: unknown): Command | undefined {
  if (!(request instanceof Uint8Array)) return undefined;
  try {
    return decodeCommand(request);
  } catch (error) {
    if (error instanceof KvError) return undefined;
    throw error;
  }
}

interface Parts {
  readonly key?: Uint8Array | undefined;
  readonly start?: Uint8Array | undefined;
  readonly end?: Uint8Array | undefined;
}

/** The keys that a request names. */
function partsOf(request: unknown): Parts {
  if (typeof request !== 'object' || request === null) return {};
  const part = (name: string): Uint8Array | undefined => {
    const value: unknown = Reflect.get(request, name);
    return value instanceof Uint8Array ? value : undefined;
  };
  return { key: part('key'), start: part('start'), end: part('end') };
}
