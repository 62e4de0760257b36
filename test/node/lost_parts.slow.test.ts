/** Data directories that have lost a part as a whole: opening refuses and says which, instead of beginning that part anew (known failures 6 and 11). */

import * as assert from 'uvu/assert';
import { checkDirectory } from '../../src/node/check_directory.ts';
import { failureOf } from '../outcomes.ts';
import { test } from '../suite.ts';
import { ClusterLab, text, until } from './cluster_lab.ts';

/** A node that has flushed and was stopped. */
async function stopped(): Promise<ClusterLab> {
  const lab = await ClusterLab.start(1);
  const { store } = lab.node(1);
  for (let i = 0; i < 30; i++) await store.put(`k${i}`, String(i).padEnd(50_000));
  await lab.stopNode(1);
  return lab;
}

for (const how of ['the directory', 'the files'] as const) {
  test(`a log of which ${how} went is not begun anew beside the tree`, async () => {
    const lab = await stopped();
    const disk = lab.disks.get(1)!;
    const log = 'node-1/log';
    if (how === 'the directory') await disk.removeTree(log);
    else for (const name of await disk.list(log)) await disk.remove(`${log}/${name}`);
    const { damages } = await checkDirectory(disk, 'node-1', () => undefined);
    assert.equal(
      damages.map(({ file }) => file),
      [log],
    );
    for (let attempt = 0; attempt < 2; attempt++) {
      const failure = await failureOf(lab.startNode(1));
      assert.is(failure.code, 'CORRUPT', failure.message);
      assert.is(failure.details['file'], log);
    }
  });
}

for (const how of ['the directory', 'the files'] as const) {
  test(`a tree of which ${how} went is damage where the log has been cut, to the check and to the start`, async () => {
    const config = { storage: { logRetainBytes: 0, segmentSizeBytes: 256 * 1024 } };
    const lab = await ClusterLab.start(1, config, new Map(), 50);
    const { store } = lab.node(1);
    const disk = lab.disks.get(1)!;
    for (let i = 0; i < 60; i++) await store.put(`k${i}`, String(i).padEnd(50_000));
    const segments = async (): Promise<number[]> =>
      (await disk.list('node-1/log')).map((name) => Number.parseInt(name, 16));
    await until(async () => Math.min(...(await segments())) > 1, 'the log to be cut');
    await lab.stopNode(1);
    if (how === 'the directory') await disk.removeTree('node-1/tree');
    else {
      for (const name of await disk.list('node-1/tree/tables'))
        await disk.remove(`node-1/tree/tables/${name}`);
      await disk.remove('node-1/tree/MANIFEST');
    }
    const { damages } = await checkDirectory(disk, 'node-1', () => undefined);
    assert.equal(
      damages.map(({ file }) => file),
      ['node-1/tree'],
    );
    assert.match(damages[0]!.problem, 'the log begins after entry');
    for (let attempt = 0; attempt < 2; attempt++)
      assert.is((await failureOf(lab.startNode(1))).code, 'CORRUPT');
  });
}

test('a node that died before its log was begun starts', async () => {
  const lab = ClusterLab.create(1, {}, 1);
  const first = await lab.startNode(1);
  await lab.leader();
  await first.store.put('k', 'v');
  await lab.stopNode(1);
  const disk = lab.disks.get(1)!;
  await disk.removeTree('node-1/log');
  await disk.removeTree('node-1/tree');
  const again = await lab.startNode(1);
  await lab.leader();
  assert.is(text(await again.store.get('k')), undefined);
  await lab.stop();
});

test.run();
