/** Directories that survive a crash: a new one is lost with all that is in it unless the directory that names it is synced. */
import type { Disk } from './disk.ts';

/** Creates a directory when it is missing, and makes its name durable. REQUIRES: its parent's name is durable. */
export async function makeDurableDirectory(disk: Disk, path: string): Promise<void> {
  if (await disk.exists(path)) return;
  await disk.makeDirectory(path);
  const slash = path.lastIndexOf('/');
  await disk.syncDirectory(slash < 0 ? '.' : slash === 0 ? '/' : path.slice(0, slash));
}
