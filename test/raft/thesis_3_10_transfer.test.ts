/** Thesis 3.10: handing leadership over. */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { Cluster, configurationOf } from './cluster.ts';
import { ofType, SingleCore } from './single_core.ts';

test('the target takes over without a timeout, and no other', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3]));
  const leader = cluster.elect(1);
  cluster.run(3);
  assert.ok(leader.raft.transferLeadership(3));
  leader.pump();
  cluster.deliver();
  assert.is(cluster.leader()?.id, 3);
  assert.is(leader.raft.leader, 3);
});

test('a target that lags is brought up first, while proposals and changes are refused', () => {
  const node = new SingleCore().lead();
  node.drain();
  node.acknowledge(2, 1);
  node.raft.propose([new Uint8Array(3)]);
  node.drain();
  assert.ok(node.raft.transferLeadership(2));
  assert.equal(ofType(node.drain().messages, 'timeoutNowRequest'), []);
  assert.equal(node.raft.propose([new Uint8Array(1)]), { ok: false, reason: 'transferring' });
  assert.equal(node.raft.proposeConfiguration({ type: 'remove', id: 3 }), {
    ok: false,
    reason: 'transferring',
  });
  assert.is(ofType(node.acknowledge(2, 2).messages, 'timeoutNowRequest')[0]?.to, 2);
});

test('a transfer is given up after an election timeout', () => {
  const node = new SingleCore().lead();
  node.drain();
  node.acknowledge(3, 1);
  node.raft.transferLeadership(2);
  node.ticks(9);
  assert.not(node.raft.propose([new Uint8Array(1)]).ok);
  node.ticks(1);
  assert.ok(node.raft.propose([new Uint8Array(1)]).ok);
});

test('only a leader hands over, and only to a voter; to itself there is nothing to do', () => {
  const node = new SingleCore({ configuration: configurationOf([1, 2, 3], [4]) });
  assert.not(node.raft.transferLeadership(2));
  node.lead();
  node.drain();
  assert.not(node.raft.transferLeadership(4));
  assert.not(node.raft.transferLeadership(9));
  assert.ok(node.raft.transferLeadership(1));
  assert.ok(node.raft.propose([new Uint8Array(1)]).ok);
});

test('the word to take over is obeyed by voters only, from their leader, in their term', () => {
  // A message that was late once made a removed node leader.
  const word = { type: 'timeoutNowRequest', from: 2, to: 1, term: 3 } as const;
  const follow = { type: 'heartbeatRequest', from: 2, to: 1, term: 3, commit: 0, readRound: 0 } as const;
  for (const [configuration, message, obeyed] of [
    [configurationOf([1, 2, 3]), word, true],
    [configurationOf([1, 2, 3]), { ...word, from: 3 }, false],
    [configurationOf([1, 2, 3]), { ...word, term: 2 }, false],
    [configurationOf([1, 2, 3]), { ...word, term: 4 }, false],
    [configurationOf([2, 3]), word, false],
    [configurationOf([2, 3], [1]), word, false],
  ] as const) {
    const node = new SingleCore({ configuration, term: 3 });
    node.step(follow);
    node.raft.step(message);
    assert.is(node.raft.role, obeyed ? 'candidate' : 'follower');
    assert.is(node.raft.term, obeyed ? 4 : 3);
  }
});

test('a vote asked for after a transfer is given although a leader is alive', () => {
  const node = new SingleCore({ term: 3 });
  node.step({ type: 'heartbeatRequest', from: 2, to: 1, term: 3, commit: 0, readRound: 0 });
  const ask = { type: 'voteRequest', from: 3, to: 1, term: 4, lastIndex: 0, lastTerm: 0 } as const;
  assert.equal(node.step({ ...ask, transfer: false }).messages, []);
  assert.is(node.raft.term, 3);
  assert.ok(ofType(node.step({ ...ask, transfer: true }).messages, 'voteResponse')[0]?.granted);
});

test.run();
