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
import { loadRound, makeKeys, makeValues, type Operation, type Round, summarize } from './load.ts';
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

export async function run(emit: Emit, options: BenchOptions): Promise<void> {
  const data: Data = { keys: makeKeys(KEYS), values: makeValues(randomBytes) };
  const os = [await openKvorum(options.directory, 'os', data), openLmdbPeer(options.directory, 'os', data)];
  try {
    for (const peer of os) for (let n = 0; n < KEYS; n++) await peer.put(n);
    await measure(
      emit,
      options,
      'embedded put os',
      1,
      os.map((peer) => [peer, peer.put] as const),
    );
    await measure(
      emit,
      options,
      'embedded get',
      1,
      os.map((peer) => [peer, peer.get] as const),
    );
  } finally {
    for (const peer of os) await peer.close();
  }
  const fsync = [
    await openKvorum(options.directory, 'fsync', data),
    openLmdbPeer(options.directory, 'fsync', data),
  ];
  try {
    const puts = fsync.map((peer) => [peer, peer.put] as const);
    await measure(emit, options, `embedded put fsync ${MANY_CALLERS}`, MANY_CALLERS, puts);
  } finally {
    for (const peer of fsync) await peer.close();
  }
}
