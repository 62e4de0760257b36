/**
 * A table that is open for reading: its file, and in table memory what look-ups need of it.
 *
 *   | table words | filter section | index section | smallest key | largest key | prefixes |      one allocation
 *
 * The sections lie there as in the file; the words are described in assembly/table_lookup.ts.
 *
 * Invariants: all of it was checked when the table was opened (checksums, lengths, every entry of the index), so that look-ups may trust it; a table whose file
 * is not the one that the manifest means does not open.
 */
import { KvError } from '../../errors.ts';
import type { Disk } from '../disk.ts';
import { compareKeys } from '../record.ts';
import {
  CRC_BYTES,
  type Decoded,
  decodeFilter,
  decodeFooter,
  decodeProperties,
  FOOTER_BYTES,
  isSealed,
  sectionCrc,
  sectionsCrc,
  type TableFooter,
  type TableInfo,
  type TableProperties,
  tablePath,
} from './format.ts';
import { INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES, IndexView } from './index_section.ts';
import { type ReadableFile, TableFile } from './table_file.ts';
import type { TableMemory } from './table_memory.ts';

const TABLE_WORDS_BYTES = 128;
const FILTER_HEADER_BYTES = 4;
/** Room behind the last byte, for eight-byte loads, and for alignment. */
const SLACK_BYTES = 16;
const INDEX_PROBLEMS = [
  '',
  'the keys of the index do not follow each other',
  'the keys of the index are out of order',
  'the blocks of the index do not follow each other',
  'a block of the index has an impossible length',
  'a revision of the index is out of range',
  'a reserved field of the index is not zero',
  'the index does not reach the largest key',
] as const;

export interface TableDamage {
  readonly file: string;
  readonly fileNumber: number;
  readonly offset: number;
  readonly problem: string;
}

/** Where the parts of a table lie in memory. */
interface Layout {
  readonly filter: number;
  readonly index: number;
  readonly smallestKey: number;
  readonly largestKey: number;
  readonly prefixes: number;
  readonly bytes: number;
}

export class OpenTable {
  readonly info: TableInfo;
  readonly file: ReadableFile;
  /** Of the table's words. */
  readonly address: number;
  readonly bytes: number;
  readonly index: IndexView;
  /** Versions that name the table. */
  uses = 0;
  readonly #onDamage: (damage: TableDamage) => void;

  constructor(
    info: TableInfo,
    file: ReadableFile,
    place: { address: number; bytes: number },
    index: IndexView,
    onDamage: (damage: TableDamage) => void,
  ) {
    this.info = info;
    this.file = file;
    this.address = place.address;
    this.bytes = place.bytes;
    this.index = index;
    this.#onDamage = onDamage;
  }

  /** Tells of damage, and gives the error to throw. */
  damage(offset: number, problem: string): KvError {
    const file = this.file.path;
    this.#onDamage({ file, fileNumber: this.info.fileNumber, offset, problem });
    return corrupt(file, offset, problem);
  }
}

/**
 * Opens a table. `info` is what the manifest says; it must be what the file says.
 * @throws KvError CORRUPT (told to onDamage too), UNAVAILABLE when there is no memory; DiskError when the file cannot be opened
 */
export async function openTable(
  disk: Disk,
  directory: string,
  info: TableInfo,
  memory: TableMemory,
  onDamage: (damage: TableDamage) => void,
): Promise<OpenTable> {
  const path = tablePath(directory, info.fileNumber);
  const file = new TableFile(await disk.open(path, 'read'));
  try {
    return await loadTable(file, info, memory, onDamage);
  } catch (error) {
    await file.close();
    if (error instanceof KvError && error.code === 'CORRUPT') {
      const { offset, problem } = error.details;
      onDamage({
        file: path,
        fileNumber: info.fileNumber,
        offset: Number(offset),
        problem: String(problem),
      });
    }
    throw error;
  }
}

async function loadTable(
  file: ReadableFile,
  info: TableInfo,
  memory: TableMemory,
  onDamage: (damage: TableDamage) => void,
): Promise<OpenTable> {
  const footer = await readFooter(file, info);
  const propertiesSection = new Uint8Array(footer.propertiesLength);
  await readWhole(file, propertiesSection, footer.propertiesOffset);
  const properties = checked(file, footer.propertiesOffset, decodeProperties(propertiesSection));
  const difference = differenceOf(info, properties);
  if (difference !== undefined) {
    throw corrupt(file.path, footer.propertiesOffset, `the manifest says otherwise of the ${difference}`);
  }
  if (footer.indexLength < INDEX_HEADER_BYTES + properties.blockCount * INDEX_ENTRY_BYTES + CRC_BYTES)
    throw corrupt(file.path, footer.indexOffset, 'the index is too short');
  const layout = layoutOf(footer, properties);
  const address = memory.mustAllocate(layout.bytes);
  try {
    const filter = memory.u8.subarray(address + layout.filter, address + layout.filter + footer.filterLength);
    const index = memory.u8.subarray(address + layout.index, address + layout.index + footer.indexLength);
    await readWhole(file, filter, footer.filterOffset);
    await readWhole(file, index, footer.indexOffset);
    const { blocks } = checked(file, footer.filterOffset, decodeFilter(filter));
    if (!isSealed(index)) throw corrupt(file.path, footer.indexOffset, 'the checksum of the index is wrong');
    if (
      sectionsCrc(sectionCrc(filter), sectionCrc(index), sectionCrc(propertiesSection)) !== footer.sectionsCrc
    )
      throw corrupt(file.path, footer.fileBytes - FOOTER_BYTES, 'the sections are not of one table');
    const view = new IndexView(index);
    const keysLength = indexKeysLength(index, view.count);
    if (view.count !== properties.blockCount || keysLength < 0)
      throw corrupt(file.path, footer.indexOffset, 'the index has another length than it says');
    writeTable(memory, address, layout, { ...info, ...properties }, blocks);
    const problem = memory.wasm.prepareIndex(address, keysLength, footer.filterOffset);
    if (problem !== 0) {
      const entryAt = INDEX_HEADER_BYTES + (problem >>> 3) * INDEX_ENTRY_BYTES;
      throw corrupt(
        file.path,
        footer.indexOffset + entryAt,
        INDEX_PROBLEMS[problem & 7] ?? 'the index is wrong',
      );
    }
    return new OpenTable({ ...info, ...properties }, file, { address, bytes: layout.bytes }, view, onDamage);
  } catch (error) {
    // Nobody has seen it.
    memory.free(address, layout.bytes);
    throw error;
  }
}

async function readFooter(file: ReadableFile, info: TableInfo): Promise<TableFooter> {
  const fileBytes = file.sizeBytes();
  const at = Math.max(0, fileBytes - FOOTER_BYTES);
  if (fileBytes !== info.fileBytes) {
    throw corrupt(file.path, at, `the file has ${fileBytes} B, the manifest says ${info.fileBytes} B`);
  }
  const bytes = new Uint8Array(fileBytes - at);
  await readWhole(file, bytes, at);
  const footer = checked(file, at, decodeFooter(bytes, fileBytes));
  if (footer.fileNumber !== info.fileNumber)
    throw corrupt(file.path, at, `the file says that it is table ${footer.fileNumber}`);
  return footer;
}

async function readWhole(file: ReadableFile, target: Uint8Array, offset: number): Promise<void> {
  if ((await file.read(target, offset)) !== target.length)
    throw corrupt(file.path, offset, 'the file ends within a section');
}

function checked<T>(file: ReadableFile, offset: number, decoded: Decoded<T>): T {
  if (decoded.ok) return decoded.value;
  throw corrupt(file.path, offset, decoded.problem);
}

/** Bytes of the separators, -1 when the section has no such length. */
function indexKeysLength(section: Uint8Array, count: number): number {
  const keysLength = section.length - INDEX_HEADER_BYTES - count * INDEX_ENTRY_BYTES - CRC_BYTES;
  const named = (section[4]! | (section[5]! << 8) | (section[6]! << 16) | (section[7]! << 24)) >>> 0;
  return keysLength === named ? keysLength : -1;
}

/** What the manifest says and the file does not, in words. */
function differenceOf(info: TableInfo, properties: TableProperties): string | undefined {
  if (compareKeys(info.smallestKey, properties.smallestKey) !== 0) return 'smallest key';
  if (compareKeys(info.largestKey, properties.largestKey) !== 0) return 'largest key';
  if (info.smallestRevision !== properties.smallestRevision) return 'smallest revision';
  if (info.largestRevision !== properties.largestRevision) return 'largest revision';
  return info.recordCount === properties.recordCount ? undefined : 'number of records';
}

function layoutOf(footer: TableFooter, properties: TableProperties): Layout {
  // The blocks of the filter on lines of the processor's cache, the entries of the index on eight bytes.
  const filter = TABLE_WORDS_BYTES + 64 - FILTER_HEADER_BYTES;
  const index = align8(filter + footer.filterLength);
  const smallestKey = align8(index + footer.indexLength + SLACK_BYTES);
  const largestKey = align8(smallestKey + properties.smallestKey.length + SLACK_BYTES);
  const prefixes = align8(largestKey + properties.largestKey.length + SLACK_BYTES);
  const bytes = prefixes + properties.blockCount * 8;
  return { filter, index, smallestKey, largestKey, prefixes, bytes };
}

function writeTable(
  memory: TableMemory,
  address: number,
  layout: Layout,
  info: TableInfo,
  filterBlocks: number,
): void {
  const { u8, u32, f64 } = memory;
  const entries = address + layout.index + INDEX_HEADER_BYTES;
  const word = address >>> 2;
  u32[word] = address + layout.filter + FILTER_HEADER_BYTES;
  u32[word + 1] = filterBlocks;
  u32[word + 2] = address + layout.smallestKey;
  u32[word + 3] = info.smallestKey.length;
  u32[word + 4] = address + layout.largestKey;
  u32[word + 5] = info.largestKey.length;
  u32[word + 6] = entries;
  u32[word + 7] = info.blockCount;
  u32[word + 8] = entries + info.blockCount * INDEX_ENTRY_BYTES;
  u32[word + 9] = address + layout.prefixes;
  u32[word + 10] = 0;
  f64[(address + 48) >>> 3] = info.fileNumber;
  f64[(address + 56) >>> 3] = info.smallestRevision;
  f64[(address + 64) >>> 3] = info.largestRevision;
  u8.set(info.smallestKey, address + layout.smallestKey);
  u8.set(info.largestKey, address + layout.largestKey);
}

function align8(value: number): number {
  return (value + 7) & -8;
}

function corrupt(file: string, offset: number, problem: string): KvError {
  return new KvError('CORRUPT', `${file}: damaged at offset ${offset}: ${problem}`, {
    details: { file, offset, problem },
  });
}
