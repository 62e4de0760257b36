/** Tables are written as they are read: blocks, sections, bounds, filters; and a failing disk leaves nothing behind. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { type Disk, DiskError } from '../../../src/storage/disk.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { NodeDisk } from '../../../src/storage/node_disk.ts';
import { compareKeys, type StoredRecord } from '../../../src/storage/record.ts';
import { BlockBuilder } from '../../../src/storage/tables/block_builder.ts';
import { ADDED, CUT, FULL } from '../../../src/storage/tables/block_layout.ts';
import { type TableInfo, type TableOptions, tablePath } from '../../../src/storage/tables/format.ts';
import { TableWriter } from '../../../src/storage/tables/table_writer.ts';
import { createWasmMemory, instantiateWasm, type WasmBuild } from '../../../src/storage/wasm_module.ts';
import { test } from '../../suite.ts';
import { seededRandom, showAll } from '../record_model.ts';
import { BlockDecoder, hardRecords, readTable } from './table_kit.ts';

const MIB = 1024 * 1024;
const OPTIONS: TableOptions = {
  blockSizeBytes: 4096,
  bitsPerKey: 10,
  compression: 'none',
  tableSizeBytes: 64 * MIB,
};
const decoder = new BlockDecoder();

function makeBuilder(blockSizeBytes: number, build: WasmBuild, outBytes?: number): BlockBuilder {
  const memory = createWasmMemory(MIB, 64 * MIB);
  const options = outBytes === undefined ? { blockSizeBytes } : { blockSizeBytes, outBytes };
  return new BlockBuilder(memory, instantiateWasm(memory, build), 100_001, options);
}

async function writeAll(writer: TableWriter, builder: BlockBuilder, records: StoredRecord[]): Promise<void> {
  for (const record of records) {
    if (builder.addRecord(record) === ADDED) continue;
    await writer.writeBlocks(builder);
    assert.is(builder.addRecord(record), ADDED);
  }
  await writer.writeBlocks(builder);
}

async function writeTable(
  disk: Disk,
  directory: string,
  records: StoredRecord[],
  options: TableOptions,
  builder = makeBuilder(options.blockSizeBytes, 'debug'),
  sync = false,
): Promise<TableInfo> {
  const writer = await TableWriter.create(disk, directory, 7, options, sync);
  await writeAll(writer, builder, records);
  return writer.finish();
}

async function inBothDisks(run: (disk: Disk, directory: string) => Promise<void>): Promise<void> {
  await run(new MemoryDisk(), '');
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-writer-'));
  try {
    await run(new NodeDisk(), directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** What the table should say of itself. */
function expectedProperties(records: StoredRecord[]): Partial<TableInfo> {
  const revisions = records.map((record) => record.modRevision);
  return {
    recordCount: records.length,
    keyCount: new Set(records.map((record) => Buffer.from(record.key).toString('hex'))).size,
    tombstoneCount: records.filter((record) => record.flags === 1).length,
    smallestRevision: Math.min(...revisions),
    largestRevision: Math.max(...revisions),
    dataBytes: records.reduce((sum, { key, value }) => sum + key.length + value.length, 0),
    smallestKey: new Uint8Array(records[0]!.key),
    largestKey: new Uint8Array(records.at(-1)!.key),
  };
}

const shapes = [
  { keys: 1, versions: 1, valueBytes: 10 },
  { keys: 300, versions: 3, valueBytes: 100 },
  { keys: 3, versions: 400, valueBytes: 300 },
  { keys: 60, versions: 4, valueBytes: 30_000 },
];

test('what was written is read again, whatever the records, block sizes, compression and way of writing', async () => {
  let seed = 1;
  await inBothDisks(async (disk, directory) => {
    for (const shape of shapes)
      for (const blockSizeBytes of [64, 1000, 4096])
        for (const compression of ['none', 'lz4'] as const) {
          const random = seededRandom(seed++);
          const records = hardRecords(random, shape);
          const options = { ...OPTIONS, blockSizeBytes, compression };
          const builder = makeBuilder(
            blockSizeBytes,
            random() < 0.5 ? 'debug' : 'release',
            random() < 0.5 ? 1 : undefined,
          );
          const info = await writeTable(disk, directory, records, options, builder, random() < 0.5);
          const path = tablePath(directory, 7);
          const table = await readTable(disk, path, decoder);
          assert.equal(showAll(table.records), showAll(records));
          const { fileNumber, fileBytes, ...properties } = info;
          assert.equal(properties, { ...expectedProperties(records), blockCount: table.blocks.length });
          assert.equal(table.properties, properties);
          assert.is(fileNumber, 7);
          assert.is(table.footer.fileNumber, 7);
          assert.is((await disk.readFile(path)).length, fileBytes);
          checkBlocks(table, blockSizeBytes);
          await disk.remove(path);
        }
  });
});

function checkBlocks(table: Awaited<ReturnType<typeof readTable>>, blockSizeBytes: number): void {
  table.blocks.forEach((block, i) => {
    const { index } = table;
    const separator = index.separator(i);
    const next = table.blocks[i + 1]?.[0];
    assert.ok(compareKeys(block.at(-1)!.key, separator) <= 0);
    if (next !== undefined) {
      const goesOn = compareKeys(block.at(-1)!.key, next.key) === 0;
      assert.is(compareKeys(separator, next.key) < 0, !goesOn);
    }
    assert.is(index.largestRevision(i), Math.max(...block.map((record) => record.modRevision)));
    if (block.length === 1) return;
    assert.ok(index.rawLength(i) <= blockSizeBytes, `block ${i} has ${index.rawLength(i)} B`);
    assert.ok(block.length <= 1024);
    assert.ok(block.reduce((sum, record) => sum + record.key.length, 0) <= 16384);
  });
}

test('the longest key and the largest value lie in blocks of their own, compressed or not', async () => {
  const disk = new MemoryDisk();
  const record = (key: Uint8Array, value: Uint8Array): StoredRecord => ({
    key,
    value,
    modRevision: 5,
    createRevision: 5,
    version: 1,
    subRevision: 0,
    flags: 0,
    lease: 0n,
    expiresAtMs: 0,
  });
  const random = new Uint8Array(8 * MIB);
  for (let i = 0; i < random.length; i++) random[i] = Math.imul(i, 2654435761) >>> 13;
  const records = [
    record(Uint8Array.of(1), new Uint8Array(8 * MIB).fill(7)),
    record(Uint8Array.of(2), new Uint8Array(0)),
    record(new Uint8Array(65537).fill(3), random),
    record(new Uint8Array(65537).fill(4), Uint8Array.of(1)),
  ];
  for (const compression of ['none', 'lz4'] as const) {
    const info = await writeTable(disk, '', records, { ...OPTIONS, compression });
    const table = await readTable(disk, tablePath('', 7), decoder);
    assert.is(table.records.length, 4);
    table.records.forEach((read, i) => {
      assert.is(Buffer.compare(read.key, records[i]!.key), 0);
      assert.is(Buffer.compare(read.value, records[i]!.value), 0);
    });
    assert.is(info.fileBytes < 9 * MIB, compression === 'lz4');
    await disk.remove(tablePath('', 7));
  }
});

test('a builder cuts between different keys only', () => {
  const builder = makeBuilder(4096, 'debug');
  const record = (key: number, modRevision: number): StoredRecord => ({
    key: Uint8Array.of(key),
    value: new Uint8Array(100),
    modRevision,
    createRevision: 1,
    version: 1,
    subRevision: 0,
    flags: 0,
    lease: 0n,
    expiresAtMs: 0,
  });
  builder.wantCut();
  assert.is(builder.addRecord(record(1, 9)), ADDED);
  assert.is(builder.addRecord(record(1, 8)), ADDED);
  assert.ok(builder.pendingBytes > 200);
  assert.is(builder.addRecord(record(2, 8)), CUT);
  assert.is(builder.addRecord(record(2, 8)), CUT);
  assert.is(builder.blockCount, 1);
  assert.equal([...builder.firstKey(0), ...builder.lastKey(0)], [1, 1]);
  builder.drained();
  builder.beginTable();
  assert.is(builder.pendingBytes, 0);
  assert.is(builder.addRecord(record(2, 8)), ADDED);
});

test('a builder is full when its region is, and goes on after it was drained', () => {
  const builder = makeBuilder(256, 'debug', 1024);
  let full = 0;
  for (let i = 0; i < 100; i++) {
    const record = {
      key: Uint8Array.of(1, i),
      value: new Uint8Array(90),
      modRevision: 1,
      createRevision: 1,
      version: 1,
      subRevision: 0,
      flags: 0,
      lease: 0n,
      expiresAtMs: 0,
    };
    if (builder.addRecord(record) === ADDED) continue;
    full++;
    assert.is(builder.addRecord(record), FULL);
    assert.ok(builder.pendingBytes > 512 && builder.pendingBytes <= 1024);
    builder.drained();
    assert.is(builder.addRecord(record), ADDED);
  }
  assert.ok(full > 8);
});

test('records out of order are found by the debug build', () => {
  const builder = makeBuilder(4096, 'debug');
  const record = {
    key: Uint8Array.of(2),
    value: new Uint8Array(0),
    modRevision: 5,
    createRevision: 1,
    version: 1,
    subRevision: 0,
    flags: 0,
    lease: 0n,
    expiresAtMs: 0,
  };
  assert.is(builder.addRecord(record), ADDED);
  assert.throws(
    () => builder.addRecord({ ...record, key: Uint8Array.of(1, 9) }),
    (error: unknown) => error instanceof KvError && error.code === 'INTERNAL',
  );
  assert.throws(
    () => builder.addRecord(record),
    (error: unknown) => error instanceof KvError && error.code === 'INTERNAL',
  );
});

test('wherever the disk fails, the error is told and no file stays', async () => {
  const records = hardRecords(seededRandom(3), { keys: 200, versions: 5, valueBytes: 2000 });
  const whole = new MemoryDisk();
  await writeTable(whole, '', records, OPTIONS);
  const operations = whole.operations;
  assert.ok(operations > 5);
  for (const sync of [false, true])
    for (let at = 1; at <= operations; at++) {
      const disk = new MemoryDisk();
      disk.failAt(at);
      const error = await writeTable(disk, '', records, OPTIONS, undefined, sync).catch((e: unknown) => e);
      assert.ok(error instanceof DiskError && error.code === 'IO', `operation ${at}`);
      assert.equal(await disk.list(''), [], `operation ${at}`);
    }
});

test('a full disk is told as NO_SPACE and no file stays', async () => {
  const records = hardRecords(seededRandom(3), { keys: 200, versions: 5, valueBytes: 2000 });
  for (const capacityBytes of [0, 1000, 300_000]) {
    const disk = new MemoryDisk({ capacityBytes });
    const error = await writeTable(disk, '', records, OPTIONS).catch((e: unknown) => e);
    assert.ok(error instanceof DiskError && error.code === 'NO_SPACE');
    assert.equal(await disk.list(''), []);
  }
});

test('an abandoned table leaves no file; what an earlier attempt left is written over', async () => {
  const disk = new MemoryDisk();
  const left = await disk.open('t-0000000007.kvt.tmp', 'create');
  left.writeSync([new Uint8Array(1000)], 0);
  const writer = await TableWriter.create(disk, '', 7, OPTIONS);
  await writeAll(
    writer,
    makeBuilder(4096, 'debug'),
    hardRecords(seededRandom(1), { keys: 9, versions: 1, valueBytes: 9 }),
  );
  await writer.abandon();
  await writer.abandon();
  assert.equal(await disk.list(''), []);
  await TableWriter.create(disk, '', 7, OPTIONS);
  assert.equal(await disk.list(''), ['t-0000000007.kvt.tmp']);
});

test('impossible options and a table without records are refused', async () => {
  const disk = new MemoryDisk();
  for (const wrong of [
    { blockSizeBytes: 10 },
    { blockSizeBytes: 2 * MIB },
    { bitsPerKey: 0 },
    { tableSizeBytes: 0 },
  ]) {
    const error = await TableWriter.create(disk, '', 1, { ...OPTIONS, ...wrong }).catch((e: unknown) => e);
    assert.ok(error instanceof KvError && error.code === 'CONFIG_INVALID');
  }
  const writer = await TableWriter.create(disk, '', 1, OPTIONS);
  const error = await writer.finish().catch((e: unknown) => e);
  assert.ok(error instanceof KvError && error.code === 'INTERNAL');
  assert.equal(await disk.list(''), []);
});

test.run();
