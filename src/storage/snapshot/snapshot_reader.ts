/**
 * Reads a snapshot file (snapshot_format.ts), one block in memory at a time.
 *
 * Invariant: whatever it hands out has passed every check up to there: checksums, counts, lengths and the order of records. That the file is complete is
 * known when the last block has been followed by the footer.
 */
import { KvError } from '../../errors.ts';
import type { Disk, DiskFile } from '../disk.ts';
import { type AppliedState, compareKeys, type StoredRecord } from '../record.ts';
import { RecordReader } from './record_codec.ts';
import {
  BLOCK_HEADER_BYTES,
  blockCrc,
  CRC_BYTES,
  decodeBlockHeader,
  decodeFooter,
  decodeHeader,
  decodeStateLength,
  extendBlocksCrc,
  FOOTER_BYTES,
  HEADER_FIXED_BYTES,
  MAX_PAYLOAD_BYTES,
} from './snapshot_format.ts';

export interface FileProblem {
  readonly file: string;
  readonly offset: number;
  readonly problem: string;
}

export class SnapshotReader {
  readonly applied: AppliedState;
  readonly sizeBytes: number;
  /** Records handed out so far. */
  recordCount = 0;
  readonly #file: DiskFile;
  #offset: number;
  #blocksCrc = 0;
  #lastKey: Uint8Array = new Uint8Array(0);
  #lastRevision = Number.POSITIVE_INFINITY;

  private constructor(file: DiskFile, sizeBytes: number, applied: AppliedState, firstBlock: number) {
    this.#file = file;
    this.applied = applied;
    this.sizeBytes = sizeBytes;
    this.#offset = firstBlock;
  }

  /** Reads and checks the header. Takes over the file. `sizeBytes`: of the snapshot, which something else may follow in the file. */
  static async start(file: DiskFile, sizeBytes: number = file.sizeBytes()): Promise<SnapshotReader> {
    const fixed = await readBytes(file, 0, HEADER_FIXED_BYTES);
    const stateLength = decodeStateLength(fixed, sizeBytes);
    if (!stateLength.ok) throw corrupt(file.path, 0, stateLength.problem);
    const headerBytes = HEADER_FIXED_BYTES + stateLength.value + CRC_BYTES;
    const header = decodeHeader(await readBytes(file, 0, headerBytes));
    if (!header.ok) throw corrupt(file.path, 0, header.problem);
    return new SnapshotReader(file, sizeBytes, header.value, headerBytes);
  }

  /**
   * The next block's payload and its records' count, all checked; undefined behind the last, when the footer has been checked too. The bytes are the
   * caller's to keep.
   * @throws KvError CORRUPT with `file` and `offset`; DiskError
   */
  async nextBlock(): Promise<{ payload: Uint8Array; recordCount: number } | undefined> {
    const at = this.#offset;
    const header = await readBytes(this.#file, at, BLOCK_HEADER_BYTES);
    if (header.length < BLOCK_HEADER_BYTES) throw this.#corrupt(at, 'the file ends without a footer');
    const { payloadLength, recordCount, crc } = decodeBlockHeader(header);
    if (payloadLength === 0) {
      await this.#checkFooter(at);
      return undefined;
    }
    const blockBytes = BLOCK_HEADER_BYTES + payloadLength;
    if (payloadLength > MAX_PAYLOAD_BYTES || at + blockBytes + FOOTER_BYTES > this.sizeBytes)
      throw this.#corrupt(at, 'a block is longer than it can be');
    const block = await readBytes(this.#file, at, blockBytes);
    if (block.length < blockBytes || blockCrc(block) !== crc)
      throw this.#corrupt(at, 'the checksum of a block is wrong');
    this.#blocksCrc = extendBlocksCrc(this.#blocksCrc, crc);
    const payload = block.subarray(BLOCK_HEADER_BYTES);
    this.#checkRecords(payload, recordCount, at);
    this.#offset = at + blockBytes;
    this.recordCount += recordCount;
    return { payload, recordCount };
  }

  /** All records, a block at a time; they are views of bytes that nobody else uses. Closes the file at the end. */
  async *records(): AsyncGenerator<StoredRecord[], void, void> {
    try {
      for (let block = await this.nextBlock(); block !== undefined; block = await this.nextBlock()) {
        const reader = new RecordReader(block.payload);
        const records: StoredRecord[] = [];
        for (let at = 0; at < block.payload.length; at = reader.end) {
          reader.read(at);
          records.push(reader.record());
        }
        yield records;
      }
    } finally {
      await this.close();
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #checkRecords(payload: Uint8Array, recordCount: number, blockAt: number): void {
    const reader = new RecordReader(payload);
    let count = 0;
    for (let at = 0; at < payload.length; at = reader.end) {
      try {
        reader.read(at);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        throw this.#corrupt(blockAt + BLOCK_HEADER_BYTES + at, error.message);
      }
      const key = payload.subarray(reader.keyStart, reader.keyStart + reader.keyLength);
      const isFirst = this.recordCount === 0 && count === 0;
      const order = isFirst ? -1 : compareKeys(this.#lastKey, key);
      if (order > 0 || (order === 0 && reader.modRevision >= this.#lastRevision))
        throw this.#corrupt(blockAt + BLOCK_HEADER_BYTES + at, 'records are out of order');
      this.#lastKey = key;
      this.#lastRevision = reader.modRevision;
      count++;
    }
    if (count !== recordCount)
      throw this.#corrupt(blockAt, 'a block has another number of records than it says');
  }

  async #checkFooter(at: number): Promise<void> {
    const footer = decodeFooter(await readBytes(this.#file, at, FOOTER_BYTES));
    if (!footer.ok) throw this.#corrupt(at, footer.problem);
    const { recordCount, sizeBytes, blocksCrc } = footer.value;
    if (sizeBytes !== this.sizeBytes || at + FOOTER_BYTES !== this.sizeBytes)
      throw this.#corrupt(at, `the file has ${this.sizeBytes} B, its footer says ${sizeBytes} B`);
    if (recordCount !== this.recordCount || blocksCrc !== this.#blocksCrc)
      throw this.#corrupt(at, 'blocks are missing or were changed');
  }

  #corrupt(offset: number, problem: string): KvError {
    return corrupt(this.#file.path, offset, problem);
  }
}

async function readBytes(file: DiskFile, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  return bytes.subarray(0, await file.read(bytes, offset));
}

function corrupt(file: string, offset: number, problem: string): KvError {
  return new KvError('CORRUPT', `${file}: damaged at offset ${offset}: ${problem}`, {
    details: { file, offset, problem },
  });
}

/**
 * Opens a snapshot file: its header is checked at once, its blocks as they are read.
 * @throws KvError CORRUPT, DiskError
 */
export async function openSnapshot(disk: Disk, path: string): Promise<SnapshotReader> {
  const file = await disk.open(path, 'read');
  try {
    return await SnapshotReader.start(file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Reads a whole snapshot file for the offline checker: what is wrong with it, an empty list when nothing is. */
export async function verifySnapshot(disk: Disk, path: string): Promise<FileProblem[]> {
  let reader: SnapshotReader | undefined;
  try {
    reader = await openSnapshot(disk, path);
    await readThrough(reader);
    return [];
  } catch (error) {
    if (!(error instanceof KvError) || error.code !== 'CORRUPT') throw error;
    const { offset, problem } = error.details;
    return [{ file: path, offset: Number(offset), problem: String(problem) }];
  } finally {
    await reader?.close();
  }
}

/** Reads all blocks, so that each is checked. @throws KvError CORRUPT; DiskError */
export async function readThrough(reader: SnapshotReader): Promise<void> {
  while ((await reader.nextBlock()) !== undefined);
}
