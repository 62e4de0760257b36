/**
 * The bytes of a table file that are not blocks (docs/formats/table.md). All integers little-endian.
 *
 *     table      := block* filter index properties footer
 *     block      := payload compression:u8 crc:u32             crc over payload and compression; the payload: assembly/block_builder.ts
 *     filter     := blocks:u32, 64 B x blocks, crc:u32         assembly/bloom.ts
 *     index      := (index_section.ts)
 *     properties := recordCount:u32 keyCount:u32 tombstoneCount:u32 blockCount:u32 smallestRevision:f64 largestRevision:f64 dataBytes:f64
 *                   smallestKeyLength:u32 largestKeyLength:u32 smallestKey largestKey crc:u32
 *     footer     := filterOffset:u32 filterLength:u32 indexOffset:u32 indexLength:u32 propertiesOffset:u32 propertiesLength:u32 fileBytes:u32
 *                   fileNumber:f64 formatVersion:u16 (1) reserved:u16 (0) sectionsCrc:u32 0:u64 crc:u32 magic "KVTABLE\n"          64 B
 *
 * Invariants: a section's crc covers all of it before the crc; `sectionsCrc` covers the three sections' crc fields, so that sections of different files are
 * never taken for one table; decoding believes nothing and answers with a problem in words.
 */
import { crc32 } from '../crc32.ts';
import { compareKeys } from '../record.ts';
import { MAX_ENTRY_KEY_BYTES } from './block_layout.ts';

/** What the manifest knows of a table. Keys are owned copies. */
export interface TableInfo {
  readonly fileNumber: number;
  readonly fileBytes: number;
  readonly recordCount: number;
  readonly keyCount: number;
  readonly tombstoneCount: number;
  readonly blockCount: number;
  readonly smallestRevision: number;
  readonly largestRevision: number;
  /** Keys and values. */
  readonly dataBytes: number;
  readonly smallestKey: Uint8Array;
  readonly largestKey: Uint8Array;
}

export interface TableOptions {
  readonly blockSizeBytes: number;
  readonly bitsPerKey: number;
  readonly compression: 'none' | 'lz4';
  /** Outputs are cut near this, between different keys. */
  readonly tableSizeBytes: number;
}

/** What went wrong, in words, or what was read. */
export type Decoded<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

export function bad(problem: string): { ok: false; problem: string } {
  return { ok: false, problem };
}

export const FORMAT_VERSION = 1;
export const FOOTER_BYTES = 64;
export const CRC_BYTES = 4;
/** The block's bytes are the payload itself. */
export const STORED_PLAIN = 0;
/** The block's bytes are the payload's length (u32) and the payload as an LZ4 block. */
export const STORED_LZ4 = 1;
export const FILTER_BLOCK_BYTES = 64;
/** Addresses of a table's bytes are below 2 GiB. */
export const MAX_TABLE_BYTES = 2 ** 31 - 1;
const MAGIC = Uint8Array.from('KVTABLE\n', (character) => character.charCodeAt(0));
const MAGIC_AT = 56;
const FOOTER_CRC_AT = 52;
const PROPERTIES_FIXED_BYTES = 48;
const FILTER_BLOCK_BITS = 512;

const SUFFIX = '.kvt';
const TEMPORARY_SUFFIX = '.kvt.tmp';

function nameOf(fileNumber: number): string {
  return `t-${String(fileNumber).padStart(10, '0')}`;
}

/** Where a finished table lies. */
export function tablePath(directory: string, fileNumber: number): string {
  return `${directory}/${nameOf(fileNumber)}${SUFFIX}`;
}

/** Where a table lies that is being written. */
export function temporaryTablePath(directory: string, fileNumber: number): string {
  return `${directory}/${nameOf(fileNumber)}${TEMPORARY_SUFFIX}`;
}

/** The file number of a table's name, finished or being written; undefined for the name of anything else. */
export function parseTableName(name: string): { fileNumber: number; finished: boolean } | undefined {
  const match = /^t-(\d{10,16})(\.kvt|\.kvt\.tmp)$/.exec(name);
  if (match === null) return undefined;
  const fileNumber = Number(match[1]);
  if (!Number.isSafeInteger(fileNumber) || nameOf(fileNumber) !== `t-${match[1]}`) return undefined;
  return { fileNumber, finished: match[2] === SUFFIX };
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Writes the crc of all that lies before the last four bytes into them. */
export function sealSection(section: Uint8Array): Uint8Array {
  const end = section.length - CRC_BYTES;
  viewOf(section).setUint32(end, crc32(section.subarray(0, end)), true);
  return section;
}

/** Whether a section's crc is right. REQUIRES: at least CRC_BYTES. */
export function isSealed(section: Uint8Array): boolean {
  const end = section.length - CRC_BYTES;
  return crc32(section.subarray(0, end)) === viewOf(section).getUint32(end, true);
}

/** The crc that a section ends with. */
export function sectionCrc(section: Uint8Array): number {
  return viewOf(section).getUint32(section.length - CRC_BYTES, true);
}

/** The footer's `sectionsCrc`. */
export function sectionsCrc(filter: number, index: number, properties: number): number {
  const bytes = new Uint8Array(12);
  const view = viewOf(bytes);
  view.setUint32(0, filter, true);
  view.setUint32(4, index, true);
  view.setUint32(8, properties, true);
  return crc32(bytes);
}

/** Blocks of a filter for so many keys: at least one. */
export function filterBlocks(keyCount: number, bitsPerKey: number): number {
  return Math.max(1, Math.ceil((keyCount * bitsPerKey) / FILTER_BLOCK_BITS));
}

/** The three parts of a filter section. */
export function encodeFilter(bits: Uint8Array): readonly [Uint8Array, Uint8Array, Uint8Array] {
  const head = new Uint8Array(4);
  viewOf(head).setUint32(0, bits.length / FILTER_BLOCK_BYTES, true);
  const tail = new Uint8Array(CRC_BYTES);
  viewOf(tail).setUint32(0, crc32(bits, crc32(head)), true);
  return [head, bits, tail];
}

/** A filter section: the number of its blocks, whose bits lie behind the first four bytes. */
export function decodeFilter(section: Uint8Array): Decoded<{ blocks: number; bits: Uint8Array }> {
  if (section.length < 4 + FILTER_BLOCK_BYTES + CRC_BYTES) return bad('the filter is too short');
  if (!isSealed(section)) return bad('the checksum of the filter is wrong');
  const blocks = viewOf(section).getUint32(0, true);
  if (blocks * FILTER_BLOCK_BYTES !== section.length - 4 - CRC_BYTES)
    return bad('the filter has another length than it says');
  return { ok: true, value: { blocks, bits: section.subarray(4, section.length - CRC_BYTES) } };
}

/** What the properties section holds; the rest of a TableInfo stands in the footer. */
export type TableProperties = Omit<TableInfo, 'fileNumber' | 'fileBytes'>;

export function encodeProperties(properties: TableProperties): Uint8Array {
  const { smallestKey, largestKey } = properties;
  const bytes = new Uint8Array(PROPERTIES_FIXED_BYTES + smallestKey.length + largestKey.length + CRC_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, properties.recordCount, true);
  view.setUint32(4, properties.keyCount, true);
  view.setUint32(8, properties.tombstoneCount, true);
  view.setUint32(12, properties.blockCount, true);
  view.setFloat64(16, properties.smallestRevision, true);
  view.setFloat64(24, properties.largestRevision, true);
  view.setFloat64(32, properties.dataBytes, true);
  view.setUint32(40, smallestKey.length, true);
  view.setUint32(44, largestKey.length, true);
  bytes.set(smallestKey, PROPERTIES_FIXED_BYTES);
  bytes.set(largestKey, PROPERTIES_FIXED_BYTES + smallestKey.length);
  return sealSection(bytes);
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** A properties section. The keys are copies. */
export function decodeProperties(section: Uint8Array): Decoded<TableProperties> {
  if (section.length < PROPERTIES_FIXED_BYTES + CRC_BYTES) return bad('the properties are too short');
  if (!isSealed(section)) return bad('the checksum of the properties is wrong');
  const view = viewOf(section);
  const smallestLength = view.getUint32(40, true);
  const largestLength = view.getUint32(44, true);
  if (PROPERTIES_FIXED_BYTES + smallestLength + largestLength + CRC_BYTES !== section.length)
    return bad('the properties have another length than they say');
  if (smallestLength === 0 || smallestLength > MAX_ENTRY_KEY_BYTES || largestLength > MAX_ENTRY_KEY_BYTES)
    return bad('a bound of the table has an impossible length');
  const largestAt = PROPERTIES_FIXED_BYTES + smallestLength;
  const properties = {
    recordCount: view.getUint32(0, true),
    keyCount: view.getUint32(4, true),
    tombstoneCount: view.getUint32(8, true),
    blockCount: view.getUint32(12, true),
    smallestRevision: view.getFloat64(16, true),
    largestRevision: view.getFloat64(24, true),
    dataBytes: view.getFloat64(32, true),
    // Not slice(): of a Buffer that is a view.
    smallestKey: new Uint8Array(section.subarray(PROPERTIES_FIXED_BYTES, largestAt)),
    largestKey: new Uint8Array(section.subarray(largestAt, largestAt + largestLength)),
  };
  const { recordCount, keyCount, blockCount, tombstoneCount, smallestRevision, largestRevision } = properties;
  if (!isCount(smallestRevision) || !isCount(largestRevision) || !isCount(properties.dataBytes))
    return bad('a number in the properties is out of range');
  if (smallestRevision > largestRevision || compareKeys(properties.smallestKey, properties.largestKey) > 0)
    return bad('the bounds of the table are in the wrong order');
  if (keyCount === 0 || keyCount > recordCount || tombstoneCount > recordCount)
    return bad('the counts of the table contradict each other');
  if (blockCount === 0 || blockCount > recordCount)
    return bad('the table has an impossible number of blocks');
  return { ok: true, value: properties };
}

export interface TableFooter {
  readonly filterOffset: number;
  readonly filterLength: number;
  readonly indexOffset: number;
  readonly indexLength: number;
  readonly propertiesOffset: number;
  readonly propertiesLength: number;
  readonly fileBytes: number;
  readonly fileNumber: number;
  readonly sectionsCrc: number;
}

export function encodeFooter(footer: TableFooter): Uint8Array {
  const bytes = new Uint8Array(FOOTER_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, footer.filterOffset, true);
  view.setUint32(4, footer.filterLength, true);
  view.setUint32(8, footer.indexOffset, true);
  view.setUint32(12, footer.indexLength, true);
  view.setUint32(16, footer.propertiesOffset, true);
  view.setUint32(20, footer.propertiesLength, true);
  view.setUint32(24, footer.fileBytes, true);
  view.setFloat64(28, footer.fileNumber, true);
  view.setUint16(36, FORMAT_VERSION, true);
  view.setUint32(40, footer.sectionsCrc, true);
  view.setUint32(FOOTER_CRC_AT, crc32(bytes.subarray(0, FOOTER_CRC_AT)), true);
  bytes.set(MAGIC, MAGIC_AT);
  return bytes;
}

/** The last FOOTER_BYTES of a file of `fileBytes`: where its sections lie, which follow each other without a gap up to the footer. */
export function decodeFooter(bytes: Uint8Array, fileBytes: number): Decoded<TableFooter> {
  if (bytes.length !== FOOTER_BYTES || fileBytes < FOOTER_BYTES) return bad('the footer is cut off');
  for (let i = 0; i < MAGIC.length; i++)
    if (bytes[MAGIC_AT + i] !== MAGIC[i]) return bad('the file does not end like a table');
  const view = viewOf(bytes);
  const version = view.getUint16(36, true);
  if (crc32(bytes.subarray(0, FOOTER_CRC_AT)) !== view.getUint32(FOOTER_CRC_AT, true))
    return bad('the checksum of the footer is wrong');
  if (version !== FORMAT_VERSION)
    return bad(`format version ${version} is unknown (known: ${FORMAT_VERSION})`);
  const footer = {
    filterOffset: view.getUint32(0, true),
    filterLength: view.getUint32(4, true),
    indexOffset: view.getUint32(8, true),
    indexLength: view.getUint32(12, true),
    propertiesOffset: view.getUint32(16, true),
    propertiesLength: view.getUint32(20, true),
    fileBytes: view.getUint32(24, true),
    fileNumber: view.getFloat64(28, true),
    sectionsCrc: view.getUint32(40, true),
  };
  if (view.getUint16(38, true) !== 0 || view.getUint32(44, true) !== 0 || view.getUint32(48, true) !== 0)
    return bad('a reserved field is not zero');
  if (footer.fileBytes !== fileBytes || fileBytes > MAX_TABLE_BYTES)
    return bad(`the file has ${fileBytes} B, its footer says ${footer.fileBytes} B`);
  if (!isCount(footer.fileNumber)) return bad('the file number is out of range');
  if (
    footer.filterOffset === 0 ||
    footer.filterLength < CRC_BYTES ||
    footer.indexLength < CRC_BYTES ||
    footer.propertiesLength < CRC_BYTES ||
    footer.filterOffset + footer.filterLength !== footer.indexOffset ||
    footer.indexOffset + footer.indexLength !== footer.propertiesOffset ||
    footer.propertiesOffset + footer.propertiesLength + FOOTER_BYTES !== fileBytes
  )
    return bad('the sections do not follow each other');
  return { ok: true, value: footer };
}
