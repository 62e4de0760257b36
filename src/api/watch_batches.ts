/**
 * A watch of a service in this process as an async iterable.
 *
 * Invariant: what waits here is bounded: the node is told to hold back after BatchQueue.LIMIT batches, and goes on once they have been taken.
 */
import { KvError } from '../errors.ts';
import type { WatchBatch, WatchRequest } from '../wire/messages.ts';
import type { CallOptions, Service, WatchHandle, WatchSink } from './service.ts';

/** Delivers until the signal aborts; ends only by throwing. @throws KvError CANCELLED, and what ends the watch */
export async function* watchBatches(
  service: Pick<Service, 'watch'>,
  request: WatchRequest,
  options: CallOptions,
  signal: AbortSignal | undefined,
  queue: BatchQueue = new BatchQueue(),
): AsyncGenerator<WatchBatch, void, undefined> {
  const abort = (): void => queue.fail(new KvError('CANCELLED', 'the watch was cancelled'));
  signal?.addEventListener('abort', abort, { once: true });
  let handle: WatchHandle | undefined;
  try {
    if (signal?.aborted) abort();
    handle = await service.watch(request, queue, options);
    for (;;) {
      const batch = await queue.next();
      if (queue.drained) handle.resume();
      yield batch;
    }
  } finally {
    signal?.removeEventListener('abort', abort);
    handle?.cancel();
  }
}

/** Batches between the node, which pushes, and a loop, which pulls. */
export class BatchQueue implements WatchSink {
  /** Batches taken before the node is told to wait. */
  static readonly LIMIT = 64;
  readonly #batches: WatchBatch[] = [];
  #error: unknown;
  #wake: (() => void) | undefined;

  get drained(): boolean {
    return this.#batches.length === 0;
  }

  deliver(batch: WatchBatch): boolean {
    this.#batches.push(batch);
    this.#wake?.();
    return this.#batches.length < BatchQueue.LIMIT;
  }

  end(error: Error): void {
    this.fail(error);
  }

  fail(error: unknown): void {
    this.#error ??= error;
    this.#wake?.();
  }

  async next(): Promise<WatchBatch> {
    for (;;) {
      const batch = this.#batches.shift();
      if (batch !== undefined) return batch;
      if (this.#error !== undefined) throw this.#error;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}
