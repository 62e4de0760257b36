/**
 * How fast compaction may go: a token bucket over bytes, driven by the clock and the timers it is given. Flushes are not limited.
 *
 * Invariants: whoever takes goes into debt and waits until it is paid, first come first served; a rate that rises is felt at once by those who wait; after
 * `release` nobody waits and nobody ever will.
 */
import type { Ports, TimerHandle } from '../../ports.ts';
import type { MaybePromise } from '../record.ts';

/** What an idle bucket holds, in time: a pause may be made good by so much. */
const BURST_MS = 50;
const MS_PER_SECOND = 1000;
/** From this urgency on there is no limit. */
const UNLIMITED_URGENCY = 0.5;
/** Just below that it is this many times the rate of no urgency. */
const MAX_SPEEDUP = 4;

interface Waiter {
  bytes: number;
  readonly resolve: () => void;
}

export class RateLimiter {
  readonly #ports: Pick<Ports, 'clock' | 'timers'>;
  #bytesPerSecond = Number.POSITIVE_INFINITY;
  /** Negative: a debt. */
  #tokens = 0;
  #countedAtMs: number;
  readonly #waiters: Waiter[] = [];
  #timer: TimerHandle | undefined;
  #released = false;

  constructor(ports: Pick<Ports, 'clock' | 'timers'>) {
    this.#ports = ports;
    this.#countedAtMs = ports.clock.monotonicMs();
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  /** Infinity: no limit. */
  setRate(bytesPerSecond: number): void {
    if (bytesPerSecond === this.#bytesPerSecond) return;
    this.#count();
    this.#bytesPerSecond = bytesPerSecond;
    if (this.#waiters.length > 0) this.#serve();
  }

  /** Resolves (or answers at once) when so many bytes may be handled. */
  take(bytes: number): MaybePromise<void> {
    if (this.#released) return undefined;
    this.#count();
    if (this.#waiters.length === 0 && this.#tokens >= 0) {
      this.#spend(bytes);
      return undefined;
    }
    return new Promise<void>((resolve) => {
      this.#waiters.push({ bytes, resolve });
      this.#serve();
    });
  }

  /** Lets everybody through, now and for ever. */
  release(): void {
    this.#released = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve();
  }

  #spend(bytes: number): void {
    if (this.#bytesPerSecond !== Number.POSITIVE_INFINITY) this.#tokens -= bytes;
  }

  /** Adds what the time since the last count has brought. */
  #count(): void {
    const nowMs = this.#ports.clock.monotonicMs();
    const passedMs = nowMs - this.#countedAtMs;
    this.#countedAtMs = nowMs;
    if (this.#bytesPerSecond === Number.POSITIVE_INFINITY) {
      this.#tokens = 0;
      return;
    }
    const most = (this.#bytesPerSecond * BURST_MS) / MS_PER_SECOND;
    this.#tokens = Math.min(most, this.#tokens + (this.#bytesPerSecond * passedMs) / MS_PER_SECOND);
  }

  #serve(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#count();
    while (this.#tokens >= 0) {
      const waiter = this.#waiters.shift();
      if (waiter === undefined) return;
      this.#spend(waiter.bytes);
      waiter.resolve();
    }
    if (this.#waiters.length === 0) return;
    const waitMs = Math.max(1, Math.ceil((-this.#tokens * MS_PER_SECOND) / this.#bytesPerSecond));
    this.#timer = this.#ports.timers.after(waitMs, () => {
      this.#timer = undefined;
      this.#serve();
    });
  }
}

/**
 * The rate for an urgency of 0 (nothing presses) to 1 (writers stand still): slow while there is time, so that reads and writes keep the disk and the processor
 * to themselves; growing with the debt, so that it stays bounded; without limit from halfway on.
 */
export function compactionRate(urgency: number, idleBytesPerSecond: number): number {
  if (urgency >= UNLIMITED_URGENCY) return Number.POSITIVE_INFINITY;
  return idleBytesPerSecond * (1 + ((MAX_SPEEDUP - 1) * urgency) / UNLIMITED_URGENCY);
}
