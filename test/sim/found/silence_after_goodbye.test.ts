/**
 * Found by seed 3: a node that was stopped said goodbye to its clients, and lost power before it had answered what it still owed. Connections were no longer looked after once the
 * node had said goodbye, so that those calls waited for ever, whatever their time limit.
 */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { World } from '../../../src/sim/world.ts';
import { test } from '../../suite.ts';

/** A write under way on a leader without followers, which says goodbye and then falls silent. Gives how the write fails, if it does. */
async function writeToALeaderThatLeaves(world: World, afterwards: () => Promise<void>): Promise<unknown> {
  await world.start();
  const leader = world.leader()!.id;
  const { store } = world.client('writer');
  await store.put('first', '');
  const others = [...world.nodes.keys()].filter((id) => id !== leader);
  world.partition([leader], others);
  let failure: unknown;
  store.put('second', '', { timeoutMs: 1_500 }).catch((error: unknown) => {
    failure = error;
  });
  await world.sleep(20);
  void world.stop(leader);
  await world.sleep(20);
  assert.is(failure, undefined);
  for (const { name } of world.clients) world.setClientLink(name, leader, 'both', { blocked: true });
  await afterwards();
  return failure;
}

test('a call that a node owed when it said goodbye ends in its time though the node falls silent', async () => {
  const world = new World({ seed: 3, nodes: 3 });
  await world.run(async () => {
    const failure = await writeToALeaderThatLeaves(world, () => world.sleep(3_000));
    assert.instance(failure, KvError);
    assert.is(failure instanceof KvError && failure.maybeApplied, true);
  });
  world.close();
});

test('a client that is closed ends its calls on connections whose nodes have said goodbye', async () => {
  const world = new World({ seed: 3, nodes: 3 });
  await world.run(async () => {
    const failure = await writeToALeaderThatLeaves(world, async () => {
      await world.clients.find(({ name }) => name === 'writer')?.close();
      await world.sleep(1);
    });
    assert.instance(failure, KvError);
  });
  world.close();
});

test.run();
