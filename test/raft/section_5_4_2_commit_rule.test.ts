/** Raft paper, section 5.4.2 and figure 8: entries of earlier terms are not committed by counting replicas. */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { configurationOf } from './cluster.ts';
import { SingleCore } from './single_core.ts';

test('figure 8: an entry of an earlier term on a majority is not committed until one of the own term is', () => {
  const node = new SingleCore({ configuration: configurationOf([1, 2, 3, 4, 5]), terms: [1, 2], term: 3 });
  node.lead([2, 3]);
  node.drain();
  node.acknowledge(2, 2);
  node.acknowledge(3, 2);
  assert.is(
    node.raft.commitIndex,
    0,
    'entry 2 of term 2 is on three of five: a node with an entry of term 3 could still win',
  );
  node.acknowledge(2, 3);
  assert.is(node.raft.commitIndex, 0);
  const committed = node.acknowledge(3, 3).committed;
  assert.is(node.raft.commitIndex, 3, 'the own entry takes those before it along');
  assert.equal(
    committed.map(({ index, term }) => [index, term]),
    [
      [1, 1],
      [2, 2],
      [3, 4],
    ],
  );
});

test('an acknowledgement that is doubled counts once', () => {
  const node = new SingleCore({ configuration: configurationOf([1, 2, 3, 4, 5]) }).lead([2, 3]);
  node.drain();
  node.acknowledge(2, 1);
  node.acknowledge(2, 1);
  assert.is(node.raft.commitIndex, 0);
  node.acknowledge(3, 1);
  assert.is(node.raft.commitIndex, 1);
});

test('a new leader opens its term with an empty entry, so that what is there gets committed without a proposal', () => {
  const node = new SingleCore({ terms: [1, 1], term: 1 }).lead();
  const { readies } = node.drain();
  const opening = readies.flatMap((ready) => ready.entries);
  assert.equal(
    opening.map(({ index, term, kind, data }) => ({ index, term, kind, size: data.length })),
    [{ index: 3, term: 2, kind: 1, size: 0 }],
  );
});

test.run();
