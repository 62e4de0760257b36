/** A consistent view of all records as of a flush: one RocksDB iterator, which keeps its database open until it is released. */
import { KvError } from '../../errors.ts';
import type { AppliedState, StoredRecord } from '../record.ts';
import type { TreeSnapshot } from '../tree.ts';
import type { Generation } from './generation.ts';
import { everyRow, NEXT, type RowPass, STOP } from './row_reader.ts';

export class RowsSnapshot implements TreeSnapshot {
  readonly applied: AppliedState;
  readonly #generation: Generation;
  readonly #pass: RowPass;
  readonly #onRelease: (failure: unknown) => void;
  #reading: Promise<unknown> = Promise.resolve();
  #ended: Promise<void> | undefined;
  #atEnd = false;

  constructor(
    generation: Generation,
    lastFlush: number,
    applied: AppliedState,
    onRelease: (failure: unknown) => void,
  ) {
    this.#generation = generation;
    this.applied = applied;
    this.#onRelease = onRelease;
    generation.retain();
    this.#pass = everyRow(generation.database, lastFlush, true);
  }

  /** REQUIRES: the call before it has answered. @throws KvError CLOSED after `release`, CORRUPT */
  next(maxBytes: number): Promise<StoredRecord[]> {
    const read = this.#read(maxBytes);
    // The caller sees the failure; here it only matters that the read is over.
    this.#reading = read.catch(() => undefined);
    return read;
  }

  release(): void {
    void this.end();
  }

  /** Resolves when the iterator is gone. */
  end(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  async #read(maxBytes: number): Promise<StoredRecord[]> {
    if (this.#ended !== undefined) throw new KvError('CLOSED', 'the snapshot was released');
    const records: StoredRecord[] = [];
    if (this.#atEnd) return records;
    let bytes = 0;
    const pass = this.#pass;
    this.#atEnd = await pass.each((value) => {
      if (pass.sameKey && pass.sameVersion) return NEXT;
      const record = pass.row.record(value);
      records.push(record);
      bytes += record.key.length + record.value.length;
      return bytes < maxBytes ? NEXT : STOP;
    });
    return records;
  }

  async #end(): Promise<void> {
    await this.#reading;
    let failure: unknown;
    try {
      await this.#pass.end();
    } catch (error) {
      failure = error;
    }
    this.#generation.release();
    this.#onRelease(failure);
  }
}
