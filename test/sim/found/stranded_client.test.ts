/**
 * Found by seeds 261 and 21083: machines lost their power and were replaced, one after the other. A client whose connections to them were idle noticed nothing for ten seconds, nor did one that
 * could reach a single node, and asked no sooner who the members are. By then all whom it knew were gone, and it waited for ever beside a healthy cluster.
 */

import * as assert from 'uvu/assert';
import type { Store } from '../../../src/client/store_types.ts';
import { KvError } from '../../../src/errors.ts';
import { World } from '../../../src/sim/world.ts';
import { test } from '../../suite.ts';

/** Takes a node out, switches its machine off, and lets another one join in its place. */
async function replace(world: World, id: number): Promise<void> {
  const joined = await world.addMember();
  const votes = (): readonly number[] =>
    world.leader()?.node?.parts.consensus.raft.status().configuration.voters ?? [];
  await world.until(() => votes().includes(joined), 'the newcomer has a vote');
  while (votes().includes(id)) {
    await world.removeMember(id).catch((error: unknown) => {
      // While another change, or the hand-over of leadership, is under way.
      if (!(error instanceof KvError)) throw error;
    });
    await world.sleep(20);
  }
  world.crash(id, 'all');
}

/** Replaces every founder within the ten seconds between two of the questions that a client asks without a cause. */
async function replaceAll(world: World): Promise<void> {
  const beganMs = world.nowMs;
  for (const id of [1, 2, 3]) await replace(world, id);
  assert.ok(world.nowMs - beganMs < 8_000, `it took ${world.nowMs - beganMs} ms`);
}

/** A world in which a client can reach node 1 alone. */
async function reachingOne(body: (world: World, store: Store) => Promise<void>): Promise<void> {
  const world = new World({ seed: 261, nodes: 3 });
  await world.run(async () => {
    await world.start();
    const { store } = world.client('client');
    await store.get('key');
    for (const id of [2, 3]) {
      world.setClientLink('client', id, 'to', { refused: true });
      world.resetClient('client', id);
    }
    await world.sleep(1_000);
    await body(world, store);
  });
  world.close();
}

test('an idle client is told of those who take the places of all whom it knows', async () => {
  const world = new World({ seed: 21083, nodes: 3 });
  await world.run(async () => {
    await world.start();
    const { store } = world.client('client');
    await store.put('key', '1');
    await world.sleep(1_000);
    await replaceAll(world);
    assert.is((await store.put('key', '2')).revision, 3);
  });
  world.close();
});

test('so is a client that can reach only one of them', () =>
  reachingOne(async (world, store) => {
    // Last, so that it can say who came before.
    for (const id of [2, 3]) await replace(world, id);
    await world.sleep(2_000);
    await replace(world, 1);
    assert.is(await store.get('key'), undefined);
  }));

test('a watcher that can reach only one of them is told of what is written afterwards', () =>
  reachingOne(async (world, store) => {
    const seen: number[] = [];
    void (async () => {
      for await (const { revision } of store.watch()) seen.push(revision);
    })();
    for (const id of [2, 3]) await replace(world, id);
    await world.sleep(2_000);
    await replace(world, 1);
    await world.client('writer').store.put('key', 'value');
    await world.until(() => seen.length > 0, 'the watcher is told');
  }));

test.run();
