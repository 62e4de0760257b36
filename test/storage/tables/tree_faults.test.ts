/** What a tree of tables does when its disk is full, fails or lies, when files are missing, and when it is closed in the middle of things. */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { realPorts } from '../../../src/real_ports.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import type { StoredRecord } from '../../../src/storage/record.ts';
import { InlineRunner, type JobRunner } from '../../../src/storage/tables/job_runner.ts';
import type { TablesTree } from '../../../src/storage/tables/tables_tree.ts';
import { verifyTree } from '../../../src/storage/tables/verify_tree.ts';
import { test } from '../../suite.ts';
import { plainRecord, runOf, showAll, tombstone } from '../record_model.ts';
import { SteppedPorts } from '../stepped_ports.ts';
import {
  allVersions,
  flushMemtable,
  keyOf,
  NEWEST,
  openLab,
  outcome,
  PATH,
  records,
  stateAt,
} from './tree_lab.ts';

const TABLES = `${PATH}/tables`;

/** Lets everything that needs no time happen. */
async function turns(count = 50): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Flushes batches over the same keys until a compaction is due, and one more where told. */
async function fill(tree: TablesTree, flushes: number, from = 1): Promise<StoredRecord[]> {
  const all: StoredRecord[] = [];
  for (let index = from; index < from + flushes; index++) {
    const batch = records(0, 150, index * 1_000);
    all.push(...batch);
    await tree.flush(runOf(batch), stateAt(index));
  }
  return all;
}

test('a flush without space fails with NO_SPACE, leaves nothing behind, and can be repeated', async () => {
  const disk = new MemoryDisk();
  const tree = await openLab({ disk });
  await tree.flush(runOf(records(0, 100, 1)), stateAt(1));
  const before = { used: disk.usedBytes(), files: await disk.list(TABLES) };
  const list = records(50, 400, 1_000);
  for (const room of [0, 100, 3_000, 20_000, 40_000]) {
    disk.capacityBytes = before.used + room;
    assert.is(await outcome(flushMemtable(tree, list, stateAt(2))), 'NO_SPACE', `${room} B`);
    assert.is(await outcome(tree.flush(runOf(list), stateAt(2))), 'NO_SPACE', `${room} B`);
    assert.is(tree.durable?.index, 1);
    assert.is(disk.usedBytes(), before.used, 'the space was given back');
    assert.equal(await disk.list(TABLES), before.files);
    assert.is((await allVersions(tree)).length, 100);
  }
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  await flushMemtable(tree, list, stateAt(2));
  assert.is(tree.durable?.index, 2);
  assert.is((await allVersions(tree)).length, 450);
  await tree.close();
});

test('a compaction without space is given up in silence, and tried again later', async () => {
  const ports = new SteppedPorts();
  const disk = new MemoryDisk();
  const tree = await openLab({ disk, ports });
  const all = await fill(tree, 3);
  const used = disk.usedBytes();
  const batch = records(0, 150, 9_000);
  all.push(...batch);
  disk.capacityBytes = used + 26_000;
  await tree.flush(runOf(batch), stateAt(4));
  await tree.settled();
  const stuck = tree.tableStats();
  assert.is(stuck.runs, 4, 'not compacted');
  assert.is(stuck.compactionsRunning, 0);
  assert.is((await disk.list(TABLES)).length, stuck.cache.openTables, 'partial outputs are removed');
  assert.is((await allVersions(tree)).length, 600);
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  await ports.advance(4_000);
  await turns();
  assert.is(tree.tableStats().runs, 4, 'not before its time');
  await ports.advance(2_000);
  await turns();
  await tree.settled();
  assert.is(tree.tableStats().runs, 0);
  assert.equal(showAll(await allVersions(tree)).sort(), showAll(all).sort());
  await tree.close();
});

test('space that runs out in the middle of a compaction takes nothing with it', async () => {
  // The disk says that there is room, and then there is none.
  class Boastful extends MemoryDisk {
    override async spaceLeftBytes(): Promise<number> {
      return 1e12;
    }
  }
  const ports = new SteppedPorts();
  const disk = new Boastful();
  const tree = await openLab({ disk, ports });
  await fill(tree, 3);
  await tree.flush(runOf(records(0, 150, 9_000)), stateAt(4));
  disk.capacityBytes = disk.usedBytes() + 10_000;
  await tree.settled();
  assert.is(tree.tableStats().runs, 4);
  assert.is((await disk.list(TABLES)).length, tree.tableStats().cache.openTables);
  assert.is(await outcome(tree.flush(runOf([]), stateAt(5))), 'done', 'the tree has not failed');
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  await ports.advance(6_000);
  await turns();
  await tree.settled();
  assert.is(tree.tableStats().runs, 0);
  assert.is((await allVersions(tree)).length, 600);
  await tree.close();
});

test('a failed sync is final: nothing is written any more, reads go on, and a restart finds what was durable', async () => {
  for (let sync = 1; sync <= 4; sync++) {
    const disk = new MemoryDisk();
    const tree = await openLab({ disk });
    await tree.flush(runOf(records(0, 50, 1)), stateAt(1));
    disk.failSync(sync);
    assert.is(
      await outcome(tree.flush(runOf(records(0, 50, 100)), stateAt(2))),
      'STORAGE_FAILED',
      `sync ${sync}`,
    );
    assert.is(await outcome(tree.flush(runOf([]), stateAt(3))), 'STORAGE_FAILED');
    assert.is(await outcome(tree.checkpoint()), 'STORAGE_FAILED');
    assert.is(await outcome(tree.install(stateAt(3), (async function* () {})())), 'STORAGE_FAILED');
    assert.is(tree.durable?.index, 1);
    assert.is((await tree.get(keyOf(7), NEWEST))?.modRevision, 8);
    await tree.close();
    disk.crash('all', () => 0);
    const again = await openLab({ disk });
    assert.ok(again.durable?.index === 1 || (sync === 4 && again.durable?.index === 2));
    await again.close();
  }
});

test('a compaction whose sync fails ends writing, too', async () => {
  const disk = new MemoryDisk();
  const tree = await openLab({ disk });
  await fill(tree, 3);
  // Four syncs are the flush's own; the fifth is of the compaction's first table.
  disk.failSync(8);
  await tree.flush(runOf(records(0, 150, 9_000)), stateAt(4));
  await tree.settled();
  assert.is(await outcome(tree.flush(runOf([]), stateAt(5))), 'STORAGE_FAILED');
  assert.is((await allVersions(tree)).length, 600);
  await tree.close();
  disk.crash('none', () => 0);
  const again = await openLab({ disk });
  assert.is(again.durable?.index, 4);
  assert.is((await allVersions(again)).length, 600);
  await again.close();
});

test('files that no manifest names are removed at open; files of others are not', async () => {
  const disk = new MemoryDisk();
  let tree = await openLab({ disk });
  await tree.flush(runOf(records(0, 50, 1)), stateAt(1));
  await tree.close();
  const [name] = await disk.list(TABLES);
  const litter = ['t-0000000077.kvt', 't-0000000078.kvt.tmp', `${name}.tmp`];
  for (const path of [...litter.map((one) => `${TABLES}/${one}`), `${PATH}/MANIFEST.tmp`, `${TABLES}/notes`])
    await (await disk.open(path, 'create')).close();
  tree = await openLab({ disk });
  assert.equal(await disk.list(TABLES), ['notes', name]);
  assert.equal(await disk.list(PATH), ['MANIFEST', 'tables']);
  await tree.close();
});

test('a missing manifest or table is damage, not an empty tree', async () => {
  const disk = new MemoryDisk();
  const tree = await openLab({ disk });
  await tree.flush(runOf(records(0, 50, 1)), stateAt(1));
  await tree.close();
  const [name] = await disk.list(TABLES);
  await disk.rename(`${TABLES}/${name}`, `${TABLES}/elsewhere`);
  const lost = await openLab({ disk }).catch((error: unknown) => error);
  assert.ok(lost instanceof KvError && lost.code === 'CORRUPT');
  assert.is(lost instanceof KvError && lost.details['file'], `${TABLES}/${name}`);
  assert.is((await verifyTree(disk, PATH)).damages.length, 1);
  await disk.rename(`${TABLES}/elsewhere`, `${TABLES}/${name}`);
  await disk.remove(`${PATH}/MANIFEST`);
  const gone = await openLab({ disk }).catch((error: unknown) => error);
  assert.ok(gone instanceof KvError && gone.code === 'CORRUPT' && /manifest is missing/.test(gone.message));
  assert.match((await verifyTree(disk, PATH)).damages[0]!.problem, 'missing');
});

test('damage met by a read fails that read, is told, and leaves the others alone; the table is never compacted', async () => {
  const disk = new MemoryDisk();
  let told: Error[] = [];
  const tree = await openLab({ disk, settings: { blockCacheBytes: 0 } });
  tree.onDamage = (error) => told.push(error);
  await tree.flush(runOf(records(0, 60, 1)), stateAt(1));
  const [name] = await disk.list(TABLES);
  const file = `${TABLES}/${name}`;
  disk.damage(file, 20, 0x10);
  const error = await Promise.resolve()
    .then(() => tree.get(keyOf(0), NEWEST))
    .catch((failure: unknown) => failure);
  assert.ok(error instanceof KvError && error.code === 'CORRUPT');
  assert.throws(
    () => tree.getNow(keyOf(0), NEWEST),
    (failure: unknown) => failure instanceof KvError && failure.code === 'CORRUPT',
  );
  assert.is((await tree.get(keyOf(59), NEWEST))?.modRevision, 60);
  assert.ok(told.length >= 2);
  const [damage, ...others] = tree.damages();
  assert.is(others.length, 0);
  assert.is(damage?.file, file);
  assert.is(damage?.offset, 0);
  assert.is(damage?.level, 0);
  assert.equal(
    [damage?.smallestKey, damage?.largestKey].map((key) => new Uint8Array(key!)),
    [new Uint8Array(keyOf(0)), new Uint8Array(keyOf(59))],
  );
  const scanned = await outcome(Promise.resolve().then(() => allVersions(tree)));
  assert.is(scanned, 'CORRUPT');
  for (let index = 2; index <= 6; index++)
    await tree.flush(runOf(records(0, 60, index * 100)), stateAt(index));
  await tree.settled();
  assert.is(tree.tableStats().runs, 6, 'what overlaps it waits with it');
  assert.ok(await disk.exists(file));
  assert.ok(tree.pressure < 1);
  for (let index = 7; index <= 10; index++)
    await tree.flush(runOf(records(100, 160, index * 100)), stateAt(index));
  await tree.settled();
  assert.ok(tree.tableStats().levels[1]!.tables > 0, 'other keys are compacted');
  assert.is((await tree.get(keyOf(120), NEWEST))?.modRevision, 1_020);
  told = [];
  await tree.install(
    stateAt(20),
    (async function* () {
      yield records(0, 10, 1);
    })(),
  );
  assert.equal(tree.damages(), [], 'the install has replaced it');
  assert.is((await tree.get(keyOf(0), NEWEST))?.modRevision, 1);
  await tree.settled();
  assert.not(await disk.exists(file));
  await tree.close();
});

test('damage met by a compaction is told, and the tree lives on', async () => {
  const disk = new MemoryDisk();
  const told: Error[] = [];
  const tree = await openLab({ disk });
  tree.onDamage = (error) => told.push(error);
  await tree.flush(runOf(records(0, 60, 1)), stateAt(1));
  const [name] = await disk.list(TABLES);
  disk.damage(`${TABLES}/${name}`, 20, 0x10);
  await fill(tree, 4, 2);
  await tree.settled();
  assert.is(told.length, 1);
  assert.is(tree.damages()[0]?.file, `${TABLES}/${name}`);
  assert.is(tree.tableStats().damagedTables, 1);
  assert.is(await outcome(tree.flush(runOf(records(0, 5, 9_999)), stateAt(9))), 'done');
  assert.is((await disk.list(TABLES)).length, tree.tableStats().cache.openTables);
  await tree.close();
});

/** A runner whose merges wait until they are let go. */
class HeldRunner implements JobRunner {
  readonly #inner: InlineRunner;
  held: (() => void)[] = [];

  constructor(disk: MemoryDisk) {
    this.#inner = InlineRunner.inSlices(disk, realPorts());
  }
  flush(...job: Parameters<JobRunner['flush']>): ReturnType<JobRunner['flush']> {
    return this.#inner.flush(...job);
  }
  async merge(...[job, control]: Parameters<JobRunner['merge']>): ReturnType<JobRunner['merge']> {
    await new Promise<void>((resolve) => this.held.push(resolve));
    return this.#inner.merge(job, control);
  }
  release(): void {
    for (const go of this.held.splice(0)) go();
  }
  close(): Promise<void> {
    return this.#inner.close();
  }
}

test('flushes go on during a compaction; closing gives it up and leaves no trace of it', async () => {
  const disk = new MemoryDisk();
  const runner = new HeldRunner(disk);
  const tree = await openLab({ disk, runner });
  const all: StoredRecord[] = [];
  for (let index = 1; index <= 6; index++) {
    const batch = records(0, 900, index * 1_000, 400);
    all.push(...batch);
    await tree.flush(runOf(batch), stateAt(index));
  }
  while (runner.held.length === 0) await turns(1);
  assert.is(tree.tableStats().compactionsRunning, 1);
  assert.is(tree.tableStats().runs, 6);
  const closed = tree.close();
  runner.release();
  await closed;
  assert.is(await outcome(tree.flush(runOf([]), stateAt(7))), 'CLOSED');
  assert.is(await outcome(tree.snapshot()), 'CLOSED');
  const report = await verifyTree(disk, PATH);
  assert.equal([report.damages, report.notes], [[], []], 'no damage, no orphans');
  const again = await openLab({ disk });
  assert.is((await allVersions(again)).length, all.length);
  await again.settled();
  assert.is(again.tableStats().runs, 0, 'the compaction was made up for');
  assert.is((await allVersions(again)).length, all.length);
  await again.close();
});

test('an install during a compaction wins; closing ends an install', async () => {
  const disk = new MemoryDisk();
  const runner = new HeldRunner(disk);
  const tree = await openLab({ disk, runner });
  for (let index = 1; index <= 4; index++)
    await tree.flush(runOf(records(0, 900, index * 1_000, 400)), stateAt(index));
  while (runner.held.length === 0) await turns(1);
  const next = records(5, 25, 50_000);
  const installed = tree.install(
    stateAt(9),
    (async function* () {
      yield next;
    })(),
  );
  runner.release();
  await installed;
  assert.equal(showAll(await allVersions(tree)), showAll(next));
  const endless = tree.install(
    stateAt(10),
    (async function* () {
      for (let i = 0; ; i++) {
        yield records(i * 10, i * 10 + 10, 60_000 + i * 10);
        await turns(1);
      }
    })(),
  );
  const result = outcome(endless);
  await turns(5);
  await tree.close();
  assert.is(await result, 'CLOSED');
  const again = await openLab({ disk });
  assert.equal(again.durable, stateAt(9));
  assert.equal(showAll(await allVersions(again)), showAll(next));
  await again.close();
});

test('a snapshot keeps its files while it is read; closing the tree ends it', async () => {
  const disk = new MemoryDisk();
  const tree = await openLab({ disk });
  await fill(tree, 3);
  const snapshot = await tree.snapshot();
  const files = await disk.list(TABLES);
  await fill(tree, 3, 4);
  await tree.settled();
  for (const file of files) assert.ok(await disk.exists(`${TABLES}/${file}`), file);
  let count = 0;
  for (let page = await snapshot.next(2_000); page.length > 0; page = await snapshot.next(2_000))
    count += page.length;
  assert.is(count, 450);
  snapshot.release();
  await tree.settled();
  for (const file of files) assert.not(await disk.exists(`${TABLES}/${file}`), file);
  const other = await tree.snapshot();
  await other.next(1_000);
  await tree.close();
  assert.is(await outcome(Promise.resolve().then(() => other.next(1_000))), 'CLOSED');
});

test('the statistics tell of levels, amplification and pressure', async () => {
  const disk = new MemoryDisk();
  const runner = new HeldRunner(disk);
  const tree = await openLab({ disk, runner });
  assert.is(tree.pressure, 0);
  assert.is(tree.tableStats().writeAmplification, 1);
  assert.is(tree.tableStats().spaceAmplification, 1);
  for (let index = 1; index <= 14; index++)
    await tree.flush(runOf(records(0, 150, index * 1_000)), stateAt(index));
  const busy = tree.tableStats();
  assert.is(busy.runs, 14);
  assert.ok(tree.pressure > 0.4 && tree.pressure < 0.6, String(tree.pressure));
  assert.ok(busy.pendingCompactionBytes > 14 * 150 * 100);
  assert.ok(busy.spaceAmplification > 5, String(busy.spaceAmplification));
  assert.is(busy.bytesWritten, busy.bytesFlushed);
  tree.compact(13_000);
  while (tree.tableStats().runs > 0) {
    runner.release();
    await turns(1);
  }
  await tree.settled();
  const calm = tree.tableStats();
  assert.is(tree.pressure, 0);
  assert.is(calm.bytesWritten, calm.bytesFlushed + calm.bytesCompacted);
  assert.ok(calm.writeAmplification > 1 && calm.writeAmplification < 3, String(calm.writeAmplification));
  assert.ok(calm.spaceAmplification >= 1 && calm.spaceAmplification < 5);
  assert.is(
    calm.levels.reduce((sum, level) => sum + level.recordCount, 0),
    tree.stats().recordCount,
  );
  assert.is(
    calm.levels.reduce((sum, level) => sum + level.sizeBytes, 0),
    tree.stats().sizeBytes,
  );
  await tree.close();
});

test('compaction alone gives the space of deleted keys back, and a load in key order is written once', async () => {
  const disk = new MemoryDisk();
  const tree = await openLab({ disk });
  for (let index = 1; index <= 20; index++)
    await flushMemtable(tree, records(index * 100, index * 100 + 100, index * 100), stateAt(index));
  await tree.settled();
  assert.is(tree.tableStats().writeAmplification, 1);
  assert.ok(tree.tableStats().tablesMoved >= 16);
  const dead = Array.from({ length: 2_000 }, (_, i) => tombstone(keyOf(100 + i), 10_000 + i));
  await flushMemtable(tree, dead, stateAt(21));
  tree.compact(12_000);
  await tree.settled();
  assert.is(tree.stats().recordCount, 0);
  assert.equal(await disk.list(TABLES), []);
  assert.not(tree.mayContain(keyOf(100)));
  await tree.close();
});

test('a flush drops what compaction allows, and says so in the manifest', async () => {
  const disk = new MemoryDisk();
  let tree = await openLab({ disk });
  const list = [
    plainRecord(keyOf(1), 1, new Uint8Array(10)),
    plainRecord(keyOf(1), 2, new Uint8Array(10)),
    plainRecord(keyOf(1), 3, new Uint8Array(10)),
  ];
  await flushMemtable(tree, list, stateAt(1), 2);
  assert.equal(
    (await allVersions(tree)).map((record) => record.modRevision),
    [3, 2],
  );
  tree.compact(3);
  await tree.settled();
  assert.equal(
    (await allVersions(tree)).map((record) => record.modRevision),
    [3],
  );
  await tree.close();
  tree = await openLab({ disk });
  assert.equal(
    (await allVersions(tree)).map((record) => record.modRevision),
    [3],
  );
  await tree.close();
});

test.run();
