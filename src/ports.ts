/**
 * Time, timers and chance as the shell sees them: handed to constructors, never taken from globals, so that the simulator runs the real code.
 * real_ports.ts holds the ones of this process.
 */
export interface Clock {
  /** Wall clock, milliseconds since 1970. May jump. */
  wallMs(): number;
  /** Never goes back; for time-outs and intervals. */
  monotonicMs(): number;
}

export interface TimerHandle {
  cancel(): void;
}

export interface Timers {
  after(delayMs: number, run: () => void): TimerHandle;
  every(intervalMs: number, run: () => void): TimerHandle;
  /** Runs after the current synchronous work, before I/O is polled again. */
  soon(run: () => void): void;
  /** Runs after pending I/O has been handled. */
  afterIo(run: () => void): void;
}

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  bytes(count: number): Uint8Array;
}

export interface Ports {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
}
