/**
 * The disk of the operating system, through node:fs.
 *
 * Invariants: errors leave here as DiskError; a write answers when every byte was taken; `sync` is fdatasync, which also makes the
 * file's length durable when it grew, but not its name: that takes `syncDirectory`.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { lockDirectory } from './directory_lock.ts';
import { type Disk, DiskError, type DiskErrorCode, type DiskFile } from './disk.ts';
import { totalBytes, writeFully, writeFullySync } from './gathered_write.ts';

const CODES: ReadonlyMap<string, DiskErrorCode> = new Map([
  ['ENOENT', 'NOT_FOUND'],
  ['ENOTDIR', 'NOT_FOUND'],
  ['EEXIST', 'EXISTS'],
  ['ENOTEMPTY', 'EXISTS'],
  ['ENOSPC', 'NO_SPACE'],
  ['EDQUOT', 'NO_SPACE'],
  ['EACCES', 'PERMISSION'],
  ['EPERM', 'PERMISSION'],
  ['EROFS', 'PERMISSION'],
]);

/** Gives a DiskError for whatever node:fs threw; every errno that has no code of its own becomes IO. */
export function toDiskError(error: unknown, path: string): DiskError {
  if (error instanceof DiskError) return error;
  const errno = error instanceof Error && 'code' in error ? String(error.code) : '';
  const message = error instanceof Error ? error.message : String(error);
  return new DiskError(CODES.get(errno) ?? 'IO', path, `${path}: ${message}`, error);
}

async function guarded<T>(path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw toDiskError(error, path);
  }
}

/** Turns a callback of node:fs into a promise, with its error mapped. */
function settle<T>(path: string, start: (done: (error: Error | null, value: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => {
      if (error) reject(toDiskError(error, path));
      else resolve(value);
    });
  });
}

class NodeFile implements DiskFile {
  readonly path: string;
  readonly #fd: number;
  #sizeBytes: number;
  #closed = false;
  readonly #writevSync: (parts: readonly Uint8Array[], offset: number) => number;

  constructor(path: string, fd: number, sizeBytes: number) {
    this.path = path;
    this.#fd = fd;
    this.#sizeBytes = sizeBytes;
    // A single buffer is the usual case, and pwrite is cheaper than pwritev.
    this.#writevSync = (parts, offset) =>
      parts.length === 1
        ? fs.writeSync(fd, parts[0]!, 0, parts[0]!.byteLength, offset)
        : fs.writevSync(fd, parts, offset);
  }

  readSync(target: Uint8Array, offset: number): number {
    try {
      let count = 0;
      while (count < target.byteLength) {
        const got = fs.readSync(this.#fd, target, count, target.byteLength - count, offset + count);
        if (got === 0) break;
        count += got;
      }
      return count;
    } catch (error) {
      throw toDiskError(error, this.path);
    }
  }

  async read(target: Uint8Array, offset: number): Promise<number> {
    let count = 0;
    while (count < target.byteLength) {
      const got = await settle<number>(this.path, (done) =>
        fs.read(this.#fd, target, count, target.byteLength - count, offset + count, done),
      );
      if (got === 0) break;
      count += got;
    }
    return count;
  }

  writeSync(parts: readonly Uint8Array[], offset: number): void {
    try {
      writeFullySync(this.#writevSync, parts, offset);
    } catch (error) {
      throw toDiskError(error, this.path);
    }
    this.#grew(offset, totalBytes(parts));
  }

  async write(parts: readonly Uint8Array[], offset: number): Promise<void> {
    try {
      await writeFully(
        (rest, at) => settle<number>(this.path, (done) => fs.writev(this.#fd, rest, at, done)),
        parts,
        offset,
      );
    } catch (error) {
      throw toDiskError(error, this.path);
    }
    this.#grew(offset, totalBytes(parts));
  }

  #grew(offset: number, bytes: number): void {
    if (bytes > 0 && offset + bytes > this.#sizeBytes) this.#sizeBytes = offset + bytes;
  }

  sync(): Promise<void> {
    return settle<void>(this.path, (done) => fs.fdatasync(this.#fd, (error) => done(error, undefined)));
  }

  syncSync(): void {
    try {
      fs.fdatasyncSync(this.#fd);
    } catch (error) {
      throw toDiskError(error, this.path);
    }
  }

  async truncate(sizeBytes: number): Promise<void> {
    await settle<void>(this.path, (done) => fs.ftruncate(this.#fd, sizeBytes, (e) => done(e, undefined)));
    this.#sizeBytes = sizeBytes;
  }

  sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Closing twice is fine: a file number must never be closed after it may belong to another file. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await settle<void>(this.path, (done) => fs.close(this.#fd, (error) => done(error ?? null, undefined)));
  }
}

const FLAGS = {
  read: fs.constants.O_RDONLY,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
  open: fs.constants.O_RDWR | fs.constants.O_CREAT,
} as const;

export class NodeDisk implements Disk {
  async open(path: string, mode: 'read' | 'create' | 'open'): Promise<DiskFile> {
    const fd = await settle<number>(path, (done) => fs.open(path, FLAGS[mode], 0o600, done));
    try {
      const stats = await settle<fs.Stats>(path, (done) => fs.fstat(fd, done));
      if (stats.isDirectory()) throw new DiskError('IO', path, `${path}: is a directory`);
      return new NodeFile(path, fd, stats.size);
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  readFile(path: string): Promise<Uint8Array> {
    return guarded(path, () => fs.promises.readFile(path));
  }

  list(path: string): Promise<string[]> {
    return guarded(path, async () => (await fs.promises.readdir(path)).sort());
  }

  async exists(path: string): Promise<boolean> {
    try {
      await guarded(path, () => fs.promises.stat(path));
      return true;
    } catch (error) {
      if (error instanceof DiskError && error.code === 'NOT_FOUND') return false;
      throw error;
    }
  }

  async makeDirectory(path: string): Promise<void> {
    await guarded(path, () => fs.promises.mkdir(path, { recursive: true, mode: 0o700 }));
  }

  rename(from: string, to: string): Promise<void> {
    return guarded(from, () => fs.promises.rename(from, to));
  }

  async link(from: string, to: string): Promise<void> {
    try {
      await fs.promises.link(from, to);
    } catch (error) {
      const failure = toDiskError(error, from);
      throw failure.code === 'EXISTS' ? toDiskError(error, to) : failure;
    }
  }

  remove(path: string): Promise<void> {
    return guarded(path, () => fs.promises.unlink(path));
  }

  removeTree(path: string): Promise<void> {
    return guarded(path, () => fs.promises.rm(path, { recursive: true, force: true }));
  }

  async syncDirectory(path: string): Promise<void> {
    // Windows cannot open a directory; NTFS journals names by itself.
    if (process.platform === 'win32') return;
    await guarded(path, async () => {
      const handle = await fs.promises.open(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    });
  }

  async spaceLeftBytes(path: string): Promise<number> {
    const stats = await guarded(path, () => fs.promises.statfs(path));
    return stats.bavail * stats.bsize;
  }

  lock(path: string): Promise<{ release(): Promise<void> }> {
    return guarded(path, () => lockDirectory(path, join(path, 'LOCK')));
  }
}
