/**
 * Found by seed 67: on a machine whose tree was lost already, the newest file of the log was taken, too. No node can tell that by itself, and no damage of that kind is to be done; but the damage that was
 * there before was taken for the sign that the new one can be told. The node then lacked entries that it had acknowledged, and its leader, sure of them, could never send them again.
 */

import * as assert from 'uvu/assert';
import { damageDisk } from '../../../src/sim/faults/disk_damage.ts';
import { damagesOn, describeDamages } from '../../../src/sim/invariants/directory_check.ts';
import { World } from '../../../src/sim/world.ts';
import { test } from '../../suite.ts';

const COMMON = { id: 0, atMs: 0, durationMs: 0, node: 1 };

test('a file of the log is taken only where its loss shows by itself, though the tree is lost already', async () => {
  const config = { storage: { segmentSizeBytes: 64 * 1024, logRetainBytes: 128 * 1024 } };
  const world = new World({ seed: 67, nodes: 1, config });
  let taken = 0;
  await world.run(async () => {
    await world.start();
    const { store } = world.client('writer');
    // Slowly enough for the front of the log to be cut off, which the tree holds.
    for (let i = 0; i < 300; i++) {
      await store.put(`key-${i}`, 'x'.repeat(3_000));
      await world.sleep(10);
    }
    world.crash(1, 'all');
    const { path } = world.node(1);
    await damageDisk(world.disk(1).memory, path, { ...COMMON, kind: 'lostTree' });
    assert.ok((await damagesOn(world.disk(1).memory, path)).length > 0);
    for (const file of [0, 0.2, 0.4, 0.6, 0.8, 0.99]) {
      const disk = world.disk(1).memory.fork({ instant: true });
      const before = describeDamages(await damagesOn(disk, path));
      const told = await damageDisk(disk, path, { ...COMMON, kind: 'lostFile', area: 'log', file });
      if (told === undefined) continue;
      taken++;
      assert.is.not(describeDamages(await damagesOn(disk, path)), before, told);
    }
  });
  world.close();
  assert.ok(taken > 0, 'no file was taken at all');
});

test.run();
