/**
 * The bytes of the log: names, segment headers and records. docs/formats/log.md tells the whole story.
 *
 *     name    = SEQUENCE(16 hex) '-' SALT(8 hex) '.log'          sequence from 1, never reused within a log's life
 *     segment = header record* zeros
 *     header  = magic[8] version:u32 crc:u32 sequence:u64 position:u64 synced:u64 lowestSequence:u64 startIndex:u64 startTerm:u64
 *               lastIndex:u64 lastTerm:u64 term:u64 vote:u64 commit:u64 zeros, 128 bytes in all
 *     record  = crc:u32 length:u32 kind:u8 zeros[7] index:u64 term:u64 synced:u64 data[length] zeros to a multiple of 8
 *
 * All numbers are little-endian; a u64 is at most 2^53 - 1. A crc covers the whole header or record with the crc field as zero, and is
 * seeded with the CRC of the segment's name: bytes that another file left behind are never valid.
 *
 * A *position* counts the bytes of the log over all segments: a segment's position + offset in its file. `synced` is the position up to which
 * everything was durable when the header or record was made: the evidence by which recovery tells damage from a torn tail.
 */
import { crc32 } from '../crc32.ts';

export const FORMAT_VERSION = 1;
export const HEADER_BYTES = 128;
export const RECORD_HEADER_BYTES = 40;
/** Above any entry that the limits allow; keeps a damaged length from looking plausible. */
export const MAX_DATA_BYTES = 256 * 1024 * 1024;

/** Entries have the kinds 1 + EntryKind. */
export const KIND_FIRST_ENTRY = 1;
export const KIND_LAST_ENTRY = 3;
/** term, index = commit, data = vote:u64 */
export const KIND_HARD_STATE = 4;
/** The log starts after (index, term); data = lowestSequence:u64, the first segment that is still needed. */
export const KIND_CUT = 5;
/** Nothing but its `synced`. */
export const KIND_WATERMARK = 6;
/** A watermark written by an orderly close. */
export const KIND_CLOSE = 7;

const MAGIC = new TextEncoder().encode('KVORLOG\n');
const TWO_32 = 0x1_0000_0000;
const MAX_HIGH = 0x1f_ffff;
const ZEROS = new Uint8Array(8);

export interface SegmentHeader {
  readonly sequence: number;
  readonly position: number;
  readonly synced: number;
  /** Segments below are no longer part of the log. */
  readonly lowestSequence: number;
  /** The log starts after this entry. */
  readonly startIndex: number;
  readonly startTerm: number;
  /** The last entry when the segment was begun. */
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly term: number;
  readonly vote: number;
  readonly commit: number;
}

const FIELDS = [
  'sequence',
  'position',
  'synced',
  'lowestSequence',
  'startIndex',
  'startTerm',
  'lastIndex',
  'lastTerm',
  'term',
  'vote',
  'commit',
] as const satisfies readonly (keyof SegmentHeader)[];

export interface SegmentName {
  readonly name: string;
  readonly sequence: number;
  readonly seed: number;
}

/** `salt` is any 32-bit number, drawn at random. */
export function segmentName(sequence: number, salt: number): SegmentName {
  const name = `${sequence.toString(16).padStart(16, '0')}-${(salt >>> 0).toString(16).padStart(8, '0')}.log`;
  return { name, sequence, seed: crc32(name) };
}

/** Undefined for a name that no segment has. */
export function parseSegmentName(name: string): SegmentName | undefined {
  if (!/^[0-9a-f]{16}-[0-9a-f]{8}\.log$/.test(name)) return undefined;
  const sequence = Number.parseInt(name.slice(0, 16), 16);
  if (sequence < 1 || !Number.isSafeInteger(sequence)) return undefined;
  return { name, sequence, seed: crc32(name) };
}

export function writeU64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, (value / TWO_32) >>> 0, true);
}

/** -1 for a number beyond the safe integers, which nothing here ever writes. */
export function readU64(view: DataView, offset: number): number {
  const high = view.getUint32(offset + 4, true);
  if (high > MAX_HIGH) return -1;
  return high * TWO_32 + view.getUint32(offset, true);
}

export function encodeHeader(header: SegmentHeader, seed: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint32(8, FORMAT_VERSION, true);
  FIELDS.forEach((field, i) => {
    writeU64(view, 16 + 8 * i, header[field]);
  });
  view.setUint32(12, crc32(bytes, seed), true);
  return bytes;
}

export type HeaderProblem = 'blank' | 'damaged' | 'version';

/** A header, or what is wrong with it: 'blank' (zeros or cut short: never written), 'damaged', or 'version' (valid, but of another format). */
export function decodeHeader(bytes: Uint8Array, seed: number): SegmentHeader | HeaderProblem {
  if (bytes.every((byte) => byte === 0)) return 'blank';
  if (bytes.byteLength < HEADER_BYTES) return 'damaged';
  const copy = bytes.slice(0, HEADER_BYTES);
  const view = new DataView(copy.buffer);
  const crc = view.getUint32(12, true);
  view.setUint32(12, 0, true);
  if (crc !== crc32(copy, seed)) return 'damaged';
  if (MAGIC.some((byte, i) => copy[i] !== byte)) return 'damaged';
  if (view.getUint32(8, true) !== FORMAT_VERSION) return 'version';
  const values = FIELDS.map((_, i) => readU64(view, 16 + 8 * i));
  if (values.includes(-1)) return 'damaged';
  const at = (field: (typeof FIELDS)[number]): number => values[FIELDS.indexOf(field)] ?? 0;
  return {
    sequence: at('sequence'),
    position: at('position'),
    synced: at('synced'),
    lowestSequence: at('lowestSequence'),
    startIndex: at('startIndex'),
    startTerm: at('startTerm'),
    lastIndex: at('lastIndex'),
    lastTerm: at('lastTerm'),
    term: at('term'),
    vote: at('vote'),
    commit: at('commit'),
  };
}

/** Bytes that a record with `length` bytes of data takes in the file. */
export function recordBytes(length: number): number {
  return RECORD_HEADER_BYTES + Math.ceil(length / 8) * 8;
}

/** Fills in a record's header with a zero crc. REQUIRES: 40 bytes at `offset`. */
export function writeRecordHeader(
  view: DataView,
  offset: number,
  length: number,
  kind: number,
  index: number,
  term: number,
  synced: number,
): void {
  view.setUint32(offset, 0, true);
  view.setUint32(offset + 4, length, true);
  view.setUint32(offset + 8, kind, true);
  view.setUint32(offset + 12, 0, true);
  writeU64(view, offset + 16, index);
  writeU64(view, offset + 24, term);
  writeU64(view, offset + 32, synced);
}

export interface RecordHeader {
  readonly crc: number;
  readonly length: number;
  readonly kind: number;
  readonly index: number;
  readonly term: number;
  readonly synced: number;
}

/** A plausible record header, or undefined; says nothing about the crc. */
export function readRecordHeader(view: DataView, offset: number): RecordHeader | undefined {
  const kind = view.getUint32(offset + 8, true);
  if (kind < KIND_FIRST_ENTRY || kind > KIND_CLOSE || view.getUint32(offset + 12, true) !== 0)
    return undefined;
  const length = view.getUint32(offset + 4, true);
  const index = readU64(view, offset + 16);
  const term = readU64(view, offset + 24);
  const synced = readU64(view, offset + 32);
  if (length > MAX_DATA_BYTES || index < 0 || term < 0 || synced < 0) return undefined;
  return { crc: view.getUint32(offset, true), length, kind, index, term, synced };
}

/** The checksum of a crc field, which counts as zero: what that of the bytes behind it is begun with. */
export function zeroCrc(seed: number): number {
  return crc32(ZEROS.subarray(0, 4), seed);
}

/** True when the crc of the record at `bytes` (header, data, padding: all of it, nothing else) is right. */
export function recordIsValid(bytes: Uint8Array, seed: number): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const crc = crc32(bytes.subarray(4), zeroCrc(seed));
  return view.getUint32(0, true) === crc;
}
