/** Ports whose time stands still until a test moves it, and whose `afterIo` a test may hold back. */
import type { Ports, TimerHandle } from '../../src/ports.ts';
import { seededRandom } from './record_model.ts';

export class SteppedPorts implements Ports {
  nowMs = 1_000;
  /** When true, `afterIo` callbacks wait for `step`. */
  held = false;
  readonly #waiting: (() => void)[] = [];
  #timers: { atMs: number; run: () => void }[] = [];
  readonly clock = { wallMs: () => this.nowMs, monotonicMs: () => this.nowMs };
  readonly random: Ports['random'];
  readonly timers: { -readonly [Name in keyof Ports['timers']]: Ports['timers'][Name] } = {
    after: (delayMs, run) => this.#after(delayMs, run),
    every: () => {
      throw new Error('not used here');
    },
    soon: (run) => queueMicrotask(run),
    afterIo: (run) => {
      if (this.held) this.#waiting.push(run);
      else setImmediate(run);
    },
  };

  constructor(seed = 1) {
    const next = seededRandom(seed);
    this.random = { next, bytes: (count) => new Uint8Array(count).map(() => Math.floor(next() * 256)) };
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get timerCount(): number {
    return this.#timers.length;
  }

  /** Runs what waits in `afterIo`, and lets promises settle. */
  async step(): Promise<void> {
    for (const run of this.#waiting.splice(0)) run();
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Lets everything that waits run from now on. */
  release(): void {
    this.held = false;
    for (const run of this.#waiting.splice(0)) run();
  }

  async advance(ms: number): Promise<void> {
    this.nowMs += ms;
    const due = this.#timers.filter((timer) => timer.atMs <= this.nowMs);
    this.#timers = this.#timers.filter((timer) => timer.atMs > this.nowMs);
    for (const timer of due) timer.run();
    await new Promise((resolve) => setImmediate(resolve));
  }

  #after(delayMs: number, run: () => void): TimerHandle {
    const timer = { atMs: this.nowMs + delayMs, run };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((one) => one !== timer);
      },
    };
  }
}
