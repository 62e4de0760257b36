/**
 * A portable snapshot into a file of its own.
 *
 * Invariants: under the file's name there is either what was there before or a whole snapshot that was checked: it is written beside, synced, looked through, and renamed; what failed leaves
 * nothing behind.
 */
import { KvError } from '../../errors.ts';
import { type Disk, DiskError } from '../disk.ts';
import { openPortable } from './trailer.ts';

export interface SavedSnapshot {
  readonly path: string;
  /** Where it lies. */
  readonly directory: string;
  /** Of all chunks. */
  readonly sizeBytes: number;
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** @throws KvError what the chunks end with; CORRUPT, NO_SPACE, STORAGE_FAILED */
export async function saveSnapshot(disk: Disk, snapshot: SavedSnapshot): Promise<void> {
  const { path, directory } = snapshot;
  const beside = `${path}.part`;
  try {
    // Of a run that was killed.
    if (await disk.exists(beside)) await disk.remove(beside);
    try {
      await write(disk, beside, snapshot);
      const reader = await openPortable(disk, beside);
      await reader.close();
      await disk.rename(beside, path);
      await disk.syncDirectory(directory);
    } catch (error) {
      if (await disk.exists(beside)) await disk.remove(beside);
      throw error;
    }
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    const code = error.code === 'NO_SPACE' ? 'NO_SPACE' : 'STORAGE_FAILED';
    throw new KvError(code, `${path}: ${error.message}`, { cause: error });
  }
}

async function write(disk: Disk, path: string, { sizeBytes, chunks }: SavedSnapshot): Promise<void> {
  const file = await disk.open(path, 'create');
  try {
    let at = 0;
    for await (const chunk of chunks) {
      await file.write([chunk], at);
      at += chunk.length;
    }
    if (at !== sizeBytes)
      throw new KvError('UNAVAILABLE', `the snapshot ended after ${at} of ${sizeBytes} bytes`);
    await file.sync();
  } finally {
    await file.close();
  }
}
