/**
 * Keep-alives on their way into the log: gathered, so that many of them are one command and one entry.
 *
 * A keep-alive that comes after a quiet while goes at once; the next ones are gathered until GATHER_MS have passed since. A renewal is part of the replicated state: each is answered
 * when its command has been applied, and a change of leaders neither loses nor repeats one.
 *
 * Invariants: every keep-alive is settled once; at most MAX_WAITING wait at a time, and one command renews at most MAX_BATCH leases.
 */
import { KvError } from '../errors.ts';
import type { Clock, Timers } from '../ports.ts';

const GATHER_MS = 100;
const MAX_BATCH = 10_000;
const MAX_WAITING = 200_000;

interface Batch {
  readonly leases: bigint[];
  /** The latest of those who wait. */
  deadlineMs: number;
  /** Times to live by position. */
  readonly done: Promise<readonly number[]>;
  readonly settle: (ttlsMs: Promise<readonly number[]>) => void;
}

export interface LeaseRenewalsOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /** Renews leases; gives the time to live of each, 0 where there is none such. */
  readonly submit: (leases: readonly bigint[], deadlineMs: number) => Promise<readonly number[]>;
}

export class LeaseRenewals {
  readonly #options: LeaseRenewalsOptions;
  #batch: Batch | undefined;
  #lastSentMs = Number.NEGATIVE_INFINITY;
  #waiting = 0;

  constructor(options: LeaseRenewalsOptions) {
    this.#options = options;
  }

  /** The whole time to live that the lease has from now on; 0: there is no such lease. @throws KvError OVERLOADED, or what `submit` throws */
  async renew(lease: bigint, deadlineMs: number): Promise<number> {
    const batch = this.#room(1, deadlineMs);
    const at = batch.leases.push(lease) - 1;
    this.#added(batch);
    return (await batch.done)[at] as number;
  }

  /** The same for some that another node has gathered. */
  async renewAll(leases: readonly bigint[], deadlineMs: number): Promise<readonly number[]> {
    if (leases.length === 0) return [];
    if (leases.length > MAX_BATCH) throw new KvError('REQUEST_TOO_LARGE', `${leases.length} keep-alives`);
    const batch = this.#room(leases.length, deadlineMs);
    const from = batch.leases.length;
    for (const lease of leases) batch.leases.push(lease);
    this.#added(batch);
    return (await batch.done).slice(from, from + leases.length);
  }

  #room(count: number, deadlineMs: number): Batch {
    if (this.#waiting + count > MAX_WAITING) {
      throw new KvError('OVERLOADED', `${this.#waiting} keep-alives are waiting already; try again`);
    }
    this.#waiting += count;
    if (this.#batch !== undefined && this.#batch.leases.length + count > MAX_BATCH) this.#send(this.#batch);
    this.#batch ??= this.#begin();
    this.#batch.deadlineMs = Math.max(this.#batch.deadlineMs, deadlineMs);
    return this.#batch;
  }

  #added(batch: Batch): void {
    if (batch.leases.length >= MAX_BATCH) this.#send(batch);
  }

  #begin(): Batch {
    const { clock, timers } = this.#options;
    let settle: Batch['settle'] = () => {};
    const done = new Promise<readonly number[]>((resolve) => {
      settle = resolve;
    });
    const batch: Batch = { leases: [], deadlineMs: 0, done, settle };
    const waitMs = this.#lastSentMs + GATHER_MS - clock.monotonicMs();
    if (waitMs > 0) timers.after(waitMs, () => this.#send(batch));
    else timers.soon(() => this.#send(batch));
    return batch;
  }

  #send(batch: Batch): void {
    // Full before its time.
    if (this.#batch !== batch) return;
    this.#batch = undefined;
    this.#lastSentMs = this.#options.clock.monotonicMs();
    const sent = this.#options.submit(batch.leases, batch.deadlineMs);
    const settled = (): void => {
      this.#waiting -= batch.leases.length;
    };
    sent.then(settled, settled);
    batch.settle(sent);
  }
}
