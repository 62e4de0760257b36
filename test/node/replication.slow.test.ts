/** Three nodes: writes through any of them, leaders that die, disks that lose what was not synced. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { test } from '../suite.ts';
import { ClusterLab, persistentPut, text, until } from './cluster_lab.ts';

test('a write through a follower is read through every node', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const follower = lab.follower(await lab.leader());
    const { revision } = await follower.store.put('colour', 'blue');
    for (const { store } of lab.nodes.values()) {
      const entry = await store.getEntry('colour');
      assert.is(text(entry?.value), 'blue');
      assert.is(entry?.modRevision, revision);
    }
  } finally {
    await lab.stop();
  }
});

test('the leader loses power in the middle of writing: no acknowledged write is lost, and writing goes on', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const acknowledged = new Map<string, string>();
    let writing = true;
    const writer = async (name: string): Promise<void> => {
      for (let i = 0; writing; i++) {
        await persistentPut(lab, `${name}/${i}`, String(i));
        acknowledged.set(`${name}/${i}`, String(i));
      }
    };
    const writers = Promise.all(['a', 'b', 'c', 'd'].map(writer));
    for (let round = 0; round < 3; round++) {
      const before = acknowledged.size;
      await until(() => acknowledged.size > before + 40, 'writes to go on');
      const { id } = await lab.leader();
      lab.crash(id);
      await until(() => acknowledged.size > before + 80, 'writes to go on without the old leader');
      await lab.startNode(id);
    }
    writing = false;
    await writers;
    const { store } = await lab.leader();
    for (const [key, value] of acknowledged) assert.is(text(await store.get(key)), value, key);
  } finally {
    await lab.stop();
  }
});

test('all nodes lose power at once and start again: the same data at the same revision', async () => {
  const lab = await ClusterLab.start(3);
  try {
    for (let i = 0; i < 50; i++) await persistentPut(lab, `k${i}`, `v${i}`);
    const revision = (await lab.leader()).node.service.status().revision;
    for (const id of [1, 2, 3]) lab.crash(id);
    await Promise.all([1, 2, 3].map((id) => lab.startNode(id)));
    const { store, node } = await lab.leader();
    for (let i = 0; i < 50; i++) assert.is(text(await store.get(`k${i}`)), `v${i}`);
    assert.is(node.service.status().revision, revision);
  } finally {
    await lab.stop();
  }
});

test('a leader that is cut off acknowledges nothing, and its writes are not there when it comes back', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const old = await lab.leader();
    await old.store.put('before', '1');
    const others = [1, 2, 3].filter((id) => id !== old.id);
    lab.network.partition([old.id], others);
    const lost = old.store.put('lost', '1', { timeoutMs: 400 }).then(
      () => assert.unreachable('a write was acknowledged without a quorum'),
      (error: KvError) => assert.instance(error, KvError),
    );
    await until(
      () => others.some((id) => lab.node(id).node.service.status().role === 'leader'),
      'a new leader',
    );
    const fresh = others
      .map((id) => lab.node(id))
      .find(({ node }) => node.service.status().role === 'leader')!;
    await fresh.store.put('after', '1');
    await lost;
    await until(() => old.node.service.status().role !== 'leader', 'the old leader to step down');
    lab.network.heal();
    assert.is(text(await old.store.get('after')), '1');
    assert.is(await old.store.get('lost'), undefined);
  } finally {
    await lab.stop();
  }
});

test('leadership is handed over without losing a write', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const first = await lab.leader();
    const target = lab.follower(first);
    let writing = true;
    let writes = 0;
    const writer = (async () => {
      while (writing) await persistentPut(lab, `key${writes++ % 100}`, 'x');
    })();
    assert.is(await first.node.service.moveLeader(target.id), target.id);
    await until(() => target.node.service.status().role === 'leader', 'the target to lead');
    const third = [...lab.nodes.values()].find(({ id }) => id !== first.id && id !== target.id)!;
    assert.is(await third.node.service.moveLeader(0), (await lab.leader()).id, 'forwarded by a follower');
    writing = false;
    await writer;
  } finally {
    await lab.stop();
  }
});

test('a node whose disk fails to sync ends itself, and the others go on', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const leader = await lab.leader();
    lab.disks.get(leader.id)!.failSync(1);
    await leader.store.put('x', '1', { timeoutMs: 300 }).catch(() => undefined);
    await until(() => leader.ended.is, 'the node to end');
    assert.is(leader.ended.reason?.code, 'STORAGE_FAILED');
    await leader.store.get('x').then(
      () => assert.unreachable('a failed node answered'),
      (error: KvError) => assert.is(error.code, 'UNAVAILABLE'),
    );
    lab.nodes.delete(leader.id);
    await persistentPut(lab, 'y', '2');
    await leader.node.stop().catch(() => undefined);
  } finally {
    await lab.stop();
  }
});

test.run();
