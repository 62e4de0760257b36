/** A set of open tables through its life: publication, pins, closing while reads wait, damage in every part of a file, failing disks. */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { DiskError } from '../../../src/storage/disk.ts';
import type { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { compareRecords, type StoredRecord } from '../../../src/storage/record.ts';
import { decodeFooter, FOOTER_BYTES, type TableInfo, tablePath } from '../../../src/storage/tables/format.ts';
import { LookupScratch } from '../../../src/storage/tables/lookup_scratch.ts';
import type { TableDamage } from '../../../src/storage/tables/open_table.ts';
import { TableViews } from '../../../src/storage/tables/table_memory.ts';
import type { TableSet } from '../../../src/storage/tables/table_set.ts';
import { test } from '../../suite.ts';
import { seededRandom, show } from '../record_model.ts';
import { SteppedPorts } from '../stepped_ports.ts';
import { keyName, Model, makeDisk, makeSet, OPTIONS, recordOf, SlowDisk, writeTable } from './set_lab.ts';
import { must } from './table_kit.ts';

const KIB = 1024;
const FILE_1 = tablePath('tables', 1);

function someRecords(first: number, count: number, revision: number, valueBytes = 100): StoredRecord[] {
  return Array.from({ length: count }, (_, i) =>
    recordOf(keyName(first + i), revision + i, new Uint8Array(valueBytes).fill(revision + i)),
  ).sort(compareRecords);
}

/** What a KvError or DiskError says, as uvu cannot print one. */
async function codeOf(run: () => unknown): Promise<string> {
  try {
    await run();
  } catch (error) {
    if (error instanceof KvError || error instanceof DiskError) return error.code;
    return String(error);
  }
  return 'none';
}

function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A set whose reads on this thread have been slow. */
async function coldSet(disk: MemoryDisk, tables: TableInfo[], levels: number[][], cacheBytes = 1024 * KIB) {
  const ports = new SteppedPorts();
  const slow = new SlowDisk(disk, ports);
  const set = makeSet(slow.port(), { ports, cacheBytes });
  for (const info of tables) await set.openTable(info);
  set.publish(levels);
  slow.readMs = 20;
  assert.is(set.warm, true);
  assert.ok(set.getNow(tables[0]!.largestKey, 1e9));
  assert.is(set.warm, false);
  slow.held = true;
  return { set, slow, ports };
}

test('a publication shows new levels at once and closes what is named no more', async () => {
  const disk = await makeDisk();
  const a = await writeTable(disk, 'tables', 1, someRecords(0, 50, 100));
  const b = await writeTable(disk, 'tables', 2, someRecords(25, 50, 500));
  const set = makeSet(disk);
  const closed: number[] = [];
  set.onClosed = (fileNumber) => closed.push(fileNumber);
  assert.is(set.getNow(a.smallestKey, 1e9), undefined, 'nothing was published');
  await set.openTable(a);
  assert.is(set.mayContain(a.smallestKey), false);
  set.publish([[1]]);
  assert.is(set.getNow(Buffer.from(keyName(30)), 1e9)?.modRevision, 130);
  await set.openTable(b);
  set.publish([[2, 1]]);
  assert.is(set.getNow(Buffer.from(keyName(30)), 1e9)?.modRevision, 505);
  assert.is(set.getNow(Buffer.from(keyName(30)), 400)?.modRevision, 130);
  set.publish([[], [2]]);
  assert.is(set.getNow(Buffer.from(keyName(30)), 400), undefined);
  await settled();
  assert.equal(closed, [1]);
  assert.is(set.stats().openTables, 1);
  assert.is(await codeOf(() => set.file(1)), 'INTERNAL');
  assert.is(await codeOf(() => set.publish([[1]])), 'INTERNAL');
  assert.is(
    set.getNow(Buffer.from(keyName(30)), 1e9)?.modRevision,
    505,
    'a refused publication changes nothing',
  );
  await set.close();
  assert.equal(closed, [1, 2]);
});

test('levels that are out of order are refused', async () => {
  const disk = await makeDisk();
  const a = await writeTable(disk, 'tables', 1, someRecords(0, 3, 100));
  const b = await writeTable(disk, 'tables', 2, someRecords(3, 3, 500));
  const set = makeSet(disk);
  await set.openTable(a);
  await set.openTable(b);
  const [first, second] = Buffer.compare(a.smallestKey, b.smallestKey) < 0 ? [1, 2] : [2, 1];
  // Keys of three prefixes: the two tables overlap.
  assert.is(await codeOf(() => set.publish([[], [first, second]])), 'INTERNAL');
  assert.is(await codeOf(() => set.publish([[], [1, 1]])), 'INTERNAL');
  set.publish([[first, second]]);
  await set.close();
});

test('a pin keeps files readable; releasing twice is once', async () => {
  const disk = await makeDisk();
  const a = await writeTable(disk, 'tables', 1, someRecords(0, 50, 100));
  const set = makeSet(disk);
  const closed: number[] = [];
  set.onClosed = (fileNumber) => closed.push(fileNumber);
  await set.openTable(a);
  set.publish([[1]]);
  const pinned = set.pin();
  const second = set.pin();
  assert.equal(
    pinned.levels.map((level) => level.map((info) => info.fileNumber)),
    [[1]],
  );
  set.publish([[]]);
  await settled();
  assert.equal(closed, []);
  assert.is(set.file(1).readSync(new Uint8Array(10), 0), 10);
  assert.is(set.index(1).count, a.blockCount);
  pinned.release();
  pinned.release();
  await settled();
  assert.equal(closed, []);
  second.release();
  await settled();
  assert.equal(closed, [1]);
  // Closing waits for pins.
  await set.openTable(a);
  set.publish([[1]]);
  const last = set.pin();
  let over = false;
  const closing = set.close().then(() => {
    over = true;
  });
  const again = set.close();
  await settled();
  assert.is(over, false);
  assert.is(set.file(1).readSync(new Uint8Array(10), 0), 10);
  last.release();
  await closing;
  await again;
  assert.equal(closed, [1, 1]);
  await set.close();
});

test('a table that is not published after all can be discarded', async () => {
  const disk = await makeDisk();
  const a = await writeTable(disk, 'tables', 1, someRecords(0, 5, 100));
  const set = makeSet(disk);
  await set.openTable(a);
  assert.is(await codeOf(() => set.openTable(a)), 'INTERNAL', 'twice');
  set.discard(1);
  assert.is(set.stats().metaBytes, 0);
  await set.openTable(a);
  set.publish([[1]]);
  assert.is(await codeOf(() => set.discard(1)), 'INTERNAL', 'in use');
  await set.close();
});

test('a closed set says so', async () => {
  const disk = await makeDisk();
  const a = await writeTable(disk, 'tables', 1, someRecords(0, 5, 100));
  const set = makeSet(disk);
  await set.openTable(a);
  await set.close();
  const key = a.smallestKey;
  for (const run of [
    () => set.get(key, 1),
    () => set.getNow(key, 1),
    () => set.mayContain(key),
    () => set.pin(),
    () => set.publish([]),
    () => set.openTable(a),
  ])
    assert.is(await codeOf(run), 'CLOSED');
});

test('closing while an open is on its way closes that file too', async () => {
  const disk = await makeDisk();
  const a = await writeTable(disk, 'tables', 1, someRecords(0, 5, 100));
  const slow = new SlowDisk(disk, new SteppedPorts());
  const set = makeSet(slow.port());
  slow.held = true;
  const opening = codeOf(() => set.openTable(a));
  while (slow.waiting === 0) await settled();
  const closing = set.close();
  slow.letGo();
  assert.is(await opening, 'CLOSED');
  await closing;
  assert.is(slow.openFiles, 0);
});

test('reads that wait keep their table open, and are answered from the version that they began in', async () => {
  const disk = await makeDisk();
  const a = await writeTable(disk, 'tables', 1, someRecords(0, 200, 100));
  const { set, slow } = await coldSet(disk, [a], [[1]], 0);
  const closed: number[] = [];
  set.onClosed = (fileNumber) => closed.push(fileNumber);
  const key = Buffer.from(keyName(0));
  const answer = set.get(key, 1e9);
  assert.instance(answer, Promise);
  set.publish([]);
  const closing = set.close();
  await settled();
  assert.equal(closed, []);
  slow.letGo();
  const record = await answer;
  assert.is(record?.modRevision, 100);
  await closing;
  assert.equal(closed, [1]);
  assert.is(slow.openFiles, 0);
});

test('reads of one block at one time share one read', async () => {
  const disk = await makeDisk();
  const a = await writeTable(disk, 'tables', 1, someRecords(0, 200, 100));
  for (const cacheBytes of [0, 1024 * KIB]) {
    const { set, slow } = await coldSet(disk, [a], [[1]], cacheBytes);
    const before = slow.reads;
    const keys = [keyName(0), keyName(3), keyName(6)].map((name) => Buffer.from(name));
    const answers = keys.map((key) => set.get(key, 1e9));
    slow.letGo();
    const records = await Promise.all(answers);
    assert.equal(
      records.map((record) => record?.modRevision),
      [100, 103, 106],
    );
    assert.is(slow.reads - before, 1);
    assert.is(set.stats().readsLater, 1);
    await set.close();
  }
});

test('reads go through the thread pool while the disk is slow, and come back', async () => {
  const disk = await makeDisk();
  const a = await writeTable(disk, 'tables', 1, someRecords(0, 500, 100));
  const { set, slow, ports } = await coldSet(disk, [a], [[1]], 0);
  slow.held = false;
  assert.instance(set.get(Buffer.from(keyName(100)), 1e9), Promise);
  slow.readMs = 0;
  ports.nowMs += 1000;
  assert.is(set.warm, true);
  const record = set.get(Buffer.from(keyName(100)), 1e9);
  assert.not.instance(record, Promise);
  // A block in the cache is never waited for.
  await set.close();
});

test('a failed read is told to everybody who waits, and the next one is tried again', async () => {
  const disk = await makeDisk();
  const a = await writeTable(disk, 'tables', 1, someRecords(0, 200, 100));
  const { set, slow } = await coldSet(disk, [a], [[1]], 1024 * KIB);
  const key = Buffer.from(keyName(0));
  const both = [codeOf(() => set.get(key, 1e9)), codeOf(() => set.get(key, 1e9))];
  slow.failures = 1;
  slow.letGo();
  assert.equal(await Promise.all(both), ['CORRUPT', 'CORRUPT']);
  slow.failures = 1;
  assert.is(await codeOf(() => set.getNow(key, 1e9)), 'CORRUPT');
  assert.is(set.getNow(key, 1e9)?.modRevision, 100);
  await set.close();
  assert.is(slow.openFiles, 0);
});

/** All that can be asked of a table; what is not an error must be right. */
async function askAll(
  set: TableSet,
  records: readonly StoredRecord[],
): Promise<{ wrong: number; corrupt: number }> {
  const model = new Model(records);
  let wrong = 0;
  let corrupt = 0;
  for (const { key, modRevision } of records) {
    for (const revision of [modRevision, 1e9]) {
      try {
        const got = revision === modRevision ? set.getNow(key, revision) : await set.get(key, revision);
        if (show(got) !== show(model.get(key, revision))) wrong++;
      } catch (error) {
        if (!(error instanceof KvError) || error.code !== 'CORRUPT') throw error;
        corrupt++;
      }
    }
  }
  return { wrong, corrupt };
}

test('a flipped byte anywhere is found: never a wrong answer', async () => {
  for (const compression of ['none', 'lz4'] as const) {
    const disk = await makeDisk();
    const records = someRecords(0, 60, 100, 30);
    const info = await writeTable(disk, 'tables', 1, records, { compression, blockSizeBytes: 512 });
    const file = await disk.readFile(FILE_1);
    const footer = must(decodeFooter(file.subarray(file.length - FOOTER_BYTES), file.length));
    const found: TableDamage[] = [];
    const set = makeSet(disk, { cacheBytes: 0 });
    set.onDamage = (damage) => found.push(damage);
    for (let offset = footer.filterOffset; offset < info.fileBytes; offset++) {
      disk.damage(FILE_1, offset, 1 << (offset % 8));
      assert.is(await codeOf(() => set.openTable(info)), 'CORRUPT', `offset ${offset}`);
      disk.damage(FILE_1, offset, 1 << (offset % 8));
    }
    assert.is(found.length, info.fileBytes - footer.filterOffset);
    await set.openTable(info);
    set.publish([[1]]);
    const index = set.index(1);
    for (let block = 0; block < index.count; block++) {
      const inBlock = records.filter(({ key }) => set.seekBlock(1, key) === block);
      const start = index.offset(block);
      for (let offset = start; offset < start + index.length(block); offset++) {
        found.length = 0;
        disk.damage(FILE_1, offset, 1 << (offset % 8));
        assert.equal(
          await askAll(set, inBlock),
          { wrong: 0, corrupt: 2 * inBlock.length },
          `offset ${offset}`,
        );
        assert.is(found.length, 2 * inBlock.length);
        assert.is(found[0]!.offset, start, 'the offset is that of the block');
        assert.ok(found[0]!.file === FILE_1 && found[0]!.fileNumber === 1);
        disk.damage(FILE_1, offset, 1 << (offset % 8));
      }
    }
    const { wrong, corrupt } = await askAll(set, records);
    assert.equal({ wrong, corrupt }, { wrong: 0, corrupt: 0 });
    await set.close();
  }
});

test('a file that is cut off, another file, and what the manifest says otherwise', async () => {
  const disk = await makeDisk();
  const records = someRecords(0, 60, 100);
  const info = await writeTable(disk, 'tables', 1, records);
  const refused = async (wrong: Partial<TableInfo>, why: RegExp): Promise<void> => {
    const set = makeSet(disk);
    const found: TableDamage[] = [];
    set.onDamage = (damage) => found.push(damage);
    assert.is(await codeOf(() => set.openTable({ ...info, ...wrong })), 'CORRUPT');
    assert.match(found[0]!.problem, why);
    assert.is(set.stats().metaBytes, 0);
    assert.is(set.memory.arenaBytes - set.memory.freeBytes <= 320 * KIB, true, 'its memory is free again');
    await set.close();
  };
  await refused({ fileBytes: info.fileBytes - 1 }, /the manifest says/);
  await refused({ smallestKey: Buffer.from('a') }, /smallest key/);
  await refused({ largestKey: Buffer.from('z') }, /largest key/);
  await refused({ smallestRevision: 1 }, /smallest revision/);
  await refused({ largestRevision: 1e6 }, /largest revision/);
  await refused({ recordCount: 1 }, /number of records/);
  // One table under the name of another.
  await disk.rename(FILE_1, tablePath('tables', 9));
  await refused({ fileNumber: 9 }, /says that it is table 1/);
  await disk.rename(tablePath('tables', 9), FILE_1);
  const short = await disk.open(FILE_1, 'open');
  await short.truncate(20);
  await short.close();
  await refused({ fileBytes: 20 }, /cut off/);
  const set = makeSet(disk);
  assert.is(await codeOf(() => set.openTable({ ...info, fileNumber: 77 })), 'NOT_FOUND');
  await set.close();
});

test('a stale or misdirected block has a right checksum and is found all the same', async () => {
  const disk = await makeDisk();
  // Values of one length: blocks of one length.
  const records = someRecords(0, 300, 1000, 64);
  const info = await writeTable(disk, 'tables', 1, records, { blockSizeBytes: 1024 });
  const set = makeSet(disk, { cacheBytes: 0 });
  await set.openTable(info);
  set.publish([[1]]);
  const index = set.index(1);
  let from = 0;
  let to = 0;
  for (let a = 0; a < index.count && to === 0; a++)
    for (let b = a + 1; b < index.count && to === 0; b++)
      if (index.length(a) === index.length(b)) [from, to] = [a, b];
  assert.ok(to > 0, 'two blocks of one length');
  const file = await disk.readFile(FILE_1);
  const writer = await disk.open(FILE_1, 'open');
  const block = file.subarray(index.offset(from), index.offset(from) + index.length(from));
  writer.writeSync([block], index.offset(to));
  const found: TableDamage[] = [];
  set.onDamage = (damage) => found.push(damage);
  const { wrong, corrupt } = await askAll(set, records);
  assert.is(wrong, 0);
  assert.ok(corrupt > 0);
  assert.match(found[0]!.problem, /not the one that the index names/);
  assert.is(found[0]!.offset, index.offset(to));
  // A file that lost its end after it was opened.
  await writer.truncate(index.offset(1) + 3);
  found.length = 0;
  assert.ok((await askAll(set, records)).corrupt > 0);
  assert.ok(found.some(({ problem }) => /ends within a block/.test(problem)));
  await writer.close();
  await set.close();
});

test('another thread reads by the same code, in a scratch of its own', async () => {
  const disk = await makeDisk();
  const records = someRecords(0, 200, 100);
  const info = await writeTable(disk, 'tables', 1, records);
  const set = makeSet(disk);
  await set.openTable(info);
  set.publish([[1]]);
  for (const { key } of records) set.getNow(key, 1e9);
  const place = set.memory.addReader();
  const views = new TableViews(set.memory.memory, 'debug');
  const scratch = new LookupScratch(views, place.scratch);
  views.epochOf(place.reader).enter();
  const read = (record: StoredRecord): string => {
    scratch.stage(record.key);
    assert.is(scratch.lookup(views.publishedVersion(), record.key.length, 1e9), 1);
    return show(scratch.record(record.key));
  };
  for (const record of records) assert.is(read(record), show(record));
  // The tables go while it still reads the old version; other tables take what memory is free.
  const old = views.publishedVersion();
  const random = seededRandom(5);
  set.publish([]);
  for (let i = 0; i < 20; i++)
    set.memory.u8.fill(0xee, set.memory.allocate(4096 * (1 + Math.floor(random() * 20))));
  scratch.stage(records[0]!.key);
  assert.is(scratch.lookup(old, records[0]!.key.length, 1e9), 1);
  assert.is(show(scratch.record(records[0]!.key)), show(records[0]));
  views.epochOf(place.reader).leave();
  set.memory.reclaim();
  assert.is(set.memory.retiredBytes, 0);
  set.memory.removeReader(place);
  await set.close();
});

test('memory of closed tables and evicted blocks is used again', async () => {
  const disk = await makeDisk();
  const infos: TableInfo[] = [];
  for (let i = 1; i <= 4; i++) {
    infos.push(await writeTable(disk, 'tables', i, someRecords(i * 1000, 800, i * 10_000), OPTIONS));
  }
  const set = makeSet(disk, { cacheBytes: 100 * KIB });
  let most = 0;
  for (let round = 0; round < 30; round++) {
    const info = infos[round % 4]!;
    await set.openTable(info);
    set.publish([[info.fileNumber]]);
    for (let i = 0; i < 800; i += 7)
      assert.ok(set.getNow(Buffer.from(keyName((round % 4) * 1000 + 1000 + i)), 1e9));
    assert.ok(set.stats().cacheBytes <= 100 * KIB);
    most = Math.max(most, set.memory.arenaBytes - set.memory.freeBytes);
  }
  assert.ok(most < 1024 * KIB, `${most} bytes in use`);
  assert.is(set.stats().openTables, 1);
  set.publish([]);
  assert.is(set.stats().cacheBytes, 0);
  assert.is(set.stats().metaBytes, 0);
  await set.close();
});

test.run();
