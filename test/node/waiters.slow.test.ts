/** Those who wait for a write or a read are answered, whatever becomes of it: each test is named after who was forgotten. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { Proposals } from '../../src/node/proposals.ts';
import { ReadBarrier } from '../../src/node/read_barrier.ts';
import { test } from '../suite.ts';
import { ClusterLab, until } from './cluster_lab.ts';

const outcome = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: unknown) =>
      error instanceof KvError ? `${error.code}${error.maybeApplied ? ' maybeApplied' : ''}` : 'other',
  );

function proposals(log: { term: number; index: number }): Proposals {
  return new Proposals({
    maxEntryBytes: 1_000,
    maxPendingBytes: 1_000,
    propose: () => ({ ok: true, term: log.term, index: log.index++ }),
    hasRoom: () => true,
    held: () => false,
  });
}

test('a write whose entry was replaced by a later one of the same node is told, and its bytes count no more', async () => {
  const log = { term: 1, index: 10 };
  const writes = proposals(log);
  const lost = outcome(writes.add(new Uint8Array(600), 1e9));
  writes.flush(0);
  // Deposed, its entries truncated, elected again: the next write gets the same index.
  log.term = 3;
  log.index = 10;
  const next = outcome(writes.add(new Uint8Array(300), 1e9));
  writes.flush(0);
  assert.is(await lost, 'UNAVAILABLE maybeApplied');
  assert.ok(writes.pendingBytes < 600);
  assert.ok(writes.expects(10, 3));
  writes.applied(10, [{ type: 'done', revision: 1 }]);
  assert.is(await next, 'ok');
  assert.is(writes.pendingBytes, 0);
});

test('a write whose entry came in by a snapshot is told, also when newer ones were proposed at lower indexes', async () => {
  const log = { term: 1, index: 20 };
  const writes = proposals(log);
  const first = outcome(writes.add(new Uint8Array(10), 1e9));
  writes.flush(0);
  log.term = 2;
  log.index = 15;
  const second = outcome(writes.add(new Uint8Array(10), 1e9));
  writes.flush(0);
  writes.skippedTo(17);
  assert.is(await second, 'UNAVAILABLE maybeApplied');
  assert.ok(writes.pending);
  writes.skippedTo(20);
  assert.is(await first, 'UNAVAILABLE maybeApplied');
  assert.is(writes.pendingBytes, 0);
});

test('a read whose rounds are lost one after the other ends at its own deadline', async () => {
  let nowMs = 0;
  const reads = new ReadBarrier({
    readIndex: () => true,
    nowMs: () => nowMs,
    timeoutMs: 1_000,
    retryMs: 100,
  });
  const answered: string[] = [];
  const ask = (name: string): void => {
    reads.wait().then(
      () => answered.push(`${name} ok`),
      (error: KvError) => answered.push(`${name} ${error.code} at ${nowMs}`),
    );
  };
  // A new reader in every round: the lost rounds join theirs.
  for (; nowMs <= 1_200; nowMs += 50) {
    ask(`asked at ${nowMs}`);
    reads.poll();
    reads.sweep();
    await Promise.resolve();
    await Promise.resolve();
  }
  assert.ok(answered.includes('asked at 0 TIMEOUT at 1000'), answered.join('\n'));
  for (const line of answered) {
    const [asked, at] = line.match(/\d+/g)!.map(Number);
    assert.ok(at! - asked! <= 1_050, line);
  }
  reads.close();
});

test('a node whose answer to joining was lost joins when it asks again, until it has been heard of', async () => {
  const lab = await ClusterLab.start(1);
  try {
    const leader = await lab.leader();
    const addresses = { peerAddress: 'memory:2', clientAddress: 'client:2' };
    const first = await leader.node.service.memberAdd(addresses);
    const again = await leader.node.service.memberAdd(addresses);
    assert.equal([again.id, again.clusterId, again.members.length], [first.id, first.clusterId, 2]);
    const refused = (request: typeof addresses): Promise<string> =>
      outcome(leader.node.service.memberAdd(request));
    assert.is(await refused({ ...addresses, clientAddress: 'client:9' }), 'MEMBER_EXISTS');
    assert.is(await refused({ peerAddress: 'memory:1', clientAddress: 'client:1' }), 'MEMBER_EXISTS');
    await lab.rejoin(2, again);
    await until(
      async () =>
        ((await leader.node.service.members()).members.find(({ id }) => id === 2)?.matchIndex ?? 0) > 0,
      'the new node to be heard of',
    );
    assert.is(await refused(addresses), 'MEMBER_EXISTS');
  } finally {
    await lab.stop();
  }
});

test('a member that was added for another, by its address for peers alone, says where its clients are to go', async () => {
  const lab = await ClusterLab.start(1);
  try {
    const { service } = (await lab.leader()).node;
    const first = await service.memberAdd({ peerAddress: 'memory:2', clientAddress: 'memory:2' });
    const addresses = { peerAddress: 'memory:2', clientAddress: 'client:2' };
    const joined = await service.memberAdd(addresses);
    assert.is(joined.id, first.id);
    const member = joined.members.find(({ id }) => id === joined.id);
    assert.equal(
      [joined.members.length, member?.clientAddress, member?.peerAddress],
      [2, 'client:2', 'memory:2'],
    );
    const other = service.memberAdd({ ...addresses, clientAddress: 'client:9' });
    assert.is(await outcome(other), 'MEMBER_EXISTS');
  } finally {
    await lab.stop();
  }
});

test('a node stops in the middle of an installation without a failure, and goes on where it was', async () => {
  const MIB = 1024 * 1024;
  const storage = {
    checkpointLogBytes: MIB,
    logRetainBytes: 0,
    segmentSizeBytes: MIB / 4,
    preallocateBytes: MIB / 32,
  };
  const lab = await ClusterLab.start(3, { storage, node: { historyRevisions: 5 } }, new Map(), 20);
  try {
    const leader = await lab.leader();
    const { id } = lab.follower(leader);
    await lab.stopNode(id);
    const first = async (): Promise<string | undefined> =>
      (await lab.disks.get(leader.id)!.list(`node-${leader.id}/log`))[0];
    const start = await first();
    await until(async () => {
      for (let i = 0; i < 10; i++) await leader.store.put(`k${i}`, 'v'.repeat(60_000));
      return (await first()) !== start;
    }, 'the log to be cut');
    for (let i = 0; i < 12; i++) {
      const { node, ended } = await lab.startNode(id);
      // Each time a little further on.
      for (let turn = 0; turn < i * 6; turn++) await new Promise((resolve) => setImmediate(resolve));
      await lab.stopNode(id);
      assert.is(ended.is, false, `${ended.reason?.message}`);
      assert.is(node.service.status().health, 'ok');
    }
    await lab.startNode(id);
    await until(
      () => lab.node(id).node.service.status().revision === leader.node.service.status().revision,
      'it to catch up',
    );
  } finally {
    await lab.stop();
  }
});

test('a node whose disk is full stops all the same, with appends that wait for room', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const leader = await lab.leader();
    const { id } = lab.follower(leader);
    const disk = lab.disks.get(id)!;
    disk.capacityBytes = disk.usedBytes();
    for (let i = 0; i < 100; i++) {
      leader.store.put(`k${i}`, 'v'.repeat(10_000)).catch(() => undefined);
      if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const late = new Promise((resolve) => setTimeout(() => resolve('still stopping'), 10_000));
    assert.is(await Promise.race([lab.stopNode(id).then(() => 'stopped'), late]), 'stopped');
  } finally {
    await lab.stop();
  }
});

test.run();
