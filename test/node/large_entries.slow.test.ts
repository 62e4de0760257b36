/** The largest of everything: commands of the maximum size through replication and restart, the largest values through a snapshot, the largest delete. */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { ClusterLab, until } from './cluster_lab.ts';
import { assertSameState } from './state_dump.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

test('a command of the maximum size is replicated, survives a crash, and the largest values go through a snapshot', async () => {
  const lab = await ClusterLab.start(
    3,
    { storage: { checkpointLogBytes: 8 * MIB, logRetainBytes: 0 } },
    new Map(),
    10,
  );
  try {
    const leader = await lab.leader();
    const behind = lab.follower(leader);
    const large = new Uint8Array(8 * MIB - 64 * KIB).fill(1);
    const batch = ['a', 'b'].map((key) => ({ type: 'put', key, value: large }) as const);
    await leader.store.batch(batch, { timeoutMs: 20_000 });
    await assertSameState(lab, [...lab.nodes.keys()]);
    lab.crash(behind.id);
    await leader.store.put('largest', new Uint8Array(8 * MIB).fill(2), { timeoutMs: 20_000 });
    const disk = lab.disks.get(leader.id)!;
    const first = async (): Promise<string | undefined> => (await disk.list(`node-${leader.id}/log`))[0];
    const start = await first();
    await until(async () => {
      await leader.store.batch(batch, { timeoutMs: 20_000 });
      return (await first()) !== start;
    }, 'the log to be cut');
    await lab.startNode(behind.id);
    await assertSameState(lab, [...lab.nodes.keys()]);
    assert.is((await lab.node(behind.id).store.get('largest'))?.length, 8 * MIB);
  } finally {
    await lab.stop();
  }
});

test('one delete of as many keys as are allowed is applied everywhere, through a memtable that is smaller', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const leader = await lab.leader();
    const count = 100_000;
    for (let i = 0; i < count; i += 10_000) {
      await leader.store.batch(
        Array.from({ length: 10_000 }, (_, n) => ({
          type: 'put',
          key: `key/${String(i + n).padStart(8, '0')}`,
          value: 'x',
        })),
        { timeoutMs: 20_000 },
      );
    }
    const { results } = await leader.store.txn(
      { then: [{ type: 'deleteRange', start: 'key/', end: 'key0' }] },
      { timeoutMs: 20_000 },
    );
    assert.equal(results, [{ type: 'delete', deleted: count }]);
    await until(
      () => new Set([...lab.nodes.values()].map(({ node }) => node.service.status().appliedIndex)).size === 1,
      'all to apply it',
    );
    for (const { store } of lab.nodes.values())
      for await (const { key } of store.scan({ level: 'eventual', limit: 1 }))
        assert.unreachable(String(key));
    lab.crash(leader.id);
    await lab.startNode(leader.id);
    await until(
      async () =>
        (await lab
          .node(leader.id)
          .store.get('key/00000001')
          .catch(() => 'not yet')) === undefined,
      'the node to replay it',
    );
  } finally {
    await lab.stop();
  }
});

test.run();
