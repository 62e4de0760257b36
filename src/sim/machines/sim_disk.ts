/**
 * The disk of one simulated machine: a MemoryDisk that takes virtual time, may be slow or stuck, and is seen by each life of its node through a view of that life.
 *
 * Invariants: the answer to an operation is an event of the process that asked: a paused process does not see it, a dead one never does; what a dead life had asked
 * for and was not done yet is never done. Losses, failures and damage are those of MemoryDisk (`memory`).
 */
import { type Disk, DiskError, type DiskFile } from '../../storage/disk.ts';
import { type DiskOperation, type LossRule, MemoryDisk } from '../../storage/memory_disk.ts';
import type { SeededRandom } from '../core/seeded_random.ts';
import type { SimProcess } from '../core/sim_process.ts';
import type { Trace } from '../core/trace.ts';

/** How long operations take, in milliseconds of virtual time: uniform between the two. */
export interface DiskSpeed {
  readonly readMs: readonly [number, number];
  readonly writeMs: readonly [number, number];
  readonly syncMs: readonly [number, number];
  /** Names: create, rename, link, remove, makeDirectory, truncate. */
  readonly nameMs: readonly [number, number];
}

export const DEFAULT_DISK_SPEED: DiskSpeed = {
  readMs: [0.05, 0.4],
  writeMs: [0.02, 0.2],
  syncMs: [0.2, 2],
  nameMs: [0.02, 0.2],
};

export interface SimDiskOptions {
  readonly lane: string;
  readonly random: SeededRandom;
  readonly trace: Trace;
  readonly speed?: DiskSpeed | undefined;
}

export class SimDisk {
  readonly memory: MemoryDisk;
  readonly lane: string;
  readonly random: SeededRandom;
  speed: DiskSpeed;
  /** Every operation takes so many times as long. */
  slowness = 1;
  readonly #trace: Trace;
  #owner: SimProcess | undefined;
  #stuck = false;
  /** Operations that wait for the disk to move again. */
  #waiting: (() => void)[] = [];

  constructor(options: SimDiskOptions) {
    this.lane = options.lane;
    this.random = options.random;
    this.speed = options.speed ?? DEFAULT_DISK_SPEED;
    this.#trace = options.trace;
    this.memory = new MemoryDisk({ delay: (operation) => this.#delay(operation) });
    this.memory.observer = {
      operation: (operation, path) => {
        const text = this.#trace.recording ? `${operation} ${path}` : undefined;
        this.#trace.add('disk', this.lane, operation, path.length, undefined, 0, text);
      },
    };
  }

  /** Operations that wait because the disk is stuck. */
  get waiting(): number {
    return this.#waiting.length;
  }

  get stuck(): boolean {
    return this.#stuck;
  }

  /** From now on no asynchronous operation ends; false: all go on. */
  setStuck(stuck: boolean): void {
    this.#stuck = stuck;
    if (stuck) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const go of waiting) go();
  }

  /** Power loss: what was not synced is lost by the rule. The life that used the disk must be dead. */
  crash(rule: LossRule): void {
    this.#waiting = [];
    this.#owner = undefined;
    this.memory.crash(rule, () => this.random.next());
  }

  /** The process ended, the machine did not: what was written stays as it is, synced or not. */
  processEnded(): void {
    this.#waiting = [];
    this.#owner = undefined;
    this.memory.processEnded();
  }

  /** The disk as one life of the node sees it. */
  view(process: SimProcess): Disk {
    this.#owner = process;
    const { memory } = this;
    const alive = <T>(path: string, operation: () => Promise<T>): Promise<T> => {
      // A dead process learns nothing more.
      if (!process.alive) return new Promise(() => undefined);
      if (this.#owner !== process)
        return Promise.reject(new DiskError('IO', path, `${path}: the disk has another owner`));
      return operation();
    };
    return {
      open: (path, mode) => alive(path, async () => fileOfLife(await memory.open(path, mode), process)),
      readFile: (path) => alive(path, () => memory.readFile(path)),
      list: (path) => alive(path, () => memory.list(path)),
      exists: (path) => alive(path, () => memory.exists(path)),
      makeDirectory: (path) => alive(path, () => memory.makeDirectory(path)),
      rename: (from, to) => alive(from, () => memory.rename(from, to)),
      link: (from, to) => alive(from, () => memory.link(from, to)),
      remove: (path) => alive(path, () => memory.remove(path)),
      removeTree: (path) => alive(path, () => memory.removeTree(path)),
      syncDirectory: (path) => alive(path, () => memory.syncDirectory(path)),
      spaceLeftBytes: (path) => alive(path, () => memory.spaceLeftBytes(path)),
      lock: (path) => alive(path, () => memory.lock(path)),
    };
  }

  #delay(operation: DiskOperation | 'read'): Promise<void> | undefined {
    const process = this.#owner;
    // Nobody's: a check of the directory by the test itself.
    if (process === undefined) return undefined;
    const [from, to] = this.#range(operation);
    const delayMs = this.random.between(from, to) * this.slowness;
    return new Promise((resolve) => {
      process.after(delayMs, () => {
        if (this.#stuck) this.#waiting.push(() => process.after(0, resolve));
        else resolve();
      });
    });
  }

  #range(operation: DiskOperation | 'read'): readonly [number, number] {
    switch (operation) {
      case 'read':
        return this.speed.readMs;
      case 'write':
        return this.speed.writeMs;
      case 'sync':
      case 'syncDirectory':
        return this.speed.syncMs;
      default:
        return this.speed.nameMs;
    }
  }
}

/** An open file that does nothing any more once its process is dead. */
function fileOfLife(file: DiskFile, process: SimProcess): DiskFile {
  const forever = new Promise<never>(() => undefined);
  const dead = (): DiskError => new DiskError('IO', file.path, `${file.path}: the process has ended`);
  return {
    path: file.path,
    readSync(target, offset) {
      if (!process.alive) throw dead();
      return file.readSync(target, offset);
    },
    read: (target, offset) => (process.alive ? file.read(target, offset) : forever),
    writeSync(parts, offset) {
      if (!process.alive) throw dead();
      file.writeSync(parts, offset);
    },
    write: (parts, offset) => (process.alive ? file.write(parts, offset) : forever),
    sync: () => (process.alive ? file.sync() : forever),
    syncSync() {
      if (!process.alive) throw dead();
      file.syncSync();
    },
    truncate: (sizeBytes) => (process.alive ? file.truncate(sizeBytes) : forever),
    sizeBytes: () => file.sizeBytes(),
    close: () => (process.alive ? file.close() : forever),
  };
}
