/** How a cluster begins: who its first members are, and the id that keeps two clusters apart. */
import { createHash } from 'node:crypto';
import { KvError } from '../errors.ts';
import type { Random } from '../ports.ts';
import type { Configuration, Member } from '../raft/types.ts';
import type { Identity } from './identity.ts';

/** A cluster of one, with an id drawn at random. */
export function foundAlone(random: Random, addresses: Omit<Member, 'id'>, tree: Identity['tree']): Identity {
  const member = { id: 1, ...addresses };
  return {
    clusterId: idOf(random.bytes(8)),
    nodeId: 1,
    tree,
    configuration: foundingConfiguration([member]),
    promote: false,
  };
}

/** One of several founders. All of them are given the same list, and so compute the same cluster id. */
export function foundTogether(nodeId: number, members: readonly Member[], tree: Identity['tree']): Identity {
  const sorted = members.toSorted((a, b) => a.id - b.id);
  const digest = createHash('sha256')
    .update(JSON.stringify(sorted.map((m) => [m.id, m.peerAddress])))
    .digest();
  return {
    clusterId: idOf(digest),
    nodeId,
    tree,
    configuration: foundingConfiguration(sorted),
    promote: false,
  };
}

/** One of the founders of a cluster that begins with a snapshot's content. `seed`: at least 8 bytes, the same for all founders. */
export function foundRestored(
  nodeId: number,
  members: readonly Member[],
  tree: Identity['tree'],
  seed: Uint8Array,
): Identity {
  const sorted = members.toSorted((a, b) => a.id - b.id);
  if (!sorted.some(({ id }) => id === nodeId))
    throw new KvError('INVALID_ARGUMENT', `node ${nodeId} is none of the members`);
  return {
    clusterId: idOf(seed),
    nodeId,
    tree,
    configuration: foundingConfiguration(sorted),
    promote: false,
  };
}

function foundingConfiguration(members: readonly Member[]): Configuration {
  return {
    voters: members.map((member) => member.id),
    votersOutgoing: [],
    learners: [],
    members,
    lastId: Math.max(...members.map((member) => member.id)),
  };
}

/** 63 bits, not zero. */
function idOf(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  return String((view.getBigUint64(0) >> 1n) | 1n);
}
