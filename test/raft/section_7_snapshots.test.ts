/** Raft paper, section 7: followers that need entries which are gone are sent a snapshot, in chunks that can be resumed. */

import * as assert from 'uvu/assert';
import type { SnapshotChunkRequest, SnapshotMeta } from '../../src/raft/types.ts';
import { test } from '../suite.ts';
import { Cluster, type ClusterNode, configurationOf } from './cluster.ts';
import { MemoryLog } from './memory_log.ts';
import { command, ofType, SingleCore } from './single_core.ts';

const configuration = configurationOf([1, 2, 3]);
function metaOf(index: number, term = 1, sizeBytes = 10): SnapshotMeta {
  return { index, term, configuration, sizeBytes };
}

/** A leader whose log begins after `start`, and whose follower 2 has nothing. */
function leaderAfter(start: number, snapshotIndex: number | undefined): SingleCore {
  const log = new MemoryLog();
  log.reset(start, 1);
  log.append([command(start + 1, 1)]);
  const bytes = new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const snapshot = snapshotIndex === undefined ? undefined : { meta: metaOf(snapshotIndex), bytes };
  const node = new SingleCore({
    log,
    term: 1,
    commit: start,
    applied: start,
    ...(snapshot ? { snapshot } : {}),
  }).lead();
  node.drain();
  return node;
}

function refuseAll(node: SingleCore): SnapshotChunkRequest[] {
  const { lastIndex } = node.raft.status();
  const refusal = { ...node.appendResponse(2, lastIndex - 1), rejected: true, hintIndex: 0, hintTerm: 0 };
  return ofType(node.step(refusal).messages, 'snapshotChunkRequest');
}

function stored(node: SingleCore, nextOffset: number, snapshotIndex = 5): SnapshotChunkRequest[] {
  const { term } = node.raft;
  const answer = { type: 'snapshotChunkResponse', from: 2, to: 1, term, snapshotIndex, nextOffset } as const;
  return ofType(node.step(answer).messages, 'snapshotChunkRequest');
}

function ticked(node: SingleCore, ticks: number): SnapshotChunkRequest[] {
  const sent: SnapshotChunkRequest[] = [];
  for (let i = 0; i < ticks; i++) {
    node.ticks(1);
    sent.push(...ofType(node.drain().messages, 'snapshotChunkRequest'));
    node.step({ type: 'heartbeatResponse', from: 3, to: 1, term: node.raft.term, readRound: 0 });
  }
  return sent.filter((message) => message.to === 2);
}

test('a follower behind the log’s start gets chunks, one at a time, and appends again once it is installed', () => {
  const node = leaderAfter(5, 5);
  assert.equal(
    refuseAll(node).map(({ offset, data }) => [offset, [...data]]),
    [[0, [0, 1, 2, 3]]],
  );
  assert.is(node.raft.status().progress[0]?.state, 'snapshot');
  assert.equal(
    stored(node, 4).map(({ offset, data }) => [offset, [...data]]),
    [[4, [4, 5, 6, 7]]],
  );
  assert.equal(
    stored(node, 8).map(({ offset, data }) => [offset, [...data]]),
    [[8, [8, 9]]],
  );
  const after = ofType(node.acknowledge(2, 5).messages, 'appendRequest');
  assert.equal(
    after.map(({ prevIndex, entries }) => [prevIndex, entries.length]),
    [
      [5, 1],
      [6, 1],
    ],
  );
  assert.is(node.raft.status().progress[0]?.state, 'replicate');
});

test('the follower says where to go on; a chunk without an answer is sent again', () => {
  const node = leaderAfter(5, 5);
  refuseAll(node);
  assert.equal(
    stored(node, 8).map(({ offset }) => offset),
    [8],
    'resumed from an earlier transfer',
  );
  assert.equal(
    ticked(node, 6).map(({ offset }) => offset),
    [8],
  );
  node.raft.peerUnreachable(2);
  assert.equal(
    ticked(node, 1).map(({ offset }) => offset),
    [8],
    'at once after the connection was lost',
  );
  assert.equal(stored(node, 0, 3), [], 'an answer about another snapshot');
});

test('when the word of the installation is lost, an empty append asks for it; a refusal starts anew', () => {
  const node = leaderAfter(5, 5);
  refuseAll(node);
  assert.equal(stored(node, 10), []);
  node.ticks(6);
  const asked = ofType(node.drain().messages, 'appendRequest').filter(({ to }) => to === 2);
  assert.equal(
    asked.map(({ prevIndex, prevTerm }) => [prevIndex, prevTerm]),
    [[5, 1]],
  );
  node.step({ ...node.appendResponse(2, 3), rejected: true });
  node.step({ ...node.appendResponse(2, 5), rejected: true });
  assert.equal(
    ticked(node, 1).map(({ offset }) => offset),
    [0],
  );
});

test('without a usable snapshot the shell is asked for one, again and again until it is there', () => {
  for (const tooOld of [undefined, 3]) {
    const node = leaderAfter(5, tooOld);
    const refusal = { ...node.appendResponse(2, 6), rejected: true };
    const { readies } = node.step(refusal);
    assert.is(Math.max(...readies.map((ready) => ready.snapshotWanted)), 5);
    node.ticks(6);
    assert.ok(node.drain().readies.some((ready) => ready.snapshotWanted === 5));
    node.snapshot = { meta: metaOf(6), bytes: new Uint8Array(10) };
    assert.equal(
      ticked(node, 6).map(({ snapshot }) => snapshot.index),
      [6],
    );
  }
});

test('a snapshot that goes away in the middle is replaced by the next one', () => {
  const node = leaderAfter(5, 5);
  refuseAll(node);
  node.snapshot = { meta: metaOf(6), bytes: new Uint8Array(10) };
  assert.equal(stored(node, 4), [], 'its bytes are gone');
  assert.equal(
    ticked(node, 6).map(({ snapshot, offset }) => [snapshot.index, offset]),
    [[6, 0]],
  );
});

test('a follower that turns out to have the log is not sent the rest', () => {
  const node = leaderAfter(5, 5);
  refuseAll(node);
  node.acknowledge(2, 3);
  assert.is(node.raft.status().progress[0]?.state, 'snapshot', 'entry 4 is gone');
  node.acknowledge(2, 6);
  assert.is(node.raft.status().progress[0]?.state, 'replicate');
});

/** A follower in term 2 with entries 1 and 2. */
function follower(): SingleCore {
  return new SingleCore({ id: 1, terms: [1, 1], term: 2 });
}
function chunk(index: number, offset: number, size: number, term = 2): SnapshotChunkRequest {
  const data = new Uint8Array(size);
  return { type: 'snapshotChunkRequest', from: 2, to: 1, term, snapshot: metaOf(index), offset, data };
}

test('chunks come out one at a time; each answer goes to the leader', () => {
  const node = follower();
  const first = node.step(chunk(9, 0, 4)).readies.flatMap((ready) => ready.snapshotChunks);
  assert.equal(
    first.map(({ offset, last }) => [offset, last]),
    [[0, false]],
  );
  assert.equal(node.step(chunk(9, 0, 4)).readies, [], 'the shell is still busy with the first');
  node.raft.snapshotChunkStored(9, 4);
  assert.is(ofType(node.drain().messages, 'snapshotChunkResponse')[0]?.nextOffset, 4);
  assert.equal(node.step(chunk(9, 8, 4)).readies, [], 'more bytes than the snapshot has');
});

test('while a snapshot is put in place nothing is appended or committed, and no election is started', () => {
  // Otherwise entries acknowledged meanwhile would be cut off by the installation.
  const node = follower();
  node.step(chunk(9, 0, 10));
  assert.equal(node.step(node.append(2, 2, 2, 1, [command(3, 2)], 3)).messages, []);
  node.step({ type: 'heartbeatRequest', from: 2, to: 1, term: 2, commit: 2, readRound: 0 });
  assert.is(node.raft.commitIndex, 0);
  node.raft.campaign();
  node.ticks(50);
  assert.is(node.raft.role, 'follower');
  node.step({ type: 'heartbeatRequest', from: 2, to: 1, term: 2, commit: 0, readRound: 0 });
  node.log.reset(9, 1);
  node.raft.snapshotInstalled(metaOf(9));
  const { messages, readies } = node.drain();
  assert.is(ofType(messages, 'appendResponse')[0]?.index, 9);
  assert.is(readies[0]?.hardState?.commit, 9);
  assert.is(node.raft.status().lastIndex, 9);
  node.step(node.append(2, 2, 9, 1, [command(10, 2)], 10));
  assert.is(node.raft.commitIndex, 10);
});

test('a snapshot that is refused by the shell leaves the log as it was', () => {
  const node = follower();
  node.step(chunk(9, 0, 10));
  node.raft.snapshotChunkStored(9, 0);
  node.drain();
  node.step(node.append(2, 2, 2, 1, [command(3, 2)], 0));
  assert.is(node.raft.status().lastIndex, 3);
});

test('two snapshots in quick succession, and a stale one, do no harm', () => {
  const node = follower();
  node.step(chunk(9, 0, 10));
  assert.equal(node.step(chunk(12, 0, 10)).readies, [], 'the second waits for the first');
  node.log.reset(9, 1);
  node.raft.snapshotInstalled(metaOf(9));
  node.drain();
  assert.is(node.step(chunk(12, 0, 10)).readies[0]?.snapshotChunks.length, 1);
  node.log.reset(12, 1);
  node.raft.snapshotInstalled(metaOf(12));
  node.drain();
  node.raft.snapshotInstalled(metaOf(9));
  assert.is(node.raft.commitIndex, 12);
  assert.is(node.raft.status().lastIndex, 12);
  const late = node.step(chunk(9, 0, 10));
  assert.equal(
    ofType(late.messages, 'appendResponse').map(({ index, rejected }) => [index, rejected]),
    [[12, false]],
    'the leader learns how far this node is',
  );
});

test('chunks of an older term are refused; one for entries that are all there only commits them', () => {
  const node = follower();
  assert.ok(ofType(node.step(chunk(9, 0, 10, 1)).messages, 'appendResponse')[0]?.rejected);
  const known = node.step(chunk(2, 0, 10));
  assert.is(ofType(known.messages, 'appendResponse')[0]?.index, 2);
  assert.is(node.raft.commitIndex, 2);
});

test('a late acknowledgement of an append from before the snapshot is not taken for a newer one', () => {
  // Both appends were handed out in term 2 and end at index 5.
  const node = new SingleCore({ terms: [1, 1], term: 1 });
  node.raft.step(node.append(2, 1, 2, 1, [command(3, 1), command(4, 1), command(5, 1)]));
  node.raft.step(chunk(4, 0, 10, 2));
  assert.equal(node.raft.ready().snapshotChunks, [], 'not needed: what it covers is there');
  node.raft.appended(2, 5);

  const late = new SingleCore({ terms: [1, 1], term: 1 });
  late.raft.step(late.append(2, 1, 2, 1, [command(3, 1), command(4, 1), command(5, 1)]));
  late.raft.step({ ...chunk(4, 0, 10), snapshot: metaOf(4, 2) });
  const ready = late.raft.ready();
  assert.equal([ready.appendTerm, ready.entries.length, ready.snapshotChunks.length], [2, 3, 1]);
  late.log.reset(4, 2);
  late.raft.snapshotInstalled(metaOf(4, 2));
  late.raft.ready();
  late.raft.step(late.append(2, 2, 4, 2, [command(5, 2)], 5));
  assert.is(late.raft.ready().entries.length, 1);
  late.raft.appended(2, 5);
  assert.not(
    late.raft.hasReady(),
    'that was the first append: entry 5 of term 2 is committed, but not on this disk',
  );
  late.log.append([command(5, 2)]);
  late.raft.appended(2, 5);
  assert.is(late.raft.ready().committed[0]?.term, 2);
});

test('a follower that was away catches up by snapshot and then by entries, through drops', () => {
  const cluster = new Cluster(configuration, { seed: 3 });
  const leader: ClusterNode = cluster.elect(1);
  cluster.partition([3]);
  for (let i = 0; i < 30; i++) leader.propose(`v${i}`);
  cluster.deliver();
  leader.takeSnapshot();
  leader.propose('after');
  cluster.deliver();
  cluster.heal();
  let dropped = 0;
  cluster.run(120, (message) => !message.type.startsWith('snapshot') || dropped++ % 3 !== 0);
  assert.is(cluster.node(3).machine.hash, leader.machine.hash);
  assert.is(cluster.snapshotsInstalled, 1);
});

test.run();
