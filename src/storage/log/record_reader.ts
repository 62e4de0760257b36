/**
 * Reads the records of one segment through a window, and looks for valid records behind a damaged place.
 *
 * Invariant: a 'record' answer has passed its checksum. Its data is a view of the window: it dies with the next `load`.
 */
import type { DiskFile } from '../disk.ts';
import {
  HEADER_BYTES,
  RECORD_HEADER_BYTES,
  type RecordHeader,
  readRecordHeader,
  recordBytes,
  recordIsValid,
  zeroCrc,
} from './format.ts';
import { RangeChecksums } from './range_checksums.ts';

const WINDOW_BYTES = 1024 * 1024;
/** Records up to this size are checksummed where they lie. */
const SHORT_BYTES = 4096;

export type Found =
  | {
      readonly type: 'record';
      readonly header: RecordHeader;
      readonly data: Uint8Array;
      readonly sizeBytes: number;
    }
  /** Zeros where a record's header would be, or the end of the file. */
  | { readonly type: 'blank' }
  | { readonly type: 'bad'; readonly problem: string };

const BLANK: Found = { type: 'blank' };

function bad(problem: string): Found {
  return { type: 'bad', problem };
}

function isZero(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}

export class RecordReader {
  readonly #file: DiskFile;
  readonly #seed: number;
  readonly #sizeBytes: number;
  #window = new Uint8Array(0);
  #view = new DataView(this.#window.buffer);
  #from = 0;
  #ranges: RangeChecksums | undefined;

  constructor(file: DiskFile, seed: number) {
    this.#file = file;
    this.#seed = seed;
    this.#sizeBytes = file.sizeBytes();
  }

  async #load(offset: number, needBytes: number): Promise<void> {
    const wanted = Math.min(Math.max(needBytes, WINDOW_BYTES), this.#sizeBytes - offset);
    const window = new Uint8Array(wanted);
    const count = await this.#file.read(window, offset);
    this.#window = window.subarray(0, count);
    this.#view = new DataView(window.buffer, 0, count);
    this.#from = offset;
  }

  #covers(offset: number, bytes: number): boolean {
    return offset >= this.#from && offset + bytes <= this.#from + this.#window.byteLength;
  }

  /** What lies at `offset`, when the window already shows it: saves a promise per record. */
  peek(offset: number): Found | undefined {
    const found = this.#inspect(offset);
    return typeof found === 'number' ? undefined : found;
  }

  async at(offset: number): Promise<Found> {
    for (;;) {
      const found = this.#inspect(offset);
      if (typeof found !== 'number') return found;
      await this.#load(offset, found);
      if (!this.#covers(offset, found)) return bad('the file ends before its length');
    }
  }

  /** The answer, or the number of bytes from `offset` that the window must show to give one. */
  #inspect(offset: number): Found | number {
    const left = this.#sizeBytes - offset;
    if (left <= 0) return BLANK;
    const headBytes = Math.min(RECORD_HEADER_BYTES, left);
    if (!this.#covers(offset, headBytes)) return headBytes;
    const at = offset - this.#from;
    if (isZero(this.#window.subarray(at, at + headBytes))) return BLANK;
    if (left < RECORD_HEADER_BYTES) return bad('the file ends within a record header');
    const header = readRecordHeader(this.#view, at);
    if (header === undefined) return bad('no record header here');
    const sizeBytes = recordBytes(header.length);
    if (sizeBytes > left) return bad('the file ends within a record');
    if (!this.#covers(offset, sizeBytes)) return sizeBytes;
    const bytes = this.#window.subarray(at, at + sizeBytes);
    if (!recordIsValid(bytes, this.#seed)) return bad('checksum mismatch');
    const data = bytes.subarray(RECORD_HEADER_BYTES, RECORD_HEADER_BYTES + header.length);
    return { type: 'record', header, data, sizeBytes };
  }

  /**
   * Offset of the next valid record from `offset` on whose `synced` is above `syncedAbove`; -1 when there is none. Looks at every multiple of 8,
   * since behind damage nothing tells where a record starts.
   */
  async nextValid(offset: number, syncedAbove: number): Promise<number> {
    let at = Math.max(HEADER_BYTES, Math.ceil(offset / 8) * 8);
    for (; at + RECORD_HEADER_BYTES <= this.#sizeBytes; at += 8) {
      if (!this.#covers(at, RECORD_HEADER_BYTES)) {
        await this.#load(at, RECORD_HEADER_BYTES);
        if (!this.#covers(at, RECORD_HEADER_BYTES)) return -1;
      }
      const header = readRecordHeader(this.#view, at - this.#from);
      if (header === undefined || header.synced <= syncedAbove) continue;
      if (await this.#validAt(at, header)) return at;
    }
    return -1;
  }

  /** Whether the header found at `offset` begins a record whose checksum is right. Long ones cost no more than short ones: there may be one at every step. */
  async #validAt(offset: number, header: RecordHeader): Promise<boolean> {
    const sizeBytes = recordBytes(header.length);
    if (sizeBytes > this.#sizeBytes - offset) return false;
    if (sizeBytes <= SHORT_BYTES) return (await this.at(offset)).type === 'record';
    this.#ranges ??= await RangeChecksums.read(this.#file);
    return this.#ranges.of(offset + 4, offset + sizeBytes, zeroCrc(this.#seed)) === header.crc;
  }

  /** True when nothing but zeros lies from `offset` to the end of the file. */
  async isBlankFrom(offset: number): Promise<boolean> {
    for (let at = offset; at < this.#sizeBytes; ) {
      if (!this.#covers(at, 1)) await this.#load(at, 1);
      if (!this.#covers(at, 1)) return true;
      if (!isZero(this.#window.subarray(at - this.#from))) return false;
      at = this.#from + this.#window.byteLength;
    }
    return true;
  }
}
