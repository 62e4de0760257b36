/** Records as a tree gets them: from a list, or lying in the memory of a frozen memtable, which is used for something else as soon as the flush has ended. */
import { CompactedRun } from '../../../src/storage/engine_flush.ts';
import type { Memtable } from '../../../src/storage/memtable.ts';
import { MemtablePool } from '../../../src/storage/memtable_pool.ts';
import type { AppliedState, StoredRecord } from '../../../src/storage/record.ts';
import type { Tree } from '../../../src/storage/tree.ts';
import { runOf } from '../record_model.ts';

const MIB = 1024 * 1024;
const MAX_MEMTABLE_DATA_BYTES = 48 * MIB;
const pool = new MemtablePool({ sizeBytes: 4 * MIB }, 2);
const JUNK = new Uint8Array(1024).fill(0xee);

function put(memtable: Memtable, record: StoredRecord): void {
  const { key, value, modRevision, createRevision, version, subRevision, flags, lease, expiresAtMs } = record;
  memtable.put(key, value, modRevision, createRevision, version, subRevision, flags, lease, expiresAtMs);
}

/** Flushes records, given in the order in which they were written. Versions superseded at or below `compactRevision` may be left out. */
export async function flushRecords(
  tree: Tree,
  records: readonly StoredRecord[],
  applied: AppliedState,
  from: 'list' | 'memtable',
  compactRevision: number,
): Promise<void> {
  const dataBytes = records.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
  if (from === 'list' || dataBytes > MAX_MEMTABLE_DATA_BYTES) return tree.flush(runOf(records), applied);
  const memtable = pool.acquire();
  try {
    for (const record of records) put(memtable, record);
    await tree.flush(new CompactedRun(memtable, compactRevision), applied);
  } finally {
    // Whoever still looked at it would see other bytes.
    memtable.reset();
    for (let i = 1; i < 64; i++) memtable.put(Uint8Array.of(0xee), JUNK, i, 0, 0, 0, 0, 0n, 0);
    pool.release(memtable);
  }
}
