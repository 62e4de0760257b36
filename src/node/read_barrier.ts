/**
 * Linearizable reads without the log: the read index of the Raft thesis, section 6.4.
 *
 * Reads that arrive together share one round: they wait until the leader has confirmed, by a round of heartbeats that began after they arrived, that it still
 * leads, and until this node has applied the commit index of that moment.
 *
 * Invariants: a read joins only a round that has not begun; at most MAX_ROUNDS rounds are under way; every waiter is settled once, at
 * its deadline at the latest.
 */
import { KvError } from '../errors.ts';
import type { ReadState } from '../raft/types.ts';

const MAX_ROUNDS = 2;

interface Round {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: KvError) => void;
  readonly deadlineMs: number;
  /** When it was last asked; 0: not yet. */
  askedMs: number;
  /** The applied index it waits for; 0: not known yet. */
  index: number;
}

export interface ReadBarrierOptions {
  /** Asks Raft for a read index; false when there is no leader to ask. */
  readonly readIndex: (context: number) => boolean;
  readonly nowMs: () => number;
  readonly timeoutMs: number;
  /** An answer that takes longer than this was lost: asked again. */
  readonly retryMs: number;
}

export class ReadBarrier {
  readonly #options: ReadBarrierOptions;
  #collecting: Round | undefined;
  readonly #asked = new Map<number, Round>();
  readonly #confirmed: Round[] = [];
  /** Lost rounds whose readers wait for a later one, each with its own deadline. */
  readonly #joined = new Set<Round>();
  #lastContext = 0;

  constructor(options: ReadBarrierOptions) {
    this.#options = options;
  }

  /** Resolves when a read begun now may be served from the applied state. Shared by all who call in the same turn. */
  wait(): Promise<void> {
    this.#collecting ??= newRound(this.#options.nowMs() + this.#options.timeoutMs);
    return this.#collecting.promise;
  }

  get waiting(): boolean {
    return this.#collecting !== undefined && this.#asked.size < MAX_ROUNDS;
  }

  /** Begins a round for those who wait, if one may begin. */
  poll(): void {
    if (!this.waiting) return;
    const round = this.#collecting!;
    const context = ++this.#lastContext;
    if (!this.#options.readIndex(context)) return;
    this.#collecting = undefined;
    round.askedMs = this.#options.nowMs();
    this.#asked.set(context, round);
  }

  confirmed(states: readonly ReadState[], appliedIndex: number): void {
    for (const state of states) {
      const round = this.#asked.get(state.context);
      if (round === undefined) continue;
      this.#asked.delete(state.context);
      if (state.index === 0) this.#askAgain(round);
      else if (state.index <= appliedIndex) round.resolve();
      else {
        round.index = state.index;
        this.#confirmed.push(round);
      }
    }
  }

  applied(index: number): void {
    if (this.#confirmed.length === 0) return;
    for (let i = this.#confirmed.length - 1; i >= 0; i--) {
      const round = this.#confirmed[i]!;
      if (round.index > index) continue;
      this.#confirmed.splice(i, 1);
      round.resolve();
    }
  }

  /** Gives up on rounds past their deadline and asks lost ones again. */
  sweep(): void {
    const nowMs = this.#options.nowMs();
    // Made only when somebody is late: a sweep mostly finds nobody.
    const late = (): KvError => new KvError('TIMEOUT', 'no quorum confirmed the read in time');
    if (this.#collecting !== undefined && this.#collecting.deadlineMs <= nowMs) {
      this.#collecting.reject(new KvError('NO_LEADER', 'no leader was found in time to confirm the read'));
      this.#collecting = undefined;
    }
    for (const [context, round] of this.#asked) {
      if (round.deadlineMs <= nowMs) {
        this.#asked.delete(context);
        round.reject(late());
      } else if (nowMs - round.askedMs >= this.#options.retryMs) {
        this.#asked.delete(context);
        this.#askAgain(round);
      }
    }
    for (const round of this.#joined) {
      if (round.deadlineMs > nowMs) continue;
      this.#joined.delete(round);
      round.reject(late());
    }
    for (let i = this.#confirmed.length - 1; i >= 0; i--) {
      if (this.#confirmed[i]!.deadlineMs > nowMs) continue;
      this.#confirmed.splice(i, 1)[0]!.reject(late());
    }
  }

  close(): void {
    const error = new KvError('UNAVAILABLE', 'the node is stopping');
    this.#collecting?.reject(error);
    for (const round of this.#asked.values()) round.reject(error);
    for (const round of this.#confirmed) round.reject(error);
    for (const round of this.#joined) round.reject(error);
    this.#collecting = undefined;
    this.#joined.clear();
    this.#asked.clear();
    this.#confirmed.length = 0;
  }

  /** A lost round's readers join the next one; their own deadline stays. */
  #askAgain(round: Round): void {
    const next = this.#collecting;
    if (next === undefined) {
      this.#collecting = round;
      round.askedMs = 0;
      return;
    }
    this.#joined.add(round);
    next.promise.then(
      () => {
        this.#joined.delete(round);
        round.resolve();
      },
      (error) => {
        this.#joined.delete(round);
        round.reject(error);
      },
    );
  }
}

function newRound(deadlineMs: number): Round {
  let resolve: () => void = () => undefined;
  let reject: (error: KvError) => void = () => undefined;
  const promise = new Promise<void>((ok, fail) => {
    resolve = ok;
    reject = fail;
  });
  // Whoever waits sees the failure; a round that nobody waits for any more must not count as unhandled.
  promise.catch(() => undefined);
  return { promise, resolve, reject, deadlineMs, askedMs: 0, index: 0 };
}
