/**
 * Slows writes down smoothly when flushes and compaction fall behind, so that writers meet many short waits instead of a wall.
 *
 * A token bucket over bytes whose rate follows the pressure: without pressure there is no limit; from there on the rate falls from somewhat above what
 * was measured to drain to a small part of it. Writes settle where as much comes in as goes out (the idea of RocksDB's delayed writes).
 *
 * Invariants: bytes are counted after they were written, so a large one is let in and paid for afterwards; a wait asked for is at most MAX_DELAY_MS; what is owed never exceeds
 * what MAX_DEBT_MS pay for, however large an entry was and however slow the disk seemed when it came.
 */

/** What is believed to drain before anything was measured: bytes a millisecond. */
const FIRST_DRAIN = 100_000;
const SMOOTHING = 0.3;
const HIGHEST_SHARE = 1.5;
const LOWEST_SHARE = 0.1;
const MAX_DELAY_MS = 20;
/** Unused time is worth so much later. */
const BURST_MS = 2;
const MAX_DEBT_MS = 1_000;

export class WriteThrottle {
  #drain = FIRST_DRAIN;
  /** Bytes a millisecond; Infinity: no limit. */
  #rate = Number.POSITIVE_INFINITY;
  #tokens = 0;
  #sinceMs = 0;

  /** False: `spend` and `delayMs` need not be called. */
  get limited(): boolean {
    return this.#rate !== Number.POSITIVE_INFINITY;
  }

  /** Bytes a second that are let in; Infinity without a limit. */
  get bytesPerSecond(): number {
    return this.#rate * 1000;
  }

  /** So many bytes went into the tree in so many milliseconds. */
  drained(bytes: number, ms: number): void {
    if (bytes <= 0) return;
    this.#drain += SMOOTHING * (bytes / Math.max(ms, 0.1) - this.#drain);
  }

  /** @param pressure 0: nothing waits, 1: no room at all. */
  update(pressure: number, nowMs: number): void {
    if (pressure <= 0) {
      this.#rate = Number.POSITIVE_INFINITY;
      this.#tokens = 0;
      return;
    }
    this.#refill(nowMs);
    const share = HIGHEST_SHARE - (HIGHEST_SHARE - LOWEST_SHARE) * Math.min(1, pressure);
    this.#rate = Math.max(1, this.#drain * share);
  }

  spend(bytes: number): void {
    this.#tokens -= bytes;
  }

  /** How long writers should wait now: 0 for not at all. */
  delayMs(nowMs: number): number {
    if (!this.limited) return 0;
    this.#refill(nowMs);
    return this.#tokens >= 0 ? 0 : Math.min(MAX_DELAY_MS, -this.#tokens / this.#rate);
  }

  #refill(nowMs: number): void {
    const elapsedMs = Math.max(0, nowMs - this.#sinceMs);
    this.#sinceMs = nowMs;
    if (!this.limited) return;
    const owed = Math.max(this.#tokens, -MAX_DEBT_MS * this.#rate);
    this.#tokens = Math.min(owed + elapsedMs * this.#rate, BURST_MS * this.#rate);
  }
}

/**
 * The pressure of memtables that wait for their flush: one being flushed while the next fills is the normal course of things.
 * @param waiting frozen memtables, the one being flushed included
 * @param fill how full the active one is, 0 to 1
 */
export function memtablePressure(waiting: number, fill: number, maxFrozen: number): number {
  const free = 1.5;
  if (maxFrozen < 2) return waiting >= 1 ? Math.max(0, fill - 0.5) * 2 : 0;
  return Math.max(0, Math.min(1, (waiting + Math.min(1, fill) - free) / (maxFrozen - free)));
}
