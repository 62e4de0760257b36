/**
 * Ports for runs that must be repeatable: time is virtual and moves by a fixed step whenever it is asked for, so that work cut into slices of time is cut at the
 * same places every time; timers run one a turn, earliest first, as soon as nothing else is due.
 */
import type { Ports, TimerHandle } from '../../../src/ports.ts';
import { seededRandom } from '../record_model.ts';

const STEP_MS = 0.02;

interface Timer {
  atMs: number;
  readonly everyMs: number;
  readonly run: () => void;
}

export class HarnessPorts implements Ports {
  #nowMs = 1_000;
  #stopped = false;
  #pumping = false;
  readonly #timers = new Set<Timer>();
  readonly clock = {
    wallMs: () => Math.floor(this.#nowMs),
    monotonicMs: () => {
      this.#nowMs += STEP_MS;
      return this.#nowMs;
    },
  };
  readonly random: Ports['random'];
  readonly timers = {
    after: (delayMs: number, run: () => void): TimerHandle => this.#add(delayMs, 0, run),
    every: (intervalMs: number, run: () => void): TimerHandle => this.#add(intervalMs, intervalMs, run),
    soon: (run: () => void): void => queueMicrotask(run),
    afterIo: (run: () => void): void => {
      setImmediate(() => {
        if (!this.#stopped) run();
      });
    },
  };

  constructor(seed = 1) {
    const next = seededRandom(seed);
    this.random = { next, bytes: (count) => new Uint8Array(count).map(() => Math.floor(next() * 256)) };
  }

  /** As when the process ends: nothing that waits for time is called any more. */
  stop(): void {
    this.#stopped = true;
    this.#timers.clear();
  }

  #add(delayMs: number, everyMs: number, run: () => void): TimerHandle {
    const timer = { atMs: this.#nowMs + delayMs, everyMs, run };
    if (!this.#stopped) this.#timers.add(timer);
    this.#pump();
    return { cancel: () => void this.#timers.delete(timer) };
  }

  #pump(): void {
    if (this.#pumping || this.#timers.size === 0) return;
    this.#pumping = true;
    setImmediate(() => {
      this.#pumping = false;
      let first: Timer | undefined;
      for (const timer of this.#timers) if (first === undefined || timer.atMs < first.atMs) first = timer;
      if (first === undefined) return;
      this.#nowMs = Math.max(this.#nowMs, first.atMs);
      if (first.everyMs > 0) first.atMs = this.#nowMs + first.everyMs;
      else this.#timers.delete(first);
      first.run();
      this.#pump();
    });
  }
}
