/**
 * Found by seed 22410, a mistake of the simulator's: which disks may be damaged was asked of the nodes that run. While all of them were down two of three logs were damaged, more than any
 * consensus can bear, and the cluster never came back.
 */

import * as assert from 'uvu/assert';
import type { FaultStep } from '../../../src/sim/faults/fault_plan.ts';
import { Hazards } from '../../../src/sim/faults/hazards.ts';
import { World } from '../../../src/sim/world.ts';
import { test } from '../../suite.ts';

function rot(id: number, node: number): FaultStep {
  return {
    kind: 'bitRot',
    id,
    atMs: 100 + id,
    durationMs: 10,
    node,
    area: 'log',
    file: 0,
    place: 0.1,
    mask: 4,
  };
}

test('while all nodes are down no more of them are damaged than while they run', async () => {
  const world = new World({ seed: 22410, nodes: 3, record: true });
  const hazards = new Hazards(world);
  await world.run(async () => {
    await hazards.start({ version: 1, steps: [] });
    const { store } = world.client('client');
    for (let i = 0; i < 20; i++) await store.put(`key-${i}`, 'value');
    hazards.faults.start({
      version: 1,
      steps: [
        { kind: 'crashAll', id: 0, atMs: 0, durationMs: 500, loss: 'none' },
        rot(1, 3),
        rot(2, 2),
        rot(3, 1),
      ],
    });
    await world.sleep(400);
    assert.equal(world.running(), []);
    const told = world.trace.events
      .map(({ label }) => label)
      .filter((label) => /flipped|no bitRot/.test(label));
    assert.is(told.length, 3);
    assert.match(told[0]!, 'of node-3/log/');
    for (const second of told.slice(1))
      assert.match(second, '1 of 3 voters may be damaged at once, and node 3 is already');
    assert.is((await store.get('key-7', { timeoutMs: 20_000 }))?.length, 5);
  });
  assert.equal(hazards.checks.violations, []);
  world.close();
});

test.run();
