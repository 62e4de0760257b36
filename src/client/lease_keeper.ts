/**
 * Keeps one lease alive.
 *
 * Invariants: the holder is told of the loss no later than the store may end the lease, whatever becomes of the network: the time of a lease counts from before its renewal was
 * sent, on this process's monotonic clock, less what the store's clock may be faster; a renewal whose answer does not come is sent again while there is time; nothing runs after close or loss.
 */
import { KvError } from '../errors.ts';
import type { Ports, TimerHandle } from '../ports.ts';
import { MAX_TIMER_MS } from '../recipes/patience.ts';
import type { LeaseCalls } from './channel.ts';
import type { KeptLease } from './lease_types.ts';

/** Renewals within one time to live: two may be lost. */
const RENEWALS_PER_TTL = 3;
/** The store's clock leans by one part in a hundred at most towards the leader's wall clock; clocks of machines differ by less than the rest. */
const CERTAIN_SHARE = 0.98;
const MIN_PAUSE_MS = 20;
const MAX_PAUSE_MS = 1_000;
const PAUSES_PER_TTL = 20;

export interface LeaseKeeperOptions {
  readonly calls: LeaseCalls;
  readonly ports: Ports;
  /** Aborts when the store is closed. */
  readonly closed: AbortSignal;
  readonly id: bigint;
  readonly ttlMs: number;
  /** Monotonic; when the request was sent that gave the lease its present time. */
  readonly sentAtMs: number;
}

export class LeaseKeeper implements KeptLease {
  readonly id: bigint;
  readonly ttlMs: number;
  readonly #options: LeaseKeeperOptions;
  readonly #controller = new AbortController();
  readonly #storeClosed = (): void => this.#lose(new KvError('CLOSED', 'the store was closed'));
  /** One of its own: a signal that many listen to is taken for a leak. */
  readonly #closed: AbortSignal;
  #over = false;
  #endMs = 0;
  #end: TimerHandle | undefined;
  #next: TimerHandle | undefined;
  #lastError: unknown;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.id = options.id;
    this.ttlMs = options.ttlMs;
    this.#closed = AbortSignal.any([options.closed]);
    this.#closed.addEventListener('abort', this.#storeClosed, { once: true });
    if (this.#closed.aborted) this.#storeClosed();
    else this.#renewed(options.sentAtMs);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  close(): void {
    this.#over = true;
    this.#next?.cancel();
    this.#end?.cancel();
    this.#closed.removeEventListener('abort', this.#storeClosed);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #renewed(sentAtMs: number): void {
    const { clock } = this.#options.ports;
    this.#endMs = sentAtMs + this.ttlMs * CERTAIN_SHARE;
    this.#end?.cancel();
    this.#endWhenLate();
    if (!this.#over) this.#renewIn(sentAtMs + this.ttlMs / RENEWALS_PER_TTL - clock.monotonicMs());
  }

  #endWhenLate(): void {
    const { clock, timers } = this.#options.ports;
    const leftMs = this.#endMs - clock.monotonicMs();
    if (leftMs <= 0) this.#lose(this.#late());
    else this.#end = timers.after(Math.min(leftMs, MAX_TIMER_MS), () => this.#endWhenLate());
  }

  #renewIn(delayMs: number): void {
    const { timers } = this.#options.ports;
    this.#next = timers.after(Math.min(Math.max(0, delayMs), MAX_TIMER_MS), () => this.#renew());
  }

  #renew(): void {
    const { calls, ports } = this.#options;
    const sentAtMs = ports.clock.monotonicMs();
    const timeoutMs = Math.max(1, Math.min(this.ttlMs / RENEWALS_PER_TTL, this.#endMs - sentAtMs));
    calls.keepAlive(this.id, { timeoutMs }).then(
      ({ ttlMs }) => {
        if (this.#over) return;
        if (ttlMs === 0) this.#lose(new KvError('LEASE_EXPIRED', `lease ${this.id} has ended`));
        else this.#renewed(sentAtMs);
      },
      (error: unknown) => {
        if (this.#over) return;
        // What it was is told when time is up.
        this.#lastError = error;
        this.#renewIn(Math.min(MAX_PAUSE_MS, Math.max(MIN_PAUSE_MS, this.ttlMs / PAUSES_PER_TTL)));
      },
    );
  }

  #late(): KvError {
    const message = `lease ${this.id} was not renewed in time and may have ended`;
    return new KvError('LEASE_EXPIRED', message, { cause: this.#lastError });
  }

  #lose(error: KvError): void {
    if (this.#over) return;
    this.close();
    this.#controller.abort(error);
  }
}
