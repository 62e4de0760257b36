/**
 * etcd's protocol: three nodes of Kvorum behind their gRPC doors, and with `--etcd` a three-node etcd in the same run, both asked by the same client (etcd_client.ts: bare
 * HTTP/2, since the usual client library would be the slowest part) over as many connections.
 */
import { comparePeers, MANY_CALLERS, type Peer } from './cluster.ts';
import { EtcdClient } from './etcd_client.ts';
import { SESSIONS_PER_NODE, startEtcd } from './etcd_cluster.ts';
import { startKvorum } from './kvorum_cluster.ts';
import type { BenchOptions, Emit } from './result.ts';

export async function run(emit: Emit, options: BenchOptions): Promise<void> {
  const kvorum = await startKvorum(options);
  const peers: Peer[] = [];
  try {
    const urls = kvorum.etcdUrls.flatMap((url) => Array.from({ length: SESSIONS_PER_NODE }, () => url));
    const client = await EtcdClient.connect(urls);
    peers.push(peerOf('kvorum', client, kvorum.residentMb, kvorum.stop));
    const etcd = options.etcd ? await startEtcd(options) : undefined;
    if (etcd !== undefined) peers.push(peerOf('etcd', etcd.client, etcd.residentMb, etcd.stop));
  } catch (error) {
    await kvorum.stop();
    throw error;
  }
  await comparePeers(peers, 'grpc', [1, MANY_CALLERS], emit, options);
}

function peerOf(
  name: string,
  client: EtcdClient,
  residentMb: () => number | undefined,
  stop: () => Promise<void>,
): Peer {
  return {
    name,
    put: (key, value) => client.put(key, value),
    get: (key) => client.get(key),
    residentMb,
    async stop() {
      if (name === 'kvorum') await client.close();
      await stop();
    },
  };
}
