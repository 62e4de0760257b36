/**
 * LevelDB (classic-level), without its compression (the values do not compress). Of the settings tried, its defaults among them, these served it best: larger
 * files and a larger write buffer and cache.
 */
import { ClassicLevel } from 'classic-level';
import type { Data } from '../data.ts';
import { type Durability, type EngineStore, inFlight, mustBeAbsent, type Totals } from '../peer.ts';

const MIB = 1024 * 1024;
const LOAD_BATCH = 1_000;
const LOADS_IN_FLIGHT = 2;
const SCAN_ENTRIES = 1_000;

/** The database with the settings of this benchmark; also for the threads of threads_worker.ts. */
export async function openClassicLevelDatabase(
  directory: string,
  multithreading: boolean,
): Promise<ClassicLevel<Uint8Array, Uint8Array>> {
  const database = new ClassicLevel<Uint8Array, Uint8Array>(directory, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
  });
  await database.open({
    compression: false,
    writeBufferSize: 16 * MIB,
    cacheSize: 64 * MIB,
    maxFileSize: 16 * MIB,
    multithreading,
  });
  return database;
}

export async function openClassicLevel(
  directory: string,
  durability: Durability,
  data: Data,
): Promise<EngineStore> {
  const database = await openClassicLevelDatabase(directory, false);
  const sync = durability === 'fsync';
  const { keys } = data;
  const batchOf = (from: Data, start: number, end: number): Promise<void> => {
    const operations: { type: 'put'; key: Uint8Array; value: Uint8Array }[] = [];
    for (let n = start; n < end; n++)
      operations.push({ type: 'put', key: from.keys.at(n), value: from.valueOf(n) });
    return database.batch(operations, { sync });
  };
  return {
    puts: [
      {
        note: 'await put',
        operation: { kind: 'promise', run: (n) => database.put(keys.at(n), data.valueOf(n), { sync }) },
      },
    ],
    get: { kind: 'now', run: (n) => data.check(n, database.getSync(keys.at(n))) },
    getNote: 'getSync',
    getAbsent: (absent) => ({
      kind: 'now',
      run: (n) => mustBeAbsent(database.getSync(absent.keys.at(n))),
    }),
    batch: (size) => ({ kind: 'promise', run: (n) => batchOf(data, n * size, (n + 1) * size) }),
    batchNote: 'await batch',
    async scan(): Promise<Totals> {
      let entries = 0;
      let bytes = 0;
      const iterator = database.iterator({ highWaterMarkBytes: 4 * MIB });
      for (;;) {
        const page = await iterator.nextv(SCAN_ENTRIES);
        if (page.length === 0) break;
        entries += page.length;
        for (const [key, value] of page) bytes += key.length + value.length;
      }
      await iterator.close();
      return { entries, bytes };
    },
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
