/** The snapshots of a node: made, sent piece by piece, received piece by piece, over crashes. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { LOSS_RULES } from '../../src/storage/memory_disk_nodes.ts';
import { copyRecord, type StoredRecord } from '../../src/storage/record.ts';
import { SnapshotStore } from '../../src/storage/snapshot/snapshot_store.ts';
import type { TreeSnapshot } from '../../src/storage/tree.ts';
import { test } from '../suite.ts';
import { plainRecord, seededRandom, showAll } from './record_model.ts';

const CHUNK_BYTES = 3_000;

function recordsFor(index: number): StoredRecord[] {
  return Array.from({ length: 40 }, (_, i) =>
    plainRecord(`\u0001${100 + i}`, index + i, new Uint8Array(500).fill(index)),
  );
}

function viewAt(index: number): TreeSnapshot {
  let rest = recordsFor(index);
  return {
    applied: { index, term: 3, state: Uint8Array.of(index) },
    next: () => {
      const page = rest.slice(0, 7);
      rest = rest.slice(7);
      return page;
    },
    release: () => {},
  };
}

const open = (disk: MemoryDisk): Promise<SnapshotStore> => SnapshotStore.open({ disk, path: '/snapshots' });

/** What the store does in the background has come to its end. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (error: unknown) => (error instanceof KvError ? error.code : String(error)),
  );
}

/** The bytes of the snapshot at an index, as a sender would read them. */
function bytesOfSnapshot(store: SnapshotStore, index: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let offset = 0; ; ) {
    const part = store.readSync(index, offset, CHUNK_BYTES);
    assert.ok(part);
    if (part.length === 0) return Buffer.concat(parts);
    parts.push(part);
    offset += part.length;
  }
}

/** Sends what `target` wants until it has everything. */
function send(
  target: SnapshotStore,
  key: { index: number; term: number; sizeBytes: number },
  bytes: Uint8Array,
  until = key.sizeBytes,
): void {
  let offset = target.receive(key, 0, new Uint8Array(0));
  while (offset < until) offset = target.receive(key, offset, bytes.subarray(offset, offset + CHUNK_BYTES));
}

async function sourceAt(
  index: number,
): Promise<{ key: { index: number; term: number; sizeBytes: number }; bytes: Uint8Array }> {
  const store = await open(new MemoryDisk());
  const { term, sizeBytes } = await store.create(viewAt(index));
  const bytes = bytesOfSnapshot(store, index);
  assert.is(bytes.length, sizeBytes);
  await store.close();
  return { key: { index, term, sizeBytes }, bytes };
}

test('a snapshot is made, survives a restart, and is not made twice', async () => {
  const disk = new MemoryDisk();
  const store = await open(disk);
  assert.is(store.latest(), undefined);
  const made = await store.create(viewAt(5));
  assert.equal([made.index, made.term, made.state], [5, 3, Uint8Array.of(5)]);
  assert.is(await store.create(viewAt(5)), made);
  assert.is(store.readSync(6, 0, 10), undefined);
  await store.close();
  disk.crash('none', Math.random);
  const again = await open(disk);
  assert.is(again.latest()?.index, 5);
  const reader = await again.open(5);
  const records: StoredRecord[] = [];
  for await (const page of reader.records()) records.push(...page.map(copyRecord));
  assert.equal(showAll(records), showAll(recordsFor(5)));
  assert.is(await codeOf(again.open(4)), 'NOT_FOUND');
  await again.close();
});

test('an older snapshot stays while it is being read, and no longer; several quick ones stay bounded', async () => {
  const disk = new MemoryDisk();
  const store = await open(disk);
  await store.create(viewAt(1));
  const before = bytesOfSnapshot(store, 1);
  await Promise.all([store.create(viewAt(2)), store.create(viewAt(3))]);
  assert.is(store.latest()?.index, 3);
  assert.is(store.readSync(1, 0, 10), undefined, 'not read since 2 came');
  await store.create(viewAt(4));
  assert.is(store.readSync(3, 0, 10), undefined);
  for (let index = 5; index < 10; index++) {
    for (let older = 1; older < index; older++) store.readSync(older, 0, 10);
    await store.create(viewAt(index));
  }
  assert.equal((await disk.list('/snapshots')).length, 3);
  assert.ok(before.length > 0);
  await store.close();
  const again = await open(disk);
  assert.equal((await disk.list('/snapshots')).length, 1);
  await again.close();
});

test('chunks out of order, doubled or too large change nothing; the wanted offset tells the sender where to go on', async () => {
  const { key, bytes } = await sourceAt(8);
  const disk = new MemoryDisk();
  const store = await open(disk);
  assert.is(store.receive(key, 100, bytes.subarray(100, 200)), 0);
  assert.is(store.receive(key, 0, bytes.subarray(0, 100)), 100);
  assert.is(store.receive(key, 0, bytes.subarray(0, 100)), 100);
  assert.is(store.receive(key, 300, bytes.subarray(300, 400)), 100);
  assert.throws(() => store.receive(key, key.sizeBytes - 1, new Uint8Array(2)), /outside its snapshot/);
  assert.is(await codeOf(store.finishIncoming()), 'INVALID_ARGUMENT');
  send(store, key, bytes);
  const file = await store.finishIncoming();
  assert.is(file.index, 8);
  assert.is(store.latest()?.index, 8);
  assert.equal(bytesOfSnapshot(store, 8), Buffer.from(bytes));
  assert.equal((await disk.list('/snapshots')).length, 1);
  assert.is(store.receive(key, 0, new Uint8Array(0)), 0, 'the next transfer begins anew');
  await store.close();
  assert.throws(() => store.receive(key, 0, new Uint8Array(0)), /closed/);
  assert.is(await codeOf(store.create(viewAt(9))), 'CLOSED');
});

test('a transfer goes on after a restart, and another snapshot begins anew', async () => {
  const { key, bytes } = await sourceAt(8);
  const disk = new MemoryDisk();
  const store = await open(disk);
  send(store, key, bytes, CHUNK_BYTES * 3);
  await store.close();
  const again = await open(disk);
  assert.is(again.receive(key, 0, new Uint8Array(0)), CHUNK_BYTES * 3);
  const other = await sourceAt(9);
  assert.is(again.receive(other.key, 0, other.bytes.subarray(0, 10)), 10);
  assert.is(again.receive(key, 0, new Uint8Array(0)), 0, 'the first one is forgotten');
  send(again, key, bytes);
  assert.is((await again.finishIncoming()).index, 8);
  await again.close();
});

test('a damaged transfer is noticed, thrown away, and can be sent again', async () => {
  const { key, bytes } = await sourceAt(8);
  const store = await open(new MemoryDisk());
  const wrong = Uint8Array.from(bytes);
  wrong[5_000]! ^= 1;
  send(store, key, wrong);
  assert.is(await codeOf(store.finishIncoming()), 'CORRUPT');
  send(store, { ...key, index: 7 }, bytes);
  assert.is(await codeOf(store.finishIncoming()), 'CORRUPT', 'announced as another one');
  send(store, key, bytes);
  assert.is((await store.finishIncoming()).index, 8);
  await store.close();
});

test('a full disk refuses a chunk or a snapshot for now', async () => {
  const { key, bytes } = await sourceAt(8);
  const disk = new MemoryDisk({ capacityBytes: 5_000 });
  const store = await open(disk);
  assert.is(await codeOf(store.create(viewAt(3))), 'NO_SPACE');
  send(store, key, bytes);
  assert.is(await codeOf(store.finishIncoming()), 'NO_SPACE');
  assert.is(store.receive(key, 0, new Uint8Array(0)), 0);
  store.receive(key, 0, bytes.subarray(0, 20_000));
  while ((await disk.list('/snapshots')).length === 0) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  assert.throws(() => store.receive(key, 20_000, bytes.subarray(20_000, 20_001)), /no space/);
  disk.capacityBytes = 1_000_000;
  send(store, key, bytes);
  assert.is((await store.finishIncoming()).index, 8);
  await store.close();
});

test('more than a bounded number of bytes never waits for a slow disk', async () => {
  let letGo = (): void => {};
  const slow = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const disk = new MemoryDisk({ delay: (operation) => (operation === 'write' ? slow : undefined) });
  const store = await open(disk);
  const key = { index: 1, term: 1, sizeBytes: 100 * 1024 * 1024 };
  const chunk = new Uint8Array(4 * 1024 * 1024);
  let wanted = 0;
  for (let i = 0; i < 10; i++) wanted = store.receive(key, wanted, chunk);
  assert.is(wanted, 16 * 1024 * 1024);
  letGo();
  await store.close();
});

test('a crash at any disk operation leaves a store that opens with a whole snapshot, the old or the new', async () => {
  const { key, bytes } = await sourceAt(8);
  for (const rule of LOSS_RULES) {
    for (let operation = 1; ; operation++) {
      const disk = new MemoryDisk();
      const store = await open(disk);
      await store.create(viewAt(2));
      disk.crashAt(operation);
      const work = async (): Promise<void> => {
        await store.create(viewAt(4));
        send(store, key, bytes);
        await store.finishIncoming();
      };
      const failed = (await codeOf(work())) !== 'done';
      disk.crash(rule, seededRandom(operation));
      const again = await open(disk);
      const latest = again.latest()!;
      assert.ok(
        [2, 4, 8].includes(latest.index) && (failed || latest.index === 8),
        `operation ${operation}, rule ${rule}`,
      );
      const reader = await again.open(latest.index);
      const records: StoredRecord[] = [];
      for await (const page of reader.records()) records.push(...page.map(copyRecord));
      assert.equal(showAll(records), showAll(recordsFor(latest.index)));
      if (latest.index < 8) {
        // Whatever came in before the crash: the transfer can be ended, if need be from the start.
        send(again, key, bytes);
        if ((await codeOf(again.finishIncoming())) !== 'done') {
          send(again, key, bytes);
          assert.is((await again.finishIncoming()).index, 8);
        }
      }
      await again.close();
      if (!failed) {
        assert.ok(operation > 10);
        break;
      }
    }
  }
});

test('a newest snapshot whose header is damaged keeps the store from opening', async () => {
  const disk = new MemoryDisk();
  const store = await open(disk);
  await store.create(viewAt(2));
  await store.close();
  disk.damage(`/snapshots/${(await disk.list('/snapshots'))[0]}`, 20, 1);
  assert.is(await codeOf(open(disk)), 'CORRUPT');
});

test('a finished snapshot that is damaged is sent once, and thrown away when it is asked for again', async () => {
  const disk = new MemoryDisk();
  const store = await open(disk);
  const reasons: unknown[] = [];
  store.onThrownAway = (error) => reasons.push(error);
  const { path, index, sizeBytes } = await store.create(viewAt(7));
  const whole = bytesOfSnapshot(store, index);
  bytesOfSnapshot(store, index);
  await settled();
  assert.is(store.latest()?.index, 7, 'a whole one stays, however often it is asked for');

  disk.damage(path, sizeBytes >> 1, 4);
  for (let beginning = 0; beginning < 4 && store.latest() !== undefined; beginning++) {
    const bytes = bytesOfSnapshot(store, index);
    assert.is.not(Buffer.compare(bytes, whole), 0);
    await settled();
  }
  assert.is(store.latest(), undefined);
  assert.is(store.readSync(index, 0, 10), undefined);
  assert.is(reasons.length, 1);
  assert.is((reasons[0] as KvError).code, 'CORRUPT');
  assert.not(await disk.exists(path));
  const again = await store.create(viewAt(7));
  assert.is(again.index, 7);
  assert.is(Buffer.compare(bytesOfSnapshot(store, 7), whole), 0);
  await store.close();
});

test.run();
