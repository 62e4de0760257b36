/**
 * The embedded store: one node in this process, with the same interface as a cluster's client.
 *
 * Invariants: `open` of a directory that another process (or this one) has open fails with LOCKED.
 */
import { MemoryNetwork } from '../transports/memory.ts';
import { createStore } from './client/store.ts';
import type { Store } from './client/store_types.ts';
import { type ConfigInput, parseConfig } from './config.ts';
import { EmbeddedChannel } from './embedded_channel.ts';
import type { KvError } from './errors.ts';
import { foundAlone } from './node/founding.ts';
import { KvorumNode } from './node/node.ts';
import { silentLogger } from './observability/logger.ts';
import { realPorts } from './real_ports.ts';
import { NodeDisk } from './storage/node_disk.ts';
import { VERSION } from './version.ts';

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
