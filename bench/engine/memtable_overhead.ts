/** What a memtable takes of memory beyond key and value, for one key: index, list, version and alignment. */
import { Memtable } from '../../src/storage/memtable.ts';
import type { BenchResult } from '../result.ts';
import { Data, KeySet } from './data.ts';

export function memtableOverhead(keyCount: number): BenchResult {
  const data = new Data(new KeySet(keyCount, 'shuffled'));
  const memtable = new Memtable({ sizeBytes: keyCount * 1_200 });
  const { usedBytes: emptyBytes } = memtable;
  for (let n = 0; n < keyCount; n++)
    memtable.put(data.keys.at(n), data.valueOf(n), n + 1, n + 1, 1, 0, 0, 0n, 0);
  const overheadBytes = memtable.usedBytes - memtable.dataBytes;
  return {
    peer: 'kvorum',
    case: 'memtable overhead',
    bytesPerKey: overheadBytes / memtable.keyCount,
    note: `beyond key and value, over ${memtable.keyCount} keys; an empty memtable takes ${emptyBytes} B of it`,
  };
}
