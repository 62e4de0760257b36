/**
 * A disk in memory that may lose what a real disk may lose, and fails when it is told to.
 *
 * Invariants of the model: a file's bytes survive a crash for sure only after `sync` of the file; a name (create, rename, link, removal) only
 * after `syncDirectory` of its directory; what was not synced may survive wholly, in part or not at all, and in any order. A crash makes
 * every open file and every lock of before unusable.
 *
 * Every operation that changes something is counted; `failAt`, `crashAt`, `fillAt`, `failWrite`, `failSync` and `failRead` count from the moment they are
 * called. `fork` gives a second disk in the same state, unsynced changes included: for cutting one run short at each of its operations.
 */
import { type Disk, DiskError, type DiskFile } from './disk.ts';
import { type DiskOperation, type FileHost, MemoryFile } from './memory_disk_file.ts';
import {
  DirectoryNode,
  FileNode,
  type LossRule,
  loseUnsynced,
  parentOf,
  partsOf,
} from './memory_disk_nodes.ts';
import type { MaybePromise } from './record.ts';

export type { DiskOperation } from './memory_disk_file.ts';
export type { LossRule } from './memory_disk_nodes.ts';

export interface MemoryDiskOptions {
  /** Bytes of files that fit; past it writes fail with NO_SPACE. Default: no limit. */
  readonly capacityBytes?: number;
  /** Waited for before an asynchronous operation takes place: the simulator's slow or stuck disk. */
  readonly delay?: (operation: DiskOperation | 'read', path: string) => MaybePromise<void>;
}

/** Called before an operation takes place, when it is set. What it throws, the operation throws. */
export interface DiskObserver {
  operation?(operation: DiskOperation, path: string): void;
  /** `sizeBytes`: of the file as it is now. */
  read?(path: string, wantedBytes: number, sizeBytes: number): void;
}

export class MemoryDisk implements Disk, FileHost {
  /** Changing operations so far. */
  operations = 0;
  /** Bytes that one inner write takes at most; the rest is written by further ones. */
  shortWriteBytes = Number.POSITIVE_INFINITY;
  capacityBytes: number;
  /** Grows with every crash. */
  generation = 0;
  /** Changing operations of each kind so far. */
  readonly counts = new Map<DiskOperation, number>();
  readonly delay: MemoryDiskOptions['delay'];
  observer: DiskObserver | undefined;
  #root = new DirectoryNode();
  #down = false;
  #failAt = -1;
  #crashAt = -1;
  #fillAt = -1;
  /** True once `fillAt` struck. */
  #filled = false;
  #failWrites = 0;
  #failSyncs = 0;
  #failReads = 0;
  readonly #locks = new Set<string>();

  constructor(options: MemoryDiskOptions = {}) {
    this.capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;
    this.delay = options.delay;
  }

  /** The nth changing operation from now (1: the next) fails with IO and does nothing. */
  failAt(n: number): void {
    this.#failAt = this.operations + n;
  }

  /** At the nth changing operation from now the power goes: it and all later ones fail until `crash` was called. */
  crashAt(n: number): void {
    this.#crashAt = this.operations + n;
  }

  /** The nth write from now fails with IO and takes no bytes. */
  failWrite(n: number): void {
    this.#failWrites = n;
  }

  /** The nth sync (of a file or a directory) from now fails with IO. What a file's sync should have made durable is lost at the next crash, unless it is written anew. */
  failSync(n: number): void {
    this.#failSyncs = n;
  }

  /** The nth read from now (readFile counts as one) fails with IO. */
  failRead(n: number): void {
    this.#failReads = n;
  }

  /**
   * From the nth changing operation from now the disk is full: what needs more room than there is, a new name included, fails with NO_SPACE, until
   * something is removed or `crash` or `makeRoom` was called.
   */
  fillAt(n: number): void {
    this.#fillAt = this.operations + n;
  }

  /** Ends what `fillAt` and `capacityBytes` began: there is room without end. */
  makeRoom(): void {
    this.#fillAt = -1;
    this.#filled = false;
    this.capacityBytes = Number.POSITIVE_INFINITY;
  }

  /** True between a `crashAt` that struck and the `crash` that follows. */
  get down(): boolean {
    return this.#down;
  }

  /** Power cut: unsynced data and names are lost by the rule; armed faults, open files and locks are gone. `random` gives [0, 1). */
  crash(rule: LossRule, random: () => number): void {
    this.#root = loseUnsynced(this.#root, rule, random);
    this.generation++;
    this.#down = false;
    this.disarm();
    if (this.#filled || this.#fillAt > 0) this.makeRoom();
    this.#locks.clear();
  }

  /** The process that used the disk has ended, the machine has not: open files and locks are gone, nothing is lost, and what was not synced still is not. */
  processEnded(): void {
    this.generation++;
    this.#locks.clear();
  }

  /** What was armed and has not struck yet will not. */
  disarm(): void {
    this.#failAt = -1;
    this.#crashAt = -1;
    this.#failWrites = 0;
    this.#failSyncs = 0;
    this.#failReads = 0;
  }

  /**
   * A second disk in the state of this one, unsynced changes included; no files are open, no locks held and no faults armed on it. Costs no copying of contents.
   * `instant`: without this one's delay.
   */
  fork(options: { readonly instant?: boolean } = {}): MemoryDisk {
    const slow = this.delay !== undefined && options.instant !== true;
    const copy = new MemoryDisk(slow ? { delay: this.delay } : {});
    copy.capacityBytes = this.capacityBytes;
    copy.shortWriteBytes = this.shortWriteBytes;
    copy.#root = this.#root.fork(new Map());
    return copy;
  }

  /** Bit rot: xors a byte of a file, on the platter and in the cache. */
  damage(path: string, offset: number, mask: number): void {
    this.#file(path).alter(offset, 1, (bytes) => {
      bytes[0]! ^= mask;
    });
  }

  /** A misdirected write: the file's bytes [from, from + length) also lie at `to` now, on the platter and in the cache, in place of what belongs there. */
  misdirect(path: string, from: number, to: number, length: number): void {
    const bytes = new Uint8Array(length);
    const file = this.#file(path);
    const count = file.read(bytes, from);
    file.alter(to, count, (place, first) => place.set(bytes.subarray(first, first + place.length)));
  }

  /** A file that lost its end, on the platter and in the cache. */
  cutShort(path: string, sizeBytes: number): void {
    this.#file(path).cutShort(sizeBytes);
  }

  /** Bytes of all files. */
  usedBytes(): number {
    return this.#root.usedBytes(new Set());
  }

  freeBytes(): number {
    if (this.capacityBytes === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
    return Math.max(0, this.capacityBytes - this.usedBytes());
  }

  /** Counts an operation and lets the armed faults strike. */
  begin(operation: DiskOperation, path: string): void {
    this.checkUp(path);
    this.observer?.operation?.(operation, path);
    this.operations++;
    this.counts.set(operation, (this.counts.get(operation) ?? 0) + 1);
    if (this.operations === this.#crashAt) {
      this.#down = true;
      this.checkUp(path);
    }
    let fails = this.operations === this.#failAt;
    if (operation === 'write' && this.#failWrites > 0 && --this.#failWrites === 0) fails = true;
    if ((operation === 'sync' || operation === 'syncDirectory') && this.#failSyncs > 0) {
      if (--this.#failSyncs === 0) fails = true;
    }
    if (fails) throw new DiskError('IO', path, `${path}: ${operation} failed (injected)`);
    this.#fill(operation, path);
  }

  #fill(operation: DiskOperation, path: string): void {
    if (this.operations === this.#fillAt) {
      this.#filled = true;
      this.capacityBytes = this.usedBytes();
    }
    const takesRoom = operation === 'create' || operation === 'link' || operation === 'makeDirectory';
    if (this.#filled && takesRoom && this.freeBytes() === 0)
      throw new DiskError('NO_SPACE', path, `${path}: no space left on device`);
  }

  beginRead(path: string, wantedBytes: number, sizeBytes: number): void {
    this.checkUp(path);
    this.observer?.read?.(path, wantedBytes, sizeBytes);
    if (this.#failReads > 0 && --this.#failReads === 0)
      throw new DiskError('IO', path, `${path}: read failed (injected)`);
  }

  checkUp(path: string): void {
    if (this.#down) throw new DiskError('IO', path, `${path}: the disk is down`);
  }

  #node(path: string): FileNode | DirectoryNode | undefined {
    let node: FileNode | DirectoryNode | undefined = this.#root;
    for (const name of partsOf(path)) {
      if (!(node instanceof DirectoryNode)) return undefined;
      node = node.entries.get(name);
    }
    return node;
  }

  #directory(path: string): DirectoryNode {
    const node = this.#node(path);
    if (!(node instanceof DirectoryNode)) throw notFound(path);
    return node;
  }

  #file(path: string): FileNode {
    const node = this.#node(path);
    if (node === undefined) throw notFound(path);
    if (!(node instanceof FileNode)) throw new DiskError('IO', path, `${path}: is a directory`);
    return node;
  }

  /** Waits for the delay, then looks whether the disk is still the one that was asked. */
  async #pause(operation: DiskOperation | 'read', path: string): Promise<void> {
    if (this.delay === undefined) return;
    const generation = this.generation;
    await this.delay(operation, path);
    if (generation !== this.generation)
      throw new DiskError('IO', path, `${path}: the disk crashed meanwhile`);
  }

  async open(path: string, mode: 'read' | 'create' | 'open'): Promise<DiskFile> {
    await this.#pause(mode === 'read' ? 'read' : 'create', path);
    this.checkUp(path);
    const [parentPath, name] = parentOf(path);
    const parent = this.#directory(parentPath);
    const existing = parent.entries.get(name);
    if (existing !== undefined) {
      if (mode === 'create') throw new DiskError('EXISTS', path, `${path}: exists`);
      return new MemoryFile(this, path, this.#file(path), mode === 'read');
    }
    if (mode === 'read') throw notFound(path);
    this.begin('create', path);
    const node = new FileNode();
    parent.set(name, node);
    return new MemoryFile(this, path, node, false);
  }

  async readFile(path: string): Promise<Uint8Array> {
    await this.#pause('read', path);
    const node = this.#file(path);
    this.beginRead(path, node.sizeBytes, node.sizeBytes);
    const bytes = new Uint8Array(node.sizeBytes);
    node.read(bytes, 0);
    return bytes;
  }

  async list(path: string): Promise<string[]> {
    this.checkUp(path);
    return [...this.#directory(path).entries.keys()].sort();
  }

  async exists(path: string): Promise<boolean> {
    this.checkUp(path);
    return this.#node(path) !== undefined;
  }

  async makeDirectory(path: string): Promise<void> {
    await this.#pause('makeDirectory', path);
    this.begin('makeDirectory', path);
    let node: DirectoryNode = this.#root;
    for (const name of partsOf(path)) {
      let child = node.entries.get(name);
      if (child === undefined) {
        child = new DirectoryNode();
        node.set(name, child);
      }
      if (!(child instanceof DirectoryNode)) throw new DiskError('EXISTS', path, `${path}: is a file`);
      node = child;
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#pause('rename', from);
    this.begin('rename', from);
    const [fromParent, fromName] = parentOf(from);
    const [toParent, toName] = parentOf(to);
    const node = this.#node(from);
    if (node === undefined) throw notFound(from);
    const source = this.#directory(fromParent);
    const target = this.#directory(toParent);
    if (target.entries.get(toName) === node) return; // two names of one file: as POSIX has it, nothing happens
    if (source === target) {
      source.rename(fromName, toName, node);
    } else {
      target.set(toName, node);
      source.delete(fromName);
    }
  }

  async link(from: string, to: string): Promise<void> {
    await this.#pause('link', to);
    this.begin('link', to);
    const node = this.#node(from);
    if (node === undefined) throw notFound(from);
    if (!(node instanceof FileNode)) throw new DiskError('PERMISSION', from, `${from}: is a directory`);
    const [parentPath, name] = parentOf(to);
    const parent = this.#directory(parentPath);
    if (parent.entries.has(name)) throw new DiskError('EXISTS', to, `${to}: exists`);
    parent.set(name, node);
  }

  async remove(path: string): Promise<void> {
    await this.#pause('remove', path);
    this.begin('remove', path);
    this.#file(path);
    const [parent, name] = parentOf(path);
    this.#directory(parent).delete(name);
  }

  async removeTree(path: string): Promise<void> {
    await this.#pause('remove', path);
    this.begin('remove', path);
    if (this.#node(path) === undefined) return;
    const [parent, name] = parentOf(path);
    this.#directory(parent).delete(name);
  }

  async syncDirectory(path: string): Promise<void> {
    await this.#pause('syncDirectory', path);
    this.begin('syncDirectory', path);
    this.#directory(path).sync();
  }

  async spaceLeftBytes(path: string): Promise<number> {
    this.checkUp(path);
    return Math.max(0, Math.min(Number.MAX_SAFE_INTEGER, this.freeBytes()));
  }

  async lock(path: string): Promise<{ release(): Promise<void> }> {
    this.checkUp(path);
    this.#directory(path);
    const key = partsOf(path).join('/');
    if (this.#locks.has(key)) {
      throw new DiskError('LOCKED', path, `${path} is in use by process ${process.pid} (this one)`);
    }
    this.#locks.add(key);
    const generation = this.generation;
    return {
      release: async () => {
        if (generation === this.generation) this.#locks.delete(key);
      },
    };
  }
}

function notFound(path: string): DiskError {
  return new DiskError('NOT_FOUND', path, `${path}: no such file or directory`);
}
