/**
 * A table's file as its readers see it: a read that the disk refuses is damage at that place.
 *
 * To whoever needs the bytes it makes no difference whether they are wrong or do not come at all (a sector that cannot be read any more), and the cure is the same:
 * another node has them. So this is the one place where a failed read of a table becomes a KvError.
 *
 * Invariant: no DiskError leaves a read.
 */
import { KvError } from '../../errors.ts';
import { DiskError, type DiskFile } from '../disk.ts';

/** What readers of a table use of its file. */
export type ReadableFile = Pick<DiskFile, 'path' | 'readSync' | 'read' | 'sizeBytes' | 'close'>;

export class TableFile implements ReadableFile {
  readonly path: string;
  readonly #file: DiskFile;

  constructor(file: DiskFile) {
    this.path = file.path;
    this.#file = file;
  }

  /** @throws KvError CORRUPT with `file`, `offset`, `problem` and `diskError` */
  readSync(target: Uint8Array, offset: number): number {
    try {
      return this.#file.readSync(target, offset);
    } catch (error) {
      throw unreadable(error, this.path, offset);
    }
  }

  /** As `readSync`. */
  async read(target: Uint8Array, offset: number): Promise<number> {
    try {
      return await this.#file.read(target, offset);
    } catch (error) {
      throw unreadable(error, this.path, offset);
    }
  }

  sizeBytes(): number {
    return this.#file.sizeBytes();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** A failed read as the KvError that it is told by; what is no DiskError as it is. */
export function unreadable(error: unknown, file: string, offset: number): unknown {
  if (!(error instanceof DiskError)) return error;
  const problem = `cannot be read: ${error.message}`;
  return new KvError('CORRUPT', `${file}: damaged at offset ${offset}: ${problem}`, {
    cause: error,
    details: { file, offset, problem, diskError: error.code },
  });
}
