/**
 * Membership changes by joint consensus (Raft paper, section 6; thesis 4.3).
 *
 * What changes a quorum (promote, remove a voter) goes through C_old,new: once that is committed, the leader appends C_new by itself. What does not (a
 * learner comes or goes, an address changes) is one simple entry. A configuration is used as soon as it is in the log.
 *
 * Invariants: at most one change is under way, and none begins before the leader has committed an entry of its own term: otherwise two
 * configurations without a common quorum could both be in use (the single-server bug of 2015).
 */
import { configurationProblem, encodeConfiguration, isJoint } from './configuration.ts';
import { Progress, REPLICATE } from './progress.ts';
import { appendOwn, replicate } from './replication.ts';
import { becomeFollower } from './roles.ts';
import type { RaftState } from './state.ts';
import { sendTimeoutNow } from './transfer.ts';
import {
  type Configuration,
  type ConfigurationChange,
  ENTRY_CONFIGURATION,
  type Member,
  type NodeId,
  type ProposeResult,
} from './types.ts';

/** A learner this close to the end of the log is up-to-date. */
const READY_WITHIN_ENTRIES = 1024;

type Refusal = ProposeResult & { readonly ok: false };

export function proposeConfiguration(state: RaftState, change: ConfigurationChange): ProposeResult {
  if (state.role !== 'leader') return { ok: false, reason: 'notLeader' };
  if (state.transferee !== 0) return { ok: false, reason: 'transferring' };
  if (!state.ownTermCommitted) {
    return { ok: false, reason: 'changeInProgress', message: 'the leader has not committed in its term yet' };
  }
  if (isJoint(state.configuration) || state.history.currentIndex > state.view.commitIndex) {
    return { ok: false, reason: 'changeInProgress', message: 'the last change is not finished yet' };
  }
  const next = changed(state, change);
  if ('ok' in next) return next;
  const problem = configurationProblem(next);
  if (problem !== undefined) return invalid(problem);
  const index = appendConfiguration(state, next);
  return { ok: true, term: state.term, index };
}

function invalid(message: string): Refusal {
  return { ok: false, reason: 'invalidChange', message };
}

/** The configuration that a change leads to first. */
function changed(state: RaftState, change: ConfigurationChange): Configuration | Refusal {
  switch (change.type) {
    case 'addLearner':
      return withLearner(state.configuration, change.member);
    case 'promote':
      return promoted(state, change.id);
    case 'remove':
      return removed(state.configuration, change.id);
    case 'updateAddresses':
      return withAddresses(state.configuration, change.member);
  }
}

function withLearner(
  old: Configuration,
  { peerAddress, clientAddress }: Omit<Member, 'id'>,
): Configuration | Refusal {
  const same = old.members.find((member) => member.peerAddress === peerAddress);
  if (same !== undefined) return invalid(`exists: ${peerAddress} is the address of member ${same.id}`);
  const id = old.lastId + 1;
  return {
    ...old,
    learners: [...old.learners, id],
    members: [...old.members, { id, peerAddress, clientAddress }],
    lastId: id,
  };
}

function promoted(state: RaftState, id: NodeId): Configuration | Refusal {
  const old = state.configuration;
  if (!old.learners.includes(id)) return invalid(`${id} is not a learner`);
  const progress = state.progress.get(id);
  if (progress === undefined || !isCaughtUp(state, progress)) return { ok: false, reason: 'learnerNotReady' };
  return {
    ...old,
    voters: [...old.voters, id].sort((a, b) => a - b),
    votersOutgoing: old.voters,
    learners: old.learners.filter((learner) => learner !== id),
  };
}

/** Thesis 4.2.1: a new voter must not hold up commits while it fetches the log. Everything is sent (so in flight, in bytes), or nearly acknowledged. */
function isCaughtUp(state: RaftState, progress: Progress): boolean {
  if (progress.state !== REPLICATE || !progress.recentlyActive) return false;
  return (
    progress.next > state.view.lastIndex || state.view.lastIndex - progress.match <= READY_WITHIN_ENTRIES
  );
}

function removed(old: Configuration, id: NodeId): Configuration | Refusal {
  if (old.learners.includes(id)) {
    return withoutStrangers({ ...old, learners: old.learners.filter((learner) => learner !== id) });
  }
  if (!old.voters.includes(id)) return invalid(`${id} is not a member`);
  if (old.voters.length === 1) return invalid('the last voter cannot be removed');
  return { ...old, voters: old.voters.filter((voter) => voter !== id), votersOutgoing: old.voters };
}

function withAddresses(old: Configuration, changed: Member): Configuration | Refusal {
  if (!old.members.some((member) => member.id === changed.id))
    return invalid(`${changed.id} is not a member`);
  const same = old.members.find(
    (member) => member.id !== changed.id && member.peerAddress === changed.peerAddress,
  );
  if (same !== undefined)
    return invalid(`exists: ${changed.peerAddress} is the address of member ${same.id}`);
  return { ...old, members: old.members.map((member) => (member.id === changed.id ? changed : member)) };
}

/** Describes only those that are named in a list. */
function withoutStrangers(configuration: Configuration): Configuration {
  const { voters, votersOutgoing, learners } = configuration;
  const named = new Set([...voters, ...votersOutgoing, ...learners]);
  return { ...configuration, members: configuration.members.filter((member) => named.has(member.id)) };
}

function appendConfiguration(state: RaftState, configuration: Configuration): number {
  const index = appendOwn(state, ENTRY_CONFIGURATION, encodeConfiguration(configuration));
  state.history.push(index, configuration);
  syncProgress(state);
  return index;
}

/** Leader: one Progress for every other member. Who was removed is kept a while, so that it may hear that it was. */
export function syncProgress(state: RaftState): void {
  const members = state.configuration.members;
  for (const { id } of members) {
    if (id !== state.id && !state.progress.has(id)) {
      state.progress.set(id, new Progress(id, state.view.lastIndex + 1));
    }
  }
  for (const progress of state.progress.values()) {
    if (members.some((member) => member.id === progress.id)) progress.departingTicks = 0;
    else if (progress.departingTicks === 0) progress.departingTicks = 2 * state.options.electionTicks;
  }
  state.followers = [...state.progress.values()];
  state.replicationPending = true;
}

/** Every tick of a leader: forgets removed members once they know, or did not answer for long enough. */
export function tickDeparting(state: RaftState): void {
  let gone = false;
  for (const progress of state.followers) {
    if (progress.departingTicks > 0 && --progress.departingTicks === 0) {
      state.progress.delete(progress.id);
      gone = true;
    }
  }
  if (gone) state.followers = [...state.progress.values()];
}

/**
 * The leader's commit index moved: a committed C_old,new is followed by C_new; a leader that C_new leaves out hands over and steps down once that is
 * committed (thesis 4.2.2).
 */
export function afterCommit(state: RaftState): void {
  if (state.history.currentIndex > state.view.commitIndex) return;
  const { configuration } = state;
  if (isJoint(configuration)) {
    appendConfiguration(state, withoutStrangers({ ...configuration, votersOutgoing: [] }));
  } else if (!configuration.voters.includes(state.id)) {
    replicate(state);
    const heir = bestHeir(state);
    if (heir !== 0) sendTimeoutNow(state, heir);
    becomeFollower(state, state.term, 0);
  }
}

/** The voter whose log is longest among those that answer; it has every committed entry if anybody has. */
function bestHeir(state: RaftState): NodeId {
  let heir = 0;
  for (const id of state.configuration.voters) {
    const progress = state.progress.get(id);
    if (progress?.recentlyActive && (heir === 0 || progress.match > state.matchOf(heir))) heir = id;
  }
  return heir;
}
