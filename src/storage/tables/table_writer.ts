/**
 * Writes one table file (docs/formats/table.md) from finished blocks: seals them, writes them in large contiguous pieces, then the sections and the footer.
 *
 * Invariants: the file has a temporary name until all of it is on disk (fdatasync, then rename; the caller syncs the directory); whatever fails, the file is
 * closed and removed if the disk lets it, and the error goes to the caller. A block's index entry waits for the next block's first key.
 */
import { KvError } from '../../errors.ts';
import { crc32 } from '../crc32.ts';
import type { Disk, DiskFile } from '../disk.ts';
import type { MaybePromise } from '../record.ts';
import type { BlockBuilder } from './block_builder.ts';
import { BLOCK, TRAILER_BYTES } from './block_layout.ts';
import {
  encodeFilter,
  encodeFooter,
  encodeProperties,
  FOOTER_BYTES,
  filterBlocks,
  MAX_TABLE_BYTES,
  STORED_LZ4,
  STORED_PLAIN,
  sectionCrc,
  sectionsCrc,
  type TableInfo,
  type TableOptions,
  tablePath,
  temporaryTablePath,
} from './format.ts';
import { IndexBuilder, shortSeparator } from './index_section.ts';

/** A compressed block is kept when it takes no more than this part of the plain one: less is not worth the reader's time. */
const WORTHWHILE = 0.88;
const RAW_LENGTH_BYTES = 4;
const NO_BYTES = new Uint8Array(0);

/** A block whose index entry waits for the next block's first key. */
interface PendingBlock {
  lastKey: Uint8Array;
  offset: number;
  length: number;
  largestRevision: number;
  blockCrc: number;
  rawLength: number;
}

/** @throws KvError CONFIG_INVALID for options that no table can be written with */
export function checkTableOptions(options: TableOptions): void {
  const { blockSizeBytes, bitsPerKey, tableSizeBytes } = options;
  if (!Number.isSafeInteger(blockSizeBytes) || blockSizeBytes < 64 || blockSizeBytes > 1024 * 1024)
    throw new KvError('CONFIG_INVALID', `blocks of ${blockSizeBytes} B, allowed: 64 to 1048576`);
  if (!(bitsPerKey >= 1 && bitsPerKey <= 64))
    throw new KvError('CONFIG_INVALID', `${bitsPerKey} filter bits a key, allowed: 1 to 64`);
  if (!(tableSizeBytes > 0 && tableSizeBytes <= 2 ** 30))
    throw new KvError('CONFIG_INVALID', `tables of ${tableSizeBytes} B, allowed: 1 to 1073741824`);
}

export class TableWriter {
  readonly fileNumber: number;
  /** Bytes written so far. */
  fileBytes = 0;
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #options: TableOptions;
  readonly #sync: boolean;
  readonly #file: DiskFile;
  readonly #index = new IndexBuilder();
  #builder: BlockBuilder | undefined;
  #pending: PendingBlock | undefined;
  #over = false;
  #hashes = new Uint8Array(64 * 1024);
  #hashesLength = 0;
  #smallestKey = NO_BYTES;
  #recordCount = 0;
  #keyCount = 0;
  #tombstoneCount = 0;
  #dataBytes = 0;
  #smallestRevision = Number.MAX_SAFE_INTEGER;
  #largestRevision = 0;

  private constructor(
    disk: Disk,
    directory: string,
    fileNumber: number,
    options: TableOptions,
    sync: boolean,
    file: DiskFile,
  ) {
    this.#disk = disk;
    this.#directory = directory;
    this.fileNumber = fileNumber;
    this.#options = options;
    this.#sync = sync;
    this.#file = file;
  }

  /**
   * Creates the file under its temporary name, over what an earlier attempt may have left there. `sync` writes on this thread: for one without an event loop
   * to protect.
   * @throws KvError CONFIG_INVALID, DiskError
   */
  static async create(
    disk: Disk,
    directory: string,
    fileNumber: number,
    options: TableOptions,
    sync = false,
  ): Promise<TableWriter> {
    checkTableOptions(options);
    const path = temporaryTablePath(directory, fileNumber);
    if (await disk.exists(path)) await disk.remove(path);
    const file = await disk.open(path, 'create');
    return new TableWriter(disk, directory, fileNumber, options, sync, file);
  }

  /**
   * Closes the builder's open block, writes all finished ones and drains the builder. Answers at once when writing on this thread.
   * @throws DiskError, KvError UNAVAILABLE (no memory), INTERNAL (the table would be larger than one can be); the file is gone then
   */
  writeBlocks(builder: BlockBuilder): MaybePromise<void> {
    let written: MaybePromise<void>;
    try {
      written = this.#writeBlocks(builder);
    } catch (error) {
      return this.#fail(error);
    }
    return written === undefined ? undefined : written.catch((error) => this.#fail(error));
  }

  #writeBlocks(builder: BlockBuilder): MaybePromise<void> {
    this.#builder = builder;
    builder.finishBlock();
    const count = builder.blockCount;
    if (count === 0) return undefined;
    const region =
      this.#options.compression === 'lz4' ? this.#pack(builder, count) : this.#seal(builder, count);
    if (this.fileBytes + region.length > MAX_TABLE_BYTES)
      throw new KvError('INTERNAL', 'the versions of one key are more than a table can hold');
    this.#collectHashes(builder.hashes);
    const offset = this.fileBytes;
    this.fileBytes += region.length;
    if (this.#sync) {
      this.#file.writeSync([region], offset);
      builder.drained();
      return undefined;
    }
    return this.#file.write([region], offset).then(() => builder.drained());
  }

  /** Fills in the trailers of plain blocks, which lie one behind the other with room for them. Gives the view of all. */
  #seal(builder: BlockBuilder, count: number): Uint8Array {
    const first = builder.blockWord(0, BLOCK.start);
    const last =
      builder.blockWord(count - 1, BLOCK.start) + builder.blockWord(count - 1, BLOCK.payloadLength);
    const region = builder.view(first, last + TRAILER_BYTES - first);
    for (let block = 0; block < count; block++) {
      const start = builder.blockWord(block, BLOCK.start) - first;
      const length = builder.blockWord(block, BLOCK.payloadLength);
      const crc = sealBlock(region, start, length, STORED_PLAIN);
      this.#note(builder, block, this.fileBytes + start, length + TRAILER_BYTES, crc);
    }
    return region;
  }

  /** Compresses each block that is worth it into the builder's second region. Gives the view of all. */
  #pack(builder: BlockBuilder, count: number): Uint8Array {
    const first = builder.blockWord(0, BLOCK.start);
    const last =
      builder.blockWord(count - 1, BLOCK.start) + builder.blockWord(count - 1, BLOCK.payloadLength);
    const packed = builder.packedRegion(last + TRAILER_BYTES - first);
    const region = builder.view(packed, last + TRAILER_BYTES - first);
    const view = new DataView(region.buffer, region.byteOffset, region.byteLength);
    let at = 0;
    for (let block = 0; block < count; block++) {
      const start = builder.blockWord(block, BLOCK.start);
      const rawLength = builder.blockWord(block, BLOCK.payloadLength);
      const capacity = Math.floor(rawLength * WORTHWHILE) - RAW_LENGTH_BYTES;
      const target = packed + at + RAW_LENGTH_BYTES;
      const compressed = capacity > 0 ? builder.compress(start, rawLength, target, capacity) : 0;
      let length = rawLength;
      if (compressed > 0) {
        view.setUint32(at, rawLength, true);
        length = RAW_LENGTH_BYTES + compressed;
      } else {
        region.set(builder.view(start, rawLength), at);
      }
      const crc = sealBlock(region, at, length, compressed > 0 ? STORED_LZ4 : STORED_PLAIN);
      this.#note(builder, block, this.fileBytes + at, length + TRAILER_BYTES, crc);
      at += length + TRAILER_BYTES;
    }
    return region.subarray(0, at);
  }

  /** Takes a sealed block into index and counts. */
  #note(builder: BlockBuilder, block: number, offset: number, length: number, blockCrc: number): void {
    const firstKey = builder.firstKey(block);
    const pending = this.#pending;
    if (pending === undefined) this.#smallestKey = new Uint8Array(firstKey);
    else this.#indexPending(pending, shortSeparator(pending.lastKey, firstKey));
    const largestRevision = builder.blockNumber(block, BLOCK.largestRevision);
    const smallestRevision = builder.blockNumber(block, BLOCK.smallestRevision);
    this.#pending = {
      lastKey: new Uint8Array(builder.lastKey(block)),
      offset,
      length,
      largestRevision,
      blockCrc,
      rawLength: builder.blockWord(block, BLOCK.payloadLength),
    };
    this.#recordCount += builder.blockWord(block, BLOCK.entries);
    this.#keyCount += builder.blockWord(block, BLOCK.distinctKeys);
    this.#tombstoneCount += builder.blockWord(block, BLOCK.tombstones);
    this.#dataBytes += builder.blockNumber(block, BLOCK.dataBytes);
    if (largestRevision > this.#largestRevision) this.#largestRevision = largestRevision;
    if (smallestRevision < this.#smallestRevision) this.#smallestRevision = smallestRevision;
  }

  #indexPending(pending: PendingBlock, separator: Uint8Array): void {
    const { offset, length, largestRevision, blockCrc, rawLength } = pending;
    this.#index.add(separator, offset, length, largestRevision, blockCrc, rawLength);
  }

  #collectHashes(hashes: Uint8Array): void {
    const end = this.#hashesLength + hashes.length;
    if (end > this.#hashes.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.#hashes.length));
      larger.set(this.#hashes.subarray(0, this.#hashesLength));
      this.#hashes = larger;
    }
    this.#hashes.set(hashes, this.#hashesLength);
    this.#hashesLength = end;
  }

  /**
   * Writes filter, index, properties and footer, syncs the file and gives it its final name. The caller syncs the directory.
   * REQUIRES: at least one block was written. @throws like writeBlocks
   */
  async finish(): Promise<TableInfo> {
    try {
      const pending = this.#pending;
      const builder = this.#builder;
      if (pending === undefined || builder === undefined)
        throw new KvError('INTERNAL', 'a table without records was finished');
      this.#indexPending(pending, pending.lastKey);
      const properties = this.#properties(pending.lastKey);
      const parts = this.#sections(builder, encodeProperties(properties));
      const offset = this.fileBytes;
      for (const part of parts) this.fileBytes += part.length;
      if (this.#sync) {
        this.#file.writeSync(parts, offset);
        this.#file.syncSync();
      } else {
        await this.#file.write(parts, offset);
        await this.#file.sync();
      }
      await this.#file.close();
      await this.#disk.rename(this.#path(), tablePath(this.#directory, this.fileNumber));
      this.#over = true;
      return { fileNumber: this.fileNumber, fileBytes: this.fileBytes, ...properties };
    } catch (error) {
      return this.#fail(error);
    }
  }

  #properties(largestKey: Uint8Array): Omit<TableInfo, 'fileNumber' | 'fileBytes'> {
    return {
      recordCount: this.#recordCount,
      keyCount: this.#keyCount,
      tombstoneCount: this.#tombstoneCount,
      blockCount: this.#index.count,
      smallestRevision: this.#smallestRevision,
      largestRevision: this.#largestRevision,
      dataBytes: this.#dataBytes,
      smallestKey: this.#smallestKey,
      largestKey,
    };
  }

  /** All that follows the blocks, in order. */
  #sections(builder: BlockBuilder, properties: Uint8Array): Uint8Array[] {
    const hashes = this.#hashes.subarray(0, this.#hashesLength);
    const filter = encodeFilter(
      builder.buildFilter(hashes, filterBlocks(this.#keyCount, this.#options.bitsPerKey)),
    );
    const index = this.#index.encode();
    const filterLength = filter[0].length + filter[1].length + filter[2].length;
    const indexOffset = this.fileBytes + filterLength;
    const propertiesOffset = indexOffset + index.length;
    const fileBytes = propertiesOffset + properties.length + FOOTER_BYTES;
    if (fileBytes > MAX_TABLE_BYTES)
      throw new KvError('INTERNAL', 'the versions of one key are more than a table can hold');
    const footer = encodeFooter({
      filterOffset: this.fileBytes,
      filterLength,
      indexOffset,
      indexLength: index.length,
      propertiesOffset,
      propertiesLength: properties.length,
      fileBytes,
      fileNumber: this.fileNumber,
      sectionsCrc: sectionsCrc(sectionCrc(filter[2]), sectionCrc(index), sectionCrc(properties)),
    });
    return [...filter, index, properties, footer];
  }

  /** Closes and removes the file, if it was not finished. A disk that refuses that leaves a temporary file, which the next start removes. */
  async abandon(): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    await Promise.allSettled([this.#file.close()]);
    await Promise.allSettled([this.#disk.remove(this.#path())]);
  }

  async #fail(error: unknown): Promise<never> {
    await this.abandon();
    throw error;
  }

  #path(): string {
    return temporaryTablePath(this.#directory, this.fileNumber);
  }
}

/** Writes compression byte and crc behind the `length` bytes at `start`. Gives the crc. */
function sealBlock(region: Uint8Array, start: number, length: number, compression: number): number {
  const end = start + length;
  region[end] = compression;
  const crc = crc32(region.subarray(start, end + 1));
  region[end + 1] = crc;
  region[end + 2] = crc >>> 8;
  region[end + 3] = crc >>> 16;
  region[end + 4] = crc >>> 24;
  return crc;
}
