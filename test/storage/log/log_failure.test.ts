/** The log when the disk fails or is full: a failure ends it for good, a full disk does not. */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import type { DiskFile } from '../../../src/storage/disk.ts';
import type { Durability } from '../../../src/storage/log/batch.ts';
import type { SegmentedLog } from '../../../src/storage/log/segmented_log.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { test } from '../../suite.ts';
import { contents, entries, entry, LOG_PATH, openLog, settle, VirtualPorts } from './log_fixture.ts';

const HARD_STATE = { term: 1, vote: 1, commit: 0 };

async function errorOf(work: () => unknown): Promise<KvError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof KvError) return error;
    throw error;
  }
  throw new Error('expected a KvError');
}

function listen(log: SegmentedLog): KvError[] {
  const failures: KvError[] = [];
  log.onFailure = (error) => failures.push(error);
  return failures;
}

async function isPoisoned(log: SegmentedLog): Promise<void> {
  const next = log.lastIndex() + 1;
  const refused = await errorOf(() => log.append(undefined, [entry(next, 9)], true));
  assert.is(refused.code, 'STORAGE_FAILED');
  assert.is(log.lastIndex(), next - 1, 'nothing of it was taken');
  for (const work of [() => log.sync(), () => log.cut(1), () => log.reset(1000, 9)]) {
    assert.is((await errorOf(work)).code, 'STORAGE_FAILED');
  }
  assert.is(log.hasRoom(1), false);
  await log.close();
}

test('a failed fsync rejects all that wait for it, poisons the log and is never tried again', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk, { segmentSizeBytes: 1 << 20, preallocateBytes: 1 << 16 });
  const failures = listen(log);
  await log.append(HARD_STATE, [entry(1, 1)], true);
  disk.failSync(1);
  const first = log.append(undefined, [entry(2, 1)], true);
  const second = log.append(undefined, [entry(3, 1)], true);
  const errors = await Promise.all([errorOf(() => first), errorOf(() => second)]);
  for (const error of errors) {
    assert.is(error.code, 'STORAGE_FAILED');
    assert.is(error.details['diskError'], 'IO');
    assert.match(String(error.details['file']), LOG_PATH);
  }
  const syncs = disk.counts.get('sync');
  await isPoisoned(log);
  await settle();
  assert.is(disk.counts.get('sync'), syncs, 'no further fsync');
  assert.is(failures.length, 1);
  assert.is(failures[0], errors[0]);
  assert.is(log.entries(1, 2, 100).length, 1, 'reading goes on');
});

test('no file is closed under an operation that still runs on it', async () => {
  const running = new Map<string, number>();
  const closedEarly: string[] = [];
  class WatchedDisk extends MemoryDisk {
    override async open(path: string, mode: 'read' | 'create' | 'open'): Promise<DiskFile> {
      const file = await super.open(path, mode);
      const during = async (work: () => Promise<void>): Promise<void> => {
        running.set(path, (running.get(path) ?? 0) + 1);
        // Long enough for everything else to go on.
        await settle();
        try {
          await work();
        } finally {
          running.set(path, (running.get(path) ?? 0) - 1);
        }
      };
      return {
        path,
        readSync: (target, offset) => file.readSync(target, offset),
        read: (target, offset) => file.read(target, offset),
        writeSync: (parts, offset) => file.writeSync(parts, offset),
        write: (parts, offset) => during(() => file.write(parts, offset)),
        sync: () => during(() => file.sync()),
        syncSync: () => file.syncSync(),
        truncate: (size) => file.truncate(size),
        sizeBytes: () => file.sizeBytes(),
        close: () => {
          if ((running.get(path) ?? 0) > 0) closedEarly.push(path);
          return file.close();
        },
      };
    }
  }
  for (const durability of ['fsync', 'os'] satisfies Durability[]) {
    const disk = new WatchedDisk();
    const log = await openLog(disk, { durability, segmentSizeBytes: 1024, preallocateBytes: 512 });
    for (let i = 1; i <= 60; i++) {
      await log.append(HARD_STATE, [entry(i, 1, 60)], true);
      if (i % 7 === 0) void log.cut(i);
    }
    await log.reset(100, 1);
    await log.close();
    assert.equal(closedEarly, [], durability);
  }
});

test('a process that comes back after a failed fsync makes durable again what the page cache only shows', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk);
  await log.append(HARD_STATE, [entry(1, 1)], true);
  disk.failSync(1);
  await errorOf(() => log.append({ term: 2, vote: 3, commit: 0 }, [entry(2, 2)], true));
  await log.close();
  const again = await openLog(disk);
  assert.is(again.lastIndex(), 2, 'the cache shows it, and whoever opens the log builds on it');
  disk.crash('all', () => 0);
  const third = await openLog(disk);
  assert.is(third.lastIndex(), 2);
  assert.equal(third.hardState, { term: 2, vote: 3, commit: 0 });
});

test('a failed log is closed only when the sync under way has ended', async () => {
  let hold: Promise<void> | undefined;
  let release = (): void => undefined;
  const disk = new MemoryDisk({ delay: (operation) => (operation === 'sync' ? hold : undefined) });
  const log = await openLog(disk, { segmentSizeBytes: 1 << 20, preallocateBytes: 1 << 16 });
  await settle();
  hold = new Promise((resolve) => {
    release = resolve;
  });
  const waiting = errorOf(() => log.append(HARD_STATE, [entry(1, 1)], true));
  disk.failWrite(1);
  const failed = errorOf(() => log.append(undefined, [entry(2, 1)], true));
  let closed = false;
  const close = log.close().then(() => {
    closed = true;
  });
  assert.is((await failed).code, 'STORAGE_FAILED');
  assert.is((await waiting).code, 'STORAGE_FAILED');
  await settle();
  assert.is(closed, false);
  release();
  await close;
});

test('a failed write poisons the log in every mode', async () => {
  for (const durability of ['fsync', 'os', 'relaxed'] satisfies Durability[]) {
    const disk = new MemoryDisk();
    const ports = new VirtualPorts();
    const log = await openLog(disk, {
      durability,
      ports,
      segmentSizeBytes: 1 << 20,
      preallocateBytes: 1 << 16,
    });
    const failures = listen(log);
    await log.append(HARD_STATE, [entry(1, 1)], true);
    disk.failWrite(durability === 'relaxed' ? 2 : 1);
    if (durability === 'relaxed') {
      assert.is(log.append(undefined, [entry(2, 1)], true), undefined);
      await ports.advance(50);
      assert.is(failures.length, 0);
      assert.is(log.append(undefined, [entry(3, 1)], true), undefined, 'acknowledged from memory');
      await ports.advance(50);
    } else {
      assert.is((await errorOf(() => log.append(undefined, [entry(2, 1)], true))).code, 'STORAGE_FAILED');
    }
    assert.is(failures.length, 1, durability);
    await isPoisoned(log);
    assert.is(failures.length, 1);
  }
});

test('a failure at any operation of an append, a cut or a reset ends in STORAGE_FAILED, once, and reopening finds what was acknowledged', async () => {
  const run = async (disk: MemoryDisk, acknowledged: { last: number }, seen: KvError[]): Promise<void> => {
    const log = await openLog(disk, { segmentSizeBytes: 1024, preallocateBytes: 512 });
    log.onFailure = (error) => seen.push(error);
    try {
      for (let i = 1; i <= 40; i++) {
        await log.append(HARD_STATE, [entry(i, 1, 40)], true);
        acknowledged.last = i;
      }
      await log.cut(20);
      await log.reset(60, 1);
      acknowledged.last = 60;
      await log.append(undefined, [entry(61, 1)], true);
      acknowledged.last = 61;
    } finally {
      await log.close();
    }
  };
  const clean = new MemoryDisk();
  await run(clean, { last: 0 }, []);
  for (let at = 1; at <= clean.operations; at++) {
    const disk = new MemoryDisk();
    const acknowledged = { last: 0 };
    const seen: KvError[] = [];
    disk.failAt(at);
    let error: unknown;
    await run(disk, acknowledged, seen).catch((caught: unknown) => {
      error = caught;
    });
    await settle();
    const context = `operation ${at} of ${clean.operations}`;
    if (error !== undefined) {
      assert.ok(error instanceof KvError && error.code === 'STORAGE_FAILED', `${context}: ${String(error)}`);
    }
    assert.ok(seen.length <= 1, context);
    disk.crash('random', () => 0.3);
    const log = await openLog(disk);
    assert.ok(log.lastIndex() >= acknowledged.last, `${context}: ${log.lastIndex()} < ${acknowledged.last}`);
  }
});

test('a full disk: no room is promised, hard states still go through, and it heals', async () => {
  const disk = new MemoryDisk({ capacityBytes: 24 * 1024 });
  const ports = new VirtualPorts();
  const options = { ports, segmentSizeBytes: 8192, preallocateBytes: 4096 };
  const log = await openLog(disk, options);
  const failures = listen(log);
  await log.append(HARD_STATE, [], true);
  let next = 1;
  while (log.hasRoom(500)) {
    assert.is(await log.append(undefined, [entry(next, 1, 500)], true), undefined);
    next++;
    await settle();
    assert.ok(next < 100, 'the disk must be full at some time');
  }
  assert.ok(next > 10);
  for (let term = 2; term < 12; term++) await log.append({ term, vote: 2, commit: 0 }, [], true);
  const room = log.roomBytes();
  await ports.advance(10_000);
  assert.is(log.hasRoom(500), false, 'tried again, and still full');
  assert.ok(log.roomBytes() <= room);
  assert.is(failures.length, 0);
  disk.capacityBytes = 64 * 1024;
  await ports.advance(1000);
  assert.is(log.hasRoom(500), true, 'healed by the retry');
  await log.append({ term: 12, vote: 0, commit: 0 }, [entry(next, 12, 500)], true);
  const before = contents(log);
  await log.close();
  const again = await openLog(disk, options);
  assert.equal(contents(again), before);
  assert.is(again.hardState.term, 12);
});

test('hasRoom itself tries again when a second has passed', async () => {
  const disk = new MemoryDisk({ capacityBytes: 5000 });
  const ports = new VirtualPorts();
  const log = await openLog(disk, { ports, segmentSizeBytes: 8192, preallocateBytes: 4096 });
  assert.is(log.hasRoom(6000), false);
  disk.capacityBytes = 1 << 20;
  ports.nowMs += 1000;
  log.hasRoom(6000);
  await settle();
  assert.is(log.hasRoom(2000), true);
  await log.close();
});

test('an append that found no room waits for it, in order, and is refused by the close when none comes', async () => {
  const disk = new MemoryDisk({ capacityBytes: 9000 });
  const ports = new VirtualPorts();
  const options = { ports, segmentSizeBytes: 8192, preallocateBytes: 4096 };
  const log = await openLog(disk, options);
  await log.append(HARD_STATE, [entry(1, 1)], true);
  const order: string[] = [];
  const large = log.append(undefined, [entry(2, 1, 20_000)], true);
  const small = log.append(undefined, [entry(3, 1)], true);
  const durable = log.append(undefined, [], true);
  void Promise.resolve(large).then(() => order.push('large'));
  void Promise.resolve(small).then(() => order.push('small'));
  void Promise.resolve(durable).then(() => order.push('durable'));
  assert.is(log.entries(2, 4, 1e6).length, 2, 'visible all the same');
  await ports.advance(5000);
  assert.equal(order, []);
  disk.capacityBytes = 1 << 20;
  await ports.advance(1000);
  assert.equal(order, ['large', 'small', 'durable']);
  disk.capacityBytes = 0;
  const never = errorOf(() => log.append(undefined, [entry(4, 1, 60_000)], true));
  await log.close();
  assert.is((await never).code, 'NO_SPACE');
  disk.capacityBytes = 1 << 20;
  const again = await openLog(disk, options);
  assert.is(again.lastIndex(), 3);
});

test('a batch that waits for room is given up by a reset, which takes its place', async () => {
  const disk = new MemoryDisk({ capacityBytes: 9000 });
  const log = await openLog(disk, { segmentSizeBytes: 8192, preallocateBytes: 4096 });
  await log.append(HARD_STATE, [entry(1, 1)], true);
  const stuck = log.append(undefined, [entry(2, 1, 20_000)], true);
  await settle();
  const full = await errorOf(() => log.reset(50, 1)).catch(() => undefined);
  if (full !== undefined) {
    assert.is(full.code, 'NO_SPACE');
    assert.is(log.lastIndex(), 2, 'nothing has changed');
    disk.capacityBytes = 20_000;
    await log.reset(50, 1);
  }
  await stuck;
  assert.equal(contents(log), { first: 51, startTerm: 1, entries: [] });
  await log.append(undefined, [entry(51, 1)], true);
  await log.close();
  assert.is((await openLog(disk)).lastIndex(), 51);
});

test('no space to begin a log, or to reopen it, is NO_SPACE or nothing at all, never a failure for good', async () => {
  const tiny = new MemoryDisk({ capacityBytes: 10 });
  assert.is((await errorOf(() => openLog(tiny))).code, 'NO_SPACE');
  tiny.capacityBytes = 1 << 20;
  const log = await openLog(tiny);
  await log.append(HARD_STATE, entries(1, 5, 1), true);
  await log.close();
  tiny.capacityBytes = 0;
  const again = await openLog(tiny);
  assert.is(again.lastIndex(), 5);
  assert.is(again.hasRoom(100_000), false);
  await again.close();
});

test('a copy-on-write disk that has no room for a real write ends the log', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk);
  await log.append(HARD_STATE, [entry(1, 1)], true);
  const failures = listen(log);
  const name = (await disk.list(LOG_PATH))[0]!;
  const file = await disk.open(`${LOG_PATH}/${name}`, 'open');
  // Takes the preallocated zeros away behind the log's back.
  await file.truncate(300);
  disk.capacityBytes = 0;
  const error = await errorOf(() => log.append(undefined, [entry(2, 1, 400)], true));
  assert.is(error.code, 'STORAGE_FAILED');
  assert.is(error.details['diskError'], 'NO_SPACE');
  assert.is(failures.length, 1);
});

test.run();
