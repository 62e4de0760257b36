/** Thesis 6.4: linearizable reads by a round of heartbeats instead of a log entry. */

import * as assert from 'uvu/assert';
import { LeaderReads, MAX_WAITING_READS } from '../../src/raft/read_index.ts';
import type { ReadState } from '../../src/raft/types.ts';
import { test } from '../suite.ts';
import { Cluster, configurationOf } from './cluster.ts';
import { type Drained, ofType, SingleCore } from './single_core.ts';

function readStates({ readies }: Drained): ReadState[] {
  return readies.flatMap((ready) => ready.readStates);
}
function confirm(node: SingleCore, from: number, readRound: number): Drained {
  return node.step({ type: 'heartbeatResponse', from, to: 1, term: node.raft.term, readRound });
}
function settled(): SingleCore {
  const node = new SingleCore().lead();
  node.drain();
  node.acknowledge(2, 1);
  return node;
}

test('reads wait for a commit in the leader’s own term', () => {
  const node = new SingleCore({ terms: [1], term: 1, commit: 1 }).lead();
  node.drain();
  assert.ok(node.raft.readIndex(7));
  assert.not(node.raft.hasReady());
  const sent = ofType(node.acknowledge(2, 2).messages, 'heartbeatRequest');
  assert.equal(
    sent.map(({ to, readRound }) => [to, readRound]),
    [
      [2, 1],
      [3, 1],
    ],
  );
  assert.equal(readStates(confirm(node, 3, 1)), [{ context: 7, index: 2 }]);
});

test('one round serves all reads that wait, at the commit index of its start', () => {
  const node = settled();
  for (const context of [1, 2, 3]) node.raft.readIndex(context);
  assert.is(ofType(node.drain().messages, 'heartbeatRequest').length, 2);
  node.raft.propose([new Uint8Array(1)]);
  node.drain();
  node.acknowledge(2, 2);
  assert.equal(
    readStates(confirm(node, 2, 1)),
    [1, 2, 3].map((context) => ({ context, index: 1 })),
  );
});

test('answers to rounds from before the read confirm nothing', () => {
  const node = settled();
  node.raft.readIndex(1);
  node.drain();
  node.raft.readIndex(2);
  node.drain();
  assert.equal(readStates(confirm(node, 2, 1)), [{ context: 1, index: 1 }]);
  assert.equal(readStates(confirm(node, 3, 0)), []);
  assert.equal(readStates(confirm(node, 3, 2)), [{ context: 2, index: 1 }]);
  assert.equal(readStates(confirm(node, 2, 2)), [], 'answered once');
});

test('a later answer confirms the rounds before it; a few rounds are under way at most', () => {
  const node = settled();
  let rounds = 0;
  for (let context = 1; context <= 7; context++) {
    node.raft.readIndex(context);
    rounds += ofType(node.drain().messages, 'heartbeatRequest').length / 2;
  }
  assert.is(rounds, 4);
  assert.not(node.raft.hasReady());
  const answered = confirm(node, 2, 4);
  assert.is(readStates(answered).length, 4);
  assert.is(ofType(answered.messages, 'heartbeatRequest')[0]?.readRound, 5);
  assert.is(readStates(confirm(node, 2, 5)).length, 3);
});

test('a round that was lost is carried by the next heartbeat', () => {
  const node = settled();
  node.raft.readIndex(1);
  node.drain();
  node.ticks(2);
  assert.is(ofType(node.drain().messages, 'heartbeatRequest')[0]?.readRound, 1);
  confirm(node, 2, 1);
  node.ticks(2);
  assert.is(ofType(node.drain().messages, 'heartbeatRequest')[0]?.readRound, 0, 'nobody waits any more');
});

test('a sole voter answers without a round', () => {
  const node = new SingleCore({ configuration: configurationOf([1], [2]) }).lead([]);
  node.raft.readIndex(1);
  assert.equal(readStates(node.drain()), [{ context: 1, index: 1 }], 'once its term has begun on disk');
  node.raft.readIndex(2);
  const { messages, readies } = node.drain();
  assert.equal(messages, []);
  assert.equal(readies[0]?.readStates, [{ context: 2, index: 1 }]);
});

test('a leader that loses leadership tells everybody to ask again', () => {
  const node = settled();
  node.raft.readIndex(1);
  node.drain();
  node.raft.step({ type: 'readIndexRequest', from: 3, to: 1, term: 1, context: 42 });
  node.raft.readIndex(2);
  node.raft.step({ type: 'heartbeatRequest', from: 2, to: 1, term: 9, commit: 0, readRound: 0 });
  const out = node.drain();
  assert.equal(readStates(out), [
    { context: 1, index: 0 },
    { context: 2, index: 0 },
  ]);
  assert.equal(
    ofType(out.messages, 'readIndexResponse').map(({ to, context, index }) => [to, context, index]),
    [[3, 42, 0]],
  );
});

test('a follower asks its leader, and is answered once', () => {
  const cluster = new Cluster(configurationOf([1, 2, 3]));
  assert.not(cluster.node(2).raft.readIndex(5), 'no leader is known');
  cluster.elect(1);
  cluster.run(3);
  assert.ok(cluster.node(2).read(5));
  const [request] = ofType(cluster.network, 'readIndexRequest');
  cluster.network.push(request!);
  cluster.deliver();
  assert.is(cluster.node(2).reads.get(5), 1);
});

test('a node that does not lead says so', () => {
  const node = new SingleCore({ term: 1 });
  const out = node.step({ type: 'readIndexRequest', from: 3, to: 1, term: 1, context: 42 });
  assert.equal(
    ofType(out.messages, 'readIndexResponse').map(({ context, index }) => [context, index]),
    [[42, 0]],
  );
});

test('reads that were forwarded fail when the leader changes, or stays silent', () => {
  const heartbeat = { type: 'heartbeatRequest', from: 2, to: 1, term: 1, commit: 0, readRound: 0 } as const;
  const changed = new SingleCore();
  changed.step(heartbeat);
  changed.raft.readIndex(1);
  changed.drain();
  assert.equal(readStates(changed.step({ ...heartbeat, from: 3, term: 2 })), [{ context: 1, index: 0 }]);
  const silent = new SingleCore();
  silent.step(heartbeat);
  silent.raft.readIndex(1);
  silent.drain();
  const states: ReadState[] = [];
  for (let i = 0; i < 20; i++) {
    silent.raft.tick();
    silent.raft.step(heartbeat);
    states.push(...readStates(silent.drain()));
  }
  assert.equal(states, [{ context: 1, index: 0 }], 'the leader lives, the answer was lost');
});

test('an answer from before a restart is not taken for the answer to a new read', () => {
  const heartbeat = { type: 'heartbeatRequest', from: 2, to: 1, term: 1, commit: 0, readRound: 0 } as const;
  const asked = [0.25, 0.75].map((drawn) => {
    const node = new SingleCore({ raft: { random: () => drawn } });
    node.step(heartbeat);
    node.raft.readIndex(1);
    const [request] = ofType(node.drain().messages, 'readIndexRequest');
    return { node, context: request!.context };
  });
  const late = {
    type: 'readIndexResponse',
    from: 2,
    to: 1,
    term: 1,
    context: asked[0]!.context,
    index: 3,
  } as const;
  assert.equal(readStates(asked[1]!.node.step(late)), []);
  assert.equal(readStates(asked[1]!.node.step({ ...late, context: asked[1]!.context })), [
    { context: 1, index: 3 },
  ]);
});

test('the reads that wait are bounded', () => {
  const reads = new LeaderReads();
  for (let i = 0; i < MAX_WAITING_READS; i++) assert.ok(reads.add(1, i));
  assert.not(reads.add(1, 0));
  const node = new SingleCore().lead();
  node.drain();
  for (let i = 0; i < MAX_WAITING_READS; i++) node.raft.readIndex(i);
  node.raft.readIndex(99_999);
  assert.equal(readStates(node.drain()), [{ context: 99_999, index: 0 }]);
});

test.run();
