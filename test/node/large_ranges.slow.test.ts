/** Transactions that ask for more than may be looked at, removed, shown or written: refused alike by every node and after every start, with the same words. */

import * as assert from 'uvu/assert';
import type { TxnRequest } from '../../src/client/store_types.ts';
import { KvError } from '../../src/errors.ts';
import { test } from '../suite.ts';
import { ClusterLab, type LabNode } from './cluster_lab.ts';
import { assertSameState } from './state_dump.ts';

const KEYS = 300;
const KIB = 1024;

/** What each of the requests is refused with. */
async function refusals({ store }: LabNode): Promise<string[]> {
  const asked: TxnRequest<string>[] = [
    { then: [{ type: 'deleteRange', prefix: 'k' }] },
    { compare: [{ prefix: 'k', version: 1 }], then: [{ type: 'put', key: 'n', value: '' }] },
    { then: [{ type: 'range', prefix: 'k', limit: 1, sortTarget: 'value' }] },
    { then: Array.from({ length: 60 }, () => ({ type: 'range' as const, prefix: 'k00' })) },
    { then: [{ type: 'deleteRange', prefix: 'k00', prevKv: true }] },
    {
      then: [
        {
          type: 'txn',
          then: [
            { type: 'put', key: 'n', value: '' },
            { type: 'deleteRange', prefix: 'k' },
          ],
        },
      ],
    },
  ];
  const words: string[] = [];
  for (const request of asked) {
    words.push(
      await store.txn(request).then(
        () => 'fine',
        (error: unknown) => (error instanceof KvError ? `${error.code} ${error.message}` : String(error)),
      ),
    );
  }
  return words;
}

test('what is too much is refused in the same words by every node, before and after starts with nothing in memory', async () => {
  const lab = await ClusterLab.start(3, {
    limits: { maxDeleteRangeKeys: 200, maxCommandBytes: 64 * KIB, maxValueBytes: 16 * KIB, maxKeyBytes: KIB },
    storage: { memtableSizeBytes: 1024 * KIB },
  });
  try {
    const first = await lab.leader();
    const value = 'v'.repeat(10 * KIB);
    for (let n = 0; n < KEYS; n++) await first.store.put(`k${String(n).padStart(3, '0')}`, value);
    const words = await refusals(first);
    assert.equal(
      words.map((one) => one.split(' ')[0]),
      words.map(() => 'REQUEST_TOO_LARGE'),
    );
    for (const node of lab.nodes.values()) assert.equal(await refusals(node), words, `node ${node.id}`);
    const revision = await assertSameState(lab, [1, 2, 3]);
    assert.is(revision, KEYS + 1, 'nothing of them took effect');

    // All come back with cold files and read their logs anew.
    for (const id of [1, 2, 3]) await lab.stopNode(id);
    await Promise.all([1, 2, 3].map((id) => lab.startNode(id)));
    const second = await lab.leader();
    assert.equal(await refusals(second), words);
    assert.is(await assertSameState(lab, [1, 2, 3]), revision);
    assert.equal((await second.node.service.clusterHash()).differing, []);

    // What stays within the bounds takes effect, on all alike, and so it does after another start.
    const { results } = await second.store.txn({ then: [{ type: 'deleteRange', prefix: 'k0' }] });
    assert.is(results[0]?.type === 'delete' && results[0].deleted, 100);
    assert.is(await assertSameState(lab, [1, 2, 3]), revision + 1);
    const { id } = lab.follower(second);
    await lab.stopNode(id);
    await lab.startNode(id);
    await assertSameState(lab, [1, 2, 3]);
    assert.equal((await (await lab.leader()).node.service.clusterHash()).differing, []);
  } finally {
    await lab.stop();
  }
});

test.run();
