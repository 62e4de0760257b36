/** Merges of runs of tables, consumer by consumer, with windows so small that every path is taken. */

import * as assert from 'uvu/assert';
import type { StoredRecord } from '../../../src/storage/record.ts';
import { DONE, MergeCursor, MORE } from '../../../src/storage/tables/merge_cursor.ts';
import type { MergeBounds, TableSource } from '../../../src/storage/tables/merge_input.ts';
import { MergeMemory, MergeMemoryPool } from '../../../src/storage/tables/merge_memory.ts';
import { runsOf } from '../../../src/storage/tables/pinned_runs.ts';
import { test } from '../../suite.ts';
import { plainRecord, seededRandom, showAll } from '../record_model.ts';
import { compacted, MergeLab, randomHistory } from './merge_lab.ts';

const NEWEST = Number.MAX_SAFE_INTEGER;
const MANY = 0x7fffffff;

function boundsOf(some: Partial<MergeBounds>): MergeBounds {
  return {
    reverse: false,
    seek: undefined,
    stop: undefined,
    smallestRevision: 0,
    largestRevision: NEWEST,
    firstWindowBytes: 1,
    windowBytes: 1,
    ...some,
  };
}

async function sourcesOf(
  lab: MergeLab,
  runs: StoredRecord[][],
  tableRecords: number,
): Promise<TableSource[][]> {
  const sources: TableSource[][] = [];
  for (const run of runs) {
    const infos = await lab.writeRun(run, tableRecords);
    sources.push(await Promise.all(infos.map((info) => lab.source(info))));
  }
  return sources;
}

/** Gathers with a region so small that it fills and grows. */
async function gatherAll(
  cursor: MergeCursor,
  consumer: (limit: number, maxBytes: number) => number,
  limit: number,
  regionBytes: number,
): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  cursor.gatherInto(regionBytes);
  for (;;) {
    const status = await cursor.gather(() => consumer(limit, Number.MAX_VALUE));
    cursor.take(records);
    if (status === DONE) return records;
    assert.ok(status === MORE || limit > 1);
  }
}

const MIB = 1024 * 1024;

test('every consumer agrees with a plain model, window by window, full region by full region', async () => {
  const random = seededRandom(5);
  const memory = new MergeMemory('debug');
  for (let round = 0; round < 25; round++) {
    const lab = new MergeLab({
      blockSizeBytes: [64, 200, 1000][round % 3]!,
      compression: round % 2 === 0 ? 'none' : 'lz4',
    });
    const { model, runs } = randomHistory(random, {
      runs: 1 + (round % 7),
      writesPerRun: 150,
      maxValueBytes: round % 4 === 0 ? 3000 : 100,
      repeats: round % 3 === 0 ? 0.3 : 0,
    });
    const sources = await sourcesOf(lab, runs, 1 + Math.floor(random() * 60));
    const revision = round % 2 === 0 ? NEWEST : Math.floor(random() * model.revision);
    const limit = [MANY, 1, 3, 50][round % 4]!;
    const regionBytes = [300, 5000][round % 2]!;
    const windowBytes = [1, 700, 100_000][round % 3]!;
    const { exports } = memory;
    const run = async (some: Partial<MergeBounds>, consumer: (limit: number, bytes: number) => number) => {
      memory.reset();
      const bounds = boundsOf({ firstWindowBytes: 1, windowBytes, ...some });
      const cursor = new MergeCursor(memory, sources, bounds, (input) =>
        random() < 0.5 ? input.fillNow() : input.fillLater(),
      );
      if (random() < 0.3) await cursor.prefetch();
      const records = await gatherAll(cursor, consumer, limit, regionBytes);
      cursor.close();
      return showAll(records);
    };
    const everything = { start: new Uint8Array(0), end: undefined, limit: MANY, maxBytes: NEWEST };
    for (const reverse of [false, true])
      for (const tombstones of [false, true])
        for (const keysOnly of [false, true]) {
          const expected = model.scan({ ...everything, revision, reverse, tombstones, keysOnly }).records;
          const consume = reverse ? exports.collectNewestReverse : exports.collectNewest;
          const actual = await run({ reverse }, (most, bytes) =>
            consume(revision, tombstones ? 1 : 0, keysOnly ? 1 : 0, most, bytes),
          );
          assert.equal(actual, showAll(expected), `round ${round} ${reverse} ${tombstones} ${keysOnly}`);
        }
    const from = Math.floor(random() * model.revision);
    const all = await run({}, (most, bytes) => exports.collectVersions(0, NEWEST, most, bytes));
    assert.equal(all, showAll(model.records), `round ${round} versions`);
    const some = await run({ smallestRevision: from, largestRevision: from + 50 }, (most, bytes) =>
      exports.collectVersions(from, from + 50, most, bytes),
    );
    const wanted = model.records.filter((one) => one.modRevision >= from && one.modRevision <= from + 50);
    assert.equal(some, showAll(wanted), `round ${round} some versions`);
    const retained = await run({}, (most, bytes) => exports.collectRetained(from, most, bytes));
    assert.equal(retained, showAll(compacted(model.records, from, () => true)), `round ${round} retained`);
  }
});

test('a merge of nothing is at its end', async () => {
  const memory = new MergeMemory('debug');
  const cursor = new MergeCursor(memory, [], boundsOf({}), (input) => input.fillNow());
  assert.equal(
    await gatherAll(
      cursor,
      (limit, bytes) => memory.exports.collectNewest(NEWEST, 1, 0, limit, bytes),
      MANY,
      1000,
    ),
    [],
  );
});

test('records that come out of order are damage, not output', async () => {
  const memory = new MergeMemory('debug');
  const lab = new MergeLab();
  // Two tables that the run claims are in order.
  const [b] = await lab.writeRun([plainRecord('b', 2, new Uint8Array(3))]);
  const [a] = await lab.writeRun([plainRecord('a', 1, new Uint8Array(3))]);
  const { exports } = memory;
  const cases: [boolean, TableSource[], (limit: number, bytes: number) => number][] = [
    [
      false,
      [await lab.source(b!), await lab.source(a!)],
      (l, m) => exports.collectNewest(NEWEST, 1, 0, l, m),
    ],
    [false, [await lab.source(b!), await lab.source(a!)], (l, m) => exports.collectVersions(0, NEWEST, l, m)],
    [false, [await lab.source(b!), await lab.source(a!)], (l, m) => exports.collectRetained(0, l, m)],
    [
      true,
      [await lab.source(b!), await lab.source(a!)],
      (l, m) => exports.collectNewestReverse(NEWEST, 1, 0, l, m),
    ],
  ];
  for (const [reverse, run, consumer] of cases) {
    memory.reset();
    const cursor = new MergeCursor(memory, [run], boundsOf({ reverse }), (input) => input.fillNow());
    const outcome = await gatherAll(cursor, consumer, MANY, 1000).then(
      () => 'nothing',
      (error: Error) => error.message,
    );
    assert.match(
      outcome,
      /t-000000000[12]\.kvt: damaged at offset 0: the records of a block are out of order/,
    );
  }
});

test('tables that follow each other are one run', () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const info = (smallest: string, largest: string) => ({
    fileNumber: 1,
    fileBytes: 1,
    recordCount: 1,
    keyCount: 1,
    tombstoneCount: 0,
    blockCount: 1,
    smallestRevision: 1,
    largestRevision: 1,
    dataBytes: 1,
    smallestKey: bytes(smallest),
    largestKey: bytes(largest),
  });
  const shape = (list: ReturnType<typeof info>[]) => runsOf(list).map((run) => run.length);
  assert.equal(shape([]), []);
  assert.equal(shape([info('a', 'c'), info('d', 'f'), info('b', 'c'), info('c', 'd')]), [2, 1, 1]);
});

test('merge memories are used again, up to a bound of bytes; the largest go first', () => {
  const pool = new MergeMemoryPool(20 * MIB, 'debug');
  const memories = [pool.take(), pool.take(), pool.take()];
  for (const memory of memories) pool.give(memory);
  assert.is(pool.idle, 3);
  assert.is(pool.idleBytes, 6 * MIB);
  const again = pool.take();
  assert.ok(memories.includes(again));
  const first = again.allocate(100);
  again.reset();
  assert.is(again.allocate(100), first);
  again.allocate(12 * MIB);
  assert.not(again.isLarge);
  pool.give(again);
  assert.is(pool.idle, 3, 'it still has room');
  const large = pool.take();
  assert.is(large, again, 'the one that was used last');
  large.allocate(20 * MIB);
  assert.ok(large.isLarge);
  pool.give(large);
  assert.is(pool.idle, 2);
  assert.is(pool.idleBytes, 4 * MIB);
  assert.is(pool.made, 3);
  pool.clear();
  assert.is(pool.idle, 0);
  assert.is(pool.idleBytes, 0);
  assert.throws(
    () => again.allocate(2 ** 31),
    (error: unknown) => error instanceof Error && 'code' in error && error.code === 'UNAVAILABLE',
  );
});

test.run();
