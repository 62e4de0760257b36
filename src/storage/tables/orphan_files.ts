/**
 * Removing table files that no manifest names: what a crash, a job that was given up or a compaction left behind.
 *
 * Invariant: files that are not named like a table are nobody's business here.
 */
import { type Disk, DiskError } from '../disk.ts';
import { parseTableName } from './format.ts';

/**
 * Removes the table files, finished or not, that `isOrphan` picks by their number. Gives how many.
 * @throws DiskError
 */
export async function removeOrphans(
  disk: Disk,
  directory: string,
  isOrphan: (fileNumber: number, finished: boolean) => boolean,
): Promise<number> {
  let removed = 0;
  for (const name of await disk.list(directory)) {
    const table = parseTableName(name);
    if (table === undefined || !isOrphan(table.fileNumber, table.finished)) continue;
    await removeIfThere(disk, `${directory}/${name}`);
    removed++;
  }
  return removed;
}

export async function removeIfThere(disk: Disk, path: string): Promise<void> {
  try {
    await disk.remove(path);
  } catch (error) {
    if (!(error instanceof DiskError && error.code === 'NOT_FOUND')) throw error;
  }
}
