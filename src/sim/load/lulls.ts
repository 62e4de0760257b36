/**
 * Stretches of a run in which clients are mostly quiet: what takes its time (leases, long pauses, clocks that drift, idle sessions, compaction) fits into a run, and virtual
 * time that passes while little happens costs next to nothing.
 *
 * Invariants: lulls begin after so many calls, so that every one of them comes, however slow or fast the calls are; their lengths add up to `totalMs`.
 */
import type { SeededRandom } from '../core/seeded_random.ts';

/** At most, of one run. */
const MOST = 8;
/** Clients that make a call in the middle of a lull, again and again. */
const RESTLESS = 0.25;

export class Lulls {
  /** Calls after which one begins, from the last to the first, and how long it is. */
  readonly #coming: { readonly afterCalls: number; readonly forMs: number }[];
  #calls = 0;
  #untilMs = Number.NEGATIVE_INFINITY;

  constructor(totalMs: number, ops: number, random: SeededRandom) {
    const count = totalMs > 0 ? random.int(2, MOST) : 0;
    const shares = Array.from({ length: count }, () => 0.1 + random.next());
    const sum = shares.reduce((a, b) => a + b, 0);
    this.#coming = shares
      .map((share) => ({ afterCalls: random.int(1, Math.max(1, ops - 1)), forMs: (totalMs * share) / sum }))
      .sort((a, b) => b.afterCalls - a.afterCalls);
  }

  /** A call is about to be made. */
  call(nowMs: number): void {
    this.#calls++;
    for (;;) {
      const next = this.#coming.at(-1);
      if (next === undefined || next.afterCalls > this.#calls) return;
      this.#coming.pop();
      this.#untilMs = Math.max(this.#untilMs, nowMs) + next.forMs;
    }
  }

  /** How long a client is to stay quiet before its next call; 0: there is no lull. */
  quietMs(nowMs: number, random: SeededRandom): number {
    const leftMs = this.#untilMs - nowMs;
    if (leftMs <= 0) return 0;
    return random.chance(RESTLESS) ? leftMs * random.next() : leftMs;
  }
}
