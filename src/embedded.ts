/**
 * The embedded store: one node in this process, with the same interface as a cluster's client.
 *
 * Invariants: `open` of a directory that another process (or this one) has open fails with LOCKED; what a read gives is a copy, since the engine's memory moves on.
 */
import { MemoryNetwork } from '../transports/memory.ts';
import type { Service, WatchHandle } from './api/service.ts';
import type { Channel, ChannelOptions } from './client/channel.ts';
import { createStore } from './client/store.ts';
import type { Store } from './client/store_types.ts';
import { type ConfigInput, parseConfig } from './config.ts';
import { KvError } from './errors.ts';
import type { CommandResult } from './kv/command.ts';
import { foundAlone } from './node/founding.ts';
import { KvorumNode } from './node/node.ts';
import { silentLogger } from './observability/logger.ts';
import { realPorts } from './real_ports.ts';
import { NodeDisk } from './storage/node_disk.ts';
import type { MaybePromise, StoredRecord } from './storage/record.ts';
import { VERSION } from './version.ts';
import type {
  GetRequest,
  GetResponse,
  ScanPageRequest,
  ScanPageResponse,
  WatchBatch,
  WatchRequest,
} from './wire/messages.ts';

const OPEN_TIMEOUT_MS = 60_000;

export interface OpenOptions {
  /** The data directory; created when it is missing. */
  readonly path: string;
  /** Settings that differ from the defaults (config.ts). */
  readonly config?: ConfigInput;
}

/**
 * Opens a store in this process: full durability unless `config.storage.durability` says otherwise.
 * @throws KvError LOCKED, CORRUPT, CONFIG_INVALID, NO_SPACE, TREE_UNAVAILABLE
 */
export async function open(options: OpenOptions): Promise<Store> {
  const ports = realPorts();
  const config = parseConfig(options.config);
  const address = 'embedded:0';
  let ended: KvError | undefined;
  const node = await KvorumNode.start({
    path: options.path,
    config,
    ports,
    disk: new NodeDisk(),
    logger: silentLogger,
    version: VERSION,
    pid: process.pid,
    rssBytes: () => process.memoryUsage.rss(),
    create: async () =>
      foundAlone(ports.random, { peerAddress: address, clientAddress: address }, config.storage.tree),
    transport: (identity) => new MemoryNetwork({ ports }).transport(identity.nodeId),
    endpoints: [],
    batching: 'turn',
    onEnd: (error) => {
      ended = error;
    },
  });
  try {
    await node.whenLed(OPEN_TIMEOUT_MS);
    await node.whenApplied(OPEN_TIMEOUT_MS);
  } catch (error) {
    await node.stop();
    throw ended ?? error;
  }
  return createStore({
    channel: new EmbeddedChannel(node.service, () => node.stop()),
    limits: config.limits,
    ports,
    maxSessionResults: config.limits.maxSessionResults,
  });
}

class EmbeddedChannel implements Channel {
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
  return { revision, record: record === undefined ? undefined : owned(record) };
}

function ownedScan({ revision, records, more }: ScanPageResponse): ScanPageResponse {
  return { revision, records: records.map(owned), more };
}

function owned(record: StoredRecord): StoredRecord {
  return {
    key: Uint8Array.prototype.slice.call(record.key),
    value: Uint8Array.prototype.slice.call(record.value),
    modRevision: record.modRevision,
    createRevision: record.createRevision,
    version: record.version,
    subRevision: record.subRevision,
    flags: record.flags,
    lease: record.lease,
    expiresAtMs: record.expiresAtMs,
  };
}
