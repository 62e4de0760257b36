/** Raft paper, section 6, and thesis chapter 4: joint consensus. */

import * as assert from 'uvu/assert';
import { decodeConfiguration } from '../../src/raft/configuration.ts';
import { type Configuration, ENTRY_CONFIGURATION } from '../../src/raft/types.ts';
import { test } from '../suite.ts';
import { Cluster, type ClusterNode, configurationOf, memberOf } from './cluster.ts';
import { MemoryLog } from './memory_log.ts';
import { configurationEntry, ofType, SingleCore } from './single_core.ts';

/** A leader of `voters` that has committed the first entry of its term. */
function settled(configuration: Configuration): SingleCore {
  const node = new SingleCore({ configuration });
  node.lead(configuration.voters.filter((id) => id !== 1));
  node.drain();
  for (const id of [...configuration.voters, ...configuration.learners])
    if (id !== 1) node.acknowledge(id, 1);
  assert.is(node.raft.commitIndex, 1);
  return node;
}

function lists(configuration: Configuration): [readonly number[], readonly number[], readonly number[]] {
  return [configuration.voters, configuration.votersOutgoing, configuration.learners];
}

test('a voter is removed by way of C_old,new: majorities of both, then C_new by itself', () => {
  const node = settled(configurationOf([1, 2, 3, 4]));
  assert.equal(node.raft.proposeConfiguration({ type: 'remove', id: 4 }), { ok: true, term: 1, index: 2 });
  assert.equal(
    lists(node.raft.status().configuration),
    [[1, 2, 3], [1, 2, 3, 4], []],
    'in force as soon as in the log',
  );
  node.drain();
  node.acknowledge(2, 2);
  assert.is(node.raft.commitIndex, 1, '1 and 2 are a majority of the new three, not of the old four');
  node.acknowledge(4, 2);
  assert.is(node.raft.commitIndex, 2);
  assert.equal(lists(node.raft.status().configuration), [[1, 2, 3], [], []]);
  const entry = node.log.at(3)!;
  assert.is(entry.kind, ENTRY_CONFIGURATION);
  assert.equal(
    decodeConfiguration(entry.data).members.map(({ id }) => id),
    [1, 2, 3],
  );
  node.acknowledge(4, 3);
  assert.is(node.raft.commitIndex, 2, 'the removed one counts no more');
  node.acknowledge(3, 3);
  assert.is(node.raft.commitIndex, 3);
});

test('in a joint configuration an election needs both majorities', () => {
  const log = new MemoryLog();
  const joint = { ...configurationOf([1, 2, 3]), votersOutgoing: [1, 4, 5] };
  joint.members = [1, 2, 3, 4, 5].map((id) => memberOf(id));
  joint.lastId = 5;
  log.append([configurationEntry(1, 1, joint)]);
  const candidate = (): SingleCore => {
    const node = new SingleCore({ log, term: 1, configuration: configurationOf([1, 4, 5]) });
    node.raft.campaign();
    const asked = ofType(node.drain().messages, 'preVoteRequest').map(({ to }) => to);
    assert.equal(asked, [2, 3, 4, 5]);
    return node;
  };
  const answer = (node: SingleCore, from: number, granted: boolean): void => {
    node.step({ type: 'preVoteResponse', from, to: 1, term: granted ? 2 : 1, granted });
  };
  const winner = candidate();
  answer(winner, 2, true);
  answer(winner, 3, true);
  assert.is(winner.raft.role, 'preCandidate', 'all of the new, too few of the old');
  answer(winner, 5, true);
  assert.is(winner.raft.role, 'candidate');
  const loser = candidate();
  answer(loser, 4, false);
  assert.is(loser.raft.role, 'preCandidate');
  answer(loser, 5, false);
  assert.is(loser.raft.role, 'follower', 'the old list alone can refuse');
});

test('one change at a time, and none before the leader has committed in its own term', () => {
  // The single-server bug (Ongaro, 2015): without the second rule two configurations without a common quorum could be in use.
  const fresh = new SingleCore({ terms: [1], term: 1, commit: 1 }).lead();
  const remove = { type: 'remove', id: 3 } as const;
  assert.is(reasonOf(fresh.raft.proposeConfiguration(remove)), 'changeInProgress');
  const node = settled(configurationOf([1, 2, 3]));
  assert.ok(node.raft.proposeConfiguration({ type: 'addLearner', member: memberOf(9) }).ok);
  assert.is(reasonOf(node.raft.proposeConfiguration(remove)), 'changeInProgress', 'not committed yet');
  node.drain();
  node.acknowledge(2, 2);
  assert.ok(node.raft.proposeConfiguration(remove).ok);
  node.drain();
  node.acknowledge(2, 3);
  assert.is(
    reasonOf(node.raft.proposeConfiguration(remove)),
    'changeInProgress',
    'C_new is not committed yet',
  );
});

function reasonOf(result: ReturnType<SingleCore['raft']['proposeConfiguration']>): string {
  return result.ok ? 'ok' : result.reason;
}

test('changes that make no sense are refused with a reason', () => {
  const node = settled(configurationOf([1, 2, 3], [4]));
  const refused = (change: Parameters<SingleCore['raft']['proposeConfiguration']>[0]): string => {
    const result = node.raft.proposeConfiguration(change);
    return result.ok ? 'ok' : `${result.reason}: ${result.message ?? ''}`;
  };
  assert.match(refused({ type: 'addLearner', member: memberOf(2) }), /^invalidChange: exists/);
  assert.match(
    refused({ type: 'addLearner', member: { peerAddress: '', clientAddress: '' } }),
    /^invalidChange: an address/,
  );
  assert.match(refused({ type: 'promote', id: 2 }), /^invalidChange: 2 is not a learner/);
  assert.match(refused({ type: 'remove', id: 8 }), /^invalidChange: 8 is not a member/);
  assert.match(
    refused({ type: 'updateAddresses', member: memberOf(8) }),
    /^invalidChange: 8 is not a member/,
  );
  assert.match(
    refused({ type: 'updateAddresses', member: { ...memberOf(3), id: 2 } }),
    /^invalidChange: exists/,
  );
  assert.match(
    reasonOf(settled(configurationOf([1])).raft.proposeConfiguration({ type: 'remove', id: 1 })),
    /^invalidChange/,
  );
  const follower = new SingleCore();
  assert.is(reasonOf(follower.raft.proposeConfiguration({ type: 'remove', id: 1 })), 'notLeader');
});

test('addresses change, and learners come and go, by one entry', () => {
  const node = settled(configurationOf([1, 2, 3]));
  const steps = [
    { type: 'addLearner', member: { peerAddress: 'new:1', clientAddress: 'new:2' } },
    { type: 'updateAddresses', member: { id: 4, peerAddress: 'moved:1', clientAddress: 'moved:2' } },
    { type: 'remove', id: 4 },
    { type: 'addLearner', member: { peerAddress: 'new:1', clientAddress: 'new:2' } },
  ] as const;
  for (const [i, change] of steps.entries()) {
    assert.equal(node.raft.proposeConfiguration(change), { ok: true, term: 1, index: 2 + i });
    node.drain();
    node.acknowledge(2, 2 + i);
    assert.is(node.raft.commitIndex, 2 + i);
  }
  const { configuration } = node.raft.status();
  assert.equal(configuration.learners, [5], 'ids are never given twice');
  assert.is(configuration.lastId, 5);
});

test('a configuration that is truncated is no longer in force', () => {
  const node = new SingleCore({ configuration: configurationOf([1, 2, 3]), term: 1 });
  node.step(node.append(2, 1, 0, 0, [configurationEntry(1, 1, configurationOf([1, 2, 3, 4]))]));
  assert.equal(node.raft.status().configuration.voters, [1, 2, 3, 4]);
  node.step(node.append(3, 2, 0, 0, [{ ...configurationEntry(1, 2, configurationOf([1, 2])) }]));
  assert.equal(node.raft.status().configuration.voters, [1, 2]);
  node.step({
    ...node.append(2, 3, 0, 0, []),
    entries: [{ index: 1, term: 3, kind: 1, data: new Uint8Array(0) }],
  });
  assert.equal(node.raft.status().configuration.voters, [1, 2, 3]);
});

test('at a restart the configuration comes from the log; it is read through once', () => {
  const log = new MemoryLog();
  log.append([configurationEntry(1, 1, configurationOf([1, 2, 3, 4]))]);
  const node = new SingleCore({ log, term: 1 });
  assert.equal(node.raft.status().configuration.voters, [1, 2, 3, 4]);
  const reads = log.reads;
  node.lead([2, 3]);
  assert.is(log.reads, reads, 'an election does not scan the log');
});

test('a configuration that cannot be read stops the start', () => {
  const log = new MemoryLog();
  log.append([{ index: 1, term: 1, kind: ENTRY_CONFIGURATION, data: new Uint8Array([123]) }]);
  assert.throws(() => new SingleCore({ log, term: 1 }), /invalid configuration/);
});

test('a leader that is removed leads until C_new is committed, then hands over', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3]));
  const leader = cluster.elect(1);
  cluster.run(3);
  assert.ok(leader.raft.proposeConfiguration({ type: 'remove', id: 1 }).ok);
  leader.pump();
  cluster.deliver();
  assert.is(leader.raft.role, 'follower');
  const next = cluster.leader();
  assert.ok(next !== undefined && next.id !== 1, 'the heir did not wait for a timeout');
  leader.tick(100);
  assert.is(leader.raft.role, 'follower', 'who is out stays out');
});

test('the last two: a leader that removes itself and crashes before anybody has C_new still ends the change', () => {
  // Its log is the only one with C_new, so the other cannot win: it must be able to lead once more (thesis 4.2.2).
  const cluster = new Cluster(configurationOf([1, 2]));
  const leader = cluster.elect(1);
  cluster.run(3);
  leader.raft.proposeConfiguration({ type: 'remove', id: 1 });
  leader.pump();
  cluster.deliver(
    (message) => message.type !== 'appendRequest' || message.entries.every(({ index }) => index < 3),
  );
  assert.equal(lists(leader.raft.status().configuration), [[2], [], []]);
  leader.crash();
  leader.restart();
  assert.equal(lists(leader.raft.status().configuration), [[2], [], []]);
  cluster.runUntil(() => cluster.leader()?.id === 2, 'node 2 leads alone');
  cluster.run(60);
  assert.is(cluster.leader()?.id, 2);
});

test('a removed node hears of its removal, and one that did not disturbs nobody', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3, 4]));
  const leader = cluster.elect(1);
  cluster.run(3);
  remove(cluster, leader, 4);
  assert.equal(cluster.node(4).machine.configuration.voters, [1, 2, 3]);
  cluster.partition([3]);
  remove(cluster, leader, 3);
  cluster.heal();
  const { term } = leader.raft;
  cluster.run(100);
  assert.is(cluster.node(3).raft.leader, 0);
  assert.is(leader.raft.role, 'leader');
  assert.is(leader.raft.term, term, 'pre-votes of the removed node did not end the term');
  assert.equal(
    leader.raft.status().progress.map(({ id }) => id),
    [2],
    'nor is it kept track of for ever',
  );
});

function remove(cluster: Cluster, leader: ClusterNode, id: number): void {
  const result = leader.raft.proposeConfiguration({ type: 'remove', id });
  assert.ok(result.ok, JSON.stringify(result));
  leader.pump();
  cluster.run(3);
}

test('from one node to three and back to another one, without losing anything', () => {
  const cluster = new Cluster(configurationOf([1]));
  const leader = cluster.elect(1);
  leader.propose('first');
  for (const id of [2, 3]) {
    leader.raft.proposeConfiguration({ type: 'addLearner', member: memberOf(id) });
    leader.pump();
    cluster.run(6);
    assert.ok(leader.raft.proposeConfiguration({ type: 'promote', id }).ok);
    leader.pump();
    cluster.run(6);
  }
  assert.equal(leader.raft.status().configuration.voters, [1, 2, 3]);
  remove(cluster, leader, 1);
  cluster.runUntil(() => cluster.leader() !== undefined, 'a leader of two');
  const second = cluster.leader()!;
  const other = second.id === 2 ? 3 : 2;
  cluster.run(3);
  remove(cluster, second, other);
  assert.equal(second.raft.status().configuration.voters, [second.id]);
  second.propose('last');
  assert.is(second.machine.index, second.raft.status().lastIndex);
});

test.run();
