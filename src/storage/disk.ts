/**
 * The disk port: all that the storage rooms ask of a file system. node_disk.ts is the real one; memory_disk.ts models what a real disk may
 * lose (data that was not synced, and creates, renames, links and removals whose directory was not synced) and can be told to fail.
 *
 * Invariants: a write answers only when all bytes were taken (short writes are continued inside); errors carry a code of
 * `DiskError`, never a bare errno string.
 */
import type { MaybePromise } from './record.ts';

export type DiskErrorCode = 'NOT_FOUND' | 'EXISTS' | 'NO_SPACE' | 'IO' | 'LOCKED' | 'PERMISSION';

export class DiskError extends Error {
  override readonly name = 'DiskError';
  readonly code: DiskErrorCode;
  readonly path: string;
  constructor(code: DiskErrorCode, path: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.path = path;
  }
}

export interface DiskFile {
  readonly path: string;
  /** Reads up to target.length bytes at `offset`; gives the number read (less only at the end of the file). */
  readSync(target: Uint8Array, offset: number): number;
  read(target: Uint8Array, offset: number): Promise<number>;
  /** Gathered positional write, at once. */
  writeSync(parts: readonly Uint8Array[], offset: number): void;
  /** Gathered positional write, off the event loop. */
  write(parts: readonly Uint8Array[], offset: number): Promise<void>;
  /** fdatasync. After a failure the file's state is unknown: never call it again (known failure 1). */
  sync(): Promise<void>;
  syncSync(): void;
  truncate(sizeBytes: number): Promise<void>;
  sizeBytes(): number;
  close(): Promise<void>;
}

export interface Disk {
  /** 'read': must exist. 'create': must not exist. 'open': created when missing. */
  open(path: string, mode: 'read' | 'create' | 'open'): Promise<DiskFile>;
  readFile(path: string): Promise<Uint8Array>;
  /** Names in a directory, sorted. NOT_FOUND when it is missing. */
  list(path: string): Promise<string[]>;
  exists(path: string): Promise<boolean>;
  makeDirectory(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Gives a file a second name; both must be on one file system. EXISTS when `to` is there. */
  link(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Removes a directory and all in it; fine when it is missing. */
  removeTree(path: string): Promise<void>;
  /** Makes creates, renames, links and removals in a directory durable. */
  syncDirectory(path: string): Promise<void>;
  spaceLeftBytes(path: string): Promise<number>;
  /** Exclusive use of a directory until released or the process ends; LOCKED names the holder. */
  lock(path: string): Promise<{ release(): Promise<void> }>;
}

export type { MaybePromise };
