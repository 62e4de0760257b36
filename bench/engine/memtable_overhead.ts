/** What a memtable takes of memory beyond key and value, for one key: index, list, version and alignment. Measured on one that was filled as far as a store fills it. */
import { parseConfig } from '../../src/config.ts';
import { Memtable } from '../../src/storage/memtable.ts';
import type { BenchResult } from '../result.ts';
import { Data, KEY_BYTES, KeySet } from './data.ts';

export function memtableOverhead(): BenchResult {
  const { memtableSizeBytes } = parseConfig({}).storage;
  const data = new Data(new KeySet(Math.ceil(memtableSizeBytes / KEY_BYTES / 16), 'shuffled'));
  const memtable = new Memtable({ sizeBytes: memtableSizeBytes });
  const { usedBytes: emptyBytes } = memtable;
  for (let n = 0; n < data.keys.count && !memtable.full; n++)
    memtable.put(data.keys.at(n), data.valueOf(n), n + 1, n + 1, 1, 0, 0, 0n, 0);
  const overheadBytes = memtable.usedBytes - memtable.dataBytes;
  const sizeMb = memtableSizeBytes / 1024 ** 2;
  return {
    peer: 'kvorum',
    case: 'memtable overhead',
    bytesPerKey: overheadBytes / memtable.keyCount,
    note: `beyond key and value; ${memtable.keyCount} keys fill ${sizeMb} MiB, of which ${emptyBytes} B are taken when empty`,
  };
}
