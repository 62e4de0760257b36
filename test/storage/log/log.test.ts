/** The segmented log when nothing goes wrong: what it takes in is what it gives back, now and after reopening. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { ENTRY_CONFIGURATION, ENTRY_NOOP, type Entry } from '../../../src/raft/types.ts';
import type { Durability } from '../../../src/storage/log/batch.ts';
import { SegmentedLog } from '../../../src/storage/log/segmented_log.ts';
import { verifyLog } from '../../../src/storage/log/verify.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { NodeDisk } from '../../../src/storage/node_disk.ts';
import { test } from '../../suite.ts';
import { contents, entries, entry, LOG_PATH, openLog, settle, VirtualPorts } from './log_fixture.ts';

const HARD_STATE = { term: 1, vote: 1, commit: 0 };

async function segmentCount(disk: MemoryDisk): Promise<number> {
  return (await disk.list(LOG_PATH)).length;
}

test('a new log is empty', async () => {
  const log = await openLog(new MemoryDisk());
  assert.is(log.firstIndex(), 1);
  assert.is(log.lastIndex(), 0);
  assert.is(log.term(0), 0);
  assert.is(log.term(1), undefined);
  assert.equal(log.hardState, { term: 0, vote: 0, commit: 0 });
  await log.close();
});

test('entries of every kind and size, and the hard state, come back after reopening', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk);
  const all: Entry[] = [
    entry(1, 1, 0),
    { ...entry(2, 1, 7), kind: ENTRY_NOOP },
    { ...entry(3, 2, 8), kind: ENTRY_CONFIGURATION },
    entry(4, 2, 16 * 1024),
    entry(5, 2, 16 * 1024 + 1),
    entry(6, 3, 20_003),
  ];
  await log.append({ term: 3, vote: 2, commit: 0 }, all.slice(0, 3), true);
  await log.append({ term: 3, vote: 2, commit: 5 }, all.slice(3), true);
  const before = contents(log);
  assert.equal(log.entries(1, 7, 1e9), all);
  await log.close();
  const again = await openLog(disk);
  assert.equal(contents(again), before);
  assert.equal(again.entries(1, 7, 1e9), all);
  assert.equal(again.hardState, { term: 3, vote: 2, commit: 5 });
  assert.equal(
    [0, 1, 2, 3, 6, 7].map((index) => again.term(index)),
    [0, 1, 1, 2, 3, undefined],
  );
  await again.close();
  assert.equal(await verifyLog(disk, LOG_PATH), []);
});

test('entries stops at maxBytes but gives one at least, from the cache and from the disk', async () => {
  for (const cacheBytes of [1, 1e6]) {
    const log = await openLog(new MemoryDisk(), { cacheBytes });
    await log.append(HARD_STATE, entries(1, 20, 1, 100), true);
    assert.is(log.entries(1, 21, 0).length, 1);
    assert.is(log.entries(1, 21, 100).length, 1);
    assert.is(log.entries(1, 21, 299).length, 2);
    assert.is(log.entries(3, 21, 300).length, 3);
    assert.is(log.entries(5, 8, 1e6).length, 3);
    assert.throws(() => log.entries(0, 1, 1), /asked of a log/);
    assert.throws(() => log.entries(2, 2, 1), /asked of a log/);
    assert.throws(() => log.entries(1, 22, 1), /asked of a log/);
    await log.close();
  }
});

test('an entry at or below the last index replaces it and all that follows', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk);
  await log.append(HARD_STATE, entries(1, 60, 1), true);
  await log.append({ term: 2, vote: 0, commit: 0 }, entries(31, 40, 2), true);
  assert.is(log.lastIndex(), 40);
  assert.equal(
    [30, 31, 40, 41].map((index) => log.term(index)),
    [1, 2, 2, undefined],
  );
  const before = contents(log);
  assert.is(before.entries.length, 40);
  await log.close();
  assert.equal(contents(await openLog(disk)), before);
});

test('what does not fit the log is refused, and nothing of it is taken', async () => {
  const log = await openLog(new MemoryDisk());
  await log.append({ term: 5, vote: 1, commit: 0 }, entries(1, 3, 4), true);
  const isInternal = (error: unknown): boolean => error instanceof KvError && error.code === 'INTERNAL';
  for (const bad of [
    [entry(5, 5)],
    [entry(0, 5)],
    [entry(4, 3)],
    [entry(4, 5), entry(6, 5)],
    [entry(4, 5), entry(5, 4)],
  ]) {
    assert.throws(() => log.append({ term: 6, vote: 0, commit: 0 }, bad, true), isInternal);
  }
  assert.throws(() => log.append({ term: 4, vote: 0, commit: 0 }, [], true), isInternal);
  assert.is(log.lastIndex(), 3);
  assert.is(log.hardState.term, 5);
  await log.close();
});

test('fsync: appends made while a sync runs share the next one, and promises resolve in order', async () => {
  let hold: Promise<void> | undefined;
  const disk = new MemoryDisk({ delay: (operation) => (operation === 'sync' ? hold : undefined) });
  const log = await openLog(disk, { segmentSizeBytes: 1 << 20, preallocateBytes: 1 << 16 });
  let release: () => void = () => undefined;
  hold = new Promise((resolve) => {
    release = resolve;
  });
  const syncsBefore = disk.counts.get('sync') ?? 0;
  const order: number[] = [];
  for (let i = 1; i <= 10; i++) {
    const done = log.append(i === 1 ? HARD_STATE : undefined, [entry(i, 1)], true);
    assert.ok(done instanceof Promise);
    void done.then(() => order.push(i));
    assert.is(log.lastIndex(), i, 'visible at once');
  }
  await settle();
  assert.equal(order, [], 'nothing is acknowledged before a sync has ended');
  release();
  await settle();
  assert.equal(order, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.is((disk.counts.get('sync') ?? 0) - syncsBefore, 2);
  assert.is(log.append(undefined, [], true), undefined, 'nothing to sync');
  await log.close();
});

test('fsync: an acknowledged append survives the loss of everything unsynced; mustSync false is not waited for', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk);
  await log.append(HARD_STATE, entries(1, 5, 1), true);
  assert.is(log.append(undefined, [entry(6, 1)], false), undefined);
  const waiting = log.append(undefined, [], true);
  assert.ok(waiting instanceof Promise, 'a later wish to be durable covers what was only written');
  await waiting;
  disk.crash('all', () => 0);
  const again = await openLog(disk);
  assert.is(again.lastIndex(), 6);
  assert.equal(again.hardState, HARD_STATE);
});

test('os: done as soon as it is written: a crash of the process loses nothing', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk, { durability: 'os' });
  assert.is(log.append(HARD_STATE, entries(1, 5, 1), true), undefined);
  disk.crash('none', () => 0);
  const again = await openLog(disk, { durability: 'os' });
  assert.is(again.lastIndex(), 5);
  assert.equal(again.hardState, HARD_STATE);
});

test('relaxed: done at once, written within relaxedFlushMs or when much waits, and a vote is written at once', async () => {
  const disk = new MemoryDisk();
  const ports = new VirtualPorts();
  const log = await openLog(disk, {
    durability: 'relaxed',
    ports,
    segmentSizeBytes: 1 << 24,
    preallocateBytes: 1 << 22,
  });
  const writes = (): number => disk.counts.get('write') ?? 0;
  const before = writes();
  assert.is(log.append(undefined, entries(1, 3, 0), true), undefined);
  assert.is(log.append(undefined, [entry(4, 0), entry(5, 0)], true), undefined);
  assert.is(log.lastIndex(), 5);
  assert.is(log.entries(1, 6, 1e9).length, 5, 'visible before they are written');
  assert.is(writes(), before);
  await ports.advance(50);
  assert.is(writes(), before + 1);
  log.append(undefined, [entry(6, 0)], true);
  assert.is(log.append({ term: 1, vote: 1, commit: 0 }, [], true), undefined);
  assert.is(writes(), before + 3, 'the entry before it and the vote');
  for (let i = 7; i <= 70; i++) log.append(undefined, [entry(i, 1, 20_000)], true);
  assert.ok(writes() > before + 3);
  log.append(undefined, entries(60, 62, 2), true);
  assert.is(log.lastIndex(), 62);
  const all = contents(log);
  await log.sync();
  disk.crash('all', () => 0);
  assert.equal(contents(await openLog(disk)), all);
});

test('a commit index that moves alone is written along with later entries, when idle, and at the close', async () => {
  const disk = new MemoryDisk();
  const ports = new VirtualPorts();
  const log = await openLog(disk, { ports, segmentSizeBytes: 1 << 22, preallocateBytes: 1 << 20 });
  await log.append(HARD_STATE, entries(1, 9, 1), true);
  const writes = disk.counts.get('write');
  assert.is(log.append({ ...HARD_STATE, commit: 7 }, [], false), undefined);
  assert.is(log.hardState.commit, 7);
  assert.is(disk.counts.get('write'), writes);
  await ports.advance(3000);
  disk.crash('all', () => 0);
  const second = await openLog(disk, { ports, segmentSizeBytes: 1 << 22, preallocateBytes: 1 << 20 });
  assert.is(second.hardState.commit, 7);
  for (let i = 10; i < 14; i++)
    await second.append({ ...HARD_STATE, commit: i - 1 }, [entry(i, 1, 40_000)], true);
  disk.crash('all', () => 0);
  const third = await openLog(disk, { ports });
  assert.ok(third.hardState.commit > 7);
  third.append({ ...HARD_STATE, commit: 13 }, [], false);
  await third.close();
  assert.is((await openLog(disk)).hardState.commit, 13);
});

test('an idle log comes to rest: one mark, and no timer left', async () => {
  const disk = new MemoryDisk();
  const ports = new VirtualPorts();
  const log = await openLog(disk, { ports });
  await log.append(HARD_STATE, entries(1, 5, 1), true);
  await ports.advance(5000);
  const operations = disk.operations;
  await ports.advance(60_000);
  assert.is(disk.operations, operations);
  assert.is(ports.pendingTimers, 0);
  await log.close();
});

test('a log fills segment after segment, and cut removes whole ones from the front', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk);
  for (let i = 1; i <= 200; i++)
    await log.append(i === 1 ? HARD_STATE : undefined, [entry(i, i < 100 ? 1 : 2, 60)], true);
  const count = await segmentCount(disk);
  assert.ok(count > 4);
  const size = log.sizeBytes();
  await log.cut(10);
  assert.is(log.firstIndex(), 1, 'no segment lies wholly at or below 10');
  await log.cut(120);
  const first = log.firstIndex();
  assert.ok(first > 60 && first <= 121);
  assert.ok(log.sizeBytes() < size);
  assert.ok((await segmentCount(disk)) < count);
  assert.is(log.term(first - 1), first - 1 < 100 ? 1 : 2);
  assert.is(log.term(first - 2), undefined);
  assert.throws(() => log.entries(first - 1, first, 1));
  assert.is(log.entries(first, 201, 1e9).length, 201 - first);
  const before = contents(log);
  await log.close();
  const again = await openLog(disk);
  assert.equal(contents(again), before);
  await again.cut(1e9);
  assert.is(again.lastIndex(), 200);
  assert.is(again.term(200), 2);
  await again.append(undefined, [entry(201, 2)], true);
  assert.is(again.lastIndex(), 201);
  await again.close();
  assert.equal(await verifyLog(disk, LOG_PATH), []);
});

test('reset begins the log anew after an index, above or below the old end, and keeps the hard state', async () => {
  for (const index of [3, 500]) {
    const disk = new MemoryDisk();
    const log = await openLog(disk);
    for (let i = 1; i <= 100; i++) await log.append(HARD_STATE, [entry(i, 1, 60)], true);
    const reset = log.reset(index, 1);
    const vote = log.append({ term: 2, vote: 3, commit: 3 }, [], true);
    assert.throws(() => log.append(undefined, [entry(101, 2)], true), /being reset/);
    await reset;
    await vote;
    assert.is(log.firstIndex(), index + 1);
    assert.is(log.lastIndex(), index);
    assert.is(log.term(index), 1);
    assert.is(log.term(index - 1), undefined);
    disk.crash('all', () => 0);
    const again = await openLog(disk);
    assert.equal(contents(again), { first: index + 1, startTerm: 1, entries: [] });
    assert.equal({ ...again.hardState, commit: 0 }, { term: 2, vote: 3, commit: 0 });
    await again.append(undefined, entries(index + 1, index + 50, 2), true);
    const before = contents(again);
    await again.close();
    assert.equal(contents(await openLog(disk)), before);
  }
});

test('an append larger than a segment makes a larger segment', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk);
  await log.append(HARD_STATE, [entry(1, 1, 30_000)], true);
  await log.append(undefined, entries(2, 400, 1, 700), true);
  await log.append(undefined, [entry(401, 1, 10)], true);
  const before = contents(log);
  await log.close();
  assert.equal(contents(await openLog(disk)), before);
});

test('a closed log refuses appends, cuts and resets; closing twice is fine', async () => {
  const log = await openLog(new MemoryDisk());
  await Promise.all([log.close(), log.close()]);
  const isClosed = (error: unknown): boolean => error instanceof KvError && error.code === 'CLOSED';
  for (const work of [
    async () => log.append(undefined, [entry(1, 1)], true),
    () => log.cut(1),
    () => log.reset(5, 1),
  ]) {
    let caught: unknown;
    await work().catch((error: unknown) => {
      caught = error;
    });
    assert.ok(isClosed(caught));
  }
  assert.is(log.hasRoom(1), false);
});

test('files with other names in the directory are left alone', async () => {
  const disk = new MemoryDisk();
  await disk.makeDirectory(LOG_PATH);
  for (const name of ['notes.txt', '0000000000000000-00000000.log', 'ffffffffffffffff-00000000.log']) {
    await (await disk.open(`${LOG_PATH}/${name}`, 'create')).close();
  }
  const log = await openLog(disk);
  await log.close();
  assert.is((await disk.list(LOG_PATH)).filter((name) => !/^0{15}1-/.test(name)).length >= 3, true);
});

test('on a real disk: appends in every mode, reopened', async () => {
  const root = mkdtempSync(join(tmpdir(), 'kvorum-log-'));
  try {
    for (const durability of ['fsync', 'os', 'relaxed'] satisfies Durability[]) {
      const options = {
        path: join(root, durability, 'log'),
        durability,
        segmentSizeBytes: 65_536,
        preallocateBytes: 16_384,
      };
      const log = await openLog(new NodeDisk(), options);
      for (let i = 1; i <= 300; i++)
        void log.append(i === 1 ? HARD_STATE : undefined, [entry(i, 1, 900)], true);
      const before = contents(log);
      await log.sync();
      await log.cut(100);
      await log.close();
      const again = await openLog(new NodeDisk(), options);
      assert.equal(contents(again).entries, before.entries.slice(again.firstIndex() - 1));
      await again.reset(1000, 2);
      await again.close();
      assert.equal(await verifyLog(new NodeDisk(), options.path), []);
    }
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

/** What a log is, without a disk. */
class ModelLog {
  start = 0;
  startTerm = 0;
  entries: Entry[] = [];
  term = 1;

  get last(): number {
    return this.start + this.entries.length;
  }
}

type Step =
  | { type: 'append'; count: number; sizeBytes: number; newTerm: boolean }
  | { type: 'replace'; back: number; count: number; sizeBytes: number }
  | { type: 'cut'; part: number }
  | { type: 'reset'; ahead: number }
  | { type: 'reopen'; clean: boolean };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant('append' as const),
      count: fc.integer({ min: 1, max: 20 }),
      sizeBytes: fc.integer({ min: 0, max: 600 }),
      newTerm: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('replace' as const),
      back: fc.integer({ min: 1, max: 60 }),
      count: fc.integer({ min: 1, max: 10 }),
      sizeBytes: fc.integer({ min: 0, max: 300 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('cut' as const),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant('reset' as const), ahead: fc.integer({ min: -5, max: 50 }) }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('reopen' as const), clean: fc.boolean() }) },
);

test('random appends, truncations, cuts, resets and reopenings agree with a model', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 40 }),
      fc.constantFrom<Durability>('fsync', 'os', 'relaxed'),
      fc.constantFrom(1, 4096, 1 << 20),
      async (steps, durability, cacheBytes) => {
        const disk = new MemoryDisk();
        const model = new ModelLog();
        let log = await openLog(disk, { durability, cacheBytes });
        // What was cut is never cut again: the committed part of the log is not replaced.
        let fixed = 0;
        for (const each of steps) {
          if (each.type === 'append' || each.type === 'replace') {
            if (each.type === 'replace' || each.newTerm) model.term++;
            const back = each.type === 'replace' ? each.back : 0;
            const from = Math.max(fixed + 1, model.start + 1, model.last + 1 - back);
            const added = entries(from, from + each.count - 1, model.term, each.sizeBytes);
            await log.append({ term: model.term, vote: 1, commit: fixed }, added, true);
            model.entries.length = from - 1 - model.start;
            model.entries.push(...added);
          } else if (each.type === 'cut') {
            fixed = Math.max(fixed, model.start + Math.floor(model.entries.length * each.part));
            await log.cut(fixed);
            const first = log.firstIndex();
            assert.ok(first - 1 <= fixed && first - 1 >= model.start);
            if (first - 1 > model.start) {
              model.startTerm = model.entries[first - 2 - model.start]!.term;
              model.entries.splice(0, first - 1 - model.start);
              model.start = first - 1;
            }
          } else if (each.type === 'reset') {
            const index = Math.max(fixed, model.last + each.ahead, 1);
            await log.reset(index, model.term);
            model.start = index;
            model.startTerm = model.term;
            model.entries = [];
            fixed = index;
          } else {
            if (each.clean) await log.close();
            else await log.sync();
            if (!each.clean) disk.crash('none', () => 0);
            assert.equal(await verifyLog(disk, LOG_PATH), []);
            log = await openLog(disk, { durability, cacheBytes });
          }
          assert.is(log.firstIndex(), model.start + 1);
          assert.is(log.lastIndex(), model.last);
          assert.is(log.term(model.start), model.startTerm);
          if (model.entries.length > 0) {
            const got = log.entries(model.start + 1, model.last + 1, 1e9);
            assert.equal(
              got.map((e) => [
                e.index,
                e.term,
                Buffer.compare(e.data, model.entries[e.index - 1 - model.start]!.data),
              ]),
              model.entries.map((e) => [e.index, e.term, 0]),
            );
            for (const { index, term } of model.entries) assert.is(log.term(index), term);
          }
        }
      },
    ),
    { numRuns: 120 },
  );
});

test('opening a path that is a file fails as a storage failure', async () => {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/data');
  await (await disk.open(LOG_PATH, 'create')).close();
  let caught: unknown;
  await SegmentedLog.open({
    disk,
    path: LOG_PATH,
    durability: 'fsync',
    relaxedFlushMs: 1,
    segmentSizeBytes: 4096,
    preallocateBytes: 4096,
    cacheBytes: 1,
    ports: new VirtualPorts(),
  }).catch((error: unknown) => {
    caught = error;
  });
  assert.ok(caught instanceof KvError && caught.code === 'STORAGE_FAILED');
});

test.run();
