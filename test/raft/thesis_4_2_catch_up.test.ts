/** Thesis 4.2.1: a new member catches up as a learner before its vote counts. */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { Cluster, configurationOf, memberOf } from './cluster.ts';
import { SingleCore } from './single_core.ts';

test('a learner gets everything and counts for nothing', () => {
  const node = new SingleCore({ configuration: configurationOf([1, 2, 3], [4]) }).lead();
  node.drain();
  node.acknowledge(4, 1);
  assert.is(node.raft.commitIndex, 0);
  node.acknowledge(2, 1);
  assert.is(node.raft.commitIndex, 1);
});

test('an empty node becomes a learner, catches up over a snapshot, and is promoted', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3]));
  const leader = cluster.elect(1);
  for (let i = 0; i < 40; i++) leader.propose(`v${i}`);
  cluster.run(3);
  leader.takeSnapshot();
  assert.ok(leader.raft.proposeConfiguration({ type: 'addLearner', member: memberOf(4) }).ok);
  leader.pump();
  assert.equal(leader.raft.proposeConfiguration({ type: 'promote', id: 4 }).ok, false);
  cluster.run(20);
  const learner = cluster.node(4);
  assert.is(learner.machine.hash, leader.machine.hash);
  assert.is(cluster.snapshotsInstalled, 1);
  assert.ok(leader.raft.proposeConfiguration({ type: 'promote', id: 4 }).ok);
  leader.pump();
  cluster.run(3);
  assert.equal(learner.machine.configuration.voters, [1, 2, 3, 4]);
  assert.equal(learner.machine.configuration.learners, []);
});

test('a learner that is not heard of, or far behind, is not promoted', () => {
  const node = new SingleCore({
    configuration: configurationOf([1, 2, 3], [4]),
    raft: { maxUncommittedBytes: 1_000_000, maxInflightBytes: 2000 },
  }).lead();
  node.drain();
  node.acknowledge(2, 1);
  assert.equal(node.raft.proposeConfiguration({ type: 'promote', id: 4 }), {
    ok: false,
    reason: 'learnerNotReady',
  });
  node.acknowledge(4, 1);
  for (let i = 0; i < 1100; i++) node.raft.propose([new Uint8Array(1)]);
  node.drain();
  assert.equal(node.raft.proposeConfiguration({ type: 'promote', id: 4 }), {
    ok: false,
    reason: 'learnerNotReady',
  });
  node.acknowledge(4, 100);
  assert.ok(node.raft.proposeConfiguration({ type: 'promote', id: 4 }).ok, '1001 entries behind');
});

test('a learner that was silent since the last quorum check is not promoted', () => {
  const node = new SingleCore({ configuration: configurationOf([1], [4]) }).lead([]);
  node.drain();
  node.acknowledge(4, 1);
  node.ticks(10);
  assert.equal(node.raft.proposeConfiguration({ type: 'promote', id: 4 }), {
    ok: false,
    reason: 'learnerNotReady',
  });
});

test.run();
