/** A JavaScript Map that copies values in and out: what costs nothing but memory, and keeps nothing. Keys come as bytes; making strings of them is part of its work. */
import type { Data } from '../data.ts';
import { type EngineStore, mustBeAbsent, type Totals } from '../peer.ts';

/** What the directory closed last held: a reopened store has the same content. */
const closed = new Map<string, Map<string, Buffer>>();

export async function openJsMap(directory: string, _durability: unknown, data: Data): Promise<EngineStore> {
  const map = closed.get(directory) ?? new Map<string, Buffer>();
  closed.clear();
  const put = (from: Data, n: number): void => {
    map.set(from.keys.at(n).toString('latin1'), Buffer.from(from.valueOf(n)));
  };
  const get = (from: Data, n: number): Buffer | undefined => {
    const value = map.get(from.keys.at(n).toString('latin1'));
    return value === undefined ? undefined : Buffer.from(value);
  };
  return {
    puts: [{ note: 'set, in memory only', operation: { kind: 'now', run: (n) => put(data, n) } }],
    get: { kind: 'now', run: (n) => data.check(n, get(data, n)) },
    getNote: 'get and copy',
    getAbsent: (absent) => ({ kind: 'now', run: (n) => mustBeAbsent(get(absent, n)) }),
    batch: (size) => ({
      kind: 'now',
      run(n) {
        for (let i = n * size; i < (n + 1) * size; i++) put(data, i);
      },
    }),
    batchNote: 'a loop',
    async scan(): Promise<Totals> {
      let entries = 0;
      let bytes = 0;
      for (const key of [...map.keys()].sort()) {
        entries++;
        bytes += key.length + Buffer.from(map.get(key)!).length;
      }
      return { entries, bytes };
    },
    async load(sorted: Data): Promise<void> {
      for (let n = 0; n < sorted.keys.count; n++) put(sorted, n);
    },
    loadNote: 'a loop',
    async close(): Promise<void> {
      closed.set(directory, map);
    },
  };
}
