/**
 * Ports of one node whose timers can be frozen, as if its process had been stopped (SIGSTOP): nothing it asked for runs until it wakes. * Can also be hurried: what would happen after seconds happens after milliseconds.
 */
import type { Ports, TimerHandle, Timers } from '../../src/ports.ts';
import { realPorts } from '../../src/real_ports.ts';

/** Ticks of Raft stay what they are. */
const HURRY_FROM_MS = 100;

export class SleepyPorts implements Ports {
  readonly #real = realPorts();
  readonly clock = this.#real.clock;
  readonly random = this.#real.random;
  readonly timers: Timers;
  #asleep = false;
  /** What came due while asleep, in order. Intervals come due once, as a process's do. */
  readonly #due = new Set<() => void>();

  /** @param hurry intervals above HURRY_FROM_MS are divided by this. */
  constructor(hurry = 1) {
    const { timers } = this.#real;
    const hurried = (ms: number): number => (ms < HURRY_FROM_MS ? ms : Math.max(1, ms / hurry));
    const awake = (run: () => void) => (): void => {
      if (this.#asleep) this.#due.add(run);
      else run();
    };
    const cancellable = (handle: TimerHandle, run: () => void): TimerHandle => ({
      cancel: () => {
        handle.cancel();
        this.#due.delete(run);
      },
    });
    this.timers = {
      after: (delayMs, run) => cancellable(timers.after(hurried(delayMs), awake(run)), run),
      every: (intervalMs, run) => cancellable(timers.every(hurried(intervalMs), awake(run)), run),
      soon: (run) => timers.soon(awake(run)),
      afterIo: (run) => timers.afterIo(awake(run)),
    };
  }

  get asleep(): boolean {
    return this.#asleep;
  }

  sleep(): void {
    this.#asleep = true;
  }

  wake(): void {
    this.#asleep = false;
    const due = [...this.#due];
    this.#due.clear();
    for (const run of due) run();
  }
}
