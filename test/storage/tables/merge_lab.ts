/** Tables on a disk in memory for merges and scans: random histories, cut into runs as flushes and compactions would. */
import { MemoryDisk, type MemoryDiskOptions } from '../../../src/storage/memory_disk.ts';
import {
  compareKeys,
  compareRecords,
  FLAG_TOMBSTONE,
  type StoredRecord,
} from '../../../src/storage/record.ts';
import { BlockBuilder } from '../../../src/storage/tables/block_builder.ts';
import { FULL } from '../../../src/storage/tables/block_layout.ts';
import { type TableInfo, type TableOptions, tablePath } from '../../../src/storage/tables/format.ts';
import { InputTable } from '../../../src/storage/tables/input_table.ts';
import type { ReadableTable, TableSource } from '../../../src/storage/tables/merge_input.ts';
import { MergeMemory } from '../../../src/storage/tables/merge_memory.ts';
import type { PinnedRuns } from '../../../src/storage/tables/open_scan.ts';
import type { ScanTables } from '../../../src/storage/tables/scan.ts';
import { TableWriter } from '../../../src/storage/tables/table_writer.ts';
import { RecordModel, tombstone } from '../record_model.ts';

export const DIRECTORY = 'tables';

export function tableOptions(some: Partial<TableOptions> = {}): TableOptions {
  return { blockSizeBytes: 512, bitsPerKey: 10, compression: 'none', tableSizeBytes: 16 * 1024, ...some };
}

/** Reads counted, by bytes. */
export interface ReadCount {
  reads: number;
  bytes: number;
}

export class MergeLab implements ScanTables {
  readonly disk: MemoryDisk;
  readonly options: TableOptions;
  warm = true;
  pins = 0;
  readonly read: ReadCount = { reads: 0, bytes: 0 };
  /** Newest first. */
  runs: TableInfo[][] = [];
  #sources: TableSource[][] = [];
  #nextFileNumber = 1;
  #memory: MergeMemory | undefined;

  constructor(options: Partial<TableOptions> = {}, disk: MemoryDiskOptions = {}) {
    this.options = tableOptions(options);
    this.disk = new MemoryDisk(disk);
  }

  nextFileNumber = (): number => this.#nextFileNumber++;

  /** Writes records in record order as one run: a table is cut after `tableRecords` records, between keys. */
  async writeRun(
    records: readonly StoredRecord[],
    tableRecords = Number.POSITIVE_INFINITY,
  ): Promise<TableInfo[]> {
    if (!(await this.disk.exists(DIRECTORY))) await this.disk.makeDirectory(DIRECTORY);
    const infos: TableInfo[] = [];
    let from = 0;
    for (let at = 1; at <= records.length; at++) {
      const isEnd = at === records.length;
      if (!isEnd && (at - from < tableRecords || compareKeys(records[at - 1]!.key, records[at]!.key) === 0))
        continue;
      infos.push(await this.#writeTable(records.slice(from, at)));
      from = at;
    }
    return infos;
  }

  async #writeTable(records: readonly StoredRecord[]): Promise<TableInfo> {
    this.#memory ??= new MergeMemory('debug');
    this.#memory.reset();
    const { memory, exports } = this.#memory;
    const { blockSizeBytes } = this.options;
    const builderAt = this.#memory.allocate(BlockBuilder.sizeBytes({ blockSizeBytes }));
    const builder = new BlockBuilder(memory, exports, builderAt, { blockSizeBytes });
    const writer = await TableWriter.create(this.disk, DIRECTORY, this.nextFileNumber(), this.options);
    for (const record of records) {
      if (builder.addRecord(record) !== FULL) continue;
      await writer.writeBlocks(builder);
      builder.addRecord(record);
    }
    await writer.writeBlocks(builder);
    return writer.finish();
  }

  /** Opens runs for scans. Newest first. */
  async open(runs: readonly TableInfo[][]): Promise<void> {
    this.runs = [...runs];
    this.#sources = await Promise.all(runs.map((run) => Promise.all(run.map((info) => this.source(info)))));
  }

  async source(info: TableInfo): Promise<TableSource> {
    const opened = await new InputTable(this.disk, DIRECTORY, info, true).open();
    const { file, index } = opened;
    const counted = (bytes: number): number => {
      this.read.reads++;
      this.read.bytes += bytes;
      return bytes;
    };
    const table: ReadableTable = {
      index,
      file: {
        path: file.path,
        readSync: (target, offset) => counted(file.readSync(target, offset)),
        read: async (target, offset) => counted(await file.read(target, offset)),
        sizeBytes: () => file.sizeBytes(),
        close: () => file.close(),
      },
    };
    return { info, open: () => table };
  }

  pinRuns(): PinnedRuns {
    this.pins++;
    let held = true;
    return {
      runs: this.#sources,
      release: () => {
        if (!held) throw new Error('released twice');
        held = false;
        this.pins--;
      },
    };
  }

  /** Bytes of all tables of the open runs. */
  get fileBytes(): number {
    return this.runs.flat().reduce((sum, info) => sum + info.fileBytes, 0);
  }

  /** Changes one byte of a table. */
  async flip(info: TableInfo, offset: number): Promise<void> {
    const file = await this.disk.open(tablePath(DIRECTORY, info.fileNumber), 'open');
    const byte = new Uint8Array(1);
    file.readSync(byte, offset);
    byte[0]! ^= 0x40;
    file.writeSync([byte], offset);
    await file.close();
  }
}

/** A history: what was written, and the same in runs, newest first, each in record order. */
export interface History {
  readonly model: RecordModel;
  readonly runs: StoredRecord[][];
}

export interface HistoryShape {
  readonly runs: number;
  readonly writesPerRun: number;
  readonly maxValueBytes?: number;
  /** Records of a run that also lie in the run before it (which is older), as after a flush that was done twice. */
  readonly repeats?: number;
}

export function randomHistory(random: () => number, shape: HistoryShape): History {
  const model = new RecordModel();
  const runs: StoredRecord[][] = [];
  for (let i = 0; i < shape.runs; i++) {
    const records: StoredRecord[] = [];
    const count = Math.floor(random() * shape.writesPerRun) + 1;
    for (let n = 0; n < count; n++) {
      const record = model.randomWrite(random, shape.maxValueBytes ?? 200);
      model.add(record);
      records.push(record);
    }
    if (shape.repeats !== undefined && runs[0] !== undefined) {
      const repeated = records.filter(() => random() < shape.repeats!);
      runs[0] = [...runs[0], ...repeated].sort(compareRecords);
    }
    runs.unshift(records.sort(compareRecords));
  }
  return { model, runs };
}

/** What compaction leaves of records in record order, said plainly. */
export function compacted(
  records: readonly StoredRecord[],
  compactRevision: number,
  mayDropTombstone: (key: Uint8Array) => boolean,
): StoredRecord[] {
  return records.filter((record) => {
    if (record.modRevision > compactRevision) return true;
    const isSuperseded = records.some(
      (other) =>
        other.modRevision > record.modRevision &&
        other.modRevision <= compactRevision &&
        compareKeys(other.key, record.key) === 0,
    );
    if (isSuperseded) return false;
    return (record.flags & FLAG_TOMBSTONE) === 0 || !mayDropTombstone(record.key);
  });
}

export { tombstone };
