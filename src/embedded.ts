/**
 * The embedded store: one node in this process, with the same interface as a cluster's client.
 *
 * Invariants: `open` of a directory that another process (or this one) has open fails with LOCKED.
 */
import { MemoryNetwork } from '../transports/memory.ts';
import { createStore } from './client/store.ts';
import type { CallOptions, Key, Store } from './client/store_types.ts';
import { type Config, type ConfigInput, parseConfig } from './config.ts';
import { EmbeddedChannel } from './embedded_channel.ts';
import type { KvError } from './errors.ts';
import { foundAlone } from './node/founding.ts';
import { KvorumNode } from './node/node.ts';
import { silentLogger } from './observability/logger.ts';
import type { Ports } from './ports.ts';
import { realPorts } from './real_ports.ts';
import { NodeDisk } from './storage/node_disk.ts';
import { SharedReads } from './storage/shared/shared_reads.ts';
import { getMany } from './threads/get_many.ts';
import { ReaderHub } from './threads/reader_hub.ts';
import { ReaderThread } from './threads/reader_thread.ts';
import { VERSION } from './version.ts';

const OPEN_TIMEOUT_MS = 60_000;

export interface OpenOptions {
  /** The data directory; created when it is missing. */
  readonly path: string;
  /** Settings that differ from the defaults (config.ts). */
  readonly config?: ConfigInput;
  /** Threads that may read beside this one, 0 to 60. Default 0. Each costs nothing but addresses until it is used. */
  readonly readers?: number;
}

/** A store in this process, and the threads that read it. */
export interface EmbeddedStore extends Store {
  readonly readers: readonly ReaderThread[];
  /**
   * The values of many keys as of one revision, in their order; undefined for a missing one. Shared out among the reader threads that run (their first `run`
   * starts them), read here when there are none.
   */
  getMany(keys: readonly Key[], options?: CallOptions): Promise<(Uint8Array | undefined)[]>;
}

/**
 * Opens a store in this process: full durability unless `config.storage.durability` says otherwise.
 * @throws KvError LOCKED, CORRUPT, CONFIG_INVALID, NO_SPACE, TREE_UNAVAILABLE
 */
export async function open(options: OpenOptions): Promise<EmbeddedStore> {
  const ports = realPorts();
  const config = parseConfig(options.config);
  const address = 'embedded:0';
  let ended: KvError | undefined;
  const shared =
    options.readers === undefined || options.readers === 0 ? undefined : new SharedReads(options.readers);
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
    shared,
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
  const readers = shared === undefined ? undefined : new StoreReaders(shared, node, config, ports);
  const store = createStore({
    channel: new EmbeddedChannel(node.service, async () => {
      await readers?.close();
      await node.stop();
    }),
    limits: config.limits,
    ports,
    maxSessionResults: config.limits.maxSessionResults,
  });
  return withReaders(store, node, readers?.threads ?? []);
}

/** The reader threads of an open store. */
class StoreReaders {
  readonly threads: readonly ReaderThread[];
  readonly #hub: ReaderHub;

  constructor(shared: SharedReads, node: KvorumNode, config: Config, ports: Ports) {
    // What the log did not bring anew: the engine publishes from the first entry on that is applied.
    const { revision, compactRevision } = node.service.status();
    shared.publishRevision(revision);
    shared.publishCompacted(compactRevision);
    const limits = { ...config.limits, requestTimeoutMs: config.node.requestTimeoutMs };
    this.#hub = new ReaderHub({ shared, service: node.service, timers: ports.timers, limits });
    this.threads = Array.from({ length: shared.readers }, (_, index) => new ReaderThread(this.#hub, index));
  }

  async close(): Promise<void> {
    this.#hub.close();
    await Promise.all(this.threads.map((thread) => thread.terminate()));
  }
}

function withReaders(store: Store, node: KvorumNode, readers: readonly ReaderThread[]): EmbeddedStore {
  return Object.assign(store, {
    readers,
    getMany: (keys: readonly Key[], options: CallOptions = {}): Promise<(Uint8Array | undefined)[]> => {
      const { revision } = node.service.status();
      const running = readers.filter((reader) => reader.running);
      return getMany(keys, revision, running, (key) => store.get(key, { ...options, revision }));
    },
  });
}
