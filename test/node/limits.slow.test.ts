/** Full disks, too much at once, and other ways of asking for more than there is. */

import * as assert from 'uvu/assert';
import type { KvError } from '../../src/errors.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { test } from '../suite.ts';
import { ClusterLab, text, until } from './cluster_lab.ts';

const MIB = 1024 * 1024;

test('a full disk turns writes into NO_SPACE while reads go on, and heals when there is room', async () => {
  const lab = await ClusterLab.start(1);
  try {
    const { store, node } = await lab.leader();
    await store.put('kept', 'yes');
    lab.disks.get(1)!.capacityBytes = lab.disks.get(1)!.usedBytes();
    let refused: KvError | undefined;
    for (let i = 0; i < 2_000 && refused === undefined; i++) {
      await store.put(`k${i}`, 'v'.repeat(1_000)).catch((error: KvError) => {
        refused = error;
      });
    }
    assert.is(refused?.code, 'NO_SPACE');
    assert.is(refused?.maybeApplied, false);
    assert.is(node.service.status().health, 'NO_SPACE');
    assert.is(text(await store.get('kept')), 'yes');
    lab.disks.get(1)!.capacityBytes = Number.POSITIVE_INFINITY;
    await until(
      () =>
        store.put('healed', 'yes').then(
          () => true,
          (error: KvError) => error.code !== 'NO_SPACE',
        ),
      'writes to go on',
    );
    assert.is(text(await store.get('healed')), 'yes');
    assert.is(node.service.status().health, 'ok');
  } finally {
    await lab.stop();
  }
});

test('a follower with a full disk takes in no entries, the others go on, and it catches up when there is room', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const leader = await lab.leader();
    const follower = lab.follower(leader);
    const disk = lab.disks.get(follower.id)!;
    disk.capacityBytes = disk.usedBytes();
    for (let i = 0; i < 400; i++) await leader.store.put(`k${i}`, 'v'.repeat(1_000));
    const behind = follower.node.service.status().appliedIndex < leader.node.service.status().appliedIndex;
    assert.ok(behind, 'the follower could not take everything in');
    assert.is(follower.ended.is, false);
    disk.capacityBytes = Number.POSITIVE_INFINITY;
    const { revision } = leader.node.service.status();
    await until(() => follower.node.service.status().revision === revision, 'the follower to catch up');
  } finally {
    await lab.stop();
  }
});

test('more bytes than may wait are refused with OVERLOADED, and what was taken is written', async () => {
  const lab = await ClusterLab.start(1, { node: { maxPendingBytes: MIB } });
  try {
    const { store } = await lab.leader();
    const value = 'v'.repeat(100_000);
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        store.put(`k${i}`, value).then(
          () => 'ok',
          (error: KvError) => error.code,
        ),
      ),
    );
    assert.ok(outcomes.includes('OVERLOADED'));
    assert.ok(outcomes.includes('ok'));
    for (const [i, outcome] of outcomes.entries()) {
      assert.is((await store.get(`k${i}`)) !== undefined, outcome === 'ok', `k${i}`);
    }
  } finally {
    await lab.stop();
  }
});

test('a directory that is open is refused, and free again after the node has stopped', async () => {
  const lab = await ClusterLab.start(1);
  try {
    const { store } = await lab.leader();
    await store.put('x', '1');
    await lab.startNode(1).then(
      () => assert.unreachable('opened twice'),
      (error: KvError) => assert.is(error.code, 'LOCKED'),
    );
    await lab.stopNode(1);
    const again = await lab.startNode(1);
    assert.is(text(await again.store.get('x')), '1');
  } finally {
    await lab.stop();
  }
});

test('a damaged log is refused with file and offset', async () => {
  const lab = await ClusterLab.start(1);
  const { store } = await lab.leader();
  for (let i = 0; i < 20; i++) await store.put(`k${i}`, 'v'.repeat(100));
  await lab.stopNode(1);
  const disk = lab.disks.get(1)!;
  const [segment] = await disk.list('node-1/log');
  disk.damage(`node-1/log/${segment}`, 600, 0xff);
  await lab.startNode(1).then(
    () => assert.unreachable('opened a damaged log'),
    (error: KvError) => {
      assert.is(error.code, 'CORRUPT');
      assert.is(error.details['file'], `node-1/log/${segment}`);
      assert.type(error.details['offset'], 'number');
    },
  );
});

test('a directory whose identity is missing or belongs to another tree is refused', async () => {
  const lab = await ClusterLab.start(1);
  await (await lab.leader()).store.put('x', '1');
  await lab.stopNode(1);
  const disk = lab.disks.get(1)!;
  await disk.rename('node-1/node.json', 'node-1/elsewhere.json');
  const codeOf = (): Promise<string> =>
    lab.startNode(1).then(
      () => 'opened',
      (error: KvError) => error.code,
    );
  assert.is(await codeOf(), 'CORRUPT');
  await disk.rename('node-1/elsewhere.json', 'node-1/node.json');
  disk.damage('node-1/node.json', 0, 0xff);
  assert.is(await codeOf(), 'CORRUPT');
});

test('keys and values beyond the limits are refused on every way in', async () => {
  const lab = await ClusterLab.start(1, { limits: { maxKeyBytes: 10, maxValueBytes: 100 } });
  try {
    const { store } = await lab.leader();
    const codeOf = (promise: Promise<unknown>): Promise<string> =>
      promise.then(
        () => 'done',
        (error: KvError) => error.code,
      );
    assert.is(await codeOf(store.put('k'.repeat(11), 'v')), 'KEY_TOO_LARGE');
    assert.is(await codeOf(store.put('k', 'v'.repeat(101))), 'VALUE_TOO_LARGE');
    assert.is(await codeOf(store.put('', 'v')), 'INVALID_ARGUMENT');
    assert.is(await codeOf(store.put('k'.repeat(10), 'v'.repeat(100))), 'done');
  } finally {
    await lab.stop();
  }
});

test('the disk in memory says how much is used', async () => {
  const disk = new MemoryDisk();
  const file = await disk.open('f', 'create');
  await file.write([new Uint8Array(1_000)], 0);
  assert.is(disk.usedBytes(), 1_000);
});

test.run();
