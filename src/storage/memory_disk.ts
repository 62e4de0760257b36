/**
 * A disk in memory that may lose what a real disk may lose, and fails when it is told to.
 *
 * Invariants of the model: a file's bytes survive a crash for sure only after `sync` of the file; a name (create, rename, removal) only
 * after `syncDirectory` of its directory; what was not synced may survive wholly, in part or not at all, and in any order. A crash makes
 * every open file and every lock of before unusable.
 *
 * Every operation that changes something is counted; `failAt`, `crashAt`, `failWrite` and `failSync` count from the moment they are called.
 */
import { type Disk, DiskError, type DiskFile } from './disk.ts';
import { writeFullySync } from './gathered_write.ts';
import {
  DirectoryNode,
  FileNode,
  type LossRule,
  loseUnsynced,
  parentOf,
  partsOf,
} from './memory_disk_nodes.ts';
import type { MaybePromise } from './record.ts';

export type { LossRule } from './memory_disk_nodes.ts';

export type DiskOperation =
  | 'create'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'makeDirectory'
  | 'rename'
  | 'remove'
  | 'syncDirectory';

export interface MemoryDiskOptions {
  /** Bytes of files that fit; past it writes fail with NO_SPACE. Default: no limit. */
  readonly capacityBytes?: number;
  /** Waited for before an asynchronous operation takes place: the simulator's slow or stuck disk. */
  readonly delay?: (operation: DiskOperation | 'read', path: string) => MaybePromise<void>;
}

class MemoryFile implements DiskFile {
  readonly path: string;
  readonly #disk: MemoryDisk;
  readonly #node: FileNode;
  readonly #generation: number;
  readonly #readOnly: boolean;
  #closed = false;

  constructor(disk: MemoryDisk, path: string, node: FileNode, readOnly: boolean) {
    this.#disk = disk;
    this.path = path;
    this.#node = node;
    this.#generation = disk.generation;
    this.#readOnly = readOnly;
  }

  #check(): void {
    if (this.#closed) throw new DiskError('IO', this.path, `${this.path}: the file is closed`);
    if (this.#generation !== this.#disk.generation) {
      throw new DiskError('IO', this.path, `${this.path}: the file was open when the disk crashed`);
    }
  }

  #begin(operation: DiskOperation): void {
    this.#check();
    if (this.#readOnly) throw new DiskError('PERMISSION', this.path, `${this.path}: opened for reading only`);
    this.#disk.begin(operation, this.path);
  }

  readSync(target: Uint8Array, offset: number): number {
    this.#check();
    this.#disk.checkUp(this.path);
    return this.#node.read(target, offset);
  }

  async read(target: Uint8Array, offset: number): Promise<number> {
    await this.#disk.delay?.('read', this.path);
    return this.readSync(target, offset);
  }

  writeSync(parts: readonly Uint8Array[], offset: number): void {
    this.#begin('write');
    writeFullySync((rest, at) => this.#writeSome(rest, at), parts, offset);
  }

  /** One system call's worth: as much as `shortWriteBytes` and the space left allow. */
  #writeSome(parts: readonly Uint8Array[], offset: number): number {
    let at = offset;
    let allowed = this.#disk.shortWriteBytes;
    for (const part of parts) {
      const room = this.#node.sizeBytes - at + this.#disk.freeBytes();
      const count = Math.min(part.byteLength, allowed, Math.max(0, room));
      if (count > 0) this.#node.write(part.subarray(0, count), at);
      at += count;
      allowed -= count;
      if (count < part.byteLength) break;
    }
    if (at === offset) throw new DiskError('NO_SPACE', this.path, `${this.path}: no space left on device`);
    return at - offset;
  }

  async write(parts: readonly Uint8Array[], offset: number): Promise<void> {
    await this.#disk.delay?.('write', this.path);
    this.writeSync(parts, offset);
  }

  async sync(): Promise<void> {
    await this.#disk.delay?.('sync', this.path);
    this.syncSync();
  }

  syncSync(): void {
    this.#check();
    try {
      this.#disk.begin('sync', this.path);
    } catch (error) {
      // As on Linux: after a failed fsync the cache shows the bytes and calls them clean, and no later fsync writes them.
      if (!this.#disk.down) this.#node.abandonChanges();
      throw error;
    }
    this.#node.sync();
  }

  async truncate(sizeBytes: number): Promise<void> {
    await this.#disk.delay?.('truncate', this.path);
    this.#begin('truncate');
    const extra = sizeBytes - this.#node.sizeBytes;
    if (extra > this.#disk.freeBytes()) {
      throw new DiskError('NO_SPACE', this.path, `${this.path}: no space left on device`);
    }
    this.#node.truncate(sizeBytes);
  }

  sizeBytes(): number {
    this.#check();
    return this.#node.sizeBytes;
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}

export class MemoryDisk implements Disk {
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
  #root = new DirectoryNode();
  #down = false;
  #failAt = -1;
  #crashAt = -1;
  #failWrites = 0;
  #failSyncs = 0;
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

  /** True between a `crashAt` that struck and the `crash` that follows. */
  get down(): boolean {
    return this.#down;
  }

  /** Power cut: unsynced data and names are lost by the rule; armed faults, open files and locks are gone. `random` gives [0, 1). */
  crash(rule: LossRule, random: () => number): void {
    this.#root = loseUnsynced(this.#root, rule, random);
    this.generation++;
    this.#down = false;
    this.#failAt = -1;
    this.#crashAt = -1;
    this.#failWrites = 0;
    this.#failSyncs = 0;
    this.#locks.clear();
  }

  /** Bit rot: xors a byte of a file, on the platter and in the cache. */
  damage(path: string, offset: number, mask: number): void {
    this.#file(path).damage(offset, mask);
  }

  /** Bytes of all files. */
  usedBytes(): number {
    return this.#root.usedBytes();
  }

  freeBytes(): number {
    if (this.capacityBytes === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
    return Math.max(0, this.capacityBytes - this.#root.usedBytes());
  }

  /** Counts an operation and lets the armed faults strike. */
  begin(operation: DiskOperation, path: string): void {
    this.checkUp(path);
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
    this.checkUp(path);
    const node = this.#file(path);
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
    if (source === target) {
      source.rename(fromName, toName, node);
    } else {
      target.set(toName, node);
      source.delete(fromName);
    }
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
