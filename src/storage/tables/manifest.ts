/**
 * The manifest: which tables are the tree, and the applied state up to which they hold everything (docs/formats/manifest.md). One file, replaced whole (docs/decisions/0008_one_manifest_replaced_whole.md).
 *
 *     manifest := header state table* crc:u32                      crc = CRC-32 of all before it. Integers little-endian; a u64 is at most 2^53 - 1.
 *     header (80 B) := magic "KVMANIF\n"  version:u16 (1)  reserved:u16 (0)  hasApplied:u32 (0 or 1)  sequence:u64  nextFileNumber:u64  compactRevision:u64
 *                  flushSequence:u64  appliedIndex:u64  appliedTerm:u64  fileBytes:u64  stateLength:u32  tableCount:u32
 *     table (112 B and keys) := level:u32  blockCount:u32  smallestKeyLength:u32  largestKeyLength:u32  fileNumber:u64  fileBytes:u64  flushSequence:u64
 *                  cleanedRevision:u64  smallestRevision:u64  largestRevision:u64  recordCount:u64  keyCount:u64  tombstoneCount:u64  dataBytes:u64
 *                  reserved:u64 x 2 (0)  smallestKey  largestKey
 *
 * Invariants: tables come level by level, in the level's order (levels.ts); nothing is written that could not be read back; after a crash at any point of a
 * replacement the old or the new manifest is there, whole.
 */
import { crc32 } from 'node:zlib';
import { KvError } from '../../errors.ts';
import { type Disk, DiskError } from '../disk.ts';
import { MAX_STORED_KEY_BYTES } from '../memtable.ts';
import type { AppliedState } from '../record.ts';
import { MAX_TABLE_BYTES, type TableInfo } from './format.ts';
import { LEVEL_COUNT, Levels, LevelsError, type PlacedTable } from './levels.ts';
import { unreadable } from './table_file.ts';

export const MANIFEST_NAME = 'MANIFEST';
export const MANIFEST_TEMPORARY_NAME = 'MANIFEST.tmp';

const MAGIC = Uint8Array.from('KVMANIF\n', (character) => character.charCodeAt(0));
const VERSION = 1;
const HEADER_BYTES = 80;
const TABLE_FIXED_BYTES = 112;
const CRC_BYTES = 4;

export interface Manifest {
  /** One more with every replacement, from 1. */
  readonly sequence: number;
  /** No file with this number or a larger one was ever named by a manifest. */
  readonly nextFileNumber: number;
  readonly applied: AppliedState | undefined;
  readonly compactRevision: number;
  readonly levels: Levels;
}

function setNumbers(view: DataView, start: number, values: readonly number[]): void {
  for (const [i, value] of values.entries()) {
    view.setUint32(start + 8 * i, value % 0x100000000, true);
    view.setUint32(start + 8 * i + 4, Math.floor(value / 0x100000000), true);
  }
}

/** @throws KvError INTERNAL for one that could not be read back. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const { applied } = manifest;
  const tables = manifest.levels.all();
  const keyBytes = tables.reduce(
    (sum, { info }) => sum + info.smallestKey.length + info.largestKey.length,
    0,
  );
  const stateLength = applied?.state.length ?? 0;
  const bytes = new Uint8Array(
    HEADER_BYTES + stateLength + tables.length * TABLE_FIXED_BYTES + keyBytes + CRC_BYTES,
  );
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint16(8, VERSION, true);
  view.setUint32(12, applied === undefined ? 0 : 1, true);
  const numbers = [
    manifest.sequence,
    manifest.nextFileNumber,
    manifest.compactRevision,
    manifest.levels.flushSequence,
    applied?.index ?? 0,
    applied?.term ?? 0,
    bytes.length,
  ];
  setNumbers(view, 16, numbers);
  view.setUint32(72, stateLength, true);
  view.setUint32(76, tables.length, true);
  if (applied !== undefined) bytes.set(applied.state, HEADER_BYTES);
  let at = HEADER_BYTES + stateLength;
  manifest.levels.levels.forEach((placed, level) => {
    for (const table of placed) at = encodeTable(bytes, view, at, level, table);
  });
  view.setUint32(at, crc32(bytes.subarray(0, at)), true);
  checkReadable(bytes);
  return bytes;
}

function encodeTable(
  bytes: Uint8Array,
  view: DataView,
  start: number,
  level: number,
  table: PlacedTable,
): number {
  const { info } = table;
  view.setUint32(start, level, true);
  view.setUint32(start + 4, info.blockCount, true);
  view.setUint32(start + 8, info.smallestKey.length, true);
  view.setUint32(start + 12, info.largestKey.length, true);
  const numbers = [
    info.fileNumber,
    info.fileBytes,
    table.flushSequence,
    table.cleanedRevision,
    info.smallestRevision,
    info.largestRevision,
    info.recordCount,
    info.keyCount,
    info.tombstoneCount,
    info.dataBytes,
  ];
  setNumbers(view, start + 16, numbers);
  const keysAt = start + TABLE_FIXED_BYTES;
  bytes.set(info.smallestKey, keysAt);
  bytes.set(info.largestKey, keysAt + info.smallestKey.length);
  return keysAt + info.smallestKey.length + info.largestKey.length;
}

/** What would be refused at the next start must fail now, while the old manifest still stands. */
function checkReadable(bytes: Uint8Array): void {
  try {
    decodeManifest(bytes, MANIFEST_NAME);
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw new KvError('INTERNAL', `a manifest was made that could not be read back: ${problem}`, { cause });
  }
}

/** @throws KvError CORRUPT with `file`, `offset` and `problem`. */
export function decodeManifest(bytes: Uint8Array, file: string): Manifest {
  return new ManifestReader(bytes, file).read();
}

/** Takes a manifest apart; believes no length and no number. */
class ManifestReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #file: string;
  /** Where the checksum stands. */
  readonly #end: number;
  #at = 0;

  constructor(bytes: Uint8Array, file: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#file = file;
    this.#end = bytes.length - CRC_BYTES;
  }

  read(): Manifest {
    this.#checkFrame();
    const view = this.#view;
    const hasApplied = view.getUint32(12, true);
    if (hasApplied > 1) throw this.#corrupt(12, 'a flag is neither 0 nor 1');
    const sequence = this.#u64(16, 1);
    const nextFileNumber = this.#u64(24, 1);
    const compactRevision = this.#u64(32);
    const flushSequence = this.#u64(40);
    const index = this.#u64(48);
    const term = this.#u64(56);
    const stateLength = view.getUint32(72, true);
    const tableCount = view.getUint32(76, true);
    if (stateLength > this.#end - HEADER_BYTES)
      throw this.#corrupt(72, 'the applied state is longer than the file');
    if (hasApplied === 0 && (index !== 0 || term !== 0 || stateLength !== 0))
      throw this.#corrupt(48, 'there is an applied state, and a flag that says there is none');
    this.#at = HEADER_BYTES + stateLength;
    if (tableCount > (this.#end - this.#at) / TABLE_FIXED_BYTES)
      throw this.#corrupt(76, 'more tables are named than the file has room for');
    const state = this.#copy(HEADER_BYTES, this.#at);
    const levels = this.#levels(tableCount, flushSequence, nextFileNumber);
    const applied = hasApplied === 0 ? undefined : { index, term, state };
    return { sequence, nextFileNumber, applied, compactRevision, levels };
  }

  #checkFrame(): void {
    const { length } = this.#bytes;
    if (length < HEADER_BYTES + CRC_BYTES) throw this.#corrupt(length, 'the file is cut off');
    for (let i = 0; i < MAGIC.length; i++)
      if (this.#bytes[i] !== MAGIC[i]) throw this.#corrupt(i, 'this is not a manifest');
    const version = this.#view.getUint16(8, true);
    if (version !== VERSION)
      throw this.#corrupt(8, `format version ${version} is unknown (known: ${VERSION})`);
    if (this.#view.getUint16(10, true) !== 0) throw this.#corrupt(10, 'a reserved field is not zero');
    const fileBytes = this.#u64(64);
    if (fileBytes !== length)
      throw this.#corrupt(64, `the file has ${length} B, its header says ${fileBytes} B`);
    if (crc32(this.#bytes.subarray(0, this.#end)) !== this.#view.getUint32(this.#end, true))
      throw this.#corrupt(this.#end, 'the checksum is wrong');
  }

  #levels(tableCount: number, flushSequence: number, nextFileNumber: number): Levels {
    const levels: PlacedTable[][] = Array.from({ length: LEVEL_COUNT }, () => []);
    const start = this.#at;
    let last = 0;
    for (let i = 0; i < tableCount; i++) {
      const at = this.#at;
      if (this.#end - at < TABLE_FIXED_BYTES) throw this.#corrupt(at, 'a table is cut off');
      const level = this.#view.getUint32(at, true);
      if (level >= LEVEL_COUNT || level < last)
        throw this.#corrupt(at, `a table of level ${level} comes after one of level ${last}`);
      last = level;
      levels[level]!.push(this.#table(at, nextFileNumber));
    }
    if (this.#at !== this.#end) throw this.#corrupt(this.#at, 'bytes follow the last table');
    try {
      return Levels.of(levels, flushSequence);
    } catch (error) {
      if (!(error instanceof LevelsError)) throw error;
      throw this.#corrupt(start, error.message);
    }
  }

  #table(at: number, nextFileNumber: number): PlacedTable {
    const view = this.#view;
    const smallestLength = view.getUint32(at + 8, true);
    const largestLength = view.getUint32(at + 12, true);
    for (const length of [smallestLength, largestLength])
      if (length === 0 || length > MAX_STORED_KEY_BYTES)
        throw this.#corrupt(at + 8, `a key has ${length} bytes`);
    const keysAt = at + TABLE_FIXED_BYTES;
    if (smallestLength + largestLength > this.#end - keysAt)
      throw this.#corrupt(at + 8, 'keys are longer than the file');
    for (let i = 0; i < 16; i++)
      if (this.#bytes[at + 96 + i] !== 0) throw this.#corrupt(at + 96 + i, 'a reserved field is not zero');
    this.#at = keysAt + smallestLength + largestLength;
    const recordCount = this.#u64(at + 64, 1);
    const largestRevision = this.#u64(at + 56);
    const info: TableInfo = {
      fileNumber: this.#u64(at + 16, 1, nextFileNumber - 1),
      fileBytes: this.#u64(at + 24, 1, MAX_TABLE_BYTES),
      recordCount,
      keyCount: this.#u64(at + 72, 1, recordCount),
      tombstoneCount: this.#u64(at + 80, 0, recordCount),
      blockCount: view.getUint32(at + 4, true),
      smallestRevision: this.#u64(at + 48, 0, largestRevision),
      largestRevision,
      dataBytes: this.#u64(at + 88),
      smallestKey: this.#copy(keysAt, keysAt + smallestLength),
      largestKey: this.#copy(keysAt + smallestLength, this.#at),
    };
    if (info.blockCount < 1 || info.blockCount > recordCount)
      throw this.#corrupt(at + 4, `a table of ${recordCount} records has ${info.blockCount} blocks`);
    return { info, flushSequence: this.#u64(at + 32), cleanedRevision: this.#u64(at + 40) };
  }

  /** A key that goes to another thread as a view would take the whole file with it. */
  #copy(start: number, end: number): Uint8Array {
    return new Uint8Array(this.#bytes.subarray(start, end));
  }

  #u64(at: number, smallest = 0, largest = Number.MAX_SAFE_INTEGER): number {
    const value = this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 0x100000000;
    if (value < smallest || value > largest)
      throw this.#corrupt(at, `a number is out of range: ${value} is not within ${smallest} and ${largest}`);
    return value;
  }

  #corrupt(offset: number, problem: string): KvError {
    const file = this.#file;
    return new KvError('CORRUPT', `${file}: damaged at offset ${offset}: ${problem}`, {
      details: { file, offset, problem },
    });
  }
}

/**
 * The manifest of a directory; undefined when there is none.
 * @throws KvError CORRUPT
 */
export async function readManifest(disk: Disk, directory: string): Promise<Manifest | undefined> {
  const path = `${directory}/${MANIFEST_NAME}`;
  let bytes: Uint8Array;
  try {
    bytes = await disk.readFile(path);
  } catch (error) {
    if (error instanceof DiskError && error.code === 'NOT_FOUND') return undefined;
    throw unreadable(error, path, 0);
  }
  return decodeManifest(bytes, path);
}

/**
 * Replaces the manifest: written beside the old one, synced, renamed over it, and the directory synced.
 * @throws DiskError while the old one certainly still stands (NO_SPACE among them: it may be tried again); KvError STORAGE_FAILED when which of the two a
 *   crash would leave is unknown, or a sync failed (known failure 1): nothing may be written after that.
 */
export async function replaceManifest(disk: Disk, directory: string, manifest: Manifest): Promise<void> {
  const bytes = encodeManifest(manifest);
  const path = `${directory}/${MANIFEST_NAME}`;
  const temporary = `${directory}/${MANIFEST_TEMPORARY_NAME}`;
  let step = 'write';
  try {
    await writeTemporary(disk, temporary, bytes, () => {
      step = 'sync';
    });
    step = 'rename';
    await disk.rename(temporary, path);
    step = 'sync the directory of';
    await disk.syncDirectory(directory);
  } catch (error) {
    const isNoSpace = error instanceof DiskError && error.code === 'NO_SPACE';
    if (step === 'write' || (isNoSpace && !step.endsWith('of'))) {
      await removeTemporary(disk, temporary, error);
      throw error;
    }
    const message = error instanceof Error ? error.message : String(error);
    throw new KvError('STORAGE_FAILED', `cannot ${step} the manifest: ${message}`, {
      cause: error,
      details: { file: path },
    });
  }
}

/** Gives the space back. A failure of that must not hide why the manifest could not be replaced. */
async function removeTemporary(disk: Disk, temporary: string, cause: unknown): Promise<void> {
  try {
    if (await disk.exists(temporary)) await disk.remove(temporary);
  } catch (error) {
    if (cause instanceof Error && cause.cause === undefined) cause.cause = error;
  }
}

async function writeTemporary(
  disk: Disk,
  temporary: string,
  bytes: Uint8Array,
  beforeSync: () => void,
): Promise<void> {
  const file = await disk.open(temporary, 'open');
  try {
    // What an earlier attempt left there goes first.
    if (file.sizeBytes() > 0) await file.truncate(0);
    await file.write([bytes], 0);
    beforeSync();
    await file.sync();
  } finally {
    await file.close();
  }
}
