/**
 * The snapshots of a node: finished ones, to be sent to other nodes, and the one that is coming in.
 *
 *     snapshot-IIIIIIIIIIIIIIII-TTTTTTTTTTTTTTTT.kvsnap   a finished one (snapshot_format.ts); I: index, T: term, decimal
 *     *.tmp                                               one that was not finished
 *     incoming-I-T-S                                      what has come in (incoming_snapshot.ts)
 *
 * Invariants: a file gets its final name when all of it is on stable storage. The newest one is kept, and of those before it at most MAX_OLDER
 * that were read from since the one after them came, so that a transfer under way can end; opening removes all but the newest. One that is asked for from its beginning
 * again may have been damaged on this disk: it is checked, and thrown away if so, or the others would be sent it for ever.
 */
import { KvError } from '../../errors.ts';
import { type Disk, DiskError, type DiskFile } from '../disk.ts';
import { makeDurableDirectory } from '../durable_directory.ts';
import { SerialLock } from '../serial_lock.ts';
import type { TreeSnapshot } from '../tree.ts';
import { IncomingSnapshot, type SnapshotKey } from './incoming_snapshot.ts';
import { openSnapshot, readThrough, type SnapshotReader } from './snapshot_reader.ts';
import { writeSnapshot } from './snapshot_writer.ts';

const NAME = /^snapshot-(\d{16})-(\d{16})\.kvsnap$/;
const PAGE_BYTES = 256 * 1024;
const MAX_OLDER = 2;

/** A finished snapshot. */
export interface SnapshotFile {
  readonly path: string;
  readonly index: number;
  readonly term: number;
  readonly sizeBytes: number;
  /** The state machine's bytes, as of `index`. */
  readonly state: Uint8Array;
}

interface Held extends SnapshotFile {
  readonly file: DiskFile;
  /** Read from since the newest one came. */
  read: boolean;
  /** How often it was read from its beginning. */
  begun: number;
  /** At so many beginnings it is checked whole. */
  checkAt: number;
}

export interface SnapshotStoreOptions {
  readonly disk: Disk;
  /** A directory of its own; created when it is missing. */
  readonly path: string;
}

export class SnapshotStore {
  readonly #disk: Disk;
  readonly #path: string;
  /** Oldest first. */
  #held: Held[] = [];
  readonly #incoming: IncomingSnapshot;
  readonly #lock = new SerialLock();
  #closed = false;
  /** Hears why a finished snapshot was thrown away: it could not be read whole any more. Set by whoever keeps the log. */
  onThrownAway: (error: unknown) => void = () => undefined;

  private constructor(disk: Disk, path: string, incoming: IncomingSnapshot) {
    this.#disk = disk;
    this.#path = path;
    this.#incoming = incoming;
  }

  /** @throws KvError CORRUPT when the newest snapshot's header is damaged; DiskError */
  static async open(options: SnapshotStoreOptions): Promise<SnapshotStore> {
    const { disk, path } = options;
    await makeDurableDirectory(disk, path);
    const names = await disk.list(path);
    const newest = names
      .filter((name) => NAME.test(name))
      .sort()
      .pop();
    const incoming = await IncomingSnapshot.open(disk, path, names);
    for (const name of names)
      if (name !== newest && (NAME.test(name) || name.endsWith('.tmp'))) await disk.remove(`${path}/${name}`);
    const store = new SnapshotStore(disk, path, incoming);
    if (newest !== undefined) await store.#hold(`${path}/${newest}`);
    return store;
  }

  /** The newest finished snapshot. */
  latest(): SnapshotFile | undefined {
    return this.#held.at(-1);
  }

  /**
   * Writes a view of the tree to a file, unless there is a snapshot at its index already. Does not release the view.
   * @throws KvError NO_SPACE, CLOSED; DiskError
   */
  create(view: TreeSnapshot): Promise<SnapshotFile> {
    return this.#exclusive(async () => {
      const { applied } = view;
      const latest = this.latest();
      if (latest !== undefined && latest.index >= applied.index) return latest;
      const path = this.#pathOf(applied.index, applied.term);
      if (await this.#disk.exists(`${path}.tmp`)) await this.#disk.remove(`${path}.tmp`);
      await writeSnapshot(this.#disk, `${path}.tmp`, applied, () => {
        this.#assertOpen();
        return view.next(PAGE_BYTES);
      });
      return this.#publish(`${path}.tmp`, path);
    });
  }

  /** Reads a snapshot's content. @throws KvError NOT_FOUND, CORRUPT; DiskError */
  async open(index: number): Promise<SnapshotReader> {
    const held = this.#find(index);
    if (held === undefined) throw new KvError('NOT_FOUND', `there is no snapshot at index ${index}`);
    return openSnapshot(this.#disk, held.path);
  }

  /** Bytes [offset, offset + maxBytes) of the snapshot at `index`, fewer at its end; undefined when it is gone. */
  readSync(index: number, offset: number, maxBytes: number): Uint8Array | undefined {
    const held = this.#find(index);
    if (held === undefined) return undefined;
    held.read = true;
    if (offset === 0 && ++held.begun >= held.checkAt) this.#suspect(held);
    const bytes = new Uint8Array(Math.max(0, Math.min(maxBytes, held.sizeBytes - offset)));
    if (bytes.length === 0) return bytes;
    return bytes.subarray(0, held.file.readSync(bytes, offset));
  }

  /**
   * Takes a chunk of an incoming snapshot: stored when it begins at the byte that is wanted next, else left. Another snapshot than the last time
   * begins anew. Writing goes on in the background.
   * @returns the offset of the byte wanted next: the snapshot's size when it is complete, so that `finishIncoming` may be called.
   * @throws KvError PROTOCOL for a chunk beyond the snapshot's size, NO_SPACE when an earlier chunk could not be written; DiskError
   */
  receive(key: SnapshotKey, offset: number, data: Uint8Array): number {
    this.#assertOpen();
    return this.#incoming.receive(key, offset, data);
  }

  /**
   * Checks the incoming snapshot whole and makes it the newest one.
   * @throws KvError CORRUPT when it is damaged or is not what it was announced as: it is then thrown away, to be sent again; NO_SPACE
   */
  finishIncoming(): Promise<SnapshotFile> {
    return this.#exclusive(async () => {
      const { key, path } = await this.#incoming.finish();
      try {
        const file = await this.#publish(path, this.#pathOf(key.index, key.term));
        this.#incoming.taken();
        return file;
      } catch (error) {
        await this.#incoming.discard();
        throw error;
      }
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#lock.run(async () => {
      await this.#incoming.close();
      for (const held of this.#held.splice(0)) await held.file.close();
    });
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    return this.#lock.run(async () => {
      this.#assertOpen();
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof DiskError && error.code === 'NO_SPACE')) throw error;
        throw new KvError('NO_SPACE', 'no space left for a snapshot', { cause: error });
      }
    });
  }

  #assertOpen(): void {
    if (this.#closed) throw new KvError('CLOSED', 'the snapshot store is closed');
  }

  #find(index: number): Held | undefined {
    return this.#held.find((held) => held.index === index);
  }

  #pathOf(index: number, term: number): string {
    return `${this.#path}/snapshot-${String(index).padStart(16, '0')}-${String(term).padStart(16, '0')}.kvsnap`;
  }

  /** Checks all of a snapshot beside other work. Not at each beginning: that is asked for again while an answer is under way, too. */
  #suspect(held: Held): void {
    held.checkAt = Number.POSITIVE_INFINITY;
    this.#check(held).then(
      () => {
        held.checkAt = 2 * held.begun;
      },
      (error: unknown) => this.#throwAway(held, error),
    );
  }

  async #check(held: Held): Promise<void> {
    const reader = await openSnapshot(this.#disk, held.path);
    try {
      await readThrough(reader);
    } finally {
      await reader.close();
    }
  }

  #throwAway(held: Held, reason: unknown): void {
    this.#lock
      .run(async () => {
        if (this.#closed || !this.#held.includes(held)) return;
        this.#held = this.#held.filter((other) => other !== held);
        this.onThrownAway(reason);
        await held.file.close();
        await this.#disk.remove(held.path);
      })
      .catch((error: unknown) => this.onThrownAway(error));
  }

  /** Gives a complete file its name, and lets older ones go. */
  async #publish(from: string, path: string): Promise<SnapshotFile> {
    await this.#disk.rename(from, path);
    await this.#disk.syncDirectory(this.#path);
    const replaced = this.#held.find((held) => held.path === path);
    if (replaced !== undefined) {
      this.#held = this.#held.filter((held) => held !== replaced);
      await replaced.file.close();
    }
    const newest = await this.#hold(path);
    const older = this.#held.filter((held) => held !== newest);
    const kept = older.filter((held) => held.read).slice(-MAX_OLDER);
    this.#held = [...kept, newest];
    for (const held of kept) held.read = false;
    for (const held of older) {
      if (kept.includes(held)) continue;
      await held.file.close();
      await this.#disk.remove(held.path);
    }
    return newest;
  }

  async #hold(path: string): Promise<Held> {
    const reader = await openSnapshot(this.#disk, path);
    await reader.close();
    const { index, term, state } = reader.applied;
    const file = await this.#disk.open(path, 'read');
    const held: Held = {
      path,
      index,
      term,
      sizeBytes: reader.sizeBytes,
      state,
      file,
      read: false,
      begun: 0,
      checkAt: 2,
    };
    this.#held.push(held);
    return held;
  }
}
