/** The ports of this process: its clock, its timers, its randomness. */
import { randomBytes } from 'node:crypto';
import type { Ports } from './ports.ts';

const settled = Promise.resolve();

export function realPorts(): Ports {
  return {
    clock: { wallMs: () => Date.now(), monotonicMs: () => performance.now() },
    timers: {
      after(delayMs, run) {
        const timer = setTimeout(run, delayMs);
        return { cancel: () => clearTimeout(timer) };
      },
      every(intervalMs, run) {
        const timer = setInterval(run, intervalMs);
        return { cancel: () => clearInterval(timer) };
      },
      // A microtask without the bookkeeping of queueMicrotask.
      soon: (run) => void settled.then(run),
      afterIo: (run) => void setImmediate(run),
    },
    random: { next: () => Math.random(), bytes: (count) => randomBytes(count) },
  };
}
