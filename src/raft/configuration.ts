/**
 * Cluster configurations: who votes, what a majority is, and the bytes of a configuration entry.
 *
 * Invariants of a valid configuration: every list is strictly ascending; a learner is in neither voter list; `members` describes exactly the
 * ids that are named in a list; no two members share a peer address; `lastId` is at least every id. There are no voters only
 * when there is nobody at all (a node that waits to be added knows no more than that).
 *
 * Bytes of an ENTRY_CONFIGURATION: one JSON text in UTF-8, canonical: no spaces, keys in exactly this order,
 *
 *     {"voters":[ID,...],"votersOutgoing":[ID,...],"learners":[ID,...],
 *      "members":[{"id":ID,"peerAddress":"HOST:PORT","clientAddress":"HOST:PORT"},...],"lastId":ID}
 *
 * so that equal configurations have equal bytes. Bytes that decode to a valid configuration but are not canonical are refused.
 */
import { KvError } from '../errors.ts';
import type { Configuration, Member, NodeId } from './types.ts';

/** A configuration's bytes are never longer than this. */
export const MAX_CONFIGURATION_BYTES = 1024 * 1024;
const MAX_ADDRESS_LENGTH = 512;

export const EMPTY_CONFIGURATION: Configuration = Object.freeze({
  voters: [],
  votersOutgoing: [],
  learners: [],
  members: [],
  lastId: 0,
});

export function isJoint(configuration: Configuration): boolean {
  return configuration.votersOutgoing.length > 0;
}

/** True when the node's vote counts: in the new list, or in the old one of a joint configuration. */
export function isVoter(configuration: Configuration, id: NodeId): boolean {
  return configuration.voters.includes(id) || configuration.votersOutgoing.includes(id);
}

/** True for voters and learners. */
export function isMember(configuration: Configuration, id: NodeId): boolean {
  return isVoter(configuration, id) || configuration.learners.includes(id);
}

/** True when `id` alone is a quorum. */
export function isSoleVoter(configuration: Configuration, id: NodeId): boolean {
  return (
    configuration.votersOutgoing.length === 0 &&
    configuration.voters.length === 1 &&
    configuration.voters[0] === id
  );
}

/**
 * The largest value that a majority of `ids` has reached: their matched indexes give the commit index, their confirmed rounds the confirmed round.
 * 0 for no ids (nobody can decide anything). `scratch` is overwritten.
 */
function majorityValue(ids: readonly NodeId[], reached: (id: NodeId) => number, scratch: number[]): number {
  const count = ids.length;
  for (let i = 0; i < count; i++) {
    const value = reached(ids[i]!);
    let at = i;
    while (at > 0 && scratch[at - 1]! < value) {
      scratch[at] = scratch[at - 1]!;
      at--;
    }
    scratch[at] = value;
  }
  return count === 0 ? 0 : scratch[count >> 1]!;
}

/** The largest value reached by a quorum; in a joint configuration a majority of each list is needed (Raft paper, section 6). */
export function quorumValue(
  configuration: Configuration,
  reached: (id: NodeId) => number,
  scratch: number[],
): number {
  const value = majorityValue(configuration.voters, reached, scratch);
  if (configuration.votersOutgoing.length === 0) return value;
  return Math.min(value, majorityValue(configuration.votersOutgoing, reached, scratch));
}

export type ElectionResult = 'won' | 'lost' | 'pending';

/** Where an election stands: won by a majority of each list, lost as soon as some list can no longer give one. */
export function electionResult(
  configuration: Configuration,
  votes: ReadonlyMap<NodeId, boolean>,
): ElectionResult {
  const result = majorityResult(configuration.voters, votes);
  if (configuration.votersOutgoing.length === 0 || result === 'lost') return result;
  const outgoing = majorityResult(configuration.votersOutgoing, votes);
  return outgoing === 'won' ? result : outgoing;
}

function majorityResult(ids: readonly NodeId[], votes: ReadonlyMap<NodeId, boolean>): ElectionResult {
  if (ids.length === 0) return 'lost';
  let granted = 0;
  let refused = 0;
  for (const id of ids) {
    const vote = votes.get(id);
    if (vote === true) granted++;
    else if (vote === false) refused++;
  }
  const majority = (ids.length >> 1) + 1;
  if (granted >= majority) return 'won';
  return refused > ids.length - majority ? 'lost' : 'pending';
}

/** The canonical bytes of a configuration. @throws KvError INVALID_ARGUMENT when it breaks an invariant (see above). */
export function encodeConfiguration(configuration: Configuration): Uint8Array {
  const problem = configurationProblem(configuration);
  if (problem !== undefined) throw new KvError('INVALID_ARGUMENT', `invalid configuration: ${problem}`);
  return new TextEncoder().encode(canonicalText(configuration));
}

/** Decodes and checks bytes from a disk or a peer. @throws KvError CORRUPT naming what is wrong. */
export function decodeConfiguration(bytes: Uint8Array): Configuration {
  if (bytes.length > MAX_CONFIGURATION_BYTES) {
    throw corrupt(`${bytes.length} bytes, allowed: at most ${MAX_CONFIGURATION_BYTES}`);
  }
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt('not JSON in UTF-8', cause);
  }
  const configuration = readConfiguration(value);
  const problem = configurationProblem(configuration);
  if (problem !== undefined) throw corrupt(problem);
  if (canonicalText(configuration) !== text) throw corrupt('not in canonical form');
  return configuration;
}

function corrupt(problem: string, cause?: unknown): KvError {
  return new KvError('CORRUPT', `invalid configuration: ${problem}`, { cause });
}

function canonicalText(configuration: Configuration): string {
  return JSON.stringify({
    voters: configuration.voters,
    votersOutgoing: configuration.votersOutgoing,
    learners: configuration.learners,
    members: configuration.members.map(({ id, peerAddress, clientAddress }) => ({
      id,
      peerAddress,
      clientAddress,
    })),
    lastId: configuration.lastId,
  });
}

function readConfiguration(value: unknown): Configuration {
  const fields = fieldsOf(value, 'configuration');
  const members = fields.get('members');
  if (!Array.isArray(members)) throw corrupt('members is not a list');
  return {
    voters: readIds(fields, 'voters'),
    votersOutgoing: readIds(fields, 'votersOutgoing'),
    learners: readIds(fields, 'learners'),
    members: members.map((member: unknown): Member => {
      const parts = fieldsOf(member, 'member');
      return {
        id: readNumber(parts, 'id'),
        peerAddress: readString(parts, 'peerAddress'),
        clientAddress: readString(parts, 'clientAddress'),
      };
    }),
    lastId: readNumber(fields, 'lastId'),
  };
}

function fieldsOf(value: unknown, name: string): Map<string, unknown> {
  if (typeof value !== 'object' || value === null) throw corrupt(`${name} is not an object`);
  return new Map<string, unknown>(Object.entries(value));
}

function readNumber(fields: Map<string, unknown>, name: string): number {
  const value = fields.get(name);
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw corrupt(`${name} is not an integer`);
  return value;
}

function readString(fields: Map<string, unknown>, name: string): string {
  const value = fields.get(name);
  if (typeof value !== 'string') throw corrupt(`${name} is not a text`);
  return value;
}

function readIds(fields: Map<string, unknown>, name: string): NodeId[] {
  const value = fields.get(name);
  if (!Array.isArray(value)) throw corrupt(`${name} is not a list`);
  return value.map((id: unknown): NodeId => {
    if (typeof id !== 'number') throw corrupt(`${name} holds something that is not an id`);
    return id;
  });
}

/** Which invariant a configuration breaks; undefined for a valid one. */
export function configurationProblem(configuration: Configuration): string | undefined {
  const { voters, votersOutgoing, learners, members, lastId } = configuration;
  for (const ids of [voters, votersOutgoing, learners, members.map((member) => member.id)]) {
    if (!isAscending(ids)) return 'ids must be integers from 1, strictly ascending';
  }
  if (voters.length === 0 && members.length > 0) return 'no voters';
  const named = new Set([...voters, ...votersOutgoing, ...learners]);
  if (learners.some((id) => voters.includes(id) || votersOutgoing.includes(id))) return 'a learner votes';
  if (named.size !== members.length || members.some((member) => !named.has(member.id))) {
    return 'members differ from the ids named in the lists';
  }
  if (!Number.isSafeInteger(lastId) || lastId < (members.at(-1)?.id ?? 0)) return 'lastId is below an id';
  for (const { peerAddress, clientAddress } of members) {
    if (peerAddress.length === 0 || Math.max(peerAddress.length, clientAddress.length) > MAX_ADDRESS_LENGTH) {
      return `an address must have 1 to ${MAX_ADDRESS_LENGTH} characters`;
    }
  }
  if (new Set(members.map((member) => member.peerAddress)).size !== members.length) {
    return 'two members share a peer address';
  }
  return undefined;
}

function isAscending(ids: readonly NodeId[]): boolean {
  return ids.every((id, i) => Number.isSafeInteger(id) && id >= 1 && (i === 0 || id > ids[i - 1]!));
}
