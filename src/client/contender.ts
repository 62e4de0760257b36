/**
 * Standing in line for a lock or an office, and having it.
 *
 * Invariants: an attempt that fails leaves no place behind, or one that ends with its lease, which nobody keeps alive any more; the holder is told of a loss no later than the store may give the place to
 * another, as far as this process runs at all (which is what the fence is for).
 */
import { KvError } from '../errors.ts';
import { userKey } from '../kv/keyspace.ts';
import { Contention } from '../recipes/contention.ts';
import { checkSignal, type Line, leave, lost, type Place, waitUntilGone } from '../recipes/line.ts';
import { Patience } from '../recipes/patience.ts';
import type { RecipeStore } from '../recipes/recipe_store.ts';
import type { KeptLease } from './lease_types.ts';
import type { ContendOptions, Held } from './lock_types.ts';
import { checkTtl } from './operations.ts';
import { recipeStore } from './recipe_channel.ts';
import type { LeaseClient, LeaseSource } from './store_leases.ts';
import type { CallOptions } from './store_types.ts';

const DEFAULT_TTL_MS = 60_000;
/** For undoing what was begun; what cannot be undone ends with the lease. */
const UNDO_TIMEOUT_MS = 2_000;
const NO_OPTIONS: CallOptions = {};

export interface ContenderParts {
  readonly source: LeaseSource;
  readonly leases: LeaseClient;
}

/** Waits in line until it is first. @throws KvError LEASE_EXPIRED, TIMEOUT, CANCELLED, CLOSED and what calls throw */
export async function contend(
  { source, leases }: ContenderParts,
  line: Line,
  value: Uint8Array,
  options: ContendOptions,
): Promise<HeldPlace> {
  source.checkOpen();
  checkTtl(options.timeoutMs, 'timeoutMs');
  const patience = new Patience(source.ports, options.timeoutMs, options.signal);
  try {
    checkSignal(patience.signal);
    const { timeoutMs, signal: given } = options;
    const lease =
      options.lease ??
      (await leases.grantKept({ ttlMs: options.ttlMs ?? DEFAULT_TTL_MS, timeoutMs, signal: given }));
    const contention = new Contention(line, lease.id);
    const undo = new Undo({ source, leases }, contention, lease, options.lease === undefined);
    try {
      const signal = AbortSignal.any([patience.signal, lease.signal]);
      const { place, revision } = await contention.reachFront(recipeStore(source, NO_OPTIONS), value, signal);
      return new HeldPlace(source, undo, place, lease, revision);
    } catch (error) {
      await undo.afterFailure();
      throw error;
    }
  } finally {
    patience.end();
  }
}

/** How a place is given up: with its lease, or alone where the lease is another's. */
class Undo {
  readonly #parts: ContenderParts;
  readonly #contention: Contention;
  readonly #lease: KeptLease;
  readonly #own: boolean;

  constructor(parts: ContenderParts, contention: Contention, lease: KeptLease, own: boolean) {
    this.#parts = parts;
    this.#contention = contention;
    this.#lease = lease;
    this.#own = own;
  }

  async run(place: Place, options: CallOptions): Promise<void> {
    if (this.#own) await this.#revoke(options);
    else await leave(recipeStore(this.#parts.source, options), place);
  }

  /** A lease of its own carries nothing any more once the place is lost. */
  lost(): void {
    if (this.#own) this.#lease.close();
  }

  /** Of an attempt that has failed: the error that is told is that one. */
  async afterFailure(): Promise<void> {
    const options = { timeoutMs: UNDO_TIMEOUT_MS };
    try {
      if (this.#own) await this.#revoke(options);
      else await this.#contention.leave(recipeStore(this.#parts.source, options));
    } catch (error) {
      // Nobody keeps a lease of its own alive any more: the place ends with it.
      if (!(error instanceof KvError)) throw error;
    }
  }

  async #revoke(options: CallOptions): Promise<void> {
    this.#lease.close();
    try {
      await this.#parts.leases.revoke(this.#lease.id, options);
    } catch (error) {
      // Ended before.
      if (!(error instanceof KvError && error.code === 'LEASE_NOT_FOUND')) throw error;
    }
  }
}

export class HeldPlace implements Held {
  readonly key: Uint8Array;
  readonly fence: number;
  readonly lease: bigint;
  readonly held: { readonly key: Uint8Array; readonly createRevision: number };
  readonly place: Place;
  readonly #source: LeaseSource;
  readonly #undo: Undo;
  readonly #loss = new AbortController();
  /** That of the lease, for this place alone: a lease may carry many, and a signal that many listen to is taken for a leak. */
  readonly #ended: AbortSignal;
  /** Aborts when it is given up or lost. */
  readonly #life = new AbortController();
  #givenUp: Promise<void> | undefined;

  constructor(source: LeaseSource, undo: Undo, place: Place, lease: KeptLease, revision: number) {
    this.#source = source;
    this.#undo = undo;
    this.place = place;
    this.key = userKey(place.key);
    this.fence = place.createRevision;
    this.lease = place.lease;
    this.held = { key: this.key, createRevision: place.createRevision };
    this.#ended = AbortSignal.any([lease.signal]);
    const hear = (): void => this.#lose(this.#ended.reason);
    this.#ended.addEventListener('abort', hear, { signal: this.#life.signal });
    if (this.#ended.aborted) hear();
    else void this.#watchKey(revision);
  }

  get signal(): AbortSignal {
    return this.#loss.signal;
  }

  /** @throws KvError when it could not be given up: then it ends with its lease, or may be given up again */
  giveUp(options: CallOptions = NO_OPTIONS): Promise<void> {
    this.#life.abort();
    this.#givenUp ??= this.#undo.run(this.place, options).catch((error: unknown) => {
      this.#givenUp = undefined;
      // What is lost needs no giving up.
      if (!(error instanceof KvError && this.signal.aborted)) throw error;
    });
    return this.#givenUp;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.giveUp();
  }

  /** A key that somebody deletes, or a lease that somebody revokes, is heard of at once, not at the next renewal. */
  async #watchKey(revision: number): Promise<void> {
    const { signal } = this.#life;
    const store: RecipeStore = recipeStore(this.#source, NO_OPTIONS);
    while (!signal.aborted) {
      try {
        await waitUntilGone(store, this.place, revision + 1, signal);
        this.#lose(lost());
      } catch (error) {
        if (signal.aborted) return;
        try {
          await store.goOn(error, signal);
        } catch (final) {
          // Who cannot be told of a loss must not rely on having it.
          this.#lose(final);
        }
      }
    }
  }

  #lose(reason: unknown): void {
    if (this.#life.signal.aborted) return;
    this.#life.abort();
    this.#undo.lost();
    this.#loss.abort(reason);
  }
}
