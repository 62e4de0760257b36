/** Contact with a quorum: who is blamed for what by hand, and what real nodes do when their leader is half cut off. */

import * as assert from 'uvu/assert';
import type { NodeId } from '../../src/raft/types.ts';
import { Hazards } from '../../src/sim/faults/hazards.ts';
import { type ContactView, QuorumContact } from '../../src/sim/invariants/quorum_contact.ts';
import { World } from '../../src/sim/world.ts';
import { test } from '../suite.ts';

const ELECTION_TICKS = 10;
/** Longer than two election timeouts and what is spared. */
const LONG = 2 * ELECTION_TICKS + 3;

function watched(): { contact: QuorumContact; told: string[] } {
  const told: string[] = [];
  const contact = new QuorumContact(1, ELECTION_TICKS, (invariant, node, message) => {
    told.push(`${invariant} @${node}: ${message}`);
  });
  return { contact, told };
}

/** Lets ticks pass in which the node hears of some others. */
function pass(contact: QuorumContact, ticks: number, view: ContactView, ...heard: NodeId[]): void {
  for (let tick = 0; tick < ticks; tick++) {
    for (const id of heard) contact.heard(id);
    contact.ticked(view);
  }
}

const leading = (quorums: readonly (readonly NodeId[])[], term = 3): ContactView => ({
  role: 'leader',
  term,
  leader: 1,
  quorums: () => quorums,
});

test('a leader that hears of a majority is blamed for nothing, however silent the others are', () => {
  const { contact, told } = watched();
  pass(contact, 5 * LONG, leading([[1, 2, 3]]), 3);
  pass(contact, 5 * LONG, leading([[1, 2, 3, 4, 5]], 4), 2, 5);
  pass(contact, 5 * LONG, leading([[1]], 5));
  assert.equal(told, []);
});

test('a leader that hears of half of the voters is blamed after two election timeouts, not before', () => {
  const { contact, told } = watched();
  pass(contact, LONG, leading([[1, 2, 3, 4]]), 2);
  assert.equal(told, []);
  pass(contact, 1, leading([[1, 2, 3, 4]]), 2);
  assert.is(told.length, 1);
  assert.match(told[0] ?? '', /^contact with a quorum @1: node 1 leads in term 3, and has heard of 2 of 4/);
});

test('while members change a leader needs a majority of both lists', () => {
  const { contact, told } = watched();
  pass(
    contact,
    LONG,
    leading([
      [1, 2, 3],
      [1, 4, 5],
    ]),
    2,
    5,
  );
  assert.equal(told, []);
  pass(
    contact,
    LONG + 1,
    leading([
      [1, 2, 3],
      [1, 4, 5],
    ]),
    2,
    3,
  );
  assert.match(told[0] ?? '', /heard of 1 of 3/);
});

test('a new term, and a voter who is new, have their whole time', () => {
  const { contact, told } = watched();
  pass(contact, LONG, leading([[1, 2, 3]], 3));
  pass(contact, LONG, leading([[1, 2, 3]], 4));
  pass(contact, LONG, leading([[1, 4, 5]], 4));
  assert.equal(told, []);
  pass(contact, 1, leading([[1, 4, 5]], 4));
  assert.is(told.length, 1);
});

test('a majority that is one no more because a member was removed is looked for anew', () => {
  const { contact, told } = watched();
  // Of three it hears of one, who goes; the one who is left has been silent all the while.
  pass(contact, 3 * LONG, leading([[1, 2, 3]]), 3);
  pass(contact, LONG, leading([[1, 2]]));
  assert.equal(told, []);
  pass(contact, 1, leading([[1, 2]]));
  assert.is(told.length, 1);
});

test('a follower names a leader for as long as it hears of it, and two election timeouts more', () => {
  const { contact, told } = watched();
  const following: ContactView = { role: 'follower', term: 2, leader: 3, quorums: () => [[1, 2, 3]] };
  pass(contact, 5 * LONG, following, 3);
  pass(contact, LONG - 2, following, 2);
  pass(contact, 5 * LONG, { ...following, leader: 0 });
  assert.equal(told, []);
  pass(contact, LONG + 1, following, 2);
  assert.match(told[0] ?? '', /node 1 names node 3 as the leader of term 2/);
});

test('a tick is seen once, however often one looks, and also where nothing happens in between', () => {
  const { contact } = watched();
  const seen = [
    [0, 5],
    [0, 5],
    [4, 9],
    [0, 10],
    [0, 15],
    [0, 15],
    [0, 15 + 1e-9],
    [1, 16],
  ].map(([since, nowMs]) => contact.hasTicked(since!, nowMs!));
  assert.equal(seen, [true, false, false, true, true, false, false, false]);
});

for (const [nodes, down] of [
  [4, 0],
  [5, 1],
  [3, 0],
] as const) {
  test(`${nodes} nodes${down > 0 ? ', one of them down' : ''}: a leader that reaches one follower only keeps nobody from working`, async () => {
    const world = new World({ seed: 11, nodes });
    const hazards = new Hazards(world);
    await world.run(async () => {
      await hazards.start({ version: 1, steps: [] });
      const leader = world.leader()!.id;
      const [friend, ...others] = [...world.nodes.keys()].filter((id) => id !== leader);
      const well = others.slice(down);
      for (const id of others.slice(0, down)) {
        hazards.keeper.hold(id);
        world.crash(id, 'none');
      }
      world.partition([leader], well);
      const endpoints = [friend!, ...well].map((id) => world.node(id).member.clientAddress);
      const { store } = world.client('client', { endpoints });
      await world.sleep(2_000);
      await store.put('key', 'value', { timeoutMs: 5_000 });
      assert.is(Buffer.from((await store.get('key'))!).toString(), 'value');
      // Where it has a quorum with its friend it goes on; else it has to make way.
      assert.is(world.leader()?.id === leader, nodes === 3);
      assert.equal(hazards.checks.violations, []);
    });
    world.close();
  });
}

test.run();
