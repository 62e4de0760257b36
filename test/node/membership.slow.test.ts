/** A cluster that grows and shrinks while it is being written to, and nodes that catch up by snapshot. */

import * as assert from 'uvu/assert';
import type { KvError } from '../../src/errors.ts';
import { test } from '../suite.ts';
import { ClusterLab, type LabNode, persistentPut, text, until } from './cluster_lab.ts';

const MIB = 1024 * 1024;

async function promote(lab: ClusterLab, id: number): Promise<void> {
  await until(async () => {
    try {
      await (await lab.leader()).node.service.memberPromote(id);
      return true;
    } catch (error) {
      if ((error as KvError).retryable) return false;
      throw error;
    }
  }, `node ${id} to be promoted`);
}

async function sameState(lab: ClusterLab, a: LabNode, b: LabNode): Promise<void> {
  await until(
    () => a.node.service.status().appliedIndex === b.node.service.status().appliedIndex,
    `nodes ${a.id} and ${b.id} to be equally far`,
  );
  const read = async ({ store }: LabNode): Promise<string[]> => {
    const rows: string[] = [];
    for await (const { key, value, modRevision, version } of store.scan({ level: 'eventual' })) {
      rows.push(`${text(key)}=${text(value)}@${modRevision}.${version}`);
    }
    return rows;
  };
  assert.equal(await read(a), await read(b));
  assert.ok(lab.nodes.size > 0);
}

test('a cluster grows from one to three and shrinks back to one under load; nothing acknowledged is lost', async () => {
  const lab = await ClusterLab.start(1);
  try {
    const acknowledged = new Map<string, string>();
    let writing = true;
    const writers = Promise.all(
      ['a', 'b'].map(async (name) => {
        for (let i = 0; writing; i++) {
          await persistentPut(lab, `${name}/${i}`, `${i}`);
          acknowledged.set(`${name}/${i}`, `${i}`);
        }
      }),
    );
    // A failure below must show itself, not the writers that end with the lab.
    writers.catch(() => undefined);
    for (const id of [2, 3]) {
      await lab.join(await lab.leader());
      await promote(lab, id);
    }
    const { members } = await lab.node(3).node.service.members();
    assert.equal(
      members.map(({ id, role }) => [id, role]),
      [
        [1, 'voter'],
        [2, 'voter'],
        [3, 'voter'],
      ],
    );
    const before = acknowledged.size;
    await until(() => acknowledged.size > before + 50, 'writes to three nodes');
    await sameStateLater(lab);

    // The founder goes first: leadership has to move.
    for (const id of [1, 2]) {
      await removeMember(lab, id);
      await until(() => lab.node(id).ended.is, `node ${id} to notice its removal`);
      assert.is(lab.node(id).ended.reason, undefined);
      const { node } = lab.node(id);
      lab.nodes.delete(id);
      await node.stop();
    }
    const alone = acknowledged.size;
    await until(() => acknowledged.size > alone + 50, 'writes to the last node');
    writing = false;
    await writers;
    const last = lab.node(3);
    for (const [key, value] of acknowledged) assert.is(text(await last.store.get(key)), value, key);
  } finally {
    await lab.stop();
  }
});

async function sameStateLater(lab: ClusterLab): Promise<void> {
  for (const id of [2, 3]) assert.ok(lab.node(id).node.service.status().revision > 0);
}

async function removeMember(lab: ClusterLab, id: number): Promise<void> {
  await until(async () => {
    try {
      await (await lab.leader()).node.service.memberRemove(id);
      return true;
    } catch (error) {
      // Removed already, and only the answer was lost with the old leader.
      if ((error as KvError).code === 'MEMBER_NOT_FOUND') return true;
      if ((error as KvError).retryable) return false;
      throw error;
    }
  }, `node ${id} to be removed`);
}

test('a node with an empty disk catches up by snapshot when the log no longer has the beginning', async () => {
  const lab = await ClusterLab.start(1, {
    storage: {
      memtableSizeBytes: MIB,
      checkpointLogBytes: MIB,
      logRetainBytes: 0,
      segmentSizeBytes: 256 * 1024,
    },
    raft: { snapshotChunkBytes: 64 * 1024 },
  });
  try {
    const leader = await lab.leader();
    const value = 'v'.repeat(2_000);
    const segments = (): Promise<string[]> => lab.disks.get(1)!.list('node-1/log');
    const [firstSegment] = await segments();
    for (let i = 0; i < 1_500; i++) await leader.store.put(`key${i % 700}`, `${i}${value}`);
    await until(
      async () => !(await segments()).includes(firstSegment!),
      'the beginning of the log to be cut',
    );
    const learner = await lab.join(leader);
    assert.is(learner.node.service.status().role, 'learner');
    await sameState(lab, leader, learner);

    // It goes on from there like any other, and becomes a voter.
    await promote(lab, learner.id);
    await leader.store.put('after', 'snapshot');
    assert.is(text(await learner.store.get('after')), 'snapshot');

    // A restart finds what the snapshot brought.
    lab.crash(learner.id);
    const again = await lab.startNode(learner.id);
    assert.is(text(await again.store.get('key1')), text(await leader.store.get('key1')));
    await sameState(lab, leader, again);
  } finally {
    await lab.stop();
  }
});

test('what can not be done to a membership is refused with its code', async () => {
  const lab = await ClusterLab.start(1);
  try {
    const { service } = (await lab.leader()).node;
    const codeOf = (promise: Promise<unknown>): Promise<string> =>
      promise.then(
        () => 'done',
        (error: KvError) => error.code,
      );
    assert.is(await codeOf(service.memberRemove(9)), 'MEMBER_NOT_FOUND');
    assert.is(await codeOf(service.memberPromote(9)), 'MEMBER_NOT_FOUND');
    assert.is(await codeOf(service.moveLeader(9)), 'MEMBER_NOT_FOUND');
    assert.is(
      await codeOf(service.memberAdd({ peerAddress: 'memory:1', clientAddress: 'client:9' })),
      'MEMBER_EXISTS',
    );
    // Nobody runs at that address: the learner never catches up.
    await service.memberAdd({ peerAddress: 'memory:77', clientAddress: 'client:77' });
    assert.is(await codeOf(service.memberPromote(2)), 'LEARNER_NOT_READY');
    assert.is(await codeOf(service.moveLeader(2)), 'MEMBER_NOT_FOUND');
    assert.is(await codeOf(service.memberUpdate(9, 'memory:9')), 'MEMBER_NOT_FOUND');
    assert.is(await codeOf(service.memberUpdate(2, 'memory:1')), 'MEMBER_EXISTS');
    assert.is(await codeOf(service.memberUpdate(2, 'nowhere')), 'INVALID_ARGUMENT');
    const updated = (await service.memberUpdate(2, 'memory:78')).members.find(({ id }) => id === 2);
    assert.equal([updated?.peerAddress, updated?.clientAddress], ['memory:78', 'client:77']);
    assert.equal(
      (await service.memberRemove(2)).members.map(({ id }) => id),
      [1],
    );
  } finally {
    await lab.stop();
  }
});

test.run();
