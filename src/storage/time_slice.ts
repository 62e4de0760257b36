/**
 * Long work in short pieces: how trees flush and merge on the thread of the event loop without holding it up.
 *
 * Invariant: between two `rest`s no more than about SLICE_MS passes, nor more than MAX_CHECKS calls of `isOver` (so that it also holds under a
 * virtual clock, which stands still during a turn).
 */
import type { Ports } from '../ports.ts';

const SLICE_MS = 1.5;
const MAX_CHECKS = 64;

export class TimeSlice {
  readonly #ports: Ports;
  #endsAtMs: number;
  #checks = 0;

  constructor(ports: Ports) {
    this.#ports = ports;
    this.#endsAtMs = ports.clock.monotonicMs() + SLICE_MS;
  }

  /** Whether it is time to rest. Call it about every 10 to 100 microseconds of work. */
  isOver(): boolean {
    return ++this.#checks > MAX_CHECKS || this.#ports.clock.monotonicMs() >= this.#endsAtMs;
  }

  /** Lets pending I/O be handled and begins a new slice. */
  async rest(): Promise<void> {
    await new Promise<void>((resolve) => this.#ports.timers.afterIo(resolve));
    this.#checks = 0;
    this.#endsAtMs = this.#ports.clock.monotonicMs() + SLICE_MS;
  }
}
