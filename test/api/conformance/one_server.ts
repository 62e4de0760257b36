/** A server with all its doors, in this process, and the directory that it leaves nothing in. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createStore } from '../../../src/client/store.ts';
import type { Store } from '../../../src/client/store_types.ts';
import { type ConfigInput, parseConfig } from '../../../src/config.ts';
import { EmbeddedChannel } from '../../../src/embedded_channel.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { realPorts } from '../../../src/real_ports.ts';
import { type Server, startServer } from '../../../src/server.ts';

export interface OneServer {
  readonly server: Server;
  /** HOST:PORT of each door. */
  readonly tcp: string;
  readonly etcd: string;
  /** The store as a program sees it that has the node in its own process. Closing it leaves the server be. */
  embedded(): Store;
  stop(): Promise<void>;
}

export async function startOneServer(config: ConfigInput = {}): Promise<OneServer> {
  const path = mkdtempSync(join(tmpdir(), 'kvorum-doors-'));
  const door = {
    clientListen: '127.0.0.1:0',
    peerListen: '127.0.0.1:0',
    etcdListen: '127.0.0.1:0',
    ...config.door,
  };
  const settings = { ...config, door, storage: { durability: 'os' as const, ...config.storage } };
  const server = await startServer({ path, logger: silentLogger, config: settings });
  await server.whenLed(10_000);
  const { etcdAddress } = server;
  if (etcdAddress === undefined) throw new Error('clients of etcd are not served');
  const { limits } = parseConfig(settings);
  return {
    server,
    tcp: server.clientAddress,
    etcd: etcdAddress,
    embedded: () =>
      createStore({
        channel: new EmbeddedChannel(server.service, async () => undefined),
        limits,
        ports: realPorts(),
        maxSessionResults: limits.maxSessionResults,
      }),
    stop: async () => {
      await server.stop();
      rmSync(path, { recursive: true, force: true });
    },
  };
}
