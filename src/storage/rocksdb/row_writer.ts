/**
 * Collects the rows of one flush into RocksDB batches of bounded size.
 *
 * Invariant: a record's bytes are copied out of engine memory by `put`; nothing of it is used afterwards.
 */
import type { KvError } from '../../errors.ts';
import type { StoredRecord } from '../record.ts';
import { type LevelBatch, type LevelDatabase, rocksDbError } from './level_binding.ts';
import { encodeRowKey, encodeRowValue } from './row_codec.ts';

const BATCH_BYTES = 512 * 1024;
const BATCH_ROWS = 1024;
const SCRATCH_BYTES = 64 * 1024;

export class RowWriter {
  readonly #database: LevelDatabase;
  readonly #flushId: number;
  readonly #onKey: (key: Uint8Array) => void;
  /** The binding copies a row's bytes while it takes them: one scratch serves all values. */
  readonly #scratch = Buffer.allocUnsafe(SCRATCH_BYTES);
  #batch: LevelBatch;
  #batchBytes = 0;
  #batchRows = 0;
  #underWay: Promise<void> = Promise.resolve();
  #failure: KvError | undefined;
  rows = 0;
  totalBytes = 0;

  /** @param onKey told of each record's key before it can be read. */
  constructor(database: LevelDatabase, flushId: number, onKey: (key: Uint8Array) => void) {
    this.#database = database;
    this.#flushId = flushId;
    this.#onKey = onKey;
    this.#batch = database.batch();
  }

  /** Adds a record; true when the batch is full and should be written. */
  put(record: StoredRecord): boolean {
    this.#onKey(record.key);
    const key = encodeRowKey(record, this.#flushId);
    this.putRaw(key, encodeRowValue(record, key, this.#scratch));
    this.rows++;
    return this.#batchBytes >= BATCH_BYTES || this.#batchRows >= BATCH_ROWS;
  }

  putRaw(key: Buffer, value: Buffer): void {
    this.#batch.put(key, value);
    this.#batchBytes += key.length + value.length;
    this.#batchRows++;
    this.totalBytes += key.length + value.length;
  }

  /**
   * Writes what was collected, all or nothing. Without `sync` it answers when the write before it has ended, so that one batch is written while the next is
   * collected; with `sync` when this and everything before it is durable.
   * @throws KvError STORAGE_FAILED, also for a write before it
   */
  async write(sync: boolean): Promise<void> {
    const batch = this.#batch;
    this.#batch = this.#database.batch();
    this.#batchBytes = 0;
    this.#batchRows = 0;
    await this.settled();
    this.#underWay = batch.write({ sync }).then(
      () => undefined,
      (error: unknown) => {
        this.#failure = rocksDbError(error, 'cannot write');
      },
    );
    if (sync) await this.settled();
  }

  /** Waits until no write is under way. @throws KvError STORAGE_FAILED when one failed */
  async settled(): Promise<void> {
    await this.#underWay;
    if (this.#failure !== undefined) throw this.#failure;
  }
}
