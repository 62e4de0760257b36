/**
 * LMDB (lmdb-js). `os`: noSync, a transaction per write. `fsync`: asynchronous puts, gathered into synced commits; overlappingSync off, since with it a put is acknowledged
 * before the disk has it.
 */
import { open } from 'lmdb';
import type { Data } from '../data.ts';
import { type Durability, type EngineStore, mustBeAbsent, type PutMode, type Totals } from '../peer.ts';

const LOAD_BATCH = 10_000;

/** The database with the settings of this benchmark; also for the threads of threads_worker.ts. */
export function openLmdbDatabase(directory: string, durability: Durability) {
  return open<Uint8Array, Uint8Array>({
    path: directory,
    keyEncoding: 'binary',
    encoding: 'binary',
    compression: false,
    noSync: durability === 'os',
    overlappingSync: false,
  });
}

export async function openLmdb(directory: string, durability: Durability, data: Data): Promise<EngineStore> {
  const database = openLmdbDatabase(directory, durability);
  const { keys } = data;
  const asynchronous: PutMode = {
    note: durability === 'os' ? 'await put, noSync' : 'put, synced commits',
    operation: { kind: 'promise', run: (n) => database.put(keys.at(n), data.valueOf(n)) },
  };
  const synchronous: PutMode = {
    note: 'putSync, noSync',
    operation: { kind: 'now', run: (n) => database.putSync(keys.at(n), data.valueOf(n)) },
  };
  return {
    puts: durability === 'os' ? [synchronous, asynchronous] : [asynchronous],
    get: { kind: 'now', run: (n) => data.check(n, database.getBinary(keys.at(n))) },
    getNote: 'getBinary',
    getAbsent: (absent) => ({
      kind: 'now',
      run: (n) => mustBeAbsent(database.getBinary(absent.keys.at(n))),
    }),
    batch: (size) => ({
      kind: 'now',
      run: (n) =>
        database.transactionSync(() => {
          for (let i = n * size; i < (n + 1) * size; i++) database.putSync(keys.at(i), data.valueOf(i));
        }),
    }),
    batchNote: 'transactionSync, noSync',
    async scan(): Promise<Totals> {
      let entries = 0;
      let bytes = 0;
      for (const { key, value } of database.getRange({})) {
        entries++;
        bytes += key.length + value.length;
      }
      return { entries, bytes };
    },
    async load(sorted: Data): Promise<void> {
      const { count } = sorted.keys;
      for (let start = 0; start < count; start += LOAD_BATCH) {
        const end = Math.min(start + LOAD_BATCH, count);
        database.transactionSync(() => {
          for (let n = start; n < end; n++)
            database.putSync(sorted.keys.at(n), sorted.valueOf(n), { append: true });
        });
      }
    },
    loadNote: `appending, transactions of ${LOAD_BATCH}`,
    close: () => database.close(),
  };
}
