/**
 * Writes a snapshot file (snapshot_format.ts) from records that come in pages.
 *
 * Invariants: when it answers, the whole file is on stable storage (its name is not: the caller syncs the directory); at most about one page and
 * WRITE_BYTES are in memory; a file that could not be finished is removed.
 */
import { KvError } from '../../errors.ts';
import type { Disk, DiskFile } from '../disk.ts';
import { type AppliedState, compareKeys, type MaybePromise, type StoredRecord } from '../record.ts';
import { encodeRecord, recordSizeBound } from './record_codec.ts';
import {
  BLOCK_HEADER_BYTES,
  BLOCK_TARGET_BYTES,
  encodeFooter,
  encodeHeader,
  extendBlocksCrc,
  FOOTER_BYTES,
  sealBlock,
} from './snapshot_format.ts';

const WRITE_BYTES = 512 * 1024;
const BUFFER_BYTES = WRITE_BYTES + 4 * BLOCK_TARGET_BYTES;

/** Packs records into blocks in one buffer, which is handed out to be written and then used again. */
class BlockPacker {
  #buffer = new Uint8Array(BUFFER_BYTES);
  #size = 0;
  #blockStart = -1;
  #blockRecords = 0;
  recordCount = 0;
  blocksCrc = 0;
  #lastKey: Uint8Array = new Uint8Array(0);
  #lastRevision = Number.POSITIVE_INFINITY;

  get size(): number {
    return this.#size;
  }

  append(record: StoredRecord): void {
    this.#checkOrder(record);
    this.#reserve(BLOCK_HEADER_BYTES + recordSizeBound(record));
    if (this.#blockStart < 0) {
      this.#blockStart = this.#size;
      this.#size += BLOCK_HEADER_BYTES;
    }
    this.#size = encodeRecord(this.#buffer, this.#size, record);
    this.#blockRecords++;
    this.recordCount++;
    if (this.#size - this.#blockStart - BLOCK_HEADER_BYTES >= BLOCK_TARGET_BYTES) this.closeBlock();
  }

  closeBlock(): void {
    if (this.#blockStart < 0) return;
    const crc = sealBlock(this.#buffer.subarray(this.#blockStart, this.#size), this.#blockRecords);
    this.blocksCrc = extendBlocksCrc(this.blocksCrc, crc);
    this.#blockStart = -1;
    this.#blockRecords = 0;
  }

  /** What is packed, as a view: to be written before the next `append`. REQUIRES: no open block. */
  take(): Uint8Array {
    const bytes = this.#buffer.subarray(0, this.#size);
    this.#size = 0;
    if (this.#buffer.length > BUFFER_BYTES) this.#buffer = new Uint8Array(BUFFER_BYTES);
    return bytes;
  }

  #reserve(sizeBytes: number): void {
    if (this.#size + sizeBytes <= this.#buffer.length) return;
    const larger = new Uint8Array(Math.max(this.#buffer.length * 2, this.#size + sizeBytes));
    larger.set(this.#buffer.subarray(0, this.#size));
    this.#buffer = larger;
  }

  #checkOrder(record: StoredRecord): void {
    const order = this.recordCount === 0 ? -1 : compareKeys(this.#lastKey, record.key);
    if (order > 0 || (order === 0 && record.modRevision >= this.#lastRevision))
      throw new KvError('INTERNAL', 'records for a snapshot are out of order');
    if (order !== 0) this.#lastKey = record.key.slice();
    this.#lastRevision = record.modRevision;
  }
}

/**
 * Writes `path`, which must not exist. `nextRecords` gives pages in record order, an empty one at the end; records are used up in the turn in
 * which they come, so views are fine.
 * @returns the file's size in bytes.
 * @throws DiskError, KvError INTERNAL for records out of order, and whatever `nextRecords` throws.
 */
export async function writeSnapshot(
  disk: Disk,
  path: string,
  applied: AppliedState,
  nextRecords: () => MaybePromise<StoredRecord[]>,
): Promise<number> {
  const file = await disk.open(path, 'create');
  let sizeBytes: number;
  try {
    sizeBytes = await writeTo(file, applied, nextRecords);
  } catch (error) {
    await abandon(disk, file, error);
    throw error;
  }
  await file.close();
  return sizeBytes;
}

async function writeTo(
  file: DiskFile,
  applied: AppliedState,
  nextRecords: () => MaybePromise<StoredRecord[]>,
): Promise<number> {
  const packer = new BlockPacker();
  const header = encodeHeader(applied);
  await file.write([header], 0);
  let offset = header.length;
  for (;;) {
    const records = await nextRecords();
    for (const record of records) packer.append(record);
    if (records.length > 0 && packer.size < WRITE_BYTES) continue;
    packer.closeBlock();
    const bytes = packer.take();
    if (bytes.length > 0) await file.write([bytes], offset);
    offset += bytes.length;
    if (records.length === 0) break;
  }
  const sizeBytes = offset + FOOTER_BYTES;
  const footer = encodeFooter({ recordCount: packer.recordCount, sizeBytes, blocksCrc: packer.blocksCrc });
  await file.write([footer], offset);
  await file.sync();
  return sizeBytes;
}

/** Closes and removes what was begun; a failure of that must not hide why it was given up. */
async function abandon(disk: Disk, file: DiskFile, cause: unknown): Promise<void> {
  try {
    await file.close();
    await disk.remove(file.path);
  } catch (error) {
    if (cause instanceof Error && cause.cause === undefined) cause.cause = error;
  }
}
