/**
 * One attempt to come to the front of a line: a place is taken, and waited in until nobody stands before it.
 *
 * Invariant: an attempt that fails is given up with `leave`, which removes the key of its lease where this attempt may have put it, and nothing where it certainly has not: a lease that had its place before keeps it
 * then.
 */
import { KvError } from '../errors.ts';
import { checkSignal, type Line, type Place, placeKey, sayAnew, takePlace, waitForTurn } from './line.ts';
import type { RecipeStore } from './recipe_store.ts';

export class Contention {
  readonly #line: Line;
  readonly #lease: bigint;
  #mayStand = false;

  constructor(line: Line, lease: bigint) {
    this.#line = line;
    this.#lease = lease;
  }

  /**
   * Waits in line until it is first.
   * @returns the place, and a revision at which it was there
   * @throws KvError LEASE_NOT_FOUND, LEASE_EXPIRED, what the signal aborts with and what calls throw
   */
  async reachFront(
    store: RecipeStore,
    value: Uint8Array,
    signal: AbortSignal,
  ): Promise<{ readonly place: Place; readonly revision: number }> {
    checkSignal(signal);
    const { place, before } = await this.#take(store, value);
    await sayAnew(store, place, before, value);
    const revision = await waitForTurn(store, this.#line, place, signal);
    // Nobody may be there any more to hear of it.
    checkSignal(signal);
    return { place, revision };
  }

  /** After a failure; by a store whose calls do not end with the signal. @throws KvError: then it ends with its lease */
  async leave(store: RecipeStore): Promise<void> {
    if (!this.#mayStand) return;
    const key = placeKey(this.#line, this.#lease);
    const success = [{ type: 'delete' as const, key, end: undefined, prevKv: false }];
    await store.txn({ compares: [], success, failure: [] });
  }

  async #take(store: RecipeStore, value: Uint8Array): ReturnType<typeof takePlace> {
    this.#mayStand = true;
    try {
      return await takePlace(store, this.#line, this.#lease, value);
    } catch (error) {
      this.#mayStand = !(error instanceof KvError) || error.maybeApplied;
      throw error;
    }
  }
}
