/** Creating directories so that a power loss can't take them (and all that was synced inside them) away again. */
import type { Disk } from './disk.ts';

/** Creates a directory and what is missing above it, and syncs each directory that got a new name in it (known as the missing directory fsync). */
export async function makeDurableDirectory(disk: Disk, path: string): Promise<void> {
  const missing: string[] = [];
  for (let at = path; at !== '' && at !== '/' && !(await disk.exists(at)); at = parentOf(at))
    missing.push(at);
  if (missing.length === 0) return;
  await disk.makeDirectory(path);
  for (const directory of missing) await disk.syncDirectory(parentOf(directory) || '.');
}

function parentOf(path: string): string {
  const trimmed = path.replace(/\/+$/, '');
  const slash = trimmed.lastIndexOf('/');
  if (slash < 0) return '';
  return slash === 0 ? '/' : trimmed.slice(0, slash);
}
