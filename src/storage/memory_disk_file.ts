/**
 * An open file of the disk in memory: memory_disk.ts says what it may lose and how it fails.
 *
 * Invariants: a file that was open when the disk crashed is unusable from then on; a write takes place whole or up to where the space ended.
 */
import { DiskError, type DiskFile } from './disk.ts';
import { writeFullySync } from './gathered_write.ts';
import type { FileNode } from './memory_disk_nodes.ts';
import type { MaybePromise } from './record.ts';

export type DiskOperation =
  | 'create'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'makeDirectory'
  | 'rename'
  | 'link'
  | 'remove'
  | 'syncDirectory';

/** What an open file asks of its disk. */
export interface FileHost {
  readonly generation: number;
  readonly down: boolean;
  readonly shortWriteBytes: number;
  readonly delay: ((operation: DiskOperation | 'read', path: string) => MaybePromise<void>) | undefined;
  /** Counts an operation that changes something, and lets the armed faults strike. */
  begin(operation: DiskOperation, path: string): void;
  /** The same for a read. */
  beginRead(path: string, wantedBytes: number, sizeBytes: number): void;
  freeBytes(): number;
}

export class MemoryFile implements DiskFile {
  readonly path: string;
  readonly #disk: FileHost;
  readonly #node: FileNode;
  readonly #generation: number;
  readonly #readOnly: boolean;
  #closed = false;

  constructor(disk: FileHost, path: string, node: FileNode, readOnly: boolean) {
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
    this.#disk.beginRead(this.path, target.byteLength, this.#node.sizeBytes);
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
