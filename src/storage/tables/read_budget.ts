/**
 * Whether blocks should be read on this thread or through the thread pool: a read that the page cache serves takes one to two microseconds, a hop to the
 * pool and back tens of them, but a read from the disk holds up everything else.
 *
 * Reads on this thread are timed. When MANY of the last WINDOW were slow, the files are cold: reads go to the pool, but for one probe now and then, and one
 * quick probe after the other makes them warm again. A single slow read says nothing: the thread may have been put aside by the system.
 *
 * Invariant: while files are cold, slow reads on this thread take at most about one part in PAUSE_FACTOR of the time.
 */
import type { Clock } from '../../ports.ts';

/** Of a block of a few KiB; the page cache takes a fiftieth of this. */
const SLOW_MS = 0.06;
/** What more a larger read may take: bytes a millisecond, well below what memory does. */
const COPY_BYTES_PER_MS = 500_000;
const WINDOW = 8;
const MANY = 3;
/** Of files that nothing was read from yet, the first slow read is believed. */
const FIRST = (1 << (MANY - 1)) - 1;
const PAUSE_FACTOR = 30;
const MIN_PAUSE_MS = 10;
const MAX_PAUSE_MS = 1_000;

export class ReadBudget {
  readonly #clock: Clock;
  /** One bit per read, the newest lowest: 1 for a slow one. */
  #recent = FIRST;
  #slow = MANY - 1;
  #coldUntilMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether the next read should be made on this thread. */
  get warm(): boolean {
    return this.#slow < MANY || this.#clock.monotonicMs() >= this.#coldUntilMs;
  }

  /** To be called before a read on this thread. */
  startMs(): number {
    return this.#clock.monotonicMs();
  }

  /** A read of so many bytes on this thread, begun at `startMs`, has ended. */
  ended(startMs: number, bytes = 0): void {
    const nowMs = this.#clock.monotonicMs();
    const tookMs = nowMs - startMs;
    const slow = tookMs > SLOW_MS + bytes / COPY_BYTES_PER_MS ? 1 : 0;
    this.#slow += slow - ((this.#recent >>> (WINDOW - 1)) & 1);
    this.#recent = ((this.#recent << 1) | slow) & ((1 << WINDOW) - 1);
    if (slow === 0 || this.#slow < MANY) return;
    this.#coldUntilMs = nowMs + Math.min(MAX_PAUSE_MS, Math.max(MIN_PAUSE_MS, tookMs * PAUSE_FACTOR));
  }
}
