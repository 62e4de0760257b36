/** Table files in levels from random records, the plain model of what they hold, and a set that has them open. */
import { type Disk, DiskError, type DiskFile } from '../../../src/storage/disk.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { compareKeys, compareRecords, type StoredRecord } from '../../../src/storage/record.ts';
import { BlockBuilder } from '../../../src/storage/tables/block_builder.ts';
import { ADDED } from '../../../src/storage/tables/block_layout.ts';
import type { TableInfo, TableOptions } from '../../../src/storage/tables/format.ts';
import { TableSet } from '../../../src/storage/tables/table_set.ts';
import { TableWriter } from '../../../src/storage/tables/table_writer.ts';
import { createWasmMemory, instantiateWasm, type WasmBuild } from '../../../src/storage/wasm_module.ts';
import { SteppedPorts } from '../stepped_ports.ts';

const MIB = 1024 * 1024;
export const OPTIONS: TableOptions = {
  blockSizeBytes: 4096,
  bitsPerKey: 10,
  compression: 'none',
  tableSizeBytes: 64 * MIB,
};

export async function writeTable(
  disk: Disk,
  directory: string,
  fileNumber: number,
  records: readonly StoredRecord[],
  options: Partial<TableOptions> = {},
): Promise<TableInfo> {
  const all = { ...OPTIONS, ...options };
  const memory = createWasmMemory(MIB, 128 * MIB);
  const builder = new BlockBuilder(memory, instantiateWasm(memory, 'debug'), 65536, all);
  const writer = await TableWriter.create(disk, directory, fileNumber, all);
  for (const record of records) {
    if (builder.addRecord(record) === ADDED) continue;
    await writer.writeBlocks(builder);
    if (builder.addRecord(record) !== ADDED) throw new Error('a record does not fit');
  }
  await writer.writeBlocks(builder);
  return writer.finish();
}

export function recordOf(key: string | Uint8Array, modRevision: number, value: Uint8Array): StoredRecord {
  return {
    key: typeof key === 'string' ? Buffer.from(key) : key,
    value,
    modRevision,
    createRevision: 1,
    version: modRevision,
    subRevision: modRevision % 3,
    flags: 0,
    lease: modRevision % 5 === 0 ? 77n : 0n,
    expiresAtMs: modRevision % 7 === 0 ? 1_750_000_000_000 : 0,
  };
}

export interface LevelsShape {
  readonly keys: number;
  readonly revisions: number;
  /** Runs of level 0. */
  readonly newest: number;
  /** Tables per deeper level. */
  readonly deeper: readonly number[];
  readonly valueBytes: number;
  /** This part of all writes goes to one key. */
  readonly hot?: number;
  readonly options?: Partial<TableOptions>;
}

export interface BuiltLevels {
  readonly records: StoredRecord[];
  readonly tables: TableInfo[];
  readonly levels: number[][];
  readonly keys: Uint8Array[];
}

export function keyName(number: number): string {
  return `\u0001tenant/${number % 3}/key-${String(number).padStart(6, '0')}`;
}

/** Writes revisions 1, 2, ... to random keys; the newest ones end in level 0, the oldest ones at the bottom. */
export async function buildLevels(
  disk: Disk,
  directory: string,
  random: () => number,
  shape: LevelsShape,
): Promise<BuiltLevels> {
  const records: StoredRecord[] = [];
  for (let revision = 1; revision <= shape.revisions; revision++) {
    const isHot = random() < (shape.hot ?? 0);
    const number = isHot ? 1 : Math.floor(random() * shape.keys);
    const value = new Uint8Array(Math.floor(random() * shape.valueBytes)).fill(97 + (revision % 20));
    const record = recordOf(keyName(number), revision, value);
    records.push(random() < 0.1 ? { ...record, value: new Uint8Array(0), flags: 1 } : record);
  }
  const runs = shape.newest + shape.deeper.length;
  const perRun = Math.ceil(records.length / runs);
  const tables: TableInfo[] = [];
  const levels: number[][] = [[], ...shape.deeper.map(() => [])];
  let fileNumber = 1;
  for (let run = 0; run < runs; run++) {
    const part = records.slice(run * perRun, (run + 1) * perRun).sort(compareRecords);
    const level = run < shape.deeper.length ? shape.deeper.length - run : 0;
    const pieces = level === 0 ? [part] : cut(part, shape.deeper[level - 1]!);
    for (const piece of pieces) {
      tables.push(await writeTable(disk, directory, fileNumber, piece, shape.options));
      if (level === 0) levels[0]!.unshift(fileNumber);
      else levels[level]!.push(fileNumber);
      fileNumber++;
    }
  }
  const keys = [...new Set(records.map((one) => Buffer.from(one.key).toString('hex')))];
  return { records, tables, levels, keys: keys.map((key) => Buffer.from(key, 'hex')) };
}

/** Cuts records in record order into about so many parts, all versions of a key in one. */
function cut(records: StoredRecord[], parts: number): StoredRecord[][] {
  const pieces: StoredRecord[][] = [];
  const size = Math.ceil(records.length / parts);
  for (let at = 0; at < records.length; ) {
    let end = Math.min(records.length, at + size);
    while (end < records.length && compareKeys(records[end]!.key, records[end - 1]!.key) === 0) end++;
    pieces.push(records.slice(at, end));
    at = end;
  }
  return pieces;
}

/** The model: newest record of each key at or below a revision. */
export class Model {
  readonly #byKey = new Map<string, StoredRecord[]>();

  constructor(records: readonly StoredRecord[]) {
    for (const record of [...records].sort(compareRecords)) {
      const name = Buffer.from(record.key).toString('hex');
      const list = this.#byKey.get(name);
      if (list === undefined) this.#byKey.set(name, [record]);
      else list.push(record);
    }
  }

  get(key: Uint8Array, revision: number): StoredRecord | undefined {
    return this.#byKey.get(Buffer.from(key).toString('hex'))?.find((one) => one.modRevision <= revision);
  }
}

export interface LabOptions {
  readonly cacheBytes?: number;
  readonly build?: WasmBuild;
  readonly ports?: SteppedPorts;
}

export function makeSet(disk: Disk, options: LabOptions = {}): TableSet {
  return TableSet.create({
    disk,
    directory: 'tables',
    ports: options.ports ?? new SteppedPorts(),
    cacheBytes: options.cacheBytes ?? 4 * MIB,
    build: options.build ?? 'debug',
  });
}

export async function openAll(set: TableSet, built: BuiltLevels): Promise<void> {
  for (const info of built.tables) await set.openTable(info);
  set.publish(built.levels);
}

export async function makeDisk(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory('tables');
  return disk;
}

/** Around a disk: reads take time on stepped clocks, asynchronous ones wait until they are let go, and each can be made to fail. */
export class SlowDisk implements Pick<Disk, 'open'> {
  readMs = 0;
  held = false;
  /** Fails the next reads. */
  failures = 0;
  reads = 0;
  openFiles = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #disk: Disk;
  readonly #ports: SteppedPorts;

  constructor(disk: Disk, ports: SteppedPorts) {
    this.#disk = disk;
    this.#ports = ports;
  }

  /** The whole port. */
  port(): Disk {
    const disk = this.#disk;
    return {
      open: (path, mode) => this.open(path, mode),
      readFile: (path) => disk.readFile(path),
      list: (path) => disk.list(path),
      exists: (path) => disk.exists(path),
      makeDirectory: (path) => disk.makeDirectory(path),
      link: (from, to) => disk.link(from, to),
      rename: (from, to) => disk.rename(from, to),
      remove: (path) => disk.remove(path),
      removeTree: (path) => disk.removeTree(path),
      syncDirectory: (path) => disk.syncDirectory(path),
      spaceLeftBytes: (path) => disk.spaceLeftBytes(path),
      lock: (path) => disk.lock(path),
    };
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  letGo(): void {
    this.held = false;
    for (const go of this.#waiting.splice(0)) go();
  }

  async open(path: string, mode: 'read' | 'create' | 'open'): Promise<DiskFile> {
    const file = await this.#disk.open(path, mode);
    this.openFiles++;
    const fail = (): void => {
      this.reads++;
      if (this.failures === 0) return;
      this.failures--;
      throw new DiskError('IO', path, `${path}: read failed (injected)`);
    };
    let isOpen = true;
    return {
      path,
      readSync: (target, offset) => {
        fail();
        this.#ports.nowMs += this.readMs;
        return file.readSync(target, offset);
      },
      read: async (target, offset) => {
        if (this.held) await new Promise<void>((resolve) => this.#waiting.push(resolve));
        fail();
        return file.read(target, offset);
      },
      writeSync: (parts, offset) => file.writeSync(parts, offset),
      write: (parts, offset) => file.write(parts, offset),
      sync: () => file.sync(),
      syncSync: () => file.syncSync(),
      truncate: (sizeBytes) => file.truncate(sizeBytes),
      sizeBytes: () => file.sizeBytes(),
      close: async () => {
        if (isOpen) this.openFiles--;
        isOpen = false;
        await file.close();
      },
    };
  }
}
