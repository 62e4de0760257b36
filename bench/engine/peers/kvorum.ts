/** Kvorum through its public interface, with its settings as they come, except for the durability that the case names, and the tree where --tree names one. */

import { z } from 'zod';
import { type ConfigInput, open } from '../../../src/index.ts';
import type { Data } from '../data.ts';
import { type Durability, type EngineStore, inFlight, mustBeAbsent, type Totals } from '../peer.ts';

const LOAD_BATCH = 200;
const LOADS_IN_FLIGHT = 1;

/** The variable that carries --tree to the processes that measure. */
export const TREE_VARIABLE = 'KVORUM_BENCH_TREE';

const treeSchema = z.enum(['tables', 'rocksdb']).optional();

export function kvorumConfig(durability: Durability): ConfigInput {
  const tree = treeSchema.parse(process.env[TREE_VARIABLE]);
  return { storage: { durability, ...(tree === undefined ? {} : { tree }) } };
}

export async function openKvorum(
  directory: string,
  durability: Durability,
  data: Data,
): Promise<EngineStore> {
  const store = await open({ path: directory, config: kvorumConfig(durability) });
  const { keys } = data;
  const batchOf = (from: Data, start: number, end: number): Promise<unknown> => {
    const operations: { type: 'put'; key: Uint8Array; value: Uint8Array }[] = [];
    for (let n = start; n < end; n++)
      operations.push({ type: 'put', key: from.keys.at(n), value: from.valueOf(n) });
    return store.batch(operations);
  };
  return {
    puts: [
      {
        note: `await put, durability ${durability}`,
        operation: { kind: 'promise', run: (n) => store.put(keys.at(n), data.valueOf(n)) },
      },
    ],
    get: { kind: 'read', run: (n) => store.get(keys.at(n)), check: (n, answer) => data.check(n, answer) },
    getNote: 'await get, linearizable',
    getAbsent: (absent) => ({
      kind: 'read',
      run: (n) => store.get(absent.keys.at(n)),
      check: (_n, answer) => mustBeAbsent(answer),
    }),
    batch: (size) => ({ kind: 'promise', run: (n) => batchOf(data, n * size, (n + 1) * size) }),
    batchNote: 'await batch',
    async scan(): Promise<Totals> {
      let entries = 0;
      let bytes = 0;
      for await (const { key, value } of store.scan()) {
        entries++;
        bytes += key.length + value.length;
      }
      return { entries, bytes };
    },
    load: (sorted) => {
      const { count } = sorted.keys;
      return inFlight(Math.ceil(count / LOAD_BATCH), LOADS_IN_FLIGHT, (i) =>
        batchOf(sorted, i * LOAD_BATCH, Math.min((i + 1) * LOAD_BATCH, count)),
      );
    },
    loadNote: `batches of ${LOAD_BATCH}, ${LOADS_IN_FLIGHT} in flight`,
    close: () => store.close(),
  };
}
