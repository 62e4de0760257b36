/**
 * A table that a compaction reads: opened when the merge comes to it, closed when it is past it.
 *
 * Invariant: the file is what its TableInfo says, or it is damaged; its index is decoded and checked before any block is read.
 */
import type { Disk } from '../disk.ts';
import { type Decoded, decodeFooter, FOOTER_BYTES, type TableInfo, tablePath } from './format.ts';
import { decodeIndex } from './index_section.ts';
import type { ReadableTable, TableSource } from './merge_input.ts';
import { corruptTable } from './table_damage.ts';
import { type ReadableFile, TableFile } from './table_file.ts';

export class InputTable implements TableSource {
  readonly info: TableInfo;
  readonly #disk: Disk;
  readonly #path: string;
  readonly #sync: boolean;
  #file: ReadableFile | undefined;

  constructor(disk: Disk, directory: string, info: TableInfo, sync: boolean) {
    this.info = info;
    this.#disk = disk;
    this.#path = tablePath(directory, info.fileNumber);
    this.#sync = sync;
  }

  /** @throws KvError CORRUPT; DiskError when the file cannot be opened */
  async open(): Promise<ReadableTable> {
    const file = new TableFile(await this.#disk.open(this.#path, 'read'));
    this.#file = file;
    const { fileBytes, fileNumber } = this.info;
    const sizeBytes = file.sizeBytes();
    const footerAt = sizeBytes - FOOTER_BYTES;
    if (sizeBytes !== fileBytes || footerAt < 0)
      throw corruptTable(this.#path, sizeBytes, `the file has ${sizeBytes} B instead of ${fileBytes} B`);
    const footer = this.#must(
      decodeFooter(await this.#read(file, footerAt, FOOTER_BYTES), sizeBytes),
      footerAt,
    );
    if (footer.fileNumber !== fileNumber)
      throw corruptTable(this.#path, footerAt, `the file is table ${footer.fileNumber}`);
    const section = await this.#read(file, footer.indexOffset, footer.indexLength);
    const index = this.#must(decodeIndex(section, footer.filterOffset), footer.indexOffset);
    return { file, index };
  }

  close(): void {
    const file = this.#file;
    this.#file = undefined;
    // Nothing was written through it, and the descriptor is gone in either case.
    file?.close().then(undefined, () => undefined);
  }

  async #read(file: ReadableFile, offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    const count = this.#sync ? file.readSync(bytes, offset) : await file.read(bytes, offset);
    if (count < length) throw corruptTable(this.#path, offset + count, 'the file ends too early');
    return bytes;
  }

  #must<T>(decoded: Decoded<T>, offset: number): T {
    if (decoded.ok) return decoded.value;
    throw corruptTable(this.#path, offset, decoded.problem);
  }
}
