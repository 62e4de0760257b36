/** Point reads of tables against a plain model: levels, revisions of the past, keys over several blocks, all cache sizes, both builds. */

import * as assert from 'uvu/assert';
import { compareRecords, type StoredRecord } from '../../../src/storage/record.ts';
import type { TableSet } from '../../../src/storage/tables/table_set.ts';
import { test } from '../../suite.ts';
import { seededRandom, show } from '../record_model.ts';
import { SteppedPorts } from '../stepped_ports.ts';
import {
  type BuiltLevels,
  buildLevels,
  keyName,
  Model,
  makeDisk,
  makeSet,
  openAll,
  recordOf,
  SlowDisk,
  writeTable,
} from './set_lab.ts';
import { hardRecords } from './table_kit.ts';

const KIB = 1024;

/** Asks for random keys and revisions, present and absent. */
async function compare(set: TableSet, built: BuiltLevels, random: () => number, rounds: number) {
  const model = new Model(built.records);
  const newest = built.records.reduce((most, { modRevision }) => Math.max(most, modRevision), 0);
  for (let i = 0; i < rounds; i++) {
    const kind = random();
    let key = built.keys[Math.floor(random() * built.keys.length)]!;
    if (kind < 0.1) key = Buffer.concat([key, Buffer.of(Math.floor(random() * 256))]);
    else if (kind < 0.2) key = key.subarray(0, Math.max(1, key.length - 1));
    const revision = random() < 0.4 ? newest : Math.floor(random() * (newest + 2));
    const expected = model.get(key, revision);
    const got = random() < 0.5 ? set.getNow(key, revision) : await set.get(key, revision);
    assert.is(show(got), show(expected), `at ${revision}`);
    if (expected !== undefined) assert.ok(set.mayContain(key));
  }
}

test('answers are those of the model, with every size of the cache and of blocks', async () => {
  const random = seededRandom(11);
  const disk = await makeDisk();
  const built = await buildLevels(disk, 'tables', random, {
    keys: 400,
    revisions: 3000,
    newest: 3,
    deeper: [2, 5],
    valueBytes: 200,
    hot: 0.1,
  });
  for (const cacheBytes of [0, 4 * KIB, 20 * KIB, 100 * KIB, 4096 * KIB]) {
    const set = makeSet(disk, { cacheBytes });
    await openAll(set, built);
    await compare(set, built, random, 1500);
    const stats = set.stats();
    assert.ok(stats.cacheBytes <= cacheBytes, `${stats.cacheBytes} of ${cacheBytes}`);
    assert.is(stats.openTables, built.tables.length);
    if (cacheBytes === 0) assert.is(stats.cacheHits, 0);
    await set.close();
  }
});

test('blocks of a few entries, compressed blocks, both builds', async () => {
  const random = seededRandom(12);
  for (const build of ['release', 'debug'] as const) {
    for (const options of [
      { blockSizeBytes: 64 },
      { blockSizeBytes: 16384 },
      { compression: 'lz4' as const },
    ]) {
      const disk = await makeDisk();
      const built = await buildLevels(disk, 'tables', random, {
        keys: 100,
        revisions: 1200,
        newest: 1,
        deeper: [1, 3],
        valueBytes: 150,
        hot: 0.4,
        options,
      });
      const set = makeSet(disk, { build, cacheBytes: 64 * KIB });
      await openAll(set, built);
      await compare(set, built, random, 800);
      await set.close();
    }
  }
});

test('keys that are hard: extensions, shared beginnings, long ones, the ends of the byte range', async () => {
  for (const seed of [1, 2, 3]) {
    const random = seededRandom(seed);
    const disk = await makeDisk();
    const records = hardRecords(random, { keys: 300, versions: 6, valueBytes: 400 });
    const info = await writeTable(disk, 'tables', 1, records, { blockSizeBytes: 512 });
    const set = makeSet(disk, { cacheBytes: 64 * KIB });
    const keys = [...new Map(records.map(({ key }) => [Buffer.from(key).toString('hex'), key])).values()];
    const built = { records, tables: [info], levels: [[], [1]], keys };
    await openAll(set, built);
    await compare(set, built, random, 1500);
    for (const { key, modRevision } of records) {
      assert.is(set.getNow(key, modRevision)?.modRevision, modRevision);
    }
    await set.close();
  }
});

test('the versions of a key over many blocks: old ones are found without reading the newer blocks', async () => {
  const disk = await makeDisk();
  const value = new Uint8Array(300).fill(7);
  const records: StoredRecord[] = [recordOf('a', 1, value), recordOf('z', 2, value)];
  for (let revision = 10; revision < 1010; revision++) records.push(recordOf('key', revision, value));
  records.sort(compareRecords);
  const info = await writeTable(disk, 'tables', 1, records);
  assert.ok(info.blockCount > 50);
  const set = makeSet(disk, { cacheBytes: 0 });
  await openAll(set, { records, tables: [info], levels: [[1]], keys: [] });
  for (const revision of [10, 11, 500, 777, 1009, 5000]) {
    const before = set.stats().readsNow;
    const got = set.getNow(Buffer.from('key'), revision);
    assert.is(got?.modRevision, Math.min(revision, 1009));
    assert.ok(set.stats().readsNow - before <= 2, `${set.stats().readsNow - before} blocks were read`);
  }
  assert.is(set.getNow(Buffer.from('key'), 9), undefined);
  assert.is(set.getNow(Buffer.from('z'), 9)?.modRevision, 2);
  await set.close();
});

test('absent keys are answered by bounds and filters alone', async () => {
  const random = seededRandom(14);
  const disk = await makeDisk();
  const built = await buildLevels(disk, 'tables', random, {
    keys: 2000,
    revisions: 4000,
    newest: 2,
    deeper: [4],
    valueBytes: 20,
  });
  const set = makeSet(disk);
  await openAll(set, built);
  let maybe = 0;
  for (let i = 0; i < 2000; i++) {
    const key = Buffer.from(`${keyName(i)}-absent`);
    assert.is(set.getNow(key, 5000), undefined);
    if (set.mayContain(key)) maybe++;
  }
  assert.ok(maybe < 120, `${maybe} of 2000 absent keys may be there`);
  assert.ok(set.stats().readsNow < 150, `${set.stats().readsNow} blocks read for absent keys`);
  // Nothing is old enough: not even a filter is asked.
  const reads = set.stats().readsNow;
  assert.is(set.getNow(built.keys[0]!, 0), undefined);
  assert.is(set.stats().readsNow, reads);
  const tooLong = new Uint8Array(70_000);
  assert.is(set.mayContain(tooLong), false);
  assert.is(set.getNow(tooLong, 1), undefined);
  assert.is(await set.get(tooLong, 1), undefined);
  await set.close();
});

test('large values and keys, plain and compressed, are never cached past their bound', async () => {
  for (const compression of ['none', 'lz4'] as const) {
    const disk = await makeDisk();
    const random = seededRandom(15);
    const sizes = [0, 1, 4096, 5000, 60_000, 90_000, 200_000, 300_000, 3_000_000];
    const records = sizes.map((size, i) => {
      const value = new Uint8Array(size);
      for (let at = 0; at < size; at++) value[at] = at % 5 === 0 ? Math.floor(random() * 256) : 66;
      return recordOf(i === 4 ? Buffer.alloc(65_537, 'k') : `key-${i}`, i + 1, value);
    });
    const info = await writeTable(disk, 'tables', 1, [...records].sort(compareRecords), { compression });
    for (const cacheBytes of [0, 300 * KIB, 16_000 * KIB]) {
      const set = makeSet(disk, { cacheBytes });
      await openAll(set, { records, tables: [info], levels: [[1]], keys: [] });
      for (let round = 0; round < 3; round++) {
        for (const record of records) {
          const got = set.getNow(record.key, 100);
          assert.is(show(got), show(record));
          assert.is(Buffer.compare(got!.value, record.value), 0);
        }
      }
      const { memoryBytes, metaBytes } = set.stats();
      assert.ok(set.stats().cacheBytes <= cacheBytes);
      assert.ok(memoryBytes < cacheBytes + metaBytes + 16_000 * KIB, `${memoryBytes} bytes of memory`);
      await set.close();
    }
  }
});

test('answers own their values', async () => {
  const disk = await makeDisk();
  const records = [
    recordOf('a', 1, new Uint8Array(100).fill(1)),
    recordOf('b', 2, new Uint8Array(9000).fill(2)),
  ];
  const info = await writeTable(disk, 'tables', 1, records);
  const set = makeSet(disk);
  await openAll(set, { records, tables: [info], levels: [[1]], keys: [] });
  for (const record of records) {
    const first = set.getNow(record.key, 10)!;
    first.value.fill(0xee);
    assert.is(show(set.getNow(record.key, 10)), show(record));
    assert.is(first.key, record.key);
  }
  await set.close();
});

test('blocks are found by key, for cursors', async () => {
  const random = seededRandom(17);
  const disk = await makeDisk();
  const records = hardRecords(random, { keys: 300, versions: 4, valueBytes: 200 });
  const info = await writeTable(disk, 'tables', 5, records, { blockSizeBytes: 256 });
  const set = makeSet(disk);
  await openAll(set, { records, tables: [info], levels: [[5]], keys: [] });
  const index = set.index(5);
  assert.is(index.count, info.blockCount);
  const linear = (key: Uint8Array): number => {
    for (let block = 0; block < index.count; block++)
      if (Buffer.compare(index.separator(block), key) >= 0) return block;
    return index.count;
  };
  const largest = Buffer.from(info.largestKey);
  for (const { key } of records) {
    for (const probe of [key, Buffer.concat([key, Buffer.of(0)]), key.subarray(0, key.length - 1)]) {
      const expected = Buffer.compare(probe, largest) > 0 ? index.count : linear(probe);
      assert.is(set.seekBlock(5, probe), expected);
    }
  }
  assert.is(set.seekBlock(5, new Uint8Array(0)), 0);
  assert.is(set.seekBlock(5, new Uint8Array(70_000).fill(0xff)), index.count);
  assert.is(set.file(5).sizeBytes(), info.fileBytes);
  await set.close();
});

test('reads that wait for the disk give the same answers, whatever is asked and changed meanwhile', async () => {
  const random = seededRandom(18);
  const inner = await makeDisk();
  const built = await buildLevels(inner, 'tables', random, {
    keys: 300,
    revisions: 3000,
    newest: 2,
    deeper: [3, 3],
    valueBytes: 300,
    hot: 0.1,
  });
  const model = new Model(built.records);
  for (const cacheBytes of [0, 40 * KIB, 4096 * KIB]) {
    const ports = new SteppedPorts();
    const disk = new SlowDisk(inner, ports);
    const set = makeSet(disk.port(), { cacheBytes, ports });
    await openAll(set, built);
    disk.readMs = 10;
    set.getNow(built.keys[0]!, 3000);
    assert.is(set.warm, false);
    const asked: Promise<void>[] = [];
    let waited = 0;
    for (let i = 0; i < 1200; i++) {
      const key = built.keys[Math.floor(random() * built.keys.length)]!;
      const mine = new Uint8Array(key);
      const revision = Math.floor(random() * 3100);
      const answer = set.get(mine, revision);
      if (answer instanceof Promise) {
        waited++;
        // The caller's bytes are only lent.
        mine.fill(0xee);
        asked.push(answer.then((got) => assert.is(show(got), show(model.get(key, revision)))));
      } else {
        assert.is(show(answer), show(model.get(key, revision)));
      }
      if (i % 100 === 50) set.publish(built.levels);
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(asked);
    assert.ok(waited > 50, `${waited} waited`);
    assert.ok(set.stats().readsLater > 0);
    await set.close();
    assert.is(disk.openFiles, 0);
  }
});

test.run();
