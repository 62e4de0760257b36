/** Flushes write what the memtable holds and leave it as it is; so do tables made from records. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { type Disk, DiskError } from '../../../src/storage/disk.ts';
import { CompactedRun } from '../../../src/storage/engine_flush.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { Memtable } from '../../../src/storage/memtable.ts';
import { NodeDisk } from '../../../src/storage/node_disk.ts';
import { compareKeys, copyRecord, type StoredRecord } from '../../../src/storage/record.ts';
import { type FlushOptions, runFlush } from '../../../src/storage/tables/flush_job.ts';
import { type TableInfo, type TableOptions, tablePath } from '../../../src/storage/tables/format.ts';
import { buildTables } from '../../../src/storage/tables/record_table_builder.ts';
import { test } from '../../suite.ts';
import { seededRandom, showAll } from '../record_model.ts';
import { BlockDecoder, hardRecords, type RecordShape, readTable } from './table_kit.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const OPTIONS: TableOptions = {
  blockSizeBytes: 4096,
  bitsPerKey: 10,
  compression: 'none',
  tableSizeBytes: 64 * MIB,
};
const decoder = new BlockDecoder();

function put(memtable: Memtable, record: StoredRecord): void {
  const { key, value, modRevision, createRevision, version, subRevision, flags, lease, expiresAtMs } = record;
  memtable.put(key, value, modRevision, createRevision, version, subRevision, flags, lease, expiresAtMs);
}

/** A memtable with hard records, put in order of revision. */
function fill(memtable: Memtable, seed: number, shape: RecordShape): StoredRecord[] {
  const records = hardRecords(seededRandom(seed), shape);
  for (const record of [...records].sort((a, b) => a.modRevision - b.modRevision)) put(memtable, record);
  return records;
}

function numbers(): () => number {
  let next = 1;
  return () => next++;
}

function flush(disk: Disk, directory: string, memtable: Memtable, more: Partial<FlushOptions> = {}) {
  return runFlush({
    disk,
    directory,
    memory: memtable.sharedMemory,
    compactRevision: 0,
    options: OPTIONS,
    nextFileNumber: numbers(),
    build: 'debug',
    ...more,
  });
}

async function recordsOf(
  disk: Disk,
  directory: string,
  tables: readonly TableInfo[],
): Promise<StoredRecord[]> {
  const all: StoredRecord[] = [];
  for (const { fileNumber } of tables)
    all.push(...(await readTable(disk, tablePath(directory, fileNumber), decoder)).records);
  return all;
}

function expected(memtable: Memtable, compactRevision: number): string[] {
  return showAll([...new CompactedRun(memtable, compactRevision).records()].map(copyRecord));
}

const shapes = [
  { keys: 1, versions: 1, valueBytes: 10 },
  { keys: 500, versions: 3, valueBytes: 200 },
  { keys: 4, versions: 800, valueBytes: 100 },
  { keys: 40, versions: 4, valueBytes: 50_000 },
];

test('a flush holds what the memtable holds, and changes nothing below its top', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-flush-'));
  try {
    let seed = 1;
    for (const [disk, place] of [
      [new MemoryDisk(), ''],
      [new NodeDisk(), directory],
    ] as const)
      for (const shape of shapes) {
        const memtable = new Memtable({ sizeBytes: 8 * MIB });
        const records = fill(memtable, seed++, shape);
        const middle = records[records.length >>> 1]!.modRevision;
        for (const compactRevision of [0, middle, Number.MAX_SAFE_INTEGER])
          for (const sync of [false, true]) {
            const top = memtable.usedBytes;
            // Below the header lie a build's constants, which every instance brings.
            const before = Buffer.from(new Uint8Array(memtable.sharedMemory.buffer, 4096, top - 4096));
            const tables = await flush(disk, place, memtable, { compactRevision, sync });
            const after = new Uint8Array(memtable.sharedMemory.buffer, 4096, memtable.usedBytes - 4096);
            assert.is(Buffer.compare(before, after), 0);
            assert.is(tables.length, 1);
            assert.equal(showAll(await recordsOf(disk, place, tables)), expected(memtable, compactRevision));
            await disk.remove(tablePath(place, 1));
          }
      }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('outputs are cut near the size that was asked for, between different keys', async () => {
  const disk = new MemoryDisk();
  const memtable = new Memtable({ sizeBytes: 8 * MIB });
  fill(memtable, 5, { keys: 600, versions: 20, valueBytes: 400 });
  const tables = await flush(disk, '', memtable, { options: { ...OPTIONS, tableSizeBytes: 100 * KIB } });
  assert.ok(tables.length > 5, `${tables.length} tables`);
  tables.forEach((table, i) => {
    assert.is(table.fileNumber, i + 1);
    if (i > 0) assert.ok(compareKeys(tables[i - 1]!.largestKey, table.smallestKey) < 0);
    // A key's versions stay together, and filter and index come on top.
    assert.ok(table.fileBytes < 130 * KIB, `${table.fileBytes} B`);
    if (i + 1 < tables.length) assert.ok(table.fileBytes > 90 * KIB, `${table.fileBytes} B`);
  });
  assert.equal(showAll(await recordsOf(disk, '', tables)), expected(memtable, 0));
});

test('a flush of nothing writes nothing', async () => {
  const disk = new MemoryDisk();
  assert.equal(await flush(disk, '', new Memtable({ sizeBytes: MIB })), []);
  assert.equal(await disk.list(''), []);
});

test('the largest values and the longest keys are flushed, in their order', async () => {
  const disk = new MemoryDisk();
  const memtable = new Memtable({ sizeBytes: MIB });
  for (let i = 0; i < 4; i++) {
    const key = i % 2 === 0 ? Uint8Array.of(1, i) : Buffer.alloc(65537, i);
    memtable.put(key, new Uint8Array(8 * MIB).fill(i), i + 1, 1, 1, 0, 0, 0n, 0);
  }
  const tables = await flush(disk, '', memtable, { build: 'release' });
  assert.equal(showAll(await recordsOf(disk, '', tables)), expected(memtable, 0));
});

test('a memtable whose memory is at its maximum is flushed all the same', async () => {
  for (const maximumBytes of [1 * MIB, 2 * MIB]) {
    const disk = new MemoryDisk();
    const memtable = new Memtable({ sizeBytes: MIB - 100 * KIB, maximumBytes });
    const random = seededRandom(1);
    let revision = 0;
    // The last value is larger than any room that may be left.
    const value = (): Uint8Array =>
      new Uint8Array(revision === 90 ? 400 * KIB : 1 + Math.floor(random() * 8000));
    let error: unknown;
    while (error === undefined) {
      try {
        memtable.put(Buffer.from(`key${Math.floor(random() * 500)}`), value(), ++revision, 1, 1, 0, 0, 0n, 0);
      } catch (thrown) {
        error = thrown;
      }
    }
    assert.ok(error instanceof KvError && error.code === 'REQUEST_TOO_LARGE');
    for (const compactRevision of [0, 60]) {
      const options = { ...OPTIONS, tableSizeBytes: 256 * KIB };
      const tables = await flush(disk, '', memtable, { options, compactRevision });
      assert.ok(tables.length >= 2);
      assert.is(tables[0]!.fileNumber, 1);
      assert.is((await disk.list('')).length, tables.length);
      assert.equal(showAll(await recordsOf(disk, '', tables)), expected(memtable, compactRevision));
      for (const name of await disk.list('')) await disk.remove(name);
    }
  }
});

test('wherever the disk or the pace stops a flush, the error is told and no file stays', async () => {
  const memtable = new Memtable({ sizeBytes: 8 * MIB });
  fill(memtable, 9, { keys: 300, versions: 10, valueBytes: 400 });
  const options = { ...OPTIONS, tableSizeBytes: 100 * KIB };
  const whole = new MemoryDisk();
  let steps = 0;
  const tables = await flush(whole, '', memtable, { options, pace: { step: () => void steps++ } });
  assert.ok(tables.length > 2 && steps >= tables.length);
  for (let at = 1; at <= whole.operations; at++) {
    const disk = new MemoryDisk();
    disk.failAt(at);
    const error = await flush(disk, '', memtable, { options }).catch((e: unknown) => e);
    assert.ok(error instanceof DiskError && error.code === 'IO', `operation ${at}`);
    assert.equal(await disk.list(''), [], `operation ${at}`);
  }
  for (let at = 1; at <= steps; at++) {
    const disk = new MemoryDisk();
    let left = at;
    const step = async (): Promise<void> => {
      if (--left === 0) throw new KvError('CANCELLED', 'enough');
    };
    const error = await flush(disk, '', memtable, { options, pace: { step } }).catch((e: unknown) => e);
    assert.ok(error instanceof KvError && error.code === 'CANCELLED');
    assert.equal(await disk.list(''), []);
  }
});

test('the pace hears of every byte of blocks', async () => {
  const memtable = new Memtable({ sizeBytes: 8 * MIB });
  fill(memtable, 10, { keys: 500, versions: 10, valueBytes: 1000 });
  const disk = new MemoryDisk();
  const steps: number[] = [];
  await flush(disk, '', memtable, { pace: { step: (bytes) => void steps.push(bytes) } });
  const { footer } = await readTable(disk, tablePath('', 1), decoder);
  assert.is(
    steps.reduce((sum, bytes) => sum + bytes, 0),
    footer.filterOffset,
  );
  assert.ok(Math.max(...steps) <= 300 * KIB);
});

async function* pages(records: readonly StoredRecord[], size: number): AsyncGenerator<StoredRecord[]> {
  for (let at = 0; at < records.length; at += size) yield records.slice(at, at + size);
}

test('tables from records: the same records, cut between keys', async () => {
  const disk = new MemoryDisk();
  const records = hardRecords(seededRandom(4), { keys: 500, versions: 9, valueBytes: 600 });
  for (const compression of ['none', 'lz4'] as const)
    for (const sync of [false, true]) {
      const options = { ...OPTIONS, compression, tableSizeBytes: 100 * KIB };
      const tables = await buildTables({
        disk,
        directory: '',
        records: pages(records, 37),
        options,
        nextFileNumber: numbers(),
        build: 'debug',
        sync,
      });
      assert.ok(tables.length > 3);
      for (let i = 1; i < tables.length; i++)
        assert.ok(compareKeys(tables[i - 1]!.largestKey, tables[i]!.smallestKey) < 0);
      assert.equal(showAll(await recordsOf(disk, '', tables)), showAll(records));
      for (const name of await disk.list('')) await disk.remove(name);
    }
  assert.equal(
    await buildTables({
      disk,
      directory: '',
      records: pages([], 1),
      options: OPTIONS,
      nextFileNumber: numbers(),
    }),
    [],
  );
  assert.equal(await disk.list(''), []);
});

test('records that are out of order or impossible are refused, and no table stays', async () => {
  const base: StoredRecord = {
    key: Uint8Array.of(2),
    value: new Uint8Array(9),
    modRevision: 5,
    createRevision: 1,
    version: 1,
    subRevision: 0,
    flags: 0,
    lease: 0n,
    expiresAtMs: 0,
  };
  const wrong: StoredRecord[] = [
    base,
    { ...base, modRevision: 6 },
    { ...base, key: Uint8Array.of(1, 255) },
    { ...base, key: new Uint8Array(0) },
    { ...base, key: new Uint8Array(65537 + 64).fill(3) },
    { ...base, key: Uint8Array.of(3), value: new Uint8Array(8 * MIB + 1) },
    { ...base, key: Uint8Array.of(3), modRevision: -1 },
    { ...base, key: Uint8Array.of(3), createRevision: 0.5 },
    { ...base, key: Uint8Array.of(3), version: 2 ** 53 },
    { ...base, key: Uint8Array.of(3), subRevision: 2 ** 32 },
    { ...base, key: Uint8Array.of(3), flags: 64 },
    { ...base, key: Uint8Array.of(3), expiresAtMs: Number.NaN },
  ];
  for (const record of wrong) {
    const disk = new MemoryDisk();
    const options = { ...OPTIONS, tableSizeBytes: 1 };
    const records = pages([{ ...base, key: Uint8Array.of(1) }, base, record], 2);
    const error = await buildTables({
      disk,
      directory: '',
      records,
      options,
      nextFileNumber: numbers(),
    }).catch((e: unknown) => e);
    assert.ok(error instanceof KvError && error.code === 'INTERNAL');
    assert.equal(await disk.list(''), []);
  }
});

test('flushes of a memtable that is used again and again do not lengthen its memory', async () => {
  const memtable = new Memtable({ sizeBytes: MIB, build: 'debug' });
  const lengths: number[] = [];
  for (let round = 0; round < 6; round++) {
    memtable.reset();
    fill(memtable, 3, { keys: 40, versions: 4, valueBytes: 50_000 });
    const disk = new MemoryDisk();
    await disk.makeDirectory('/t');
    const tables = await flush(disk, '/t', memtable, { options: { ...OPTIONS, compression: 'lz4' } });
    assert.ok(tables.length > 0);
    lengths.push(memtable.memoryBytes);
  }
  assert.is(lengths.at(-1), lengths[0], lengths.join());
});

test.run();
