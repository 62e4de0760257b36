/** Thesis 9.6 and 4.2.3 (pre-vote, leader stickiness) and 6.2 (a leader that is cut off steps down). All three: see the partial partition of 2020. */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { Cluster, configurationOf } from './cluster.ts';
import { ofType, SingleCore } from './single_core.ts';

test('a node that comes back from a partition does not end the term', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3]));
  const leader = cluster.elect(1);
  cluster.run(3);
  cluster.partition([3]);
  cluster.run(200);
  assert.is(cluster.node(3).raft.term, 1, 'it asked around and never got a term of its own');
  cluster.heal();
  cluster.run(20);
  assert.is(leader.raft.role, 'leader');
  assert.is(leader.raft.term, 1);
  assert.is(cluster.node(3).raft.leader, 1);
});

test('a pre-vote changes nothing at the one who answers, and is refused while a leader is alive', () => {
  const node = new SingleCore({ term: 3 });
  const ask = { type: 'preVoteRequest', from: 3, to: 1, term: 9, lastIndex: 5, lastTerm: 3 } as const;
  const granted = ofType(node.step(ask).messages, 'preVoteResponse')[0];
  assert.equal([granted?.granted, granted?.term], [true, 9]);
  assert.is(node.raft.term, 3);
  node.step({ type: 'heartbeatRequest', from: 2, to: 1, term: 3, commit: 0, readRound: 0 });
  const refused = ofType(node.step(ask).messages, 'preVoteResponse')[0];
  assert.equal([refused?.granted, refused?.term], [false, 3]);
  assert.is(node.raft.leader, 2);
  const leader = new SingleCore({ term: 3 }).lead();
  leader.drain();
  assert.not(ofType(leader.step(ask).messages, 'preVoteResponse')[0]?.granted, 'a leader is alive to itself');
});

test('a refusal with a newer term is learnt from; grants for other terms are not counted', () => {
  const node = new SingleCore({ term: 3 });
  node.raft.campaign();
  node.drain();
  node.step({ type: 'preVoteResponse', from: 2, to: 1, term: 3, granted: true });
  node.step({ type: 'preVoteResponse', from: 2, to: 1, term: 9, granted: true });
  assert.is(node.raft.role, 'preCandidate');
  node.step({ type: 'preVoteResponse', from: 2, to: 1, term: 7, granted: false });
  assert.is(node.raft.role, 'follower');
  assert.is(node.raft.term, 7);
});

test('a pre-candidate votes for another in the term it is in', () => {
  const node = new SingleCore({ term: 3 });
  node.raft.campaign();
  const vote = node.step({
    type: 'voteRequest',
    from: 2,
    to: 1,
    term: 3,
    lastIndex: 0,
    lastTerm: 0,
    transfer: false,
  });
  assert.ok(ofType(vote.messages, 'voteResponse')[0]?.granted);
  assert.is(node.raft.role, 'follower');
});

test('a leader without a quorum steps down after an election timeout', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3]));
  const leader = cluster.elect(1);
  cluster.run(3);
  cluster.partition([1]);
  cluster.runUntil(() => leader.raft.role !== 'leader', 'the old leader gives up', 21);
  cluster.runUntil(() => cluster.leader() !== undefined, 'the others elect one');
});

test('a leader that hears from a quorum stays, however quiet the rest', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3]));
  const leader = cluster.elect(1);
  cluster.node(3).crash();
  cluster.run(200);
  assert.is(leader.raft.role, 'leader');
  assert.is(leader.raft.term, 1);
});

test('partial partition: with one link down there is one stable leader that can commit', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3]));
  cluster.elect(1);
  cluster.run(3);
  cluster.cut.add('1>3').add('3>1');
  cluster.run(100);
  const { term } = cluster.leader()!.raft;
  cluster.run(300);
  assert.is(cluster.leader()?.raft.term, term, 'no new term in 300 ticks');
  const leader = cluster.leader()!;
  leader.propose('works');
  cluster.deliver();
  assert.is(leader.machine.index, leader.raft.status().lastIndex);
});

test('one-way link: a leader that can send but not hear gives way', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3]));
  const leader = cluster.elect(1);
  cluster.run(3);
  cluster.cut.add('2>1').add('3>1');
  cluster.runUntil(() => {
    const now = cluster.leader();
    return now !== undefined && now !== leader;
  }, 'another leader');
});

test.run();
