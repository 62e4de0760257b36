/**
 * The part of level-rocksdb 5 that the tree uses, and how it is loaded: an optional dependency without types, so what comes out of it is checked before it
 * is believed. Probe it first (rocksdb_probe.ts): loading it can end the process.
 */
import { KvError } from '../../errors.ts';

export interface LevelIterator {
  /** Calls back with the next row; without a key at the end. One call at a time. */
  next(callback: (error: Error | null | undefined, key?: Buffer, value?: Buffer) => void): unknown;
  seek(target: Buffer): void;
  end(callback: (error?: Error | null) => void): void;
}

export interface LevelBatch {
  put(key: Buffer, value: Buffer): unknown;
  del(key: Buffer): unknown;
  write(options: { readonly sync: boolean }): Promise<unknown>;
}

export interface LevelRange {
  readonly gt?: Buffer;
  readonly gte?: Buffer;
  readonly lt: Buffer;
  readonly reverse?: boolean;
  readonly values?: boolean;
  readonly limit?: number;
  /** Bytes that the binding reads ahead. */
  readonly highWaterMark?: number;
}

export interface LevelDatabase {
  batch(): LevelBatch;
  getMany(keys: readonly Buffer[]): Promise<(Buffer | undefined)[]>;
  iterator(range: LevelRange): LevelIterator;
  approximateSize(
    start: Buffer,
    end: Buffer,
    callback: (error: Error | null, size?: number) => void,
  ): unknown;
  close(): Promise<void>;
}

/** Opens the database in a directory. @throws KvError CORRUPT, LOCKED, STORAGE_FAILED */
export type LevelOpen = (directory: string, createIfMissing: boolean) => Promise<LevelDatabase>;

const METHODS = ['batch', 'getMany', 'iterator', 'approximateSize', 'close'] as const;
const MIB = 1024 * 1024;
const OPTIONS = {
  keyEncoding: 'binary',
  valueEncoding: 'binary',
  writeBufferSize: 16 * MIB,
  cacheSize: 32 * MIB,
  blockSize: 16 * 1024,
  maxOpenFiles: 1000,
};

/** Takes what `import('level-rocksdb')` gave. @throws KvError TREE_UNAVAILABLE when it is not what it should be. */
export function levelOpen(module: unknown): LevelOpen {
  const factory = isObject(module) ? module['default'] : undefined;
  if (typeof factory !== 'function') throw unexpected('its export is not a function');
  return (directory, createIfMissing) =>
    new Promise((resolve, reject) => {
      factory(directory, { ...OPTIONS, createIfMissing }, (error: unknown, database: unknown) => {
        if (error) reject(rocksDbError(error, `cannot open ${directory}`));
        else if (isDatabase(database)) resolve(database);
        else reject(unexpected('its database lacks methods'));
      });
    });
}

/** The KvError for what RocksDB reported. */
export function rocksDbError(error: unknown, doing: string): KvError {
  if (error instanceof KvError) return error;
  // levelup wraps an error of the binding in one of its own.
  const inner = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : '';
  const message = `${error instanceof Error ? error.message : String(error)}${inner}`;
  const code = /Corruption|does not exist/.test(message)
    ? 'CORRUPT'
    : /\block\b/i.test(message)
      ? 'LOCKED'
      : 'STORAGE_FAILED';
  return new KvError(code, `RocksDB: ${doing}: ${message}`, { cause: error });
}

function unexpected(what: string): KvError {
  return new KvError('TREE_UNAVAILABLE', `level-rocksdb is not the version 5 that is expected: ${what}`);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function isDatabase(value: unknown): value is LevelDatabase {
  return isObject(value) && METHODS.every((method) => typeof value[method] === 'function');
}
