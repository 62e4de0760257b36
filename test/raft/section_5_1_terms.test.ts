/** Raft paper, section 5.1: terms are a logical clock; who learns of a newer term follows it, who speaks in an older one is corrected. */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { ofType, SingleCore } from './single_core.ts';

test('a leader that hears of a newer term from a member becomes a follower of that term', () => {
  const node = new SingleCore({ term: 1 }).lead();
  node.drain();
  node.step({ ...node.appendResponse(2, 0), term: 5, rejected: true });
  assert.is(node.raft.role, 'follower');
  assert.is(node.raft.term, 5);
  assert.is(node.raft.leader, 0);
});

test('a leader does not listen to answers of strangers, whatever their term', () => {
  const node = new SingleCore({ term: 1 }).lead();
  node.drain();
  node.step({ ...node.appendResponse(9, 0), term: 50, rejected: true });
  assert.is(node.raft.role, 'leader');
  assert.is(node.raft.term, 2);
});

test('the new term is durable before it is spoken of', () => {
  const node = new SingleCore({ term: 1 });
  node.raft.step({ type: 'heartbeatRequest', from: 2, to: 1, term: 3, commit: 0, readRound: 0 });
  const ready = node.raft.ready();
  assert.equal(ready.hardState, { term: 3, vote: 0, commit: 0 });
  assert.ok(ready.mustSync);
});

test('requests of an older term are refused with the newer one, and change nothing', () => {
  const node = new SingleCore({ term: 7, terms: [1, 7] });
  const appended = node.step(node.append(2, 6, 0, 0, []));
  assert.equal(
    ofType(appended.messages, 'appendResponse').map(({ term, rejected }) => ({ term, rejected })),
    [{ term: 7, rejected: true }],
  );
  const voted = node.step({
    type: 'voteRequest',
    from: 2,
    to: 1,
    term: 6,
    lastIndex: 9,
    lastTerm: 6,
    transfer: true,
  });
  assert.equal(
    ofType(voted.messages, 'voteResponse').map(({ term, granted }) => ({ term, granted })),
    [{ term: 7, granted: false }],
  );
  const read = node.step({ type: 'readIndexRequest', from: 2, to: 1, term: 6, context: 4 });
  assert.equal(ofType(read.messages, 'readIndexResponse')[0]?.index, 0);
  assert.equal(node.step({ type: 'voteResponse', from: 2, to: 1, term: 6, granted: true }).messages, []);
  assert.is(node.raft.leader, 0);
  assert.is(node.raft.term, 7);
});

test('messages for somebody else, or from itself, are ignored', () => {
  const node = new SingleCore({ term: 1 });
  node.step({ ...node.append(2, 4, 0, 0, []), to: 3 });
  node.step({ ...node.append(2, 4, 0, 0, []), from: 1 });
  assert.is(node.raft.term, 1);
});

test.run();
