/**
 * RocksDB (level-rocksdb 5, optional), without its compression (the values do not compress) and with the memory of Kvorum's memtable for its own.
 * It has asynchronous reads only. Loading it can end the process: the parent probes it first.
 */
import { z } from 'zod';
import type { Data } from '../data.ts';
import { type Durability, type EngineStore, inFlight, mustBeAbsent, type Totals } from '../peer.ts';

const MIB = 1024 * 1024;
const LOAD_BATCH = 1_000;
const LOADS_IN_FLIGHT = 2;

interface Iterator {
  next(callback: (error: Error | null | undefined, key?: Buffer, value?: Buffer) => void): unknown;
  end(callback: (error?: Error | null) => void): unknown;
}
interface Database {
  put(key: Uint8Array, value: Uint8Array, options: { sync: boolean }): Promise<void>;
  get(key: Uint8Array): Promise<Buffer>;
  batch(operations: readonly PutOperation[], options: { sync: boolean }): Promise<void>;
  iterator(options: { highWaterMark: number }): Iterator;
  close(): Promise<void>;
}
interface PutOperation {
  readonly type: 'put';
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}
type Factory = (
  directory: string,
  options: object,
  callback: (error: unknown, database: unknown) => void,
) => unknown;

const METHODS = ['put', 'get', 'batch', 'iterator', 'close'] as const;
const factorySchema = z.custom<Factory>((value) => typeof value === 'function');
const databaseSchema = z.custom<Database>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    METHODS.every((name) => typeof Reflect.get(value, name) === 'function'),
);

async function openDatabase(directory: string): Promise<Database> {
  const name = 'level-rocksdb';
  const module: { readonly default?: unknown } = await import(name);
  const factory = factorySchema.parse(module.default);
  const options = {
    keyEncoding: 'binary',
    valueEncoding: 'binary',
    compression: false,
    writeBufferSize: 64 * MIB,
    cacheSize: 64 * MIB,
  };
  return new Promise((resolve, reject) => {
    factory(directory, options, (error, database) => {
      if (error) reject(error);
      else resolve(databaseSchema.parse(database));
    });
  });
}

async function getOrNothing(database: Database, key: Uint8Array): Promise<Buffer | undefined> {
  try {
    return await database.get(key);
  } catch (error) {
    if (error instanceof Error && Reflect.get(error, 'notFound') === true) return undefined;
    throw error;
  }
}

/** Reads to the end by callbacks: most rows come out of what was read ahead. */
function scanDatabase(database: Database): Promise<Totals> {
  const iterator = database.iterator({ highWaterMark: 4 * MIB });
  let entries = 0;
  let bytes = 0;
  return new Promise((resolve, reject) => {
    const step = (error: Error | null | undefined, key?: Buffer, value?: Buffer): void => {
      if (error) reject(error);
      else if (key === undefined || value === undefined) iterator.end(() => resolve({ entries, bytes }));
      else {
        entries++;
        bytes += key.length + value.length;
        iterator.next(step);
      }
    };
    iterator.next(step);
  });
}

export async function openLevelRocksDb(
  directory: string,
  durability: Durability,
  data: Data,
): Promise<EngineStore> {
  const database = await openDatabase(directory);
  const options = { sync: durability === 'fsync' };
  const { keys } = data;
  const batchOf = (from: Data, start: number, end: number): Promise<void> => {
    const operations: PutOperation[] = [];
    for (let n = start; n < end; n++)
      operations.push({ type: 'put', key: from.keys.at(n), value: from.valueOf(n) });
    return database.batch(operations, options);
  };
  return {
    puts: [
      {
        note: 'await put',
        operation: { kind: 'promise', run: (n) => database.put(keys.at(n), data.valueOf(n), options) },
      },
    ],
    get: { kind: 'read', run: (n) => database.get(keys.at(n)), check: (n, answer) => data.check(n, answer) },
    getNote: 'await get',
    getAbsent: (absent) => ({
      kind: 'read',
      run: (n) => getOrNothing(database, absent.keys.at(n)),
      check: (_n, answer) => mustBeAbsent(answer),
    }),
    batch: (size) => ({ kind: 'promise', run: (n) => batchOf(data, n * size, (n + 1) * size) }),
    batchNote: 'await batch',
    scan: () => scanDatabase(database),
    load: (sorted) => {
      const { count } = sorted.keys;
      return inFlight(Math.ceil(count / LOAD_BATCH), LOADS_IN_FLIGHT, (i) =>
        batchOf(sorted, i * LOAD_BATCH, Math.min((i + 1) * LOAD_BATCH, count)),
      );
    },
    loadNote: `batches of ${LOAD_BATCH}, ${LOADS_IN_FLIGHT} in flight`,
    close: () => database.close(),
  };
}
