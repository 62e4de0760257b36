/**
 * A snapshot on its way in, stored chunk by chunk so that a transfer goes on where it stopped, over restarts too.
 *
 *     incoming-I-T-S   the first bytes of the snapshot at index I and term T of S bytes
 *
 * Invariants: at most one; its file's length is what has been written; at most MAX_PENDING_BYTES wait to be written, beyond that chunks are left for the
 * sender to send again; nothing in it is believed before `finish` has checked all of it (bytes that a crash lost show there).
 */
import { KvError } from '../../errors.ts';
import { type Disk, DiskError, type DiskFile } from '../disk.ts';
import { openSnapshot, readThrough } from './snapshot_reader.ts';

const NAME = /^incoming-(\d{1,16})-(\d{1,16})-(\d{1,16})$/;
const MAX_PENDING_BYTES = 16 * 1024 * 1024;

/** What a leader calls a snapshot. */
export interface SnapshotKey {
  readonly index: number;
  readonly term: number;
  readonly sizeBytes: number;
}

export class IncomingSnapshot {
  readonly #disk: Disk;
  readonly #directory: string;
  #key: SnapshotKey | undefined;
  #wanted = 0;
  #file: DiskFile | undefined;
  #pendingBytes = 0;
  #writes: Promise<void> = Promise.resolve();
  #failure: unknown;

  private constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
  }

  /** Takes up what `names` of the directory show was coming in; of several (which a crash may leave) none is kept. */
  static async open(disk: Disk, directory: string, names: readonly string[]): Promise<IncomingSnapshot> {
    const incoming = new IncomingSnapshot(disk, directory);
    const found = names.filter((name) => NAME.test(name));
    const match = found.length === 1 ? NAME.exec(found[0]!) : null;
    if (match === null) {
      for (const name of found) await disk.remove(`${directory}/${name}`);
      return incoming;
    }
    const [index, term, sizeBytes] = match.slice(1).map(Number) as [number, number, number];
    const file = await disk.open(`${directory}/${found[0]}`, 'open');
    if (file.sizeBytes() > sizeBytes) await file.truncate(0);
    incoming.#key = { index, term, sizeBytes };
    incoming.#wanted = file.sizeBytes();
    incoming.#file = file;
    return incoming;
  }

  receive(key: SnapshotKey, offset: number, data: Uint8Array): number {
    this.#checkChunk(key, offset, data);
    if (this.#failure !== undefined) {
      const failure = this.#failure;
      this.#startOver(undefined);
      throw failure;
    }
    if (!this.#isCurrent(key)) this.#startOver(key);
    if (offset !== this.#wanted || data.length === 0) return this.#wanted;
    if (this.#pendingBytes + data.length > MAX_PENDING_BYTES && this.#pendingBytes > 0) return this.#wanted;
    const bytes = data.slice();
    this.#pendingBytes += bytes.length;
    this.#wanted += bytes.length;
    this.#enqueue(async () => {
      try {
        // Behind a failed write there must be no other: the file's length says what is there.
        if (this.#failure === undefined) await this.#file?.write([bytes], offset);
      } finally {
        this.#pendingBytes -= bytes.length;
      }
    });
    return this.#wanted;
  }

  /**
   * Waits for what is being written and checks the whole file.
   * @throws KvError CORRUPT when it is no good: it begins anew with the next chunk; INVALID_ARGUMENT when it is not complete.
   */
  async finish(): Promise<{ key: SnapshotKey; path: string }> {
    const key = this.#key;
    await this.#writes;
    if (this.#failure !== undefined) {
      const failure = this.#failure;
      await this.discard();
      throw failure;
    }
    if (key === undefined || this.#wanted !== key.sizeBytes || this.#file === undefined)
      throw new KvError('INVALID_ARGUMENT', 'no incoming snapshot is complete');
    const path = this.#pathOf(key);
    try {
      await this.#file.sync();
      await this.#verify(key, path);
    } catch (error) {
      await this.discard();
      throw error;
    }
    await this.#file.close();
    this.#file = undefined;
    return { key, path };
  }

  /** The finished file has been renamed. */
  taken(): void {
    this.#key = undefined;
    this.#wanted = 0;
  }

  /** The finished file could not be taken over: all begins anew. */
  async discard(): Promise<void> {
    this.#startOver(undefined);
    await this.#writes;
  }

  async close(): Promise<void> {
    await this.#writes;
    await this.#file?.close();
    this.#file = undefined;
  }

  #checkChunk(key: SnapshotKey, offset: number, data: Uint8Array): void {
    const numbers = [key.index, key.term, key.sizeBytes, offset];
    if (
      !numbers.every((number) => Number.isSafeInteger(number) && number >= 0) ||
      offset + data.length > key.sizeBytes
    )
      throw new KvError(
        'PROTOCOL',
        `a chunk of ${data.length} B at ${offset} lies outside its snapshot of ${key.sizeBytes} B`,
      );
  }

  #isCurrent(key: SnapshotKey): boolean {
    const current = this.#key;
    return current?.index === key.index && current.term === key.term && current.sizeBytes === key.sizeBytes;
  }

  /** Forgets what came in so far; with a key, begins another one. */
  #startOver(key: SnapshotKey | undefined): void {
    const old = this.#key;
    this.#key = key;
    this.#wanted = 0;
    this.#failure = undefined;
    this.#enqueue(async () => {
      await this.#file?.close();
      this.#file = undefined;
      if (old !== undefined && (await this.#disk.exists(this.#pathOf(old))))
        await this.#disk.remove(this.#pathOf(old));
      if (key !== undefined) this.#file = await this.#disk.open(this.#pathOf(key), 'open');
    });
  }

  #enqueue(work: () => Promise<void>): void {
    this.#writes = this.#writes.then(work).catch((error: unknown) => {
      const isFull = error instanceof DiskError && error.code === 'NO_SPACE';
      this.#failure ??= isFull
        ? new KvError('NO_SPACE', 'no space left for an incoming snapshot', { cause: error })
        : error;
    });
  }

  async #verify(key: SnapshotKey, path: string): Promise<void> {
    const reader = await openSnapshot(this.#disk, path);
    try {
      const { applied, sizeBytes } = reader;
      if (applied.index !== key.index || applied.term !== key.term || sizeBytes !== key.sizeBytes)
        throw new KvError(
          'CORRUPT',
          `${path}: it is the snapshot at index ${applied.index}, not the one announced`,
          {
            details: { file: path, offset: 0 },
          },
        );
      await readThrough(reader);
    } finally {
      await reader.close();
    }
  }

  #pathOf(key: SnapshotKey): string {
    return `${this.#directory}/incoming-${key.index}-${key.term}-${key.sizeBytes}`;
  }
}
