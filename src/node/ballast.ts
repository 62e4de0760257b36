/**
 * A file that holds nothing but room on the disk, given back when the disk is full.
 *
 * Making room takes room: a delete must be logged and flushed before compaction can drop what it deletes, and compaction writes before it removes. On a disk that is full to
 * the last byte nothing of this can be done. So this file grows with the store while there is plenty of space, and is emptied when the log or a flush finds none.
 * From then on only writes that make room are taken (`released`), until there is space enough for the file to be made anew.
 *
 *     reserve      := zeros      empty: it was released
 *     reserve.new  := zeros      the beginning of one: a `reserve` that is empty must mean nothing else
 *
 * Invariants: it never takes more than a small part of what is free; no failure of it is one of the store, but for the room it then lacks; a process that is killed at any
 * point leaves a store that takes writes where there is room.
 */
import { KvError } from '../errors.ts';
import { makesRoom } from '../kv/alarms.ts';
import type { Command } from '../kv/command.ts';
import { type Disk, DiskError } from '../storage/disk.ts';

const MIB = 1024 * 1024;
const NAME = 'reserve';
const NEW_NAME = 'reserve.new';
/** Below this it would help nobody. */
const MIN_BYTES = MIB;
/** What a round adds. */
const STEP_BYTES = 4 * MIB;
/** It is this part of the data, at most `maxBytes`. */
const DATA_SHARE = 8;
/** It grows, and writes go on, only while so many times its size are free. */
const FREE_FACTOR = 4;

export interface BallastOptions {
  readonly disk: Disk;
  /** The data directory. */
  readonly path: string;
  readonly maxBytes: number;
  readonly dataBytes: () => number;
  /** Whether the log, or a flush, has found no space. */
  readonly isFull: () => boolean;
  /** Writes are held to what makes room from now on, or are no longer. */
  readonly onReleased: (released: boolean) => void;
  readonly warn: (message: string, error: unknown) => void;
}

export class Ballast {
  readonly #options: BallastOptions;
  /** undefined: not looked at yet. */
  #bytes: number | undefined;
  #released = false;
  /** The size that it had. */
  #wantedBytes = 0;
  #working: Promise<void> | undefined;

  constructor(options: BallastOptions) {
    this.#options = options;
  }

  /** The reserve is in use: only what makes room may be written. */
  get released(): boolean {
    return this.#released;
  }

  /** One round; called about once a second. Rounds do not overlap. */
  run(): void {
    this.#working ??= this.#round()
      .catch((error: unknown) => this.#options.warn('the reserve for a full disk could not be kept', error))
      .finally(() => {
        this.#working = undefined;
      });
  }

  /** Resolves when the round under way, if any, has ended. */
  async idle(): Promise<void> {
    await this.#working;
  }

  async #round(): Promise<void> {
    const { isFull } = this.#options;
    const bytes = this.#bytes ?? (await this.#look());
    if (isFull() && bytes > 0) return this.#release();
    if (this.#released) {
      if (!(await this.#hasRoom())) return;
      await this.#remove();
      this.#setReleased(false);
    }
    // The log may still say so from before: it learns better when it needs room.
    if (!isFull()) await this.#grow();
  }

  /** What the last process left. Gives the reserve's size. */
  async #look(): Promise<number> {
    const { disk, path } = this.#options;
    if (await disk.exists(`${path}/${NEW_NAME}`)) await disk.remove(`${path}/${NEW_NAME}`);
    const size = await sizeOf(disk, path);
    if (size === 0) {
      this.#wantedBytes = Math.max(MIN_BYTES, this.#target());
      // There may be room again by now: then no write is refused.
      if (await this.#hasRoom()) await this.#remove();
      else this.#setReleased(true);
    }
    this.#bytes = size ?? 0;
    return this.#bytes;
  }

  async #hasRoom(): Promise<boolean> {
    const { disk, path } = this.#options;
    return (await disk.spaceLeftBytes(path)) >= FREE_FACTOR * this.#wantedBytes;
  }

  #remove(): Promise<void> {
    return this.#options.disk.remove(`${this.#options.path}/${NAME}`);
  }

  async #release(): Promise<void> {
    const { disk, path } = this.#options;
    this.#wantedBytes = this.#bytes ?? 0;
    // Before the room is there, so that nothing else takes it.
    this.#setReleased(true);
    await emptyFile(disk, path);
    this.#bytes = 0;
  }

  #target(): number {
    return Math.min(this.#options.maxBytes, Math.floor(this.#options.dataBytes() / DATA_SHARE));
  }

  async #grow(): Promise<void> {
    const { disk, path } = this.#options;
    const bytes = this.#bytes ?? 0;
    const target = this.#target();
    if (target < MIN_BYTES || bytes >= target - MIN_BYTES / 2) return;
    if ((await disk.spaceLeftBytes(path)) < FREE_FACTOR * target) return;
    const step = new Uint8Array(Math.min(STEP_BYTES, target - bytes));
    const name = `${path}/${bytes === 0 ? NEW_NAME : NAME}`;
    const file = await disk.open(name, 'open');
    try {
      await file.write([step], bytes);
      await file.sync();
    } catch (error) {
      if (bytes === 0) await disk.remove(name);
      throw error;
    } finally {
      await file.close();
    }
    if (bytes === 0) await disk.rename(name, `${path}/${NAME}`);
    this.#bytes = bytes + step.length;
  }

  #setReleased(released: boolean): void {
    if (released === this.#released) return;
    this.#released = released;
    this.#options.onReleased(released);
  }
}

/** Gives the reserve back before a node starts. False: there was none. */
export async function releaseBallast(disk: Disk, path: string): Promise<boolean> {
  const size = await sizeOf(disk, path);
  if (size === undefined || size === 0) return false;
  await emptyFile(disk, path);
  return true;
}

/** Takes no room, unlike a removal on some file systems that are full. */
async function emptyFile(disk: Disk, path: string): Promise<void> {
  const file = await disk.open(`${path}/${NAME}`, 'open');
  try {
    await file.truncate(0);
  } finally {
    await file.close();
  }
}

/** While the reserve is in use. @throws KvError NO_SPACE for a command that could make the store larger */
export function assertMakesRoom(command: Command): void {
  if (makesRoom(command)) return;
  throw new KvError(
    'NO_SPACE',
    'the disk is full: until there is room, only deletes and compaction are taken; reads go on',
  );
}

/** undefined: there is none. */
async function sizeOf(disk: Disk, path: string): Promise<number | undefined> {
  try {
    const file = await disk.open(`${path}/${NAME}`, 'read');
    try {
      return file.sizeBytes();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof DiskError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
