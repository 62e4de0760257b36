/** Thesis 10.2.1: the leader writes its log while the followers do, and nobody counts what is not on disk. */

import * as assert from 'uvu/assert';
import type { Ready } from '../../src/raft/types.ts';
import { test } from '../suite.ts';
import { Cluster, configurationOf } from './cluster.ts';
import { command, ofType, SingleCore } from './single_core.ts';

test('the leader counts itself only once its own disk has the entry', () => {
  const node = new SingleCore().lead();
  const ready = node.raft.ready();
  node.acknowledgeOnly(2, 1);
  assert.is(node.raft.commitIndex, 0, 'on one disk of three');
  node.sync(ready);
  assert.is(node.raft.commitIndex, 1);
});

test('an entry may be committed by the others first; it is handed out when it is on this disk too', () => {
  const node = new SingleCore().lead();
  const ready = node.raft.ready();
  node.acknowledgeOnly(2, 1);
  node.acknowledgeOnly(3, 1);
  assert.is(node.raft.commitIndex, 1);
  assert.equal(node.raft.ready().committed, []);
  node.sync(ready);
  const after = node.raft.ready();
  assert.is(after.committed.length, 1);
  assert.is(after.hardState?.commit, 1, 'nor does the commit hint run ahead of the disk');
  assert.not(after.mustSync, 'the commit index alone needs no fsync');
});

test('several Readys may be under way; one acknowledgement may stand for all of them', () => {
  const node = new SingleCore({ configuration: configurationOf([1]) }).lead([]);
  const readies: Ready[] = [];
  for (let i = 0; i < 3; i++) {
    node.raft.propose([new Uint8Array(1)]);
    readies.push(node.raft.ready());
  }
  assert.equal(
    readies.map(({ entries }) => entries.map(({ index }) => index)),
    [[2], [3], [4]],
  );
  for (const ready of readies) node.log.append(ready.entries);
  node.raft.appended(1, 2);
  assert.is(node.raft.commitIndex, 2);
  node.raft.appended(1, 4);
  assert.is(node.raft.commitIndex, 4);
  node.raft.appended(1, 4);
  node.raft.appended(1, 9);
  assert.is(node.raft.commitIndex, 4, 'unknown acknowledgements are nothing');
});

test('a follower’s answer waits for its disk', () => {
  const node = new SingleCore({ terms: [1] });
  node.raft.step(node.append(2, 1, 1, 1, [command(2, 1)]));
  const ready = node.raft.ready();
  assert.ok(ready.mustSync);
  assert.equal(ofType(ready.messages, 'appendResponse'), []);
  assert.is(ofType(ready.messagesAfterAppend, 'appendResponse')[0]?.index, 2);
});

test('ABA: an entry that was replaced and written again is not durable by the first write’s acknowledgement', () => {
  const node = new SingleCore({ terms: [1], term: 1, commit: 1, applied: 1 });
  node.raft.step(node.append(2, 1, 1, 1, [command(2, 1), command(3, 1)]));
  const first = node.raft.ready();
  node.raft.step(node.append(3, 2, 1, 1, [command(2, 2)]));
  const second = node.raft.ready();
  node.raft.step(node.append(2, 3, 1, 1, [command(2, 1), command(3, 1)], 3));
  const third = node.raft.ready();
  node.log.append(first.entries);
  node.raft.appended(first.appendTerm, 3);
  assert.not(node.raft.hasReady(), 'the disk is about to be overwritten with entry 2 of term 2');
  node.log.append(second.entries);
  node.raft.appended(second.appendTerm, 2);
  assert.not(node.raft.hasReady());
  node.log.append(third.entries);
  node.raft.appended(third.appendTerm, 3);
  assert.is(node.raft.ready().committed.length, 2);
});

test('ABA within one term: entries handed out after the term began, and replaced by its leader', () => {
  const node = new SingleCore({ terms: [1], term: 1, commit: 1, applied: 1 });
  node.raft.step(node.append(2, 1, 1, 1, [command(2, 1)]));
  node.raft.step({ type: 'voteRequest', from: 3, to: 1, term: 2, lastIndex: 9, lastTerm: 1, transfer: true });
  const first = node.raft.ready();
  assert.is(first.appendTerm, 2);
  node.raft.step(node.append(3, 2, 1, 1, [command(2, 2)], 2));
  const second = node.raft.ready();
  assert.is(second.appendTerm, 2);
  node.log.append(first.entries);
  node.raft.appended(2, 2);
  assert.equal(node.raft.hasReady(), false, 'term and index are the same, the entry is not');
  node.log.append(second.entries);
  node.raft.appended(2, 2);
  assert.is(node.raft.ready().committed[0]?.term, 2);
});

test('entries are replaced below what was durable, too', () => {
  const node = new SingleCore({ terms: [1, 1, 1], term: 1, commit: 1, applied: 1 });
  node.raft.step(node.append(2, 2, 1, 1, [command(2, 2)], 2));
  const ready = node.raft.ready();
  assert.equal(ready.committed, []);
  assert.is(node.raft.status().lastIndex, 2);
  node.sync(ready);
  assert.is(node.raft.ready().committed[0]?.term, 2);
});

test('a node that crashed before its write was synced has promised nothing', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3]), { autoSync: false });
  const leader = cluster.elect(1);
  cluster.run(5);
  leader.propose('a');
  for (const node of cluster.all) if (node !== leader) node.crash();
  leader.sync();
  assert.is(leader.raft.commitIndex, 1, 'on the leader’s disk only');
  assert.is(leader.disk.log.lastIndex(), 2);
  for (const node of cluster.all) if (!node.up) node.restart();
  cluster.run(5);
  assert.is(cluster.node(2).machine.index, 2);
});

test.run();
