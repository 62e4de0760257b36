/** A disk that is full to the last byte: the reserve lets deletes through, they are flushed and compacted, and the store goes on by itself. */

import * as assert from 'uvu/assert';
import type { ConfigInput } from '../../src/config.ts';
import { KvError } from '../../src/errors.ts';
import { checkDirectory } from '../../src/node/check_directory.ts';
import { test } from '../suite.ts';
import { ClusterLab, type LabNode, text, until } from './cluster_lab.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const HURRY = 20;
const CONFIG: ConfigInput = {
  storage: { memtableSizeBytes: MIB, segmentSizeBytes: 256 * KIB, logRetainBytes: 0, tableSizeBytes: MIB },
};

const keyOf = (i: number): string => `key-${String(i).padStart(5, '0')}`;

async function failureOf(call: Promise<unknown>): Promise<KvError | undefined> {
  try {
    await call;
    return undefined;
  } catch (error) {
    if (error instanceof KvError) return error;
    throw error;
  }
}

/** False: there was no room at that moment. */
async function isPut(store: LabNode['store'], key: string, value: string): Promise<boolean> {
  const failure = await failureOf(store.put(key, value));
  assert.ok(failure === undefined || failure.code === 'NO_SPACE', failure?.message);
  return failure === undefined;
}

const health = ({ node }: LabNode): string => node.service.status().health;

/** Writes until the disk takes no more. Gives how many keys there are. */
async function fill(lab: ClusterLab): Promise<number> {
  const { store } = lab.node(1);
  const disk = lab.disks.get(1)!;
  let count = 0;
  for (; count < 400; count++)
    assert.ok(await isPut(store, keyOf(count), `${count}:`.padEnd(40 * KIB, 'x')), `put ${count}`);
  await until(async () => (await ballastBytes(lab)) >= MIB, 'the reserve');
  disk.capacityBytes = disk.usedBytes() + 2 * MIB;
  for (; ; count++) {
    const refused = await failureOf(store.put(keyOf(count), `${count}:`.padEnd(40 * KIB, 'x')));
    if (refused === undefined) continue;
    assert.is(refused.code, 'NO_SPACE', refused.message);
    if ((await ballastBytes(lab)) === 0 && health(lab.node(1)) === 'NO_SPACE') return count;
    count--;
  }
}

async function ballastBytes(lab: ClusterLab): Promise<number> {
  const disk = lab.disks.get(1)!;
  return (await disk.exists('node-1/reserve')) ? (await disk.readFile('node-1/reserve')).length : 0;
}

for (const restarted of [false, true]) {
  test(`deletes heal a full disk${restarted ? ', also after a restart' : ''}`, async () => {
    const lab = await ClusterLab.start(1, CONFIG, new Map(), HURRY);
    try {
      const count = await fill(lab);
      const disk = lab.disks.get(1)!;
      assert.is((await failureOf(lab.node(1).store.put('more', 'x')))?.code, 'NO_SPACE');
      const mixed = lab.node(1).store.batch([
        { type: 'delete', key: keyOf(0) },
        { type: 'put', key: 'more', value: 'x' },
      ]);
      assert.is((await failureOf(mixed))?.code, 'NO_SPACE', 'only deletes');
      assert.is(text(await lab.node(1).store.get(keyOf(3)))?.slice(0, 2), '3:', 'reads go on');
      if (restarted) {
        await lab.stopNode(1);
        await lab.startNode(1);
        await lab.leader();
        await until(() => health(lab.node(1)) === 'NO_SPACE', 'the node to remember');
      }
      const { store } = lab.node(1);
      const remove = (): Promise<unknown> =>
        store.txn({ then: [{ type: 'deleteRange', start: keyOf(1), end: keyOf(count) }] });
      // The log finds the room within a second or so.
      await until(async () => (await failureOf(remove())) === undefined, 'the delete to be taken');
      await until(() => health(lab.node(1)) === 'ok', 'the store to heal');
      await until(() => isPut(store, 'more', 'x'), 'writes to go on');
      assert.is(text(await store.get(keyOf(0)))?.slice(0, 2), '0:');
      assert.is(await store.get(keyOf(2)), undefined);
      assert.ok(disk.usedBytes() < disk.capacityBytes / 2, `${disk.usedBytes()} of ${disk.capacityBytes} B`);
      for (let i = 0; i < 250; i++)
        await until(() => isPut(store, `after-${i}`, 'y'.repeat(40 * KIB)), `put ${i}`);
      await until(async () => (await ballastBytes(lab)) > 0, 'the reserve to be made anew');
      await lab.stopNode(1);
      assert.equal((await checkDirectory(disk, 'node-1', () => undefined)).damages, []);
    } finally {
      await lab.stop();
    }
  });
}

test('a node starts on a full disk with the help of its reserve', async () => {
  const lab = await ClusterLab.start(1, CONFIG, new Map(), HURRY);
  try {
    for (let i = 0; i < 300; i++) await lab.node(1).store.put(keyOf(i), 'x'.repeat(40 * KIB));
    await until(async () => (await ballastBytes(lab)) >= MIB, 'the reserve');
    await lab.stopNode(1);
    const disk = lab.disks.get(1)!;
    await disk.removeTree('node-1/snapshots');
    disk.fillAt(1);
    const { store } = await lab.startNode(1);
    await lab.leader();
    assert.is(await ballastBytes(lab), 0);
    assert.is((await store.get(keyOf(299)))?.length, 40 * KIB);
  } finally {
    await lab.stop();
  }
});

test('a store that is small keeps no reserve', async () => {
  const lab = await ClusterLab.start(1, CONFIG, new Map(), HURRY);
  try {
    for (let i = 0; i < 20; i++) await lab.node(1).store.put(keyOf(i), 'x'.repeat(40 * KIB));
    await lab.stopNode(1);
    assert.is(await ballastBytes(lab), 0);
  } finally {
    await lab.stop();
  }
});

test.run();
