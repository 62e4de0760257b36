/** How long a recipe waits, and what it does when one of its calls fails meanwhile. */
import { KvError } from '../errors.ts';
import type { Ports, TimerHandle } from '../ports.ts';

/** Longer ones are no timers any more (24 days): nobody is waited for so long. */
export const MAX_TIMER_MS = 2 ** 31 - 1;
const MIN_PAUSE_MS = 50;
const MAX_PAUSE_MS = 500;

/** Waits a moment after an error that passes: a leader that is gone, nodes that cannot be reached. Ends early with the signal. @throws any other error */
export function pauseAfter(error: unknown, signal: AbortSignal, { random, timers }: Ports): Promise<void> {
  if (!(error instanceof KvError && error.retryable)) return Promise.reject(error);
  return new Promise<void>((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const end = (): void => {
      timer.cancel();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = timers.after(MIN_PAUSE_MS + (MAX_PAUSE_MS - MIN_PAUSE_MS) * random.next(), end);
    signal.addEventListener('abort', end, { once: true });
  });
}

/** A caller's signal and the time that it gives. */
export class Patience {
  /** Aborts with the caller's, or with a KvError TIMEOUT when the time is over. */
  readonly signal: AbortSignal;
  readonly #timer: TimerHandle | undefined;

  /** @param timeoutMs undefined: as long as it takes */
  constructor({ timers }: Ports, timeoutMs: number | undefined, signal: AbortSignal | undefined) {
    if (timeoutMs === undefined || timeoutMs > MAX_TIMER_MS) {
      this.signal = signal ?? new AbortController().signal;
      return;
    }
    const late = new AbortController();
    const reason = (): KvError => new KvError('TIMEOUT', `others had it for ${timeoutMs} ms`);
    this.#timer = timers.after(timeoutMs, () => late.abort(reason()));
    this.signal = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]);
  }

  end(): void {
    this.#timer?.cancel();
  }
}
