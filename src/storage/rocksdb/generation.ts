/**
 * The directories of a RocksDB tree: one database at a time counts, and CURRENT says which.
 *
 *     CURRENT          the name of the directory that counts, and a line feed
 *     rocksdb-N        a database; N grows by one with every `install`
 *     CURRENT.tmp      a CURRENT that was not finished
 *
 * Invariants: CURRENT changes by write, fsync, rename, directory fsync, after everything in the database that it will name is durable: after a crash at any point the
 * old or the new content counts as a whole. A database that CURRENT names exists; the others are left over and removed. A database stays open until its last
 * reader is done, also when another one counts by then.
 */
import { KvError } from '../../errors.ts';
import type { Disk } from '../disk.ts';
import { type LevelDatabase, type LevelOpen, rocksDbError } from './level_binding.ts';
import { decodeState, STATE_KEY, type TreeState } from './row_codec.ts';

const DIRECTORY = /^rocksdb-([1-9]\d{0,14})$/;

/** One database and who is using it. */
export class Generation {
  readonly number: number;
  readonly directory: string;
  readonly database: LevelDatabase;
  #users = 0;
  #ending: (() => void) | undefined;

  constructor(number: number, directory: string, database: LevelDatabase) {
    this.number = number;
    this.directory = directory;
    this.database = database;
  }

  /** Keeps the database open until `release`. */
  retain(): void {
    this.#users++;
  }

  release(): void {
    if (--this.#users === 0) this.#ending?.();
  }

  /** Closes the database when nobody uses it any more. Nobody may begin to from now on. */
  async close(): Promise<void> {
    if (this.#users > 0) await new Promise<void>((resolve) => (this.#ending = resolve));
    try {
      await this.database.close();
    } catch (error) {
      throw rocksDbError(error, `cannot close ${this.directory}`);
    }
  }

  /** What was flushed last; undefined when nothing was. @throws KvError CORRUPT */
  async readState(): Promise<TreeState | undefined> {
    let value: Buffer | undefined;
    try {
      [value] = await this.database.getMany([STATE_KEY]);
    } catch (error) {
      throw rocksDbError(error, `cannot read ${this.directory}`);
    }
    return value === undefined ? undefined : decodeState(value);
  }
}

export class GenerationFiles {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #open: LevelOpen;

  constructor(disk: Disk, path: string, open: LevelOpen) {
    this.#disk = disk;
    this.#path = path;
    this.#open = open;
  }

  /**
   * Opens the database that counts, creating the first one in an empty directory, and removes what is left over.
   * @throws KvError CORRUPT, LOCKED, STORAGE_FAILED; DiskError
   */
  async openCurrent(): Promise<Generation> {
    await this.#disk.makeDirectory(this.#path);
    const numbers = await this.#numbers();
    const current = await this.#readCurrent();
    if (current === undefined) return this.#openFirst(numbers);
    if (!numbers.includes(current))
      throw new KvError('CORRUPT', `${this.#path}/CURRENT names rocksdb-${current}, which is missing`);
    const generation = await this.#openDatabase(current, false);
    for (const number of numbers) if (number !== current) await this.remove(number);
    return generation;
  }

  /** An empty database in a directory of its own, which does not count yet. */
  async openFresh(number: number): Promise<Generation> {
    await this.remove(number);
    return this.#openDatabase(number, true);
  }

  /** Makes a database count from now on. REQUIRES: everything in it is durable. */
  async makeCurrent(number: number): Promise<void> {
    const path = `${this.#path}/CURRENT`;
    await this.#disk.syncDirectory(this.#path);
    if (await this.#disk.exists(`${path}.tmp`)) await this.#disk.remove(`${path}.tmp`);
    const file = await this.#disk.open(`${path}.tmp`, 'create');
    try {
      await file.write([Buffer.from(`rocksdb-${number}\n`)], 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await this.#disk.rename(`${path}.tmp`, path);
    await this.#disk.syncDirectory(this.#path);
  }

  async remove(number: number): Promise<void> {
    await this.#disk.removeTree(this.#directoryOf(number));
  }

  /** Without CURRENT nothing was ever flushed: it is written before a database is used. */
  async #openFirst(numbers: readonly number[]): Promise<Generation> {
    const missing = new KvError('CORRUPT', `${this.#path} holds a database, and CURRENT is missing`);
    if (numbers.some((number) => number !== 1)) throw missing;
    const generation = await this.#openDatabase(1, true);
    if ((await generation.readState()) !== undefined) {
      await generation.close();
      throw missing;
    }
    await this.makeCurrent(1);
    return generation;
  }

  async #readCurrent(): Promise<number | undefined> {
    const path = `${this.#path}/CURRENT`;
    if (!(await this.#disk.exists(path))) return undefined;
    const text = Buffer.from(await this.#disk.readFile(path)).toString('latin1');
    const match = DIRECTORY.exec(text.endsWith('\n') ? text.slice(0, -1) : '');
    if (match === null) throw new KvError('CORRUPT', `${path} does not name a database`);
    return Number(match[1]);
  }

  async #numbers(): Promise<number[]> {
    const matches = (await this.#disk.list(this.#path)).map((name) => DIRECTORY.exec(name));
    return matches.filter((match) => match !== null).map((match) => Number(match[1]));
  }

  async #openDatabase(number: number, createIfMissing: boolean): Promise<Generation> {
    const directory = this.#directoryOf(number);
    return new Generation(number, directory, await this.#open(directory, createIfMissing));
  }

  #directoryOf(number: number): string {
    return `${this.#path}/rocksdb-${number}`;
  }
}
