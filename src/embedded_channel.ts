/**
 * The store's channel straight over a service in this process.
 *
 * Invariant: what a read gives is a copy, since the engine's memory moves on.
 */
import type { Service, WatchHandle } from './api/service.ts';
import type { Channel, ChannelOptions } from './client/channel.ts';
import { KvError } from './errors.ts';
import type { CommandResult } from './kv/command.ts';
import { copyRecord, type MaybePromise } from './storage/record.ts';
import type {
  GetRequest,
  GetResponse,
  ScanPageRequest,
  ScanPageResponse,
  WatchBatch,
  WatchRequest,
} from './wire/messages.ts';

export class EmbeddedChannel implements Channel {
  readonly needsSession = false;
  readonly #service: Service;
  readonly #stop: () => Promise<void>;
  readonly #watches = new Set<BatchQueue>();

  constructor(service: Service, stop: () => Promise<void>) {
    this.#service = service;
    this.#stop = stop;
  }

  write(command: Uint8Array, options: ChannelOptions): Promise<CommandResult> {
    return this.#service.write(command, options);
  }

  get(request: GetRequest, options: ChannelOptions): MaybePromise<GetResponse> {
    const response = this.#service.get(request, options);
    return response instanceof Promise ? response.then(ownedGet) : ownedGet(response);
  }

  scan(request: ScanPageRequest, options: ChannelOptions): MaybePromise<ScanPageResponse> {
    const response = this.#service.scan(request, options);
    return response instanceof Promise ? response.then(ownedScan) : ownedScan(response);
  }

  async *watch(request: WatchRequest, options: ChannelOptions): AsyncGenerator<WatchBatch> {
    const queue = new BatchQueue();
    this.#watches.add(queue);
    const abort = (): void => queue.fail(new KvError('CANCELLED', 'the watch was cancelled'));
    options.signal?.addEventListener('abort', abort, { once: true });
    let handle: WatchHandle | undefined;
    try {
      if (options.signal?.aborted) abort();
      handle = await this.#service.watch(request, queue);
      for (;;) {
        const batch = await queue.next();
        if (queue.drained) handle.resume();
        yield batch;
      }
    } finally {
      options.signal?.removeEventListener('abort', abort);
      this.#watches.delete(queue);
      handle?.cancel();
    }
  }

  async close(): Promise<void> {
    for (const queue of this.#watches) queue.fail(new KvError('CLOSED', 'the store was closed'));
    await this.#stop();
  }
}

/** Batches between the node, which pushes, and a loop, which pulls. */
class BatchQueue {
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

function ownedGet({ revision, record }: GetResponse): GetResponse {
  return { revision, record: record === undefined ? undefined : copyRecord(record) };
}

function ownedScan({ revision, records, more }: ScanPageResponse): ScanPageResponse {
  return { revision, records: records.map((record) => copyRecord(record)), more };
}
