/**
 * The time that a leader writes into log entries: what everything with a time to live goes by.
 *
 * It must not follow the wall clock of whichever node happens to lead: one that is set wrong would end leases early, or keep them for ever. So the store's time runs on
 * monotonic clocks. The leader tells its time to the others several times a second; each remembers how far it is from its own monotonic clock, and goes on from there
 * when it leads. The leader's time leans towards its wall clock, by one part in a hundred at most, so that the store's time is the time of day to those who look at
 * it. Only a node that has not heard the time since its start begins with its wall clock, and never before the store's time.
 *
 * Invariants: `nowMs` never goes back while a node leads and is never before the store's applied time; between two nodes that lead after one another it may go back by as much as a
 * message takes, which apply evens out (the store's time is the largest entry time so far); it runs at most SLEW faster or slower than the monotonic clock.
 */
import type { Clock } from '../ports.ts';

/** How much faster or slower than its monotonic clock a leader's time may run. */
export const SLEW = 0.01;
/** A small error is made up for in about this time. */
const SETTLE_MS = 1_000;
/**
 * A message that took long shows a time that has passed; among those of such a stretch, and of the one before, the fastest counts. It is short because of a leader whose
 * monotonic clock is slow: what it told a while ago is ahead of what it tells now.
 */
export const WINDOW_MS = 1_000;

export class StoreClock {
  readonly #clock: Clock;
  readonly #appliedMs: () => number;
  #known = false;
  /** The time is monotonic clock + offset + what has run too fast since. */
  #offsetMs = 0;
  #sinceMs = 0;
  #rate = 1;
  /** How far it is from the wall clock: it leans by that and no more, even where nobody adjusts it for a while (a process that was stopped). */
  #errorMs = 0;
  #lastMs = 0;
  /** The largest offset heard in this stretch and in the one before, as they would be now had the leader run as slowly as it may since. */
  #windowMs = 0;
  #heardMs = 0;
  #heardTerm = 0;
  #best = Number.NEGATIVE_INFINITY;
  #bestBefore = Number.NEGATIVE_INFINITY;

  /** @param appliedMs the store's time as of what this node has applied */
  constructor(clock: Clock, appliedMs: () => number) {
    this.#clock = clock;
    this.#appliedMs = appliedMs;
  }

  /** Whether this node knows the time from a leader, or has led. */
  get known(): boolean {
    return this.#known;
  }

  /** The store's time for the entries of a leader. Whole milliseconds. */
  nowMs(): number {
    const monotonicMs = this.#clock.monotonicMs();
    if (!this.#known) this.#set(Math.max(this.#clock.wallMs(), this.#appliedMs()), monotonicMs);
    const nowMs = Math.floor(this.#at(monotonicMs));
    const appliedMs = this.#appliedMs();
    if (appliedMs > nowMs) {
      // Entries of a leader that was not heard; or the store has seen a clock that was far ahead.
      this.#set(appliedMs, monotonicMs);
      this.#lastMs = appliedMs;
    } else if (nowMs > this.#lastMs) this.#lastMs = nowMs;
    return this.#lastMs;
  }

  /** The same for those who only look: without it counting as known. */
  estimateMs(): number {
    const nowMs = this.#known ? this.#at(this.#clock.monotonicMs()) : this.#clock.wallMs();
    return Math.floor(Math.max(nowMs, this.#appliedMs()));
  }

  /** The leader of a term has told its time. What a leader before it told counts no more: this one may be behind it, and gives times to live out by its own time. */
  heard(timeMs: number, term: number): void {
    const monotonicMs = this.#clock.monotonicMs();
    if (term !== this.#heardTerm) this.#forgetHeard();
    this.#heardTerm = term;
    if (monotonicMs - this.#windowMs > WINDOW_MS) {
      this.#bestBefore = this.#best;
      this.#best = Number.NEGATIVE_INFINITY;
      this.#windowMs = monotonicMs;
    }
    // The leader may be leaning back: what it told a while ago holds only less so, or this node would lead with a time that is ahead of it, and end leases early.
    const agedMs = SLEW * (monotonicMs - this.#heardMs);
    this.#best = Math.max(this.#best - agedMs, timeMs - monotonicMs);
    this.#bestBefore -= agedMs;
    this.#offsetMs = Math.max(this.#best, this.#bestBefore);
    this.#heardMs = monotonicMs;
    this.#sinceMs = monotonicMs;
    this.#rate = 1;
    this.#lastMs = 0;
    this.#known = true;
  }

  /** Somebody who is no leader has told the time: better than the wall clock, where nothing else is known. */
  hint(timeMs: number): void {
    if (!this.#known) this.#set(timeMs, this.#clock.monotonicMs());
  }

  /** Leans towards the wall clock. Called several times a second by the leader. */
  adjust(): void {
    const nowMs = this.nowMs();
    const monotonicMs = this.#clock.monotonicMs();
    const errorMs = this.#clock.wallMs() - nowMs;
    this.#offsetMs = this.#at(monotonicMs) - monotonicMs;
    this.#sinceMs = monotonicMs;
    this.#rate = 1 + Math.max(-SLEW, Math.min(SLEW, errorMs / SETTLE_MS));
    this.#errorMs = errorMs;
    this.#forgetHeard();
  }

  #at(monotonicMs: number): number {
    const leanMs = (monotonicMs - this.#sinceMs) * (this.#rate - 1);
    const { abs, sign } = Math;
    return monotonicMs + this.#offsetMs + sign(leanMs) * Math.min(abs(leanMs), abs(this.#errorMs));
  }

  #set(timeMs: number, monotonicMs: number): void {
    this.#offsetMs = timeMs - monotonicMs;
    this.#sinceMs = monotonicMs;
    this.#known = true;
    this.#forgetHeard();
  }

  #forgetHeard(): void {
    this.#best = Number.NEGATIVE_INFINITY;
    this.#bestBefore = Number.NEGATIVE_INFINITY;
  }
}
