/**
 * One process of the simulated world (a life of a node, a client): its ports, and whether it lives, is paused, or is dead.
 *
 * Invariants: nothing of a dead process runs any more; nothing of a paused one (SIGSTOP) runs until it is resumed, then what came due runs at once and in order, an
 * interval once. The monotonic clock goes on while paused, as CLOCK_MONOTONIC does. A clock that runs at `rate` shows rate milliseconds for each of the
 * world's; the timers follow the process's clock.
 */
import type { Clock, Ports, TimerHandle, Timers } from '../../ports.ts';
import type { EventOwner, ScheduledEvent, Scheduler } from './scheduler.ts';
import type { SeededRandom } from './seeded_random.ts';

/** 2026-01-01T00:00:00Z: when every simulated world begins. */
export const WORLD_BEGINS_MS = 1_767_225_600_000;

const settled = Promise.resolve();

/** A machine's clocks: shared by all lives of a node, unlike its timers. */
export class MachineClock implements Clock {
  readonly #scheduler: Scheduler;
  #rate = 1;
  #sinceMs = 0;
  #monotonicBaseMs: number;
  #wallBaseMs: number;

  /** @param bootedMs what the monotonic clock shows at the beginning of the world. */
  constructor(scheduler: Scheduler, bootedMs: number) {
    this.#scheduler = scheduler;
    this.#sinceMs = scheduler.nowMs;
    this.#monotonicBaseMs = bootedMs;
    this.#wallBaseMs = WORLD_BEGINS_MS + scheduler.nowMs;
  }

  get rate(): number {
    return this.#rate;
  }

  wallMs(): number {
    return Math.floor(this.#wallBaseMs + (this.#scheduler.nowMs - this.#sinceMs) * this.#rate);
  }

  monotonicMs(): number {
    return this.#monotonicBaseMs + (this.#scheduler.nowMs - this.#sinceMs) * this.#rate;
  }

  /** What the wall clock shows more than the world's own time. */
  get offsetMs(): number {
    return this.wallMs() - Math.floor(WORLD_BEGINS_MS + this.#scheduler.nowMs);
  }

  /** Sets the wall clock off the world's time (a jump), and how fast both clocks run from now on. */
  set(change: { readonly offsetMs?: number | undefined; readonly rate?: number | undefined }): void {
    const { nowMs } = this.#scheduler;
    const passed = (nowMs - this.#sinceMs) * this.#rate;
    this.#monotonicBaseMs += passed;
    this.#wallBaseMs =
      change.offsetMs === undefined ? this.#wallBaseMs + passed : WORLD_BEGINS_MS + nowMs + change.offsetMs;
    this.#sinceMs = nowMs;
    if (change.rate !== undefined) this.#rate = change.rate;
  }
}

export class SimProcess implements EventOwner {
  readonly lane: string;
  readonly ports: Ports;
  readonly random: SeededRandom;
  alive = true;
  paused = false;
  readonly #scheduler: Scheduler;
  readonly #clock: MachineClock;
  /** What came due while paused. */
  #held: ScheduledEvent[] = [];

  constructor(lane: string, scheduler: Scheduler, clock: MachineClock, random: SeededRandom) {
    this.lane = lane;
    this.random = random;
    this.#scheduler = scheduler;
    this.#clock = clock;
    const timers: Timers = {
      after: (delayMs, run) => this.#timer(delayMs, run),
      every: (intervalMs, run) => this.#interval(intervalMs, run),
      soon: (run) => {
        void settled.then(() => {
          if (this.alive) run();
        });
      },
      afterIo: (run) => void scheduler.after(0, run, this),
    };
    this.ports = { clock, timers, random };
  }

  /** An event of this process after so much of the world's time: I/O that ends. */
  after(delayMs: number, run: () => void): ScheduledEvent {
    return this.#scheduler.after(delayMs, run, this);
  }

  /** Resolves after so much of this process's time; never when it dies before. */
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#timer(delayMs, resolve);
    });
  }

  hold(event: ScheduledEvent): void {
    this.#held.push(event);
  }

  /** SIGSTOP. */
  pause(): void {
    this.paused = true;
  }

  /** SIGCONT: what came due meanwhile comes at once, in order. */
  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    const held = this.#held;
    this.#held = [];
    for (const event of held) {
      this.#scheduler.after(
        0,
        () => {
          const { run } = event;
          event.run = undefined;
          run?.();
        },
        this,
      );
    }
  }

  kill(): void {
    this.alive = false;
    this.#held = [];
  }

  #timer(delayMs: number, run: () => void): TimerHandle {
    // As Node's: at least one millisecond.
    const event = this.#scheduler.after(Math.max(1, delayMs) / this.#clock.rate, run, this);
    return {
      cancel: () => {
        event.run = undefined;
      },
    };
  }

  #interval(intervalMs: number, run: () => void): TimerHandle {
    let event: ScheduledEvent | undefined;
    let cancelled = false;
    const arm = (): void => {
      event = this.#scheduler.after(Math.max(1, intervalMs) / this.#clock.rate, fire, this);
    };
    const fire = (): void => {
      arm();
      run();
    };
    arm();
    return {
      cancel: () => {
        if (cancelled) return;
        cancelled = true;
        if (event !== undefined) event.run = undefined;
      },
    };
  }
}
