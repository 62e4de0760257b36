/** Bounding a wait by a time-out and an AbortSignal. */
import { KvError } from '../errors.ts';
import type { Ports } from '../ports.ts';

export function cancelled(maybeApplied: boolean): KvError {
  return new KvError('CANCELLED', 'the call was cancelled by its signal', { maybeApplied });
}

/**
 * Waits for `promise`, but no longer than until `deadlineMs` (monotonic clock) or the signal.
 * @throws KvError TIMEOUT, CANCELLED, or what the promise fails with.
 */
export function waitUntil<T>(
  promise: Promise<T>,
  deadlineMs: number,
  signal: AbortSignal | undefined,
  ports: Ports,
  late = 'the call waited too long for its turn',
): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(cancelled(false));
      return;
    }
    const onAbort = () => finish(() => reject(cancelled(false)));
    const timer = ports.timers.after(Math.max(0, deadlineMs - ports.clock.monotonicMs()), () =>
      finish(() => reject(new KvError('TIMEOUT', late))),
    );
    const finish = (settle: () => void) => {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
      settle();
    };
    signal?.addEventListener('abort', onAbort);
    promise.then(
      (value) => finish(() => resolve(value)),
      (error) => finish(() => reject(error)),
    );
  });
}
