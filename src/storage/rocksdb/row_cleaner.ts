/**
 * Removing versions that compaction allows to go: one pass over all rows, in slices.
 *
 * Invariants: a version goes only when a newer one at or below the revision is there, or when it is a tombstone at or below it; a tombstone goes after everything
 * below it has gone, in the same batch or a later one (RocksDB keeps a prefix of its batches after a crash), so nothing that was deleted comes back.
 */
import type { TimeSlice } from '../time_slice.ts';
import { type LevelDatabase, rocksDbError } from './level_binding.ts';
import { everyRow, NEXT, STOP } from './row_reader.ts';

const ROWS_PER_BATCH = 512;
const ROWS_PER_SLICE = 256;

export interface CleanResult {
  readonly removedRows: number;
  /** Rows above the revision: what a later pass may find to remove. */
  readonly rowsAbove: number;
}

/** @returns undefined when `isWanted` turned false on the way. @throws KvError STORAGE_FAILED, CORRUPT */
export async function removeSuperseded(
  database: LevelDatabase,
  lastFlush: number,
  revision: number,
  slice: TimeSlice,
  isWanted: () => boolean,
): Promise<CleanResult | undefined> {
  const pass = everyRow(database, lastFlush, false);
  let doomed: Buffer[] = [];
  let removedRows = 0;
  let rowsAbove = 0;
  let rowsSeen = 0;
  let superseded = false;
  let tombstone: Buffer | undefined;
  const endKey = () => {
    superseded = false;
    if (tombstone !== undefined) doomed.push(tombstone);
    tombstone = undefined;
  };
  const remove = async () => {
    if (doomed.length > 0) await removeRows(database, doomed);
    removedRows += doomed.length;
    doomed = [];
  };
  try {
    for (;;) {
      const ended = await pass.each(() => {
        const { row } = pass;
        const sameKey = pass.sameKey;
        if (!sameKey) endKey();
        if (superseded || (sameKey && pass.sameVersion)) doomed.push(row.bytes);
        else if (row.modRevision > revision) rowsAbove++;
        else {
          superseded = true;
          if (row.isTombstone) tombstone = row.bytes;
        }
        return doomed.length >= ROWS_PER_BATCH || ++rowsSeen % ROWS_PER_SLICE === 0 ? STOP : NEXT;
      });
      if (!isWanted()) return undefined;
      if (ended) endKey();
      await remove();
      if (ended) return { removedRows, rowsAbove };
      if (slice.isOver()) await slice.rest();
    }
  } finally {
    await pass.end();
  }
}

/** Deletes rows in one batch. @throws KvError STORAGE_FAILED */
export async function removeRows(database: LevelDatabase, keys: readonly Buffer[]): Promise<void> {
  const batch = database.batch();
  for (const key of keys) batch.del(key);
  try {
    await batch.write({ sync: false });
  } catch (error) {
    throw rocksDbError(error, 'cannot remove rows');
  }
}
