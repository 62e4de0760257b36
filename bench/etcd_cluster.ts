/** Three etcd processes on loopback with data on the benchmark's disk, as etcd comes: fsync before every acknowledgement. */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { findBinary, skippedLine } from '../test/binaries.ts';
import { EtcdClient } from './etcd_client.ts';
import { anyEnds, eventually, freePorts, residentMb, startChild, stopChild } from './processes.ts';
import type { BenchOptions } from './result.ts';

const NODES = 3;
const START_LIMIT_MS = 30_000;
/** Two per node gave the most puts and gets; one session is a single connection and one of etcd's reading loops. */
export const SESSIONS_PER_NODE = 2;

export interface EtcdCluster {
  readonly client: EtcdClient;
  residentMb(): number | undefined;
  stop(): Promise<void>;
}

/** Starts it; undefined, after a line that says why, where etcd is not installed. */
export async function startEtcd(options: BenchOptions): Promise<EtcdCluster | undefined> {
  const binary = findBinary('etcd');
  if (binary === undefined) {
    options.log(skippedLine(['etcd']));
    return undefined;
  }
  const ports = await freePorts(NODES * 2);
  const nodes = Array.from({ length: NODES }, (_, i) => ({
    name: `etcd-${i + 1}`,
    clientUrl: `http://127.0.0.1:${ports[i * 2]}`,
    peerUrl: `http://127.0.0.1:${ports[i * 2 + 1]}`,
  }));
  const cluster = nodes.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',');
  const directory = join(options.directory, 'etcd');
  mkdirSync(directory, { recursive: true });
  const children: ChildProcess[] = nodes.map(({ name, clientUrl, peerUrl }) =>
    startChild(
      binary,
      [
        ...['--name', name, '--data-dir', join(directory, name)],
        ...['--listen-client-urls', clientUrl, '--advertise-client-urls', clientUrl],
        ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
        ...['--initial-cluster', cluster, '--initial-cluster-state', 'new'],
        ...['--initial-cluster-token', 'kvorum-bench', '--quota-backend-bytes', String(8 * 1024 ** 3)],
        ...['--logger', 'zap', '--log-level', 'error', '--log-outputs', 'stderr'],
      ],
      join(directory, `${name}.log`),
    ),
  );
  const stop = async (): Promise<void> => {
    await Promise.all(children.map(stopChild));
  };
  try {
    for (const { clientUrl } of nodes) {
      const healthy = eventually(START_LIMIT_MS, async () => {
        const answer = await fetch(`${clientUrl}/health`);
        if (!(await answer.text()).includes('true')) throw new Error(`etcd at ${clientUrl} is not healthy`);
      });
      await Promise.race([healthy, anyEnds(children)]);
    }
    const urls = nodes.flatMap(({ clientUrl }) => Array.from({ length: SESSIONS_PER_NODE }, () => clientUrl));
    const client = await EtcdClient.connect(urls);
    return {
      client,
      residentMb: () => residentMb(children.map((child) => child.pid)),
      async stop() {
        await client.close();
        await stop();
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
