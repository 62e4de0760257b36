/** The two servers of a differential test: a node of Kvorum in this process, and etcd as a child. Both on loopback, in temporary directories, without fsync. */
import { spawn } from 'node:child_process';
import { startServer } from '../../src/server.ts';
import { endWithTest, eventually, freePorts, temporaryDirectory } from '../end_to_end/processes.ts';

export interface Running {
  readonly url: string;
  stop(): Promise<void>;
}

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export async function startKvorum(maxTxnOperations: number): Promise<Running> {
  const server = await startServer({
    path: temporaryDirectory(),
    logger: silent,
    config: {
      door: { clientListen: '127.0.0.1:0', peerListen: '127.0.0.1:0', etcdListen: '127.0.0.1:0' },
      storage: { durability: 'os' },
      limits: { maxTxnOperations },
      node: { historyRevisions: 0 },
    },
  });
  await server.whenLed(30_000);
  return { url: `http://${server.etcdAddress}`, stop: () => server.stop() };
}

/** One etcd with cheap hashes of passwords, as many operations in a transaction as asked. */
export async function startEtcd(binary: string, maxTxnOperations: number): Promise<Running> {
  const [client, peer] = (await freePorts(2)).map((port) => `http://127.0.0.1:${port}`) as [string, string];
  const child = spawn(
    binary,
    [
      ...['--data-dir', temporaryDirectory(), '--unsafe-no-fsync', '--bcrypt-cost', '4'],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ...['--initial-cluster', `default=${peer}`, '--max-txn-ops', String(maxTxnOperations)],
      ...['--logger', 'zap', '--log-level', 'error'],
    ],
    { stdio: 'ignore' },
  );
  endWithTest(child.pid!);
  const exited = new Promise((resolve) => child.once('exit', resolve));
  await eventually('etcd answers', async () => {
    const { ok } = await fetch(`${client}/health`);
    return ok ? true : undefined;
  });
  return {
    url: client,
    async stop() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
