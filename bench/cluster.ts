/**
 * Three real node processes, fsync, one client process: Kvorum, and with `--etcd` a three-node etcd in the same run.
 *
 * Fairness: the same keys and values, the same loop of callers, data on the same disk; the peers take turns round by round, so that a slow spell of the machine
 * hits both, and the cluster that is not measured idles. The client shares the machine's cores with the servers, for both.
 */
import { randomBytes } from 'node:crypto';
import { startEtcd } from './etcd_cluster.ts';
import { startKvorum } from './kvorum_cluster.ts';
import { loadRound, makeKeys, makeValues, type Round, summarize } from './load.ts';
import type { BenchOptions, Emit } from './result.ts';

const KEYS = 10_000;
export const MANY_CALLERS = 256;
const TXN_OPERATIONS = 100;

export interface Peer {
  readonly name: string;
  put(key: Uint8Array, value: Uint8Array): Promise<unknown>;
  /** Linearizable. */
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /** Puts in one transaction. */
  readonly txn?: (puts: readonly { key: Uint8Array; value: Uint8Array }[]) => Promise<unknown>;
  residentMb(): number | undefined;
  stop(): Promise<void>;
}

async function startPeers(options: BenchOptions): Promise<Peer[]> {
  const kvorum = await startKvorum(options);
  const { store } = kvorum;
  const peers: Peer[] = [
    {
      name: 'kvorum',
      put: (key, value) => store.put(key, value),
      get: (key) => store.get(key),
      txn: (puts) => store.txn({ then: puts.map(({ key, value }) => ({ type: 'put', key, value })) }),
      residentMb: kvorum.residentMb,
      stop: kvorum.stop,
    },
  ];
  if (!options.etcd) return peers;
  try {
    const etcd = await startEtcd(options);
    if (etcd === undefined) return peers;
    const { client } = etcd;
    peers.push({
      name: 'etcd',
      put: (key, value) => client.put(key, value),
      get: (key) => client.get(key),
      residentMb: etcd.residentMb,
      stop: etcd.stop,
    });
    return peers;
  } catch (error) {
    await kvorum.stop();
    throw error;
  }
}

export async function run(emit: Emit, options: BenchOptions): Promise<void> {
  const peers = await startPeers(options);
  await comparePeers(peers, 'cluster', [1, MANY_CALLERS], emit, options);
}

/** Puts and linearizable gets by so many callers, on every peer; stops them at the end. */
export async function comparePeers(
  peers: readonly Peer[],
  prefix: string,
  allCallers: readonly number[],
  emit: Emit,
  options: BenchOptions,
): Promise<void> {
  try {
    const keys = makeKeys(KEYS);
    const values = makeValues(randomBytes);
    for (const peer of peers) await fill(peer, keys, values);
    const keyAt = (n: number): Buffer => keys[n % KEYS]!;
    const valueAt = (n: number): Uint8Array => values[n % values.length]!;
    const put = (peer: Peer) => (n: number) => peer.put(keyAt(n), valueAt(n));
    const get = (peer: Peer) => async (n: number) => {
      const value = await peer.get(keyAt(n));
      if (value?.length !== values[0]!.length)
        throw new Error(`${peer.name}: a key that was written is not read`);
    };
    for (const callers of allCallers) await measure(`${prefix} put ${callers}`, callers, put);
    for (const callers of allCallers) await measure(`${prefix} get linearizable ${callers}`, callers, get);
    const [{ txn } = { txn: undefined }] = peers;
    if (txn === undefined) return;
    const operations = (n: number) =>
      Array.from({ length: TXN_OPERATIONS }, (_, i) => ({ key: keyAt(n + i), value: valueAt(n + i) }));
    await measure(
      `${prefix} txn of ${TXN_OPERATIONS} puts 1`,
      1,
      () => (n) => txn(operations(n)),
      peers.slice(0, 1),
    );
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()));
  }

  async function measure(
    name: string,
    callers: number,
    operation: (peer: Peer) => (n: number) => Promise<unknown>,
    measured = peers,
  ): Promise<void> {
    const rounds = measured.map((): Round[] => []);
    for (let round = 0; round < options.rounds; round++) {
      for (const [i, peer] of measured.entries())
        rounds[i]!.push(await loadRound(callers, options.seconds, operation(peer)));
    }
    for (const [i, peer] of measured.entries()) {
      const note = 'three nodes, fsync, 1 KiB values; RSS of the three';
      emit(summarize(peer.name, name, rounds[i]!, { rssMb: peer.residentMb(), note }));
    }
  }
}

/** Every key once, so that reads find something. */
async function fill(peer: Peer, keys: readonly Buffer[], values: readonly Uint8Array[]): Promise<void> {
  let next = 0;
  const caller = async (): Promise<void> => {
    for (let n = next++; n < keys.length; n = next++) await peer.put(keys[n]!, values[n % values.length]!);
  };
  await Promise.all(Array.from({ length: MANY_CALLERS }, caller));
}
