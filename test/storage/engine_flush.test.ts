/** Flushing in the background: falling behind, a full disk, failures, closing. */

import * as assert from 'uvu/assert';
import { DiskError } from '../../src/storage/disk.ts';
import { StorageEngine } from '../../src/storage/engine.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemtablePool } from '../../src/storage/memtable_pool.ts';
import type { StoredRecord } from '../../src/storage/record.ts';
import { TablesTree } from '../../src/storage/tables/tables_tree.ts';
import { test } from '../suite.ts';
import { LateTree } from './late_tree.ts';
import { plainRecord, show } from './record_model.ts';
import { SteppedPorts } from './stepped_ports.ts';

const NEWEST = Number.MAX_SAFE_INTEGER;

interface Trial {
  readonly engine: StorageEngine;
  readonly tree: LateTree;
  readonly ports: SteppedPorts;
  readonly pool: MemtablePool;
  readonly failures: Error[];
  /** Fills and freezes a memtable; the index of the last entry, each of which puts one key. */
  fill(): number;
}

async function createTrial(): Promise<Trial> {
  const ports = new SteppedPorts();
  const tree = new LateTree(await TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports }));
  const pool = new MemtablePool({ sizeBytes: 256 * 1024 }, 4);
  const config = { memtableSizeBytes: 1024 * 1024, maxFrozenMemtables: 2 };
  const engine = new StorageEngine({ config, tree, ports, pool });
  const failures: Error[] = [];
  engine.onFailure = (error) => failures.push(error);
  let index = 0;
  const fill = (): number => {
    const frozen = engine.stats().frozenMemtables;
    while (engine.stats().frozenMemtables === frozen) {
      index++;
      engine.put(Buffer.from(`\u0001${index}`), new Uint8Array(50_000), index, index, 1, 0, 0, 0n, 0);
      engine.afterEntry(index, 1, () => Uint8Array.of(index));
    }
    return index;
  };
  return { engine, tree, ports, pool, failures, fill };
}

function gate(tree: LateTree): () => void {
  let open = (): void => {};
  tree.gate = new Promise((resolve) => {
    open = resolve;
  });
  return () => open();
}

test('writes must wait while too many memtables do, oldest first, until a flush has ended', async () => {
  const { engine, tree, fill, pool } = await createTrial();
  const open = gate(tree);
  fill();
  assert.not(engine.behind);
  await engine.caughtUp();
  fill();
  assert.ok(engine.behind);
  let resolved = false;
  const waiting = engine.caughtUp().then(() => {
    resolved = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.not(resolved);
  open();
  await waiting;
  assert.not(engine.behind);
  await engine.checkpoint(1_000, 1, () => new Uint8Array(0));
  assert.is(engine.stats().frozenMemtables, 0);
  assert.is(
    show(await engine.get(Buffer.from('\u00011'), NEWEST)),
    show(plainRecord('\u00011', 1, new Uint8Array(50_000))),
  );
  await new Promise((resolve) => setImmediate(resolve));
  assert.is(pool.pooled, 3, 'flushed memtables are used again');
  await engine.close();
});

test('a full disk is told at once and waited out: what is applied goes on while memtables are left, the flush is tried again, and all goes on', async () => {
  const { engine, tree, ports, failures, fill } = await createTrial();
  tree.failures.push(new DiskError('NO_SPACE', '/tree', 'full'), new DiskError('NO_SPACE', '/tree', 'full'));
  fill();
  while (ports.timerCount === 0) await ports.step();
  assert.ok(engine.noSpace);
  while (!engine.behind) fill();
  const caughtUp = engine.caughtUp();
  await ports.advance(1_000);
  while (ports.timerCount === 0) await ports.step();
  assert.ok(engine.behind && engine.noSpace, 'full still');
  await ports.advance(1_000);
  await caughtUp;
  assert.not(engine.behind || engine.noSpace);
  assert.equal(failures, []);
  await engine.close();
});

test('writers that wait for compaction hear of its end though nothing is written meanwhile', async () => {
  const { engine, tree, fill } = await createTrial();
  tree.pressure = 1;
  fill();
  await engine.checkpoint(1_000, 1, () => new Uint8Array(0));
  engine.put(Buffer.from('\u0001large'), new Uint8Array(200_000), 1_001, 1_001, 1, 0, 0, 0n, 0);
  const { writeLimitBytesPerSecond } = engine.stats();
  assert.ok(Number.isFinite(writeLimitBytesPerSecond));
  assert.ok(engine.behind);
  tree.pressure = 0;
  await engine.caughtUp();
  assert.not(engine.behind);
  assert.is(engine.stats().writeLimitBytesPerSecond, Number.POSITIVE_INFINITY);
  await engine.close();
});

test('memtables that are flushed nearly empty say nothing about how fast full ones are', async () => {
  const { engine, tree, fill, ports } = await createTrial();
  tree.pressure = 1;
  const limitAfter = async (index: number): Promise<number> => {
    await engine.checkpoint(index, 1, () => new Uint8Array(0));
    return engine.stats().writeLimitBytesPerSecond;
  };
  fill();
  const limit = await limitAfter(1_000);
  for (let index = 1_001; index < 1_040; index++) {
    engine.put(Buffer.from(`\u0001${index}`), new Uint8Array(10), index, index, 1, 0, 0, 0n, 0);
    const open = gate(tree);
    const flushed = limitAfter(index);
    await ports.advance(50);
    open();
    assert.is(await flushed, limit);
  }
  await engine.close();
});

test('any other failure of a flush is told once and ends all waiting', async () => {
  const { engine, tree, failures, fill, ports } = await createTrial();
  const open = gate(tree);
  tree.failures.push(new DiskError('IO', '/tree', 'broken'));
  fill();
  fill();
  const waiting = engine.caughtUp().then(
    () => 'caught up',
    (error: Error) => error.message,
  );
  open();
  assert.is(await waiting, 'broken');
  await ports.step();
  assert.is(failures.length, 1);
  assert.is(
    await engine.caughtUp().then(
      () => 'caught up',
      (error: Error) => error.message,
    ),
    'broken',
  );
  assert.is(
    await engine
      .checkpoint(1_000, 1, () => new Uint8Array(0))
      .then(
        () => '',
        (error: Error) => error.message,
      ),
    'broken',
  );
  assert.is(failures.length, 1);
  await engine.close();
});

test('a checkpoint on a full disk is refused for now; one that fails otherwise ends the engine', async () => {
  const { engine, tree, failures } = await createTrial();
  const checkpoint = (index: number): Promise<string> =>
    engine
      .checkpoint(index, 1, () => new Uint8Array(0))
      .then(
        () => 'done',
        (error: { code: string }) => error.code,
      );
  assert.is(await checkpoint(1), 'done');
  tree.failures.push(new DiskError('NO_SPACE', '/tree', 'full'));
  // The flush takes the first failure, the checkpoint the next: nothing new is to be flushed here.
  assert.is(await checkpoint(1), 'NO_SPACE');
  assert.equal(failures, []);
  tree.failures.push(new DiskError('IO', '/tree', 'fsync failed'));
  assert.is(await checkpoint(1), 'IO');
  assert.is(failures.length, 1);
  await engine.close();
});

test('an install during a pause for a full disk ends that pause', async () => {
  const { engine, tree, ports, fill } = await createTrial();
  tree.failures.push(new DiskError('NO_SPACE', '/tree', 'full'));
  fill();
  while (ports.timerCount === 0) await ports.step();
  await engine.install({ index: 500, term: 2, state: new Uint8Array(0) }, (async function* () {})());
  assert.not(engine.behind);
  assert.is(ports.timerCount, 0);
  assert.is(await engine.get(Buffer.from('\u00011'), NEWEST), undefined);
  await engine.close();
});

test('an install that fails leaves everything, and flushing goes on', async () => {
  const { engine, fill, ports } = await createTrial();
  fill();
  const failing = async function* (): AsyncGenerator<StoredRecord[], void, void> {
    yield [plainRecord('\u0001z', 1, new Uint8Array(1))];
    throw new DiskError('NO_SPACE', '/tree', 'full');
  };
  const code = await engine.install({ index: 500, term: 2, state: new Uint8Array(0) }, failing()).then(
    () => '',
    (error: { code: string }) => error.code,
  );
  assert.is(code, 'NO_SPACE');
  fill();
  while (engine.stats().frozenMemtables > 0) await ports.step();
  assert.is((await engine.get(Buffer.from('\u00011'), NEWEST))?.modRevision, 1);
  await engine.close();
});

test('a page under way keeps its memtables from being used again', async () => {
  const { engine, ports, pool, fill } = await createTrial();
  const count = fill();
  const page = engine.scan({
    start: new Uint8Array(0),
    end: undefined,
    revision: NEWEST,
    reverse: false,
    limit: 100,
    maxBytes: NEWEST,
    keysOnly: false,
  });
  assert.instance(page, Promise);
  while (engine.stats().frozenMemtables > 0) await ports.step();
  const { records } = await page;
  assert.is(records.length, count);
  for (const record of records) assert.is(record.value.length, 50_000);
  await ports.step();
  assert.is(pool.pooled, 1);
  await engine.close();
});

test('closing ends waiting with CLOSED and refuses what comes later', async () => {
  const { engine, tree, fill, failures } = await createTrial();
  const open = gate(tree);
  fill();
  fill();
  const waiting = engine.caughtUp().then(
    () => '',
    (error: { code: string }) => error.code,
  );
  const closing = engine.close();
  open();
  await closing;
  assert.is(await waiting, 'CLOSED');
  const code = await engine
    .checkpoint(9, 1, () => new Uint8Array(0))
    .then(
      () => '',
      (error: { code: string }) => error.code,
    );
  assert.is(code, 'CLOSED');
  assert.equal(failures, []);
});

test.run();
