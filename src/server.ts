/**
 * One server: a node, the transport to its peers, and the door for clients, in this process.
 *
 * A new data directory begins in one of three ways: alone, as one of several founders, or by joining a running cluster. An existing one
 * knows who it is, and those options are then ignored.
 *
 * Invariants: listens on loopback unless told otherwise; `stop` closes the door first, then hands leadership over, then closes the rest.
 */
import { createServer } from 'node:net';
import { TcpTransport } from '../transports/tcp.ts';
import { ConnectionCounts } from './api/connection_counts.ts';
import { EtcdDoor } from './api/grpc/door.ts';
import { http1Server } from './api/grpc/gateway/http1.ts';
import { type Middleware, throughPipeline } from './api/pipeline.ts';
import type { Service } from './api/service.ts';
import { sharePort } from './api/shared_port.ts';
import { startTcpDoor, type TcpDoor } from './api/tcp/door.ts';
import { connectAdmin } from './client/admin.ts';
import { type Config, type ConfigInput, parseConfig } from './config.ts';
import { KvError } from './errors.ts';
import { foundAlone, foundTogether } from './node/founding.ts';
import type { Identity } from './node/identity.ts';
import { joinedConfiguration, keepPromoting } from './node/joining.ts';
import type { KvService } from './node/kv_service.ts';
import { KvorumNode } from './node/node.ts';
import { RequestRates } from './node/request_rates.ts';
import { CallMetrics } from './observability/call_metrics.ts';
import type { Logger } from './observability/logger.ts';
import type { Ports } from './ports.ts';
import type { Member } from './raft/types.ts';
import { realPorts } from './real_ports.ts';
import { NodeDisk } from './storage/node_disk.ts';
import { VERSION } from './version.ts';

export interface ServerOptions {
  readonly path: string;
  readonly config?: ConfigInput | undefined;
  readonly logger: Logger;
  /** Found a cluster together: the same list on every founder, and this node's id in it. */
  readonly founders?: { readonly id: number; readonly members: readonly Member[] } | undefined;
  /** HOST:PORT of any member of a running cluster (its client address): join it. */
  readonly join?: string | undefined;
  /** Where clients of etcd are served as well if that is free, unless `door.etcdListen` says where they are in any case. */
  readonly etcdListenIfFree?: string | undefined;
  /** Who to be when joining a cluster where rights are enforced: somebody with the role root. */
  readonly joinAs?: { readonly user?: string; readonly password?: string } | undefined;
  /** What stands around every call that comes through a door: limits, counts, traces. */
  readonly middleware?: readonly Middleware[] | undefined;
  /** Stay a learner after joining instead of becoming a voter. */
  readonly learner?: boolean | undefined;
}

export interface Server {
  readonly nodeId: number;
  readonly clusterId: string;
  readonly clientAddress: string;
  readonly peerAddress: string;
  /** Where clients of etcd are served beside `clientAddress`; undefined: nowhere else. */
  readonly etcdAddress: string | undefined;
  readonly service: KvService;
  /** Resolves when the server has ended by itself: with the reason, or undefined when it was removed from its cluster. */
  readonly ended: Promise<KvError | undefined>;
  whenLed(timeoutMs: number): Promise<void>;
  stop(): Promise<void>;
}

interface Addresses {
  readonly clientListen: string;
  readonly client: string;
  readonly peerListen: string;
  readonly peer: string;
}

/** @throws KvError LOCKED, CORRUPT, CONFIG_INVALID, NO_SPACE, UNAVAILABLE (address taken, cluster to join not reachable) */
export async function startServer(options: ServerOptions): Promise<Server> {
  const ports = realPorts();
  const config = parseConfig(options.config);
  const addresses = await resolveAddresses(config);
  let end: (error: KvError | undefined) => void = () => undefined;
  const ended = new Promise<KvError | undefined>((resolve) => {
    end = resolve;
  });
  const node = await KvorumNode.start({
    path: options.path,
    config,
    ports,
    disk: new NodeDisk(),
    logger: options.logger,
    version: VERSION,
    pid: process.pid,
    rssBytes: () => process.memoryUsage.rss(),
    create: () => createIdentity(options, config, addresses, ports),
    transport: (identity) => makeTransport(identity, config, addresses, ports, options.logger),
    endpoints: [addresses.client],
    batching: 'io',
    onEnd: end,
  });
  const metrics = new CallMetrics();
  const rates = new RequestRates(() => node.service.quotas.inForce(), ports.clock);
  const around = [metrics, ...(options.middleware ?? []), rates];
  const service = throughPipeline(node.service, ports.clock, around);
  const doors = await openDoors(options, config, addresses, { service, metrics }, ports).catch(
    async (error) => {
      await node.stop();
      throw error;
    },
  );
  const promotion = keepPromoting(node, ports, options.logger);
  return {
    nodeId: node.identity.nodeId,
    clusterId: node.identity.clusterId,
    clientAddress: addresses.client,
    peerAddress: addresses.peer,
    etcdAddress: doors.etcdAddress,
    service: node.service,
    ended,
    whenLed: (timeoutMs) => node.whenLed(timeoutMs),
    async stop() {
      promotion.stop();
      try {
        await doors.close();
      } finally {
        await node.stop();
      }
    },
  };
}

interface Doors {
  readonly etcdAddress: string | undefined;
  close(): Promise<void>;
}

/** @throws KvError UNAVAILABLE when an address is taken; nothing is open then. */
async function openDoors(
  options: ServerOptions,
  config: Config,
  addresses: Addresses,
  { service, metrics }: { readonly service: Service; readonly metrics: CallMetrics },
  ports: Ports,
): Promise<Doors> {
  const { limits } = config;
  const { maxConnections, maxConnectionsPerAddress } = config.door;
  const counts = new ConnectionCounts(maxConnectionsPerAddress);
  const { logger } = options;
  const log = (message: string, details?: Readonly<Record<string, unknown>>): void =>
    logger.warn(message, { ...details });
  const etcd = new EtcdDoor({
    service,
    config: config.door,
    limits,
    ports,
    log,
    addresses: counts,
    metrics: () => metrics.text(),
    http1: http1Server,
  });
  let tcp: TcpDoor | undefined;
  try {
    tcp = await startTcpDoor({
      service,
      config: { ...config.door, clientListen: addresses.clientListen },
      limits,
      ports,
      listen: sharePort({
        others: (stream) => etcd.accept(stream),
        ports,
        maxWaiting: maxConnections,
        addresses: new ConnectionCounts(maxConnectionsPerAddress),
      }),
      addresses: counts,
    });
    const etcdAddress = await listenForEtcd(etcd, config.door.etcdListen, options);
    const both = [tcp, etcd];
    return { etcdAddress, close: async () => void (await Promise.all(both.map((door) => door.close()))) };
  } catch (error) {
    await Promise.all([tcp?.close(), etcd.close()]);
    throw error;
  }
}

async function listenForEtcd(
  etcd: EtcdDoor,
  wanted: string | undefined,
  { etcdListenIfFree, logger }: ServerOptions,
): Promise<string | undefined> {
  if (wanted !== undefined) return etcd.listen(wanted);
  if (etcdListenIfFree === undefined) return undefined;
  try {
    return await etcd.listen(etcdListenIfFree);
  } catch (error) {
    if (!(error instanceof KvError && error.code === 'UNAVAILABLE')) throw error;
    logger.info('clients of etcd are served on the port of other clients only', { why: error.message });
    return undefined;
  }
}

async function createIdentity(
  options: ServerOptions,
  config: Config,
  addresses: Addresses,
  ports: Ports,
): Promise<Identity> {
  const own = { peerAddress: addresses.peer, clientAddress: addresses.client };
  const { tree } = config.storage;
  if (options.join !== undefined) {
    const admin = connectAdmin({ endpoints: [options.join], ports, ...options.joinAs });
    try {
      const added = await admin.memberAdd(own);
      const configuration = joinedConfiguration(added);
      return {
        clusterId: added.clusterId,
        nodeId: added.id,
        tree,
        configuration,
        promote: options.learner !== true,
      };
    } finally {
      await admin.close();
    }
  }
  if (options.founders === undefined) return foundAlone(ports.random, own, tree);
  const { id, members } = options.founders;
  if (!members.some((member) => member.id === id)) {
    throw new KvError('CONFIG_INVALID', `node ${id} is not in the list of founding members`);
  }
  return foundTogether(id, members, tree);
}

function makeTransport(
  identity: Identity,
  config: Config,
  addresses: Addresses,
  ports: Ports,
  logger: Logger,
): TcpTransport {
  return new TcpTransport({
    id: identity.nodeId,
    clusterId: identity.clusterId,
    listen: addresses.peerListen,
    advertise: addresses.peer,
    maxFrameBytes: peerFrameBytes(config),
    ports,
    onEvent: (event) => {
      // A peer that is down is dialled again and again: no line for each try.
      if (event.type === 'connectFailed' && event.error.retryable) logger.debug(event.type, { ...event });
      else logger.warn(event.type, { ...event });
    },
  });
}

/** One append message: a single command may exceed maxAppendBytes, and each entry has a header. */
function peerFrameBytes(config: Config): number {
  const largest = Math.max(
    config.raft.maxAppendBytes,
    config.limits.maxCommandBytes,
    config.raft.snapshotChunkBytes,
  );
  return largest * 2 + 1024 * 1024;
}

async function resolveAddresses(config: Config): Promise<Addresses> {
  const { clientListen, clientAdvertise, peerListen, peerAdvertise } = config.door;
  const client = await withPort(clientListen);
  const peer = await withPort(peerListen);
  return {
    clientListen: client,
    client: clientAdvertise ?? client,
    peerListen: peer,
    peer: peerAdvertise ?? peer,
  };
}

/** Port 0 becomes a free one: members must know an address before it is bound. */
async function withPort(address: string): Promise<string> {
  const colon = address.lastIndexOf(':');
  if (address.slice(colon + 1) !== '0') return address;
  const host = address.slice(0, colon);
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, host.replace(/^\[|\]$/g, ''), () => {
      const bound = probe.address();
      const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
      probe.close(() => resolve(`${host}:${port}`));
    });
  });
}
