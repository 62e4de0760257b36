/** `kvorum serve` processes, three unless told otherwise, on loopback with data on the benchmark's disk, as Kvorum comes: fsync before every acknowledgement. */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Store } from '../src/client/store_types.ts';
import { connect } from '../src/index.ts';
import { anyEnds, eventually, freePorts, residentMb, startChild, stopChild } from './processes.ts';
import type { BenchOptions } from './result.ts';

const NODES = 3;
const START_LIMIT_MS = 30_000;
const COMMAND = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));

export interface KvorumCluster {
  readonly store: Store;
  /** To connect to it once more. */
  readonly options: { readonly endpoints: readonly string[] };
  /** Where its nodes serve clients of etcd. */
  readonly etcdUrls: readonly string[];
  readonly pids: readonly number[];
  residentMb(): number | undefined;
  stop(): Promise<void>;
}

/** Starts it and waits until a write has been acknowledged. @throws Error with the nodes' last words when that takes too long. */
export async function startKvorum(options: BenchOptions, count = NODES): Promise<KvorumCluster> {
  const ports = await freePorts(count * 3);
  const nodes = Array.from({ length: count }, (_, i) => ({
    id: i + 1,
    client: `127.0.0.1:${ports[i * 3]}`,
    peer: `127.0.0.1:${ports[i * 3 + 1]}`,
    etcd: `127.0.0.1:${ports[i * 3 + 2]}`,
  }));
  const founders = nodes.map(({ id, peer, client }) => `${id}=${peer}/${client}`).join(',');
  const directory = join(options.directory, 'kvorum');
  mkdirSync(directory, { recursive: true });
  const logOf = (id: number): string => join(directory, `node-${id}.log`);
  const children: ChildProcess[] = nodes.map(({ id, peer, client, etcd }) =>
    startChild(
      process.execPath,
      [
        ...[COMMAND, 'serve', '--data', join(directory, `node-${id}`), '--durability', 'fsync'],
        ...['--listen', client, '--peer-listen', peer, '--etcd-listen', etcd],
        ...(count > 1 ? ['--id', String(id), '--cluster', founders] : []),
        ...['--log-level', 'warn'],
      ],
      logOf(id),
    ),
  );
  const stopNodes = async (): Promise<void> => {
    await Promise.all(children.map(stopChild));
  };
  try {
    const ready = eventually(START_LIMIT_MS, async () => {
      const opened = await connect({ endpoints: nodes.map(({ client }) => client) });
      try {
        await opened.put('ready', '');
        return opened;
      } catch (error) {
        await opened.close();
        throw error;
      }
    });
    const store = await Promise.race([ready, anyEnds(children)]);
    return {
      store,
      options: { endpoints: nodes.map(({ client }) => client) },
      etcdUrls: nodes.map(({ etcd }) => `http://${etcd}`),
      pids: children.map((child) => child.pid!),
      residentMb: () => residentMb(children.map((child) => child.pid)),
      async stop() {
        await store.close();
        await stopNodes();
      },
    };
  } catch (cause) {
    await stopNodes();
    const words = nodes.map(({ id }) => readFileSync(logOf(id), 'utf8').trim().slice(-500)).join('\n');
    throw new Error(`the cluster did not start: ${String(cause)}\n${words}`, { cause });
  }
}
