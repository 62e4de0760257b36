/**
 * The checkpoint of a tree in memory on disk: one snapshot file (snapshot/snapshot_format.ts) in a directory of its own.
 *
 *     checkpoint-SSSSSSSSSSSSSSSS.kvsnap       S: sequence number, decimal; the largest one counts
 *     checkpoint-SSSSSSSSSSSSSSSS.kvsnap.tmp   one that was not finished
 *
 * Invariants: a file gets its final name only when all of it is on stable storage; the one before it goes only when the new name is on stable
 * storage too. So after a crash at any point the newest named file is whole; one that is damaged all the same was damaged later, and is refused.
 */
import type { Disk } from '../disk.ts';
import { makeDurableDirectory } from '../durable_directory.ts';
import type { AppliedState, MaybePromise, StoredRecord } from '../record.ts';
import { openSnapshot, type SnapshotReader } from '../snapshot/snapshot_reader.ts';
import { writeSnapshot } from '../snapshot/snapshot_writer.ts';

const NAME = /^checkpoint-(\d{16})\.kvsnap$/;
const UNFINISHED = /^checkpoint-\d{16}\.kvsnap\.tmp$/;

export class CheckpointFiles {
  readonly #disk: Disk;
  readonly #path: string;
  #sequence: number;
  #stale: string[];

  private constructor(disk: Disk, path: string, sequence: number, stale: string[]) {
    this.#disk = disk;
    this.#path = path;
    this.#sequence = sequence;
    this.#stale = stale;
  }

  /** Looks at a directory, creating it when it is missing, and removes what is left over there. */
  static async open(disk: Disk, path: string): Promise<CheckpointFiles> {
    await makeDurableDirectory(disk, path);
    const names = await disk.list(path);
    const finished = names.filter((name) => NAME.test(name)).sort();
    const newest = finished.pop();
    const leftovers = names.filter((name) => UNFINISHED.test(name)).concat(finished);
    const files = new CheckpointFiles(
      disk,
      path,
      newest === undefined ? 0 : Number(NAME.exec(newest)?.[1]),
      leftovers.map((name) => `${path}/${name}`),
    );
    if (newest !== undefined) await disk.syncDirectory(path);
    await files.#removeStale();
    return files;
  }

  /** The newest checkpoint; undefined when there was never one. @throws KvError CORRUPT */
  async read(): Promise<SnapshotReader | undefined> {
    return this.#sequence === 0 ? undefined : openSnapshot(this.#disk, this.#fileOf(this.#sequence));
  }

  /** Writes a new checkpoint in place of the old one. When it fails, the old one still counts. */
  async write(applied: AppliedState, nextRecords: () => MaybePromise<StoredRecord[]>): Promise<void> {
    const path = this.#fileOf(this.#sequence + 1);
    await this.#removeStale();
    await writeSnapshot(this.#disk, `${path}.tmp`, applied, nextRecords);
    this.#stale.push(`${path}.tmp`);
    await this.#disk.rename(`${path}.tmp`, path);
    this.#stale.pop();
    // From here on the new file may count after a crash, so it must count now too: nothing may be written under its name again.
    if (this.#sequence > 0) this.#stale.push(this.#fileOf(this.#sequence));
    this.#sequence++;
    await this.#disk.syncDirectory(this.#path);
    await this.#removeStale();
  }

  async #removeStale(): Promise<void> {
    while (this.#stale.length > 0) {
      const path = this.#stale[this.#stale.length - 1]!;
      if (await this.#disk.exists(path)) await this.#disk.remove(path);
      this.#stale.pop();
    }
  }

  #fileOf(sequence: number): string {
    return `${this.#path}/checkpoint-${String(sequence).padStart(16, '0')}.kvsnap`;
  }
}
