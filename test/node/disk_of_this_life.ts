/**
 * A node's disk, for as long as the node lives: after a crash of the disk every operation fails.
 *
 * A node that lost its power does nothing any more, but in these tests its pending promises go on in the same process: without this, a file that the
 * crashed node was about to remove would be removed under the node that has been started in its place.
 */
import { type Disk, DiskError } from '../../src/storage/disk.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';

export function diskOfThisLife(disk: MemoryDisk): Disk {
  const born = disk.generation;
  const alive = async <T>(path: string, operation: () => Promise<T>): Promise<T> => {
    if (disk.generation !== born) throw new DiskError('IO', path, `${path}: the node lost its power`);
    return operation();
  };
  return {
    open: (path, mode) => alive(path, () => disk.open(path, mode)),
    readFile: (path) => alive(path, () => disk.readFile(path)),
    list: (path) => alive(path, () => disk.list(path)),
    exists: (path) => alive(path, () => disk.exists(path)),
    makeDirectory: (path) => alive(path, () => disk.makeDirectory(path)),
    rename: (from, to) => alive(from, () => disk.rename(from, to)),
    link: (from, to) => alive(from, () => disk.link(from, to)),
    remove: (path) => alive(path, () => disk.remove(path)),
    removeTree: (path) => alive(path, () => disk.removeTree(path)),
    syncDirectory: (path) => alive(path, () => disk.syncDirectory(path)),
    spaceLeftBytes: (path) => alive(path, () => disk.spaceLeftBytes(path)),
    lock: (path) => alive(path, () => disk.lock(path)),
  };
}
