/**
 * Decides whether a block may be read at once, on this thread, or goes through the thread pool.
 *
 * A read from the page cache takes a microsecond or two: handing it to another thread would cost more than that. One that goes to the disk holds up
 * everything else in the process. So reads are timed: slow ones draw on a budget of time that refills slowly; when it is used up, reads go to the thread
 * pool until half of it is back, and then the next ones show whether the files are warm again.
 *
 * Invariant: slow reads take at most REFILL of this thread's time, over any period much longer than CAPACITY_MS / REFILL.
 */
import type { Clock } from '../../ports.ts';

const SLOW_MS = 0.15;
const CAPACITY_MS = 5;
const REFILL = 0.03;

export class ReadBudget {
  readonly #clock: Clock;
  #leftMs = CAPACITY_MS;
  #filledAtMs: number;
  #spent = false;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#filledAtMs = clock.monotonicMs();
  }

  /** Whether the next read may take place at once. */
  get warm(): boolean {
    if (!this.#spent) return true;
    this.#refill(this.#clock.monotonicMs());
    this.#spent = this.#leftMs < CAPACITY_MS / 2;
    return !this.#spent;
  }

  startMs(): number {
    return this.#clock.monotonicMs();
  }

  /** A read that began at `startMs` is over. */
  ended(startMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    const tookMs = nowMs - startMs;
    if (tookMs <= SLOW_MS) return;
    this.#refill(nowMs);
    this.#leftMs -= tookMs;
    if (this.#leftMs <= 0) this.#spent = true;
  }

  #refill(nowMs: number): void {
    this.#leftMs = Math.min(CAPACITY_MS, this.#leftMs + (nowMs - this.#filledAtMs) * REFILL);
    this.#filledAtMs = nowMs;
  }
}
