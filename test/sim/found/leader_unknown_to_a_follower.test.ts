/**
 * Found by seed 1034 (five nodes; one was lost and replaced while another was down, and the newcomer came to lead): the one that came back had never heard of its leader and
 * had no address to answer to. Its answers were dropped, so the leader never learned what it lacked, and it stayed behind for ever. With one more node down there was
 * no quorum, although a majority ran and could talk.
 */

import * as assert from 'uvu/assert';
import { World } from '../../../src/sim/world.ts';
import { test } from '../../suite.ts';

test('a node that was away while its present leader joined catches up, and counts in the quorum', async () => {
  const world = new World({ seed: 1034, nodes: 3 });
  await world.run(async () => {
    await world.start();
    const { store } = world.client('client');
    await store.put('a', '1');
    const away = world.running().find((node) => node !== world.leader())!.id;
    world.crash(away, 'all');
    const joined = await world.addMember();
    const votes = (): readonly number[] =>
      world.leader()?.node?.parts.consensus.raft.status().configuration.voters ?? [];
    await world.until(() => votes().includes(joined), 'the newcomer has a vote');
    await world.until(() => world.leader() !== undefined, 'a leader');
    while (world.leader()?.id !== joined) {
      await world.admin().moveLeader(joined);
      await world.sleep(100);
    }
    await store.put('b', '2');
    const node = await world.startNode(away);
    const reached = world.leader()!.node!.service.status().commitIndex;
    await world.until(() => node.service.status().appliedIndex >= reached, 'it catches up', 5_000);
    // Three of four voters run now only with the one that was away.
    const other = world.running().find(({ id }) => id !== away && id !== joined)!.id;
    world.crash(other, 'all');
    await store.put('c', '3', { timeoutMs: 5_000 });
    assert.is(node.service.status().leader, joined);
  });
  world.close();
});

test.run();
