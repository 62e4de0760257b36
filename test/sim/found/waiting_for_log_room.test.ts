/**
 * Found by seed 158 (five nodes, full disks): while the log had no room for what was proposed and was making some, the ready loop asked again in every turn of the event
 * loop, without letting time pass: a busy processor for as long as the disk took.
 */

import * as assert from 'uvu/assert';
import { World } from '../../../src/sim/world.ts';
import { test } from '../../suite.ts';

test('a leader that waits for room in its log waits, and does not ask without end', async () => {
  const world = new World({ seed: 158, nodes: 1 });
  await world.run(async () => {
    await world.start();
    const { store } = world.client('writer');
    await store.put('first', '');
    // With so little left, nothing is written before its room is there.
    world.disk(1).memory.capacityBytes = 32 * 1024 * 1024;
    await world.sleep(1_500);
    const before = world.scheduler.events;
    await Promise.all(Array.from({ length: 20 }, (_, i) => store.put(`large-${i}`, 'x'.repeat(60_000))));
    const events = world.scheduler.events - before;
    assert.ok(events < 5_000, `${events} events for twenty writes`);
  });
  world.close();
});

test.run();
