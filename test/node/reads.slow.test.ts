/** What the three read levels promise, on a healthy cluster, on a follower that lags, and on a node that is cut off. */

import * as assert from 'uvu/assert';
import type { KvError } from '../../src/errors.ts';
import { storedKey } from '../../src/kv/keyspace.ts';
import { test } from '../suite.ts';
import { ClusterLab, persistentPut, text, until } from './cluster_lab.ts';

function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'answered',
    (error: KvError) => error.code,
  );
}

test('a linearizable read through any node sees every write that was acknowledged before it', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const nodes = [...lab.nodes.values()];
    for (let i = 0; i < 60; i++) {
      const writer = nodes[i % 3]!;
      const reader = nodes[(i + 1) % 3]!;
      await writer.store.put('counter', String(i));
      assert.is(text(await reader.store.get('counter')), String(i));
    }
  } finally {
    await lab.stop();
  }
});

test('a node that is cut off refuses linearizable and sequential reads and still gives eventual ones', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const cut = lab.follower(await lab.leader());
    await persistentPut(lab, 'x', 'old');
    await until(
      async () => text(await cut.store.get('x', { level: 'eventual' })) === 'old',
      'the follower to apply',
    );
    const others = [1, 2, 3].filter((id) => id !== cut.id);
    lab.network.partition([cut.id], others);
    await lab.node(others[0]!).store.put('x', 'new');
    await until(() => cut.node.service.status().leader === 0, 'the follower to notice');
    assert.is(await codeOf(cut.store.get('x', { level: 'sequential' })), 'NO_LEADER');
    assert.is(text(await cut.store.get('x', { level: 'eventual' })), 'old');
    const linearizable = codeOf(cut.store.get('x'));
    lab.network.heal();
    assert.is(await linearizable, 'answered');
    assert.is(text(await cut.store.get('x')), 'new');
  } finally {
    await lab.stop();
  }
});

test('a linearizable read on a node that stays cut off ends with NO_LEADER at its deadline', async () => {
  const lab = await ClusterLab.start(3, { node: { requestTimeoutMs: 500 } });
  try {
    const cut = lab.follower(await lab.leader());
    lab.network.partition(
      [cut.id],
      [1, 2, 3].filter((id) => id !== cut.id),
    );
    await until(() => cut.node.service.status().leader === 0, 'the follower to notice');
    assert.is(await codeOf(cut.store.get('x')), 'NO_LEADER');
    assert.is(await codeOf(cut.store.put('x', '1')), 'NO_LEADER');
  } finally {
    await lab.stop();
  }
});

test('a leader that is cut off and does not know yet serves no linearizable read', async () => {
  const lab = await ClusterLab.start(3, { node: { requestTimeoutMs: 400 } });
  try {
    const old = await lab.leader();
    await old.store.put('x', 'old');
    lab.network.partition(
      [old.id],
      [1, 2, 3].filter((id) => id !== old.id),
    );
    assert.is(old.node.service.status().role, 'leader', 'it still believes in its leadership');
    const code = await codeOf(old.store.get('x'));
    assert.ok(code === 'TIMEOUT' || code === 'NO_LEADER', code);
  } finally {
    await lab.stop();
  }
});

test('a sequential read waits until the node has reached the revision that the reader has seen', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const leader = await lab.leader();
    const follower = lab.follower(leader);
    lab.network.setLink(leader.id, follower.id, { delayMs: 60 });
    const { revision } = await leader.store.put('x', 'new');
    const request = {
      key: storedKey(Buffer.from('x')),
      level: 'sequential' as const,
      minRevision: revision,
      revision: 0,
    };
    const response = await follower.node.service.get(request);
    assert.is(text(response.record?.value), 'new');
    const far = { ...request, minRevision: revision + 1_000 };
    assert.is(await codeOf(Promise.resolve(follower.node.service.get(far, { timeoutMs: 100 }))), 'TIMEOUT');
  } finally {
    await lab.stop();
  }
});

test('reads of past revisions: kept ones are served, compacted and future ones are refused', async () => {
  const lab = await ClusterLab.start(1, { node: { historyRevisions: 50 } });
  try {
    const { store, node } = await lab.leader();
    const revisions: number[] = [];
    for (let i = 0; i < 120; i++) revisions.push((await store.put('x', String(i))).revision);
    await until(() => node.service.status().compactRevision > 0, 'history to be compacted');
    const { compactRevision, revision } = node.service.status();
    assert.ok(revision - compactRevision >= 50, 'as many revisions as were asked for are kept');
    const at = revisions.findIndex((candidate) => candidate >= compactRevision);
    assert.is(text(await store.get('x', { revision: revisions[at]! })), String(at));
    assert.is(await codeOf(store.get('x', { revision: compactRevision - 1 })), 'COMPACTED');
    assert.is(await codeOf(store.get('x', { revision: revision + 1 })), 'FUTURE_REVISION');
  } finally {
    await lab.stop();
  }
});

test('a scan shows one revision although keys change between its pages, and compaction waits for it', async () => {
  const lab = await ClusterLab.start(3, { node: { historyRevisions: 100 } });
  try {
    const { store } = await lab.leader();
    const keys = Array.from({ length: 2_500 }, (_, i) => `k${String(i).padStart(5, '0')}`);
    for (let i = 0; i < keys.length; i += 500) {
      await store.batch(keys.slice(i, i + 500).map((key) => ({ type: 'put', key, value: 'first' })));
    }
    let seen = 0;
    for await (const { key, value } of store.scan({ prefix: 'k' })) {
      assert.is(text(key), keys[seen]);
      assert.is(text(value), 'first');
      if (seen % 500 === 0) {
        for (let i = 0; i < 60; i++) await store.put(keys[(seen + 700 + i) % keys.length]!, 'second');
      }
      seen++;
    }
    assert.is(seen, keys.length);
  } finally {
    await lab.stop();
  }
});

test.run();
