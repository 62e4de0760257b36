/** A simulated cluster elects, serves, survives crashes and cuts, and does it all again in the same way. */

import * as assert from 'uvu/assert';
import { World } from '../../src/sim/world.ts';
import { test } from '../suite.ts';

/** A short life of a cluster: gives the trace hash. */
async function life(seed: number): Promise<string> {
  const world = new World({ seed });
  await world.run(async () => {
    await world.start();
    const { store } = world.client('client-1');
    for (let i = 0; i < 50; i++) await store.put(`key-${i}`, `value-${i}`);
    assert.is(new TextDecoder().decode(await store.get('key-7')), 'value-7');
    const follower = world.running().find((node) => node !== world.leader())!;
    world.crash(follower.id);
    await store.put('while', 'one is down');
    await world.startNode(follower.id);
    const index = (): number => follower.node?.service.status().appliedIndex ?? 0;
    const wanted = world.leader()!.node!.service.status().appliedIndex;
    await world.until(() => index() >= wanted, 'the node that came back');
  });
  world.close();
  return world.trace.hash;
}

test('the same seed gives the same trace, whatever ran in between', async () => {
  const first = await life(1);
  const other = await life(2);
  assert.is.not(first, other);
  assert.is(await life(1), first);
  assert.is(await life(2), other);
});

test.run();
