/** The short way of a leader that is its whole cluster: when it is open, and that it leaves the core as the ordinary way would. */

import * as assert from 'uvu/assert';
import { ENTRY_COMMAND } from '../../src/raft/types.ts';
import { test } from '../suite.ts';
import { configurationOf } from './cluster.ts';
import { SingleCore } from './single_core.ts';

const data = new Uint8Array([1, 2, 3]);

function lone(): SingleCore {
  const node = new SingleCore({ configuration: configurationOf([1]) }).lead([]);
  node.drain();
  return node;
}

test('an entry goes by the core and is then what the log ends with, decided and delivered', () => {
  const node = lone();
  const { raft } = node;
  for (let i = 2; i < 10; i++) {
    const entry = raft.entryAlone(data);
    assert.equal(entry, { index: i, term: 1, kind: ENTRY_COMMAND, data });
    assert.is(raft.status().lastIndex, i - 1, 'nothing happened yet');
    node.log.append([entry!]);
    raft.decidedAlone(entry!);
    assert.equal([raft.status().lastIndex, raft.commitIndex], [i, i]);
  }
  // Only the hint of the commit index is left to be written.
  const ready = node.sync(raft.ready());
  assert.equal([ready.entries.length, ready.committed.length, ready.mustSync], [0, 0, false]);
  assert.is(ready.hardState?.commit, 9);
  assert.is(raft.hasReady(), false);
  // The ordinary way goes on behind it.
  assert.equal(raft.propose([data]), { ok: true, term: 1, index: 10 });
  const drained = node.drain();
  assert.equal(
    drained.committed.map(({ index }) => index),
    [10],
  );
  assert.is(raft.entryAlone(data)?.index, 11);
});

test('it is closed before an entry of the own term is committed, and while anything is under way', () => {
  const fresh = new SingleCore({ configuration: configurationOf([1]) });
  assert.is(fresh.raft.entryAlone(data), undefined, 'a follower');
  const node = new SingleCore({ configuration: configurationOf([1]), terms: [1, 1], term: 1 }).lead([]);
  node.drain();
  assert.ok(node.raft.entryAlone(data));
  node.raft.propose([data]);
  assert.is(node.raft.entryAlone(data), undefined, 'not handed out');
  const ready = node.raft.ready();
  assert.is(node.raft.entryAlone(data), undefined, 'not durable');
  node.log.append(ready.entries);
  node.raft.appended(ready.appendTerm, ready.entries.at(-1)!.index);
  assert.is(node.raft.entryAlone(data), undefined, 'not delivered');
  const { committed } = node.raft.ready();
  assert.is(node.raft.entryAlone(data), undefined, 'not applied');
  node.raft.applied(committed.at(-1)!.index);
  assert.ok(node.raft.entryAlone(data));

  const young = new SingleCore({ configuration: configurationOf([1]) });
  young.raft.campaign();
  for (let i = 0; i < 10 && young.raft.role !== 'leader'; i++) young.raft.ready();
  assert.is(young.raft.role, 'leader');
  assert.is(young.raft.entryAlone(data), undefined, 'the first entry of the term is not committed');
});

test('it is closed beside any other member, and what was not asked for is refused', () => {
  const three = new SingleCore().lead();
  three.drain();
  three.acknowledge(2, 1);
  assert.is(three.raft.entryAlone(data), undefined);

  const node = lone();
  const member = { peerAddress: 'p', clientAddress: 'c' };
  assert.is(node.raft.proposeConfiguration({ type: 'addLearner', member }).ok, true);
  node.drain();
  assert.is(node.raft.entryAlone(data), undefined, 'a learner wants the entries too');

  const other = lone();
  const entry = other.raft.entryAlone(data)!;
  assert.throws(() => other.raft.decidedAlone({ ...entry, index: entry.index + 1 }));
  assert.throws(() => other.raft.decidedAlone({ ...entry, term: entry.term + 1 }));
  other.raft.propose([data]);
  assert.throws(() => other.raft.decidedAlone(entry), /not decided alone/);
});

test.run();
