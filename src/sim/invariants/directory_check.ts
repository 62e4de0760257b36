/**
 * The data directory of a node that does not run: log, tables, manifest and snapshots must be without damage after every crash, whatever the crash took, unless
 * the disk was damaged on purpose.
 */
import { KvError } from '../../errors.ts';
import { checkDirectory, type Damage } from '../../node/check_directory.ts';
import type { MemoryDisk } from '../../storage/memory_disk.ts';

/**
 * What is damaged; nothing in a directory that holds no node yet. The disk is not touched.
 * REQUIRES: nobody has the directory open, or only what is torn at its ends is of no interest.
 */
export async function damagesOn(disk: MemoryDisk, path: string): Promise<readonly Damage[]> {
  const fork = disk.fork({ instant: true });
  if (!(await fork.exists(path))) return [];
  try {
    return (await checkDirectory(fork, path, () => undefined)).damages;
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
    // A crash while the node was being founded: there is nothing yet, and the next start begins anew.
    if (error.code === 'NOT_FOUND' && !(await holdsFiles(fork, path))) return [];
    return [{ file: path, offset: undefined, problem: `${error.code}: ${error.message}` }];
  }
}

/** A log or a tree without the file that says whose they are. */
async function holdsFiles(disk: MemoryDisk, path: string): Promise<boolean> {
  for (const name of ['log', 'tree', 'snapshots']) {
    const directory = `${path}/${name}`;
    if ((await disk.exists(directory)) && (await disk.list(directory)).length > 0) return true;
  }
  return false;
}

export function describeDamages(damages: readonly Damage[]): string {
  const shown = damages.slice(0, 3).map(({ file, offset, problem }) => {
    return `${file}${offset === undefined ? '' : ` at offset ${offset}`}: ${problem}`;
  });
  const rest = damages.length > 3 ? `; and ${damages.length - 3} more` : '';
  return `${shown.join('; ')}${rest}`;
}
