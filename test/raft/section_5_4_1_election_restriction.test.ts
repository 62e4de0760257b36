/** Raft paper, section 5.4.1: only a log with every committed entry can win. */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { Cluster, configurationOf } from './cluster.ts';
import { ofType, SingleCore } from './single_core.ts';

for (const [name, lastIndex, lastTerm, granted] of [
  ['a newer last term wins over a longer log', 1, 3, true],
  ['an older last term loses with a longer log', 9, 1, false],
  ['of the same last term, the same length suffices', 2, 2, true],
  ['of the same last term, a longer log suffices', 3, 2, true],
  ['of the same last term, a shorter log loses', 1, 2, false],
] as const) {
  test(name, () => {
    const node = new SingleCore({ terms: [1, 2] });
    const ask = { from: 2, to: 1, term: 5, lastIndex, lastTerm };
    const preVote = node.step({ ...ask, type: 'preVoteRequest' });
    assert.is(ofType(preVote.messages, 'preVoteResponse')[0]?.granted, granted);
    const vote = node.step({ ...ask, type: 'voteRequest', transfer: false });
    assert.is(ofType(vote.messages, 'voteResponse')[0]?.granted, granted);
  });
}

test('a node that missed a committed entry cannot be elected', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3]));
  const leader = cluster.elect(1);
  cluster.partition([3]);
  leader.propose('committed');
  cluster.deliver();
  assert.is(leader.machine.index, 2);
  leader.crash();
  cluster.heal();
  for (let i = 0; i < 5; i++) {
    cluster.node(3).raft.campaign();
    cluster.node(3).pump();
    cluster.deliver();
    assert.is.not(cluster.node(3).raft.role, 'leader');
  }
  cluster.runUntil(() => cluster.leader() !== undefined, 'a leader');
  assert.is(cluster.leader()?.id, 2);
});

test.run();
