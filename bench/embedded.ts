/**
 * The store in one's own process, through the public `open`, beside LMDB with the same promise of durability.
 *
 * `os`: acknowledged when the operating system has it (LMDB: a commit per put, noSync). `fsync`: acknowledged when the disk has it (LMDB: asynchronous puts, which it
 * gathers into synced commits; overlappingSync off, since with it a put is acknowledged before the disk has it).
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { open as openLmdb } from 'lmdb';
import { open } from '../src/index.ts';
import { loadCount, loadRound, makeKeys, makeValues, type Operation, type Round, summarize } from './load.ts';
import type { BenchOptions, Emit } from './result.ts';

const KEYS = 100_000;
const MANY_CALLERS = 256;

interface Peer {
  readonly name: string;
  readonly note: string;
  readonly put: Operation;
  readonly get: Operation;
  close(): Promise<void>;
}

interface Data {
  readonly keys: readonly Buffer[];
  readonly values: readonly Uint8Array[];
}

async function openKvorum(directory: string, durability: 'os' | 'fsync', data: Data): Promise<Peer> {
  const store = await open({
    path: join(directory, `kvorum-${durability}`),
    config: { storage: { durability } },
  });
  const { keys, values } = data;
  return {
    name: 'kvorum',
    note: `durability ${durability}`,
    put: (n) => store.put(keys[n % KEYS]!, values[n % values.length]!),
    get: (n) => store.get(keys[n % KEYS]!),
    close: () => store.close(),
  };
}

function openLmdbPeer(directory: string, durability: 'os' | 'fsync', data: Data): Peer {
  const { keys, values } = data;
  const database = openLmdb<Uint8Array, Uint8Array>({
    path: join(directory, `lmdb-${durability}`),
    keyEncoding: 'binary',
    encoding: 'binary',
    noSync: durability === 'os',
    overlappingSync: false,
  });
  const putSync: Operation = async (n) => database.putSync(keys[n % KEYS]!, values[n % values.length]!);
  return {
    name: 'lmdb',
    note: durability === 'os' ? 'noSync, putSync' : 'synced commits, put',
    put: durability === 'os' ? putSync : (n) => database.put(keys[n % KEYS]!, values[n % values.length]!),
    get: async (n) => database.getBinary(keys[n % KEYS]!),
    close: () => database.close(),
  };
}

async function measure(
  emit: Emit,
  options: BenchOptions,
  name: string,
  callers: number,
  peers: readonly (readonly [Peer, Operation])[],
): Promise<void> {
  const rounds = peers.map((): Round[] => []);
  for (let round = 0; round < options.rounds; round++) {
    for (const [i, [, operation]] of peers.entries())
      rounds[i]!.push(await loadRound(callers, options.seconds, operation));
  }
  for (const [i, [peer]] of peers.entries()) {
    const rssMb = process.memoryUsage.rss() / 1024 ** 2;
    emit(summarize(peer.name, name, rounds[i]!, { rssMb, note: `${peer.note}; RSS of the whole benchmark` }));
  }
}

type Open = (directory: string, durability: 'os' | 'fsync', data: Data) => Peer | Promise<Peer>;

/** Every round loads all keys into a new store; the first round warms the program up and does not count. */
async function measureLoads(
  emit: Emit,
  options: BenchOptions,
  durability: 'os' | 'fsync',
  callers: number,
  data: Data,
): Promise<void> {
  const name = callers === 1 ? `embedded put ${durability}` : `embedded put ${durability} ${callers}`;
  const opens: readonly Open[] = [openKvorum, openLmdbPeer];
  const results = opens.map(() => ({ name: '', note: '', rounds: [] as Round[] }));
  for (let round = 0; round <= options.rounds; round++) {
    for (const [i, openPeer] of opens.entries()) {
      const peer = await openPeer(join(options.directory, `load-${durability}-${round}`), durability, data);
      try {
        const measured = await loadCount(callers, KEYS, peer.put);
        const result = results[i]!;
        result.name = peer.name;
        result.note = `${peer.note}; ${KEYS} new keys`;
        if (round > 0) result.rounds.push(measured);
      } finally {
        await peer.close();
      }
    }
  }
  for (const { name: peer, note, rounds } of results) emit(summarize(peer, name, rounds, { note }));
}

export async function run(emit: Emit, options: BenchOptions): Promise<void> {
  const data: Data = { keys: makeKeys(KEYS), values: makeValues(randomBytes) };
  await measureLoads(emit, options, 'os', 1, data);
  await measureLoads(emit, options, 'fsync', MANY_CALLERS, data);
  const os = [await openKvorum(options.directory, 'os', data), openLmdbPeer(options.directory, 'os', data)];
  try {
    for (const peer of os) for (let n = 0; n < KEYS; n++) await peer.put(n);
    const gets = os.map((peer) => [peer, peer.get] as const);
    await measure(emit, options, 'embedded get', 1, gets);
    const puts = os.map((peer) => [peer, peer.put] as const);
    await measure(emit, options, 'embedded overwrite os', 1, puts);
  } finally {
    for (const peer of os) await peer.close();
  }
}
