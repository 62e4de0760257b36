/**
 * Reads one table file from end to end and tells everything that is wrong with it.
 *
 * Invariants: memory stays bounded by a window, the index and the filter; damage never throws, it is reported, block by block, and what can still be
 * checked is checked. A file without a finding holds what its properties (and the manifest, if given) say, and every key of it can be found.
 */
import { type Disk, DiskError, type DiskFile } from '../disk.ts';
import { compareKeys, type KeyRange, keyAfter } from '../record.ts';
import type { WasmBuild } from '../wasm_module.ts';
import {
  type Decoded,
  decodeFilter,
  decodeFooter,
  decodeProperties,
  FOOTER_BYTES,
  parseTableName,
  sectionCrc,
  sectionsCrc,
  type TableFooter,
  type TableInfo,
  type TableProperties,
} from './format.ts';
import { decodeIndex, type IndexView } from './index_section.ts';
import type { Pace } from './table_output.ts';
import { BlockChecker, type BlockSummary } from './verify_block.ts';

export interface TableDamage {
  readonly file: string;
  readonly offset: number;
  readonly problem: string;
  /** The keys whose records may be gone or wrong; undefined when that is not known. */
  readonly keyRange?: KeyRange;
}

export interface VerifyOptions {
  readonly pace?: Pace;
  readonly build?: WasmBuild;
}

/** More findings than this say nothing new. */
const MAX_DAMAGES = 1000;

/**
 * What is wrong with a table file; an empty list when nothing is, at most 1000 findings. `info` is what the manifest says of it.
 * @throws KvError UNAVAILABLE when the system has no memory; what `pace` throws
 */
export async function verifyTable(
  disk: Disk,
  path: string,
  info?: TableInfo,
  options: VerifyOptions = {},
): Promise<TableDamage[]> {
  const verifier = new TableVerifier(path, info, options);
  let file: DiskFile;
  try {
    file = await disk.open(path, 'read');
  } catch (error) {
    verifier.report(0, `cannot be opened: ${textOf(error)}`);
    return verifier.damages;
  }
  try {
    await verifier.verify(file);
  } finally {
    await file.close();
  }
  return verifier.damages;
}

/** @throws whatever is no DiskError */
function textOf(error: unknown): string {
  if (!(error instanceof DiskError)) throw error;
  return error.message;
}

class TableVerifier {
  readonly damages: TableDamage[] = [];
  readonly #path: string;
  readonly #info: TableInfo | undefined;
  readonly #options: VerifyOptions;

  constructor(path: string, info: TableInfo | undefined, options: VerifyOptions) {
    this.#path = path;
    this.#info = info;
    this.#options = options;
  }

  /** Without a range of its own, a finding concerns all of the table. */
  report(offset: number, problem: string, keyRange = this.#wholeRange()): void {
    if (this.damages.length === MAX_DAMAGES) return;
    this.damages.push({ file: this.#path, offset, problem, ...(keyRange === undefined ? {} : { keyRange }) });
  }

  #wholeRange(): KeyRange | undefined {
    const info = this.#info;
    return info === undefined ? undefined : { start: info.smallestKey, end: keyAfter(info.largestKey) };
  }

  async verify(file: DiskFile): Promise<void> {
    const fileBytes = file.sizeBytes();
    const footerAt = Math.max(0, fileBytes - FOOTER_BYTES);
    const footerBytes = await this.#read(file, footerAt, Math.min(fileBytes, FOOTER_BYTES));
    if (footerBytes === undefined) return;
    const footer = this.#take(footerAt, decodeFooter(footerBytes, fileBytes));
    if (footer === undefined) return;
    this.#checkNumber(footer, footerAt);
    const { filterOffset, indexOffset, propertiesOffset } = footer;
    const filterSection = await this.#read(file, filterOffset, footer.filterLength);
    const indexSection = await this.#read(file, indexOffset, footer.indexLength);
    const propertiesSection = await this.#read(file, propertiesOffset, footer.propertiesLength);
    const filter = filterSection && this.#take(filterOffset, decodeFilter(filterSection));
    const index = indexSection && this.#take(indexOffset, decodeIndex(indexSection, filterOffset));
    const properties = propertiesSection && this.#take(propertiesOffset, decodeProperties(propertiesSection));
    if (filter && index && properties) {
      const crc = sectionsCrc(
        sectionCrc(filterSection),
        sectionCrc(indexSection),
        sectionCrc(propertiesSection),
      );
      if (crc !== footer.sectionsCrc) this.report(footerAt, 'the sections do not belong together');
    }
    if (properties) this.#compareInfo(properties, footer, propertiesOffset);
    if (!index) return;
    const totals = new Totals();
    const checker = new BlockChecker(index, filter, this.#options.build ?? 'release');
    const complete = await this.#verifyBlocks(file, index, checker, totals);
    if (complete && properties) this.#compareTotals(totals, properties, propertiesOffset);
  }

  /** The bytes, or undefined after a report. */
  async #read(file: DiskFile, offset: number, length: number): Promise<Uint8Array | undefined> {
    const bytes = new Uint8Array(length);
    return (await this.#fill(file, bytes, offset)) ? bytes : undefined;
  }

  async #fill(file: DiskFile, target: Uint8Array, offset: number, keyRange?: KeyRange): Promise<boolean> {
    try {
      if ((await file.read(target, offset)) === target.length) return true;
      this.report(offset, 'the file ends too early', keyRange);
    } catch (error) {
      this.report(offset, `cannot be read: ${textOf(error)}`, keyRange);
    }
    return false;
  }

  #take<T>(offset: number, decoded: Decoded<T>): T | undefined {
    if (decoded.ok) return decoded.value;
    this.report(offset, decoded.problem);
    return undefined;
  }

  #checkNumber({ fileNumber }: TableFooter, footerAt: number): void {
    const named = parseTableName(this.#path.slice(this.#path.lastIndexOf('/') + 1));
    const expected = this.#info?.fileNumber ?? named?.fileNumber ?? fileNumber;
    if (fileNumber !== expected)
      this.report(footerAt, `the file is table ${fileNumber}, expected: ${expected}`);
  }

  #compareInfo(properties: TableProperties, footer: TableFooter, offset: number): void {
    const info = this.#info;
    if (info === undefined) return;
    const numbers = [
      'recordCount',
      'keyCount',
      'tombstoneCount',
      'blockCount',
      'smallestRevision',
      'largestRevision',
      'dataBytes',
    ] as const;
    for (const name of numbers)
      if (info[name] !== properties[name])
        this.report(offset, `${name} is ${properties[name]}, the manifest says ${info[name]}`);
    if (info.fileBytes !== footer.fileBytes)
      this.report(offset, `the file has ${footer.fileBytes} B, the manifest says ${info.fileBytes} B`);
    for (const name of ['smallestKey', 'largestKey'] as const)
      if (compareKeys(info[name], properties[name]) !== 0)
        this.report(offset, `${name} is another one than the manifest says`);
  }

  /** Whether every block could be decoded. */
  async #verifyBlocks(
    file: DiskFile,
    index: IndexView,
    checker: BlockChecker,
    totals: Totals,
  ): Promise<boolean> {
    const { window } = checker;
    let complete = true;
    let windowAt = 0;
    let windowEnd = 0;
    for (let block = 0; block < index.count && this.damages.length < MAX_DAMAGES; block++) {
      const offset = index.offset(block);
      const length = index.length(block);
      const range = this.#rangeOf(index, block);
      if (offset + length > windowEnd) {
        let last = block;
        while (
          last + 1 < index.count &&
          index.offset(last + 1) + index.length(last + 1) - offset <= window.length
        )
          last++;
        windowAt = offset;
        windowEnd = index.offset(last) + index.length(last);
        await this.#options.pace?.step(windowEnd - windowAt);
        if (!(await this.#readWindow(file, checker, windowAt, windowEnd))) {
          // Somewhere in the window: block by block from here, so that the others are checked.
          windowEnd = offset + length;
          if (!(await this.#fill(file, window.subarray(0, length), offset, range))) {
            complete = false;
            windowEnd = 0;
            totals.gap();
            continue;
          }
        }
      }
      const checked = checker.check(offset - windowAt, length, index.rawLength(block), index.blockCrc(block));
      if ('problem' in checked) {
        this.report(offset, `block ${block}: ${checked.problem}`, range);
        complete = false;
        totals.gap();
      } else {
        const problem = totals.add(checked.summary, index, block);
        if (problem !== undefined) this.report(offset, `block ${block}: ${problem}`, range);
      }
    }
    return complete && this.damages.length < MAX_DAMAGES;
  }

  /** Failures are not reported here: the blocks of the window are read one by one then. */
  async #readWindow(file: DiskFile, checker: BlockChecker, start: number, end: number): Promise<boolean> {
    try {
      return (await file.read(checker.window.subarray(0, end - start), start)) === end - start;
    } catch (error) {
      textOf(error);
      return false;
    }
  }

  /** What a block may hold: from the separator before it, whose key may go on in it, to its own. */
  #rangeOf(index: IndexView, block: number): KeyRange {
    const start = block === 0 ? (this.#info?.smallestKey ?? new Uint8Array(0)) : index.separator(block - 1);
    return { start: new Uint8Array(start), end: keyAfter(index.separator(block)) };
  }

  #compareTotals(totals: Totals, properties: TableProperties, offset: number): void {
    const problem = totals.compare(properties);
    if (problem !== undefined) this.report(offset, problem);
  }
}

/** What the blocks hold together, and whether each follows the one before. */
class Totals {
  #recordCount = 0;
  #keyCount = 0;
  #tombstoneCount = 0;
  #blockCount = 0;
  #dataBytes = 0;
  #largestRevision = 0;
  #smallestRevision = Number.POSITIVE_INFINITY;
  #smallestKey = new Uint8Array(0);
  #lastKey: Uint8Array | undefined;
  #lastRevision = 0;

  /** The block before the next one is not known. */
  gap(): void {
    this.#lastKey = undefined;
  }

  /** Adds a block; gives what is wrong with its place among the others. */
  add(block: BlockSummary, index: IndexView, number: number): string | undefined {
    const lastKey = this.#lastKey;
    const order = lastKey === undefined ? -1 : compareKeys(lastKey, block.firstKey);
    if (this.#blockCount === 0) this.#smallestKey = new Uint8Array(block.firstKey);
    this.#blockCount++;
    this.#recordCount += block.entries;
    this.#keyCount += block.distinctKeys - (order === 0 ? 1 : 0);
    this.#tombstoneCount += block.tombstones;
    this.#dataBytes += block.dataBytes;
    this.#largestRevision = Math.max(this.#largestRevision, block.largestRevision);
    this.#smallestRevision = Math.min(this.#smallestRevision, block.smallestRevision);
    const before = this.#lastRevision;
    this.#lastKey = new Uint8Array(block.lastKey);
    this.#lastRevision = block.lastRevision;
    if (order > 0 || (order === 0 && block.firstRevision >= before))
      return 'its records come before those of the block before';
    if (compareKeys(block.lastKey, index.separator(number)) > 0)
      return 'its last key lies behind its separator';
    if (number > 0) {
      const separator = compareKeys(index.separator(number - 1), block.firstKey);
      // The versions of one key may go on, and only then is the separator that key.
      if (separator > 0 || (separator === 0 && lastKey !== undefined && order !== 0))
        return 'its first key does not lie behind the separator before it';
    }
    if (block.largestRevision !== index.largestRevision(number))
      return `its largest revision is ${block.largestRevision}, the index says ${index.largestRevision(number)}`;
    return undefined;
  }

  /** What the properties say wrong. REQUIRES: every block was added. */
  compare(properties: TableProperties): string | undefined {
    const found = {
      recordCount: this.#recordCount,
      keyCount: this.#keyCount,
      tombstoneCount: this.#tombstoneCount,
      blockCount: this.#blockCount,
      dataBytes: this.#dataBytes,
      largestRevision: this.#largestRevision,
      smallestRevision: this.#smallestRevision,
    };
    for (const name of Object.keys(found) as (keyof typeof found)[])
      if (found[name] !== properties[name])
        return `${name} is ${found[name]}, the properties say ${properties[name]}`;
    if (compareKeys(this.#smallestKey, properties.smallestKey) !== 0)
      return 'the smallest key is another one than the properties say';
    if (compareKeys(this.#lastKey ?? new Uint8Array(0), properties.largestKey) !== 0)
      return 'the largest key is another one than the properties say';
    return undefined;
  }
}
