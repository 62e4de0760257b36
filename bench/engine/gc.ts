/**
 * The time that garbage collection took of a stretch of time, from the entries of `perf_hooks`. They arrive after the stretch, in a later turn of the event loop, and
 * are matched by their time stamps.
 */
import { type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';

const MAX_TURNS = 3;

export class GcWatch {
  readonly #observer: PerformanceObserver;
  #entries: PerformanceEntry[] = [];

  constructor() {
    this.#observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) this.#entries.push(entry);
    });
    this.#observer.observe({ entryTypes: ['gc'] });
  }

  /** Per cent of the time from `fromMs` to `toMs` (of performance.now()) that was spent collecting. Forgets everything up to `toMs`. */
  async percentBetween(fromMs: number, toMs: number): Promise<number> {
    for (let turn = 0; turn < MAX_TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
    const collectingMs = overlapMs(this.#entries, fromMs, toMs);
    this.#entries = [];
    return toMs > fromMs ? (collectingMs / (toMs - fromMs)) * 100 : 0;
  }

  stop(): void {
    this.#observer.disconnect();
  }
}

/** How much of the spans lies between two points in time. */
export function overlapMs(
  spans: readonly { readonly startTime: number; readonly duration: number }[],
  fromMs: number,
  toMs: number,
): number {
  let sum = 0;
  for (const { startTime, duration } of spans)
    sum += Math.max(0, Math.min(startTime + duration, toMs) - Math.max(startTime, fromMs));
  return sum;
}
