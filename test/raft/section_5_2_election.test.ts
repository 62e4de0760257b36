/** Raft paper, section 5.2: leader election by randomised timeouts; one vote a term; term and vote are durable before anybody hears of them. */

import * as assert from 'uvu/assert';
import { EMPTY_CONFIGURATION } from '../../src/raft/configuration.ts';
import { test } from '../suite.ts';
import { Cluster, configurationOf } from './cluster.ts';
import { ofType, SingleCore } from './single_core.ts';

test('the timeout is drawn from [electionTicks, 2 * electionTicks)', () => {
  for (const [drawn, ticks] of [
    [0, 10],
    [0.5, 15],
    [0.999, 19],
  ] as const) {
    const node = new SingleCore({ raft: { random: () => drawn } });
    node.ticks(ticks - 1);
    assert.is(node.raft.role, 'follower');
    node.ticks(1);
    assert.is(node.raft.role, 'preCandidate');
  }
});

test('a sole voter elects itself at once, by campaign or by timeout', () => {
  const asked = new SingleCore({ configuration: configurationOf([1]) });
  asked.raft.campaign();
  assert.is(asked.raft.role, 'leader');
  asked.raft.campaign();
  assert.is(asked.raft.term, 1, 'a leader does not campaign');
  const waited = new SingleCore({ configuration: configurationOf([1]) });
  waited.ticks(10);
  assert.is(waited.raft.role, 'leader');
});

test('a sole voter speaks as leader only after its term is on its disk', () => {
  // It needs nobody's vote, so a crash could let it lead the same term again with another history.
  const node = new SingleCore({ configuration: configurationOf([1], [2]) });
  node.raft.campaign();
  const first = node.raft.ready();
  assert.equal(first.messages, []);
  assert.is(ofType(first.messagesAfterAppend, 'appendRequest').length, 1);
  node.sync(first);
  node.ticks(2);
  assert.ok(node.raft.ready().messages.length > 0, 'from then on messages are sent at once');
});

test('learners, strangers and nodes without a configuration never campaign', () => {
  for (const configuration of [configurationOf([2, 3], [1]), configurationOf([2, 3]), EMPTY_CONFIGURATION]) {
    const node = new SingleCore({ configuration });
    node.raft.step({ type: 'heartbeatRequest', from: 2, to: 1, term: 1, commit: 0, readRound: 0 });
    assert.is(node.raft.leader, 2);
    node.raft.campaign();
    node.ticks(100);
    assert.is(node.raft.role, 'follower');
    assert.is(node.raft.term, 1);
    assert.is(node.raft.leader, 0, 'a silent leader is forgotten');
  }
});

test('vote requests wait for term and vote to be durable', () => {
  const node = new SingleCore();
  node.raft.campaign();
  node.drain();
  node.raft.step({ type: 'preVoteResponse', from: 2, to: 1, term: 1, granted: true });
  const ready = node.raft.ready();
  assert.equal(ready.hardState, { term: 1, vote: 1, commit: 0 });
  assert.equal(ready.messages, []);
  assert.equal(
    ofType(ready.messagesAfterAppend, 'voteRequest').map(({ to, term }) => ({ to, term })),
    [
      { to: 2, term: 1 },
      { to: 3, term: 1 },
    ],
  );
});

test('one vote a term: the same candidate may ask again, another is refused, also after a restart', () => {
  const node = new SingleCore({ term: 1 });
  const ask = { type: 'voteRequest', to: 1, term: 2, lastIndex: 0, lastTerm: 0, transfer: false } as const;
  node.raft.step({ ...ask, from: 2 });
  const ready = node.raft.ready();
  assert.equal(ready.hardState, { term: 2, vote: 2, commit: 0 });
  assert.equal(ready.messages, [], 'the answer waits for the disk');
  assert.ok(ofType(ready.messagesAfterAppend, 'voteResponse')[0]?.granted);
  assert.ok(ofType(node.step({ ...ask, from: 2 }).messages, 'voteResponse')[0]?.granted);
  assert.not(ofType(node.step({ ...ask, from: 3 }).messages, 'voteResponse')[0]?.granted);
  const restarted = new SingleCore({ term: 2, vote: 2 });
  assert.not(ofType(restarted.step({ ...ask, from: 3 }).messages, 'voteResponse')[0]?.granted);
});

test('a candidate that a majority refuses goes back to following; one that hears of the term’s leader follows it', () => {
  const node = new SingleCore();
  node.raft.campaign();
  node.drain();
  node.raft.step({ type: 'preVoteResponse', from: 2, to: 1, term: 1, granted: true });
  node.drain();
  assert.is(node.raft.role, 'candidate');
  node.step({ type: 'preVoteResponse', from: 3, to: 1, term: 1, granted: true });
  assert.is(node.raft.role, 'candidate', 'a late pre-vote is no vote');
  node.step({ type: 'voteResponse', from: 2, to: 1, term: 1, granted: false });
  node.step({ type: 'voteResponse', from: 2, to: 1, term: 1, granted: false });
  assert.is(node.raft.role, 'candidate', 'one voter counts once');
  node.step({ type: 'voteResponse', from: 3, to: 1, term: 1, granted: false });
  assert.is(node.raft.role, 'follower');

  const other = new SingleCore({ term: 3 });
  other.raft.campaign();
  other.step({ type: 'heartbeatRequest', from: 2, to: 1, term: 3, commit: 0, readRound: 0 });
  assert.is(other.raft.role, 'follower');
  assert.is(other.raft.leader, 2);
});

test('a split vote is resolved by the next timeouts', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3, 4]), { seed: 5 });
  for (const node of cluster.all) node.raft.campaign();
  cluster.runUntil(() => cluster.leader() !== undefined, 'a leader');
  const leader = cluster.leader()!;
  cluster.run(3);
  for (const node of cluster.all) assert.is(node.raft.leader, leader.id);
});

test.run();
