/**
 * Turns entries and marks into the buffers of one gathered write.
 *
 * Invariants: the data of a large entry is not copied, it becomes a part of its own; small data is copied next to its header, since one
 * contiguous buffer costs less than a gathered write and a second CRC call. The parts are valid until the next `begin`: the scratch
 * memory is reused, so they must be written synchronously.
 */
import type { Entry } from '../../raft/types.ts';
import { crc32 } from '../crc32.ts';
import { RECORD_HEADER_BYTES, recordBytes, writeRecordHeader } from './format.ts';

const SCRATCH_BYTES = 256 * 1024;
/** Up to here a copy is cheaper than another part. */
const COPY_LIMIT_BYTES = 16 * 1024;
const NO_DATA = new Uint8Array(0);

export class RecordEncoder {
  readonly parts: Uint8Array[] = [];
  readonly #home = new Uint8Array(new ArrayBuffer(SCRATCH_BYTES));
  readonly #homeView = new DataView(this.#home.buffer);
  #scratch = this.#home;
  #view = this.#homeView;
  /** Start of the piece of scratch that is not yet a part, and the end of what is filled. */
  #start = 0;
  #fill = 0;
  #seed = 0;
  #synced = 0;
  /** Views of the scratch's beginning, kept for the usual case of records of one size. */
  #lastView: Uint8Array = this.#home.subarray(0, 0);

  /** `seed`: the segment's; `synced`: the position up to which everything is durable. */
  begin(seed: number, synced: number): void {
    this.parts.length = 0;
    this.#scratch = this.#home;
    this.#view = this.#homeView;
    this.#start = 0;
    this.#fill = 0;
    this.#seed = seed;
    this.#synced = synced;
  }

  entry(entry: Entry): void {
    this.record(1 + entry.kind, entry.index, entry.term, entry.data);
  }

  record(kind: number, index: number, term: number, data: Uint8Array = NO_DATA): void {
    const length = data.byteLength;
    const copied = length <= COPY_LIMIT_BYTES;
    const size = recordBytes(length);
    this.#reserve(copied ? size : RECORD_HEADER_BYTES + 8);
    const at = this.#fill;
    const scratch = this.#scratch;
    writeRecordHeader(this.#view, at, length, kind, index, term, this.#synced);
    if (copied) {
      scratch.set(data, at + RECORD_HEADER_BYTES);
      const end = at + size;
      const padFrom = at + RECORD_HEADER_BYTES + length;
      if (padFrom < end) scratch.fill(0, padFrom, end);
      this.#view.setUint32(at, crc32(this.#slice(at, end), this.#seed), true);
      this.#fill = end;
      return;
    }
    const headerEnd = at + RECORD_HEADER_BYTES;
    const padding = size - RECORD_HEADER_BYTES - length;
    scratch.fill(0, headerEnd, headerEnd + padding);
    let crc = crc32(data, crc32(scratch.subarray(at, headerEnd), this.#seed));
    if (padding > 0) crc = crc32(scratch.subarray(headerEnd, headerEnd + padding), crc);
    this.#view.setUint32(at, crc, true);
    this.parts.push(scratch.subarray(this.#start, headerEnd), data);
    this.#start = headerEnd;
    this.#fill = headerEnd + padding;
  }

  /** The buffers to write, in order. */
  finish(): readonly Uint8Array[] {
    if (this.#fill > this.#start) this.parts.push(this.#slice(this.#start, this.#fill));
    this.#start = this.#fill;
    return this.parts;
  }

  #slice(start: number, end: number): Uint8Array {
    if (start !== 0 || this.#scratch !== this.#home) return this.#scratch.subarray(start, end);
    if (this.#lastView.byteLength !== end) this.#lastView = this.#home.subarray(0, end);
    return this.#lastView;
  }

  #reserve(bytes: number): void {
    if (this.#fill + bytes <= this.#scratch.byteLength) return;
    if (this.#fill > this.#start) this.parts.push(this.#scratch.subarray(this.#start, this.#fill));
    this.#scratch = new Uint8Array(new ArrayBuffer(SCRATCH_BYTES));
    this.#view = new DataView(this.#scratch.buffer);
    this.#start = 0;
    this.#fill = 0;
  }
}
