/** The storage engine against a plain model, over a tree that answers at once and over one that never does. */

import * as assert from 'uvu/assert';
import { realPorts } from '../../src/real_ports.ts';
import { StorageEngine } from '../../src/storage/engine.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemtablePool } from '../../src/storage/memtable_pool.ts';
import {
  copyRecord,
  copyWithoutValue,
  FLAG_TOMBSTONE,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
} from '../../src/storage/record.ts';
import { TablesTree } from '../../src/storage/tables/tables_tree.ts';
import type { Tree } from '../../src/storage/tree.ts';
import { test } from '../suite.ts';
import { ColdTree, LateTree } from './late_tree.ts';
import {
  plainRecord,
  RecordModel,
  randomKey,
  randomScan,
  randomVersions,
  seededRandom,
  show,
  showAll,
} from './record_model.ts';

const ports = realPorts();
const NEWEST = Number.MAX_SAFE_INTEGER;
const CONFIG = { memtableSizeBytes: 1024 * 1024, maxFrozenMemtables: 2 };

function engineOver(tree: Tree, maxLoadedBytes?: number): StorageEngine {
  const pool = new MemtablePool({ sizeBytes: 256 * 1024 }, 3);
  return new StorageEngine({ config: CONFIG, tree, ports, pool, ...(maxLoadedBytes && { maxLoadedBytes }) });
}

function putRecord(engine: StorageEngine, record: StoredRecord): void {
  const { key, value, modRevision, createRevision, version, subRevision, flags, lease, expiresAtMs } = record;
  engine.put(key, value, modRevision, createRevision, version, subRevision, flags, lease, expiresAtMs);
}

function liveOnly(record: StoredRecord | undefined): StoredRecord | undefined {
  return record === undefined || (record.flags & FLAG_TOMBSTONE) !== 0 ? undefined : record;
}

/** A tombstone with nothing below it may be gone: dead either way. */
function sameOrDead(
  found: StoredRecord | undefined,
  wanted: StoredRecord | undefined,
  compactRevision: number,
): void {
  if (found === undefined && wanted !== undefined)
    assert.ok(
      liveOnly(wanted) === undefined && wanted.modRevision <= compactRevision,
      `lost ${show(wanted)}`,
    );
  else assert.is(show(found), show(wanted));
}

class EngineTrial {
  readonly model = new RecordModel();
  readonly random: () => number;
  readonly engine: StorageEngine;
  compactRevision = 0;
  index = 0;
  rotations = 0;

  constructor(engine: StorageEngine, seed: number) {
    this.engine = engine;
    this.random = seededRandom(seed);
  }

  /** One entry: loads, reads as a state machine would, writes. */
  async entry(): Promise<void> {
    const { engine, model, random } = this;
    if (engine.behind) await engine.caughtUp();
    const keys = Array.from({ length: 6 }, () => randomKey(random));
    const { start, end } = randomScan(random, 1, 2);
    const some = this.compactRevision + Math.floor(random() * (model.revision - this.compactRevision + 1));
    const old = Math.max(1, some);
    const hints = { reverse: random() < 0.5, keysOnly: random() < 0.3, limit: 1 + Math.floor(random() * 60) };
    const ranges = [0, old].map((revision) => ({ start, end, revision, ...hints }));
    const loading = engine.load({ keys, ranges, older: keys.map((key) => ({ key, revision: old })) });
    if (loading instanceof Promise) await loading;
    else assert.ok(engine.synchronous);
    this.#checkReads(keys, start, end, old);
    const count = 1 + Math.floor(random() * 12);
    for (let i = 0; i < count; i++) {
      const record = model.randomWrite(random, 4_000);
      model.add(record);
      putRecord(engine, record);
    }
    this.#checkReads(keys, start, end, old);
    this.index++;
    const before = engine.stats().frozenMemtables;
    engine.afterEntry(this.index, 1, () => {
      this.rotations++;
      return Uint8Array.of(this.index % 256);
    });
    assert.ok(engine.stats().frozenMemtables - before <= 1);
  }

  #checkReads(keys: Uint8Array[], start: Uint8Array, end: Uint8Array | undefined, old: number): void {
    const { engine, model, random, compactRevision } = this;
    for (const key of keys) {
      sameOrDead(engine.latest(key), model.get(key, NEWEST), compactRevision);
      sameOrDead(engine.at(key, old), model.get(key, old), compactRevision);
    }
    for (const revision of [old, NEWEST]) {
      const [reverse, limit] = [random() < 0.5, 1 + Math.floor(random() * 30)];
      const keysOnly = random() < 0.3;
      const request = { start, end, revision, reverse, limit, maxBytes: NEWEST, keysOnly };
      const [shown, wanted] = [engine.page(request), model.scan(request)];
      assert.equal(
        showAll(keysOnly ? shown.records.map(copyWithoutValue) : shown.records),
        showAll(wanted.records),
      );
      if (shown.records.length < limit) assert.is(shown.more, false);
    }
  }

  /** Starts the reads of a door; what they must give is fixed now. */
  read(): Promise<void> {
    const { engine, model, random, compactRevision } = this;
    const request = randomScan(random, Math.max(1, compactRevision), model.revision);
    const expected = shown(model.scan(request));
    const versions = {
      ...randomVersions(random, compactRevision + 1, model.revision),
      minRevision: compactRevision + 1,
      maxRevision: model.revision,
    };
    const expectedVersions = shown(model.versions(versions));
    const key = randomKey(random);
    const wanted = show(liveOnly(model.get(key, request.revision)));
    const [page, versionsPage, record] = [
      engine.scan(request),
      engine.versions(versions),
      engine.get(key, request.revision),
    ];
    const check = (what: string, found: ScanPage, want: ScanPage & { lines: string[] }): void => {
      assert.equal(showAll(found.records), want.lines, what);
      assert.is(found.more, want.more, what);
    };
    const done = [
      Promise.resolve(page).then((found) => check(`scan ${JSON.stringify(request)}`, found, expected)),
      Promise.resolve(versionsPage).then((found) =>
        check(`versions ${JSON.stringify(versions)}`, found, expectedVersions),
      ),
      Promise.resolve(record).then((found) => assert.is(show(found), wanted)),
    ];
    return Promise.all(done).then(() => undefined);
  }
}

function shown(page: ScanPage): ScanPage & { lines: string[] } {
  return { ...page, lines: showAll(page.records) };
}

async function runTrial(trial: EngineTrial, entries: number): Promise<void> {
  for (let i = 0; i < entries; i++) {
    await trial.entry();
    const reading = trial.read();
    if (i % 3 === 0) await trial.entry();
    await reading;
    if (i % 20 === 19) {
      trial.compactRevision = trial.model.revision - Math.floor(trial.random() * 40);
      trial.engine.compact(trial.compactRevision);
    }
  }
  assert.ok(trial.rotations > 4, `${trial.rotations} rotations`);
}

test('over a tree that answers at once, every read agrees with the model through rotations and compactions', async () => {
  for (const seed of [1, 2]) {
    const tree = await TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports });
    const trial = new EngineTrial(engineOver(tree), seed);
    await runTrial(trial, 150);
    await trial.engine.close();
  }
});

test('over a tree that never answers at once, every read agrees with the model all the same', async () => {
  const tree = new LateTree(await TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports }));
  const trial = new EngineTrial(engineOver(tree), 3);
  await runTrial(trial, 120);
  await trial.engine.close();
});

test('whatever part of its reads an entry finds loaded, every read agrees with the model', async () => {
  for (const [seed, maxLoadedBytes] of [
    [4, 1],
    [5, 20_000],
    [6, undefined],
  ] as const) {
    const tree = new ColdTree(await TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports }));
    const trial = new EngineTrial(engineOver(tree, maxLoadedBytes), seed);
    await runTrial(trial, 100);
    assert.ok(tree.readsNow > 100, `${tree.readsNow} reads of what was left out`);
    await trial.engine.close();
  }
});

test('what a check of a key found is used for that key alone, though the same bytes may be another key by then', async () => {
  const engine = engineOver(await TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports }));
  const flushed = plainRecord('\u0001flushed', 1, new Uint8Array(10).fill(7));
  putRecord(engine, flushed);
  await engine.checkpoint(1, 1, () => new Uint8Array(0));
  const key = new Uint8Array(flushed.key);
  engine.checkReadable(key);
  assert.is(show(engine.latest(key)), show(flushed));
  // The write did not take place; the bytes serve the next one.
  key[1] = 0x41;
  engine.checkReadable(key);
  assert.is(engine.latest(key), undefined);
  key.set(flushed.key);
  engine.checkReadable(key);
  putRecord(engine, plainRecord('\u0001flushed', 2, new Uint8Array(3)));
  assert.is(engine.latest(key)?.modRevision, 2, 'what is newer comes first');
  engine.afterEntry(2, 1, () => new Uint8Array(0));
  await engine.close();
});

test('what was flushed between a load and the end of its entry can still be read in that entry', async () => {
  const tree = new LateTree(await TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports }));
  const engine = engineOver(tree);
  let open = (): void => {};
  tree.gate = new Promise((resolve) => {
    open = resolve;
  });
  const record = plainRecord('\u0001a', 1, new Uint8Array(10));
  putRecord(engine, record);
  const checkpoint = engine.checkpoint(1, 1, () => new Uint8Array(0));
  assert.is(engine.stats().frozenMemtables, 1);
  // The key is in a frozen memtable now, so the tree is not asked for it.
  assert.is(engine.load({ keys: [record.key], ranges: [] }), undefined);
  open();
  await checkpoint;
  assert.is(engine.stats().frozenMemtables, 0);
  assert.is(show(engine.latest(record.key)), show(record), 'the memtable stays until the entry is applied');
  engine.afterEntry(2, 1, () => new Uint8Array(0));
  assert.throws(() => engine.latest(record.key), /not loaded/);
  assert.is(tree.gets, 0);
  await engine.load({ keys: [record.key], ranges: [] });
  assert.is(tree.gets, 1);
  assert.is(show(engine.latest(record.key)), show(record));
  await engine.close();
});

test('a key that the tree cannot contain is not looked up', async () => {
  const tree = new LateTree(await TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports }));
  const engine = engineOver(tree);
  const key = Buffer.from('\u0001new');
  assert.is(engine.load({ keys: [key], ranges: [] }), undefined);
  assert.is(engine.latest(key), undefined);
  assert.is(tree.gets, 0);
  await engine.close();
});

test('reading what was not loaded throws instead of claiming that it is absent', async () => {
  const tree = new LateTree(await TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports }));
  const engine = engineOver(tree);
  const [start, end] = [Uint8Array.of(1), Uint8Array.of(2)];
  assert.throws(() => engine.latest(start), /not loaded/);
  assert.throws(() => engine.at(start, 5), /not loaded/);
  const shape = { reverse: false, keysOnly: false, limit: 1 };
  const page = { start, end, revision: NEWEST, maxBytes: 1, ...shape };
  assert.throws(() => engine.page(page), /not loaded/);
  await engine.load({ keys: [], ranges: [{ start, end, revision: 0, ...shape }] });
  assert.equal(engine.page(page), { records: [], more: false });
  assert.is(engine.latest(start), undefined, 'a key of a loaded range is known');
  assert.throws(() => engine.page({ ...page, end: undefined }), /not loaded/);
  await engine.close();
});

test('a checkpoint makes everything durable, and a reopened engine has it', async () => {
  const disk = new MemoryDisk();
  const open = async (): Promise<StorageEngine> =>
    engineOver(await TablesTree.open({ disk, path: '/tree', ports }));
  const engine = await open();
  const trial = new EngineTrial(engine, 4);
  for (let i = 0; i < 60; i++) await trial.entry();
  await engine.checkpoint(trial.index, 1, () => Uint8Array.of(9));
  assert.equal(engine.durable, { index: trial.index, term: 1, state: Uint8Array.of(9) });
  await engine.checkpoint(trial.index, 1, () => assert.unreachable('nothing new to capture') as never);
  // An entry that wrote nothing moves the durable index too.
  await engine.checkpoint(trial.index + 1, 2, () => Uint8Array.of(8));
  assert.is(engine.durable?.index, trial.index + 1);
  await engine.close();
  await engine.close();
  const again = await open();
  assert.is(again.durable?.index, trial.index + 1);
  const all: ScanRequest = {
    ...randomScan(() => 0.99, 1, 1),
    start: new Uint8Array(0),
    end: undefined,
    revision: NEWEST,
  };
  const page = await again.scan({
    ...all,
    keysOnly: false,
    limit: 100_000,
    maxBytes: NEWEST,
    reverse: false,
  });
  const expected = trial.model.scan({
    ...all,
    keysOnly: false,
    limit: 100_000,
    maxBytes: NEWEST,
    reverse: false,
  });
  assert.equal(showAll(page.records), showAll(expected.records));
  await again.close();
});

test('a flush leaves out what compaction allowed when its memtable was frozen, not what it allowed later', async () => {
  const tree = new LateTree(await TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports }));
  const engine = engineOver(tree);
  let open = (): void => {};
  tree.gate = new Promise((resolve) => {
    open = resolve;
  });
  for (let revision = 1; revision <= 10; revision++)
    putRecord(engine, plainRecord('\u0001a', revision, new Uint8Array(1)));
  engine.compact(4);
  const first = engine.checkpoint(1, 1, () => new Uint8Array(0));
  engine.compact(9);
  open();
  await first;
  const snapshot = await engine.snapshot();
  const revisions = (await snapshot.next(1_000_000)).map((record) => record.modRevision);
  assert.equal(revisions, [10, 9, 8, 7, 6, 5, 4], 'replaying the log from here may still read at revision 4');
  snapshot.release();
  await engine.checkpoint(2, 1, () => new Uint8Array(0));
  const later = await engine.snapshot();
  assert.equal(
    (await later.next(1_000_000)).map((record) => record.modRevision),
    [10, 9],
  );
  later.release();
  await engine.close();
});

test('an install replaces memtables and tree', async () => {
  for (const late of [false, true]) {
    const memory = await TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports });
    const engine = engineOver(late ? new LateTree(memory) : memory);
    const trial = new EngineTrial(engine, 6);
    for (let i = 0; i < 80; i++) await trial.entry();
    const other = [
      plainRecord('\u0001x', 5_000, new Uint8Array(3)),
      plainRecord('\u0001y', 5_001, new Uint8Array(4)),
    ];
    const applied = { index: 10_000, term: 9, state: Uint8Array.of(1) };
    await engine.install(
      applied,
      (async function* () {
        yield other;
      })(),
    );
    assert.equal(engine.durable, applied);
    const page = await engine.scan({
      start: new Uint8Array(0),
      end: undefined,
      revision: NEWEST,
      reverse: false,
      limit: 10,
      maxBytes: NEWEST,
      keysOnly: false,
    });
    assert.equal(showAll(page.records.map(copyRecord)), showAll(other));
    assert.equal(engine.stats().frozenMemtables, 0);
    await engine.close();
  }
});

test.run();
