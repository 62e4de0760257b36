/**
 * The Raft core's face: dispatches messages and ticks to the step functions, and collects what is to be done into Readys.
 *
 * Invariants: everything happens inside of the calls below, at once; nothing is sent or written anywhere else than through `ready()`.
 * What a Ready promises is written on its type (types.ts).
 */
import { stepCandidate } from './candidate.ts';
import { campaign, leaderIsAlive, onPreVoteRequest, onVoteRequest, respondToVote } from './election.ts';
import {
  isLeaderMessage,
  onChunkStored,
  onSnapshotInstalled,
  stepFollower,
  tickFollower,
} from './follower.ts';
import {
  addRead,
  canStartReadRound,
  entryAlone,
  onOwnAppendDurable,
  propose,
  startReadRound,
  stepLeader,
  tickLeader,
} from './leader.ts';
import { proposeConfiguration } from './membership.ts';
import { PROGRESS_STATE_NAMES } from './progress.ts';
import { replicate } from './replication.ts';
import { becomeFollower, readIndexResponse } from './roles.ts';
import { onUnreachable } from './snapshot_transfer.ts';
import { RaftState } from './state.ts';
import { transferLeadership } from './transfer.ts';
import type {
  ConfigurationChange,
  Entry,
  HardState,
  Message,
  NodeId,
  ProposeResult,
  RaftCore,
  RaftOptions,
  RaftStatus,
  Ready,
  Role,
  SnapshotMeta,
} from './types.ts';

/** Bytes of decided entries in one Ready. */
const MAX_COMMITTED_BYTES = 4 * 1024 * 1024;

export class Raft implements RaftCore {
  readonly #state: RaftState;

  /**
   * A follower at the term of the hard state. Reads the log once, for configurations and the size of its uncommitted tail.
   * @throws KvError CORRUPT when a configuration in the log is not readable
   */
  constructor(options: RaftOptions) {
    this.#state = new RaftState(options);
  }

  get id(): NodeId {
    return this.#state.id;
  }
  get role(): Role {
    return this.#state.role;
  }
  get term(): number {
    return this.#state.term;
  }
  get leader(): NodeId {
    return this.#state.leader;
  }
  get commitIndex(): number {
    return this.#state.view.commitIndex;
  }
  get lastIndex(): number {
    return this.#state.view.lastIndex;
  }

  tick(): void {
    const state = this.#state;
    state.forwarded.tick(state.options.electionTicks, (context) =>
      state.readStates.push({ context, index: 0 }),
    );
    if (state.role === 'leader') tickLeader(state);
    else tickFollower(state);
  }

  /**
   * Takes a message from a peer.
   * @throws KvError PROTOCOL or CORRUPT for an append whose entries are out of order or unreadable; nothing but the term has changed then
   */
  step(message: Message): void {
    const state = this.#state;
    if (message.to !== state.id || message.from === state.id) return;
    if (message.type === 'preVoteRequest') {
      onPreVoteRequest(state, message);
      return;
    }
    if (message.term < state.term) stepOlder(state, message);
    else if (message.term === state.term || stepNewer(state, message)) stepCurrent(state, message);
  }

  propose(data: readonly Uint8Array[]): ProposeResult {
    return propose(this.#state, data);
  }

  proposeConfiguration(change: ConfigurationChange): ProposeResult {
    return proposeConfiguration(this.#state, change);
  }

  entryAlone(data: Uint8Array): Entry | undefined {
    return entryAlone(this.#state, data);
  }

  decidedAlone(entry: Entry): void {
    const state = this.#state;
    if (state.role !== 'leader' || entry.term !== state.term)
      throw new Error('decided alone, but not as the leader of this term');
    state.view.decidedAlone(entry);
  }

  readIndex(context: number): boolean {
    const state = this.#state;
    if (state.leader === 0) return false;
    if (state.role === 'leader') {
      addRead(state, state.id, context);
      return true;
    }
    const { id: from, leader: to, term } = state;
    state.send({ type: 'readIndexRequest', from, to, term, context: state.forwarded.add(context) });
    return true;
  }

  transferLeadership(to: NodeId): boolean {
    return transferLeadership(this.#state, to);
  }

  campaign(): void {
    campaign(this.#state, false);
  }

  hasReady(): boolean {
    const state = this.#state;
    const { view, handedHardState } = state;
    return (
      state.messages.length > 0 ||
      state.messagesAfterAppend.length > 0 ||
      view.hasEntriesToHand() ||
      view.hasCommittedToDeliver() ||
      state.replicationPending ||
      state.term !== handedHardState.term ||
      state.vote !== handedHardState.vote ||
      durableCommit(state) > handedHardState.commit ||
      state.readStates.length > 0 ||
      state.snapshotChunks.length > 0 ||
      state.snapshotWanted > 0 ||
      canStartReadRound(state)
    );
  }

  ready(): Ready {
    const state = this.#state;
    if (canStartReadRound(state)) startReadRound(state);
    if (state.replicationPending) replicate(state);
    const { term, view, messages, messagesAfterAppend, readStates, snapshotChunks, snapshotWanted } = state;
    const old = state.handedHardState;
    const hardState = takeHardState(state);
    const entries = view.takeEntries(term);
    const mustSync =
      entries.length > 0 ||
      (hardState !== undefined && (hardState.term !== old.term || hardState.vote !== old.vote));
    const committed = view.takeCommitted(MAX_COMMITTED_BYTES);
    if (messages.length > 0) state.messages = [];
    if (messagesAfterAppend.length > 0) state.messagesAfterAppend = [];
    if (readStates.length > 0) state.readStates = [];
    if (snapshotChunks.length > 0) state.snapshotChunks = [];
    state.snapshotWanted = 0;
    return {
      mustSync,
      hardState,
      entries,
      appendTerm: term,
      messages: messages.length > 0 ? messages : NOTHING,
      messagesAfterAppend: messagesAfterAppend.length > 0 ? messagesAfterAppend : NOTHING,
      committed,
      readStates: readStates.length > 0 ? readStates : NOTHING,
      snapshotChunks: snapshotChunks.length > 0 ? snapshotChunks : NOTHING,
      snapshotWanted,
    };
  }

  appended(term: number, index: number): void {
    const state = this.#state;
    if (state.view.appended(term, index) && state.role === 'leader') onOwnAppendDurable(state);
  }

  applied(index: number): void {
    this.#state.view.applied(index);
  }

  snapshotChunkStored(snapshotIndex: number, nextOffset: number): void {
    onChunkStored(this.#state, snapshotIndex, nextOffset);
  }

  snapshotInstalled(snapshot: SnapshotMeta): void {
    onSnapshotInstalled(this.#state, snapshot);
  }

  peerUnreachable(id: NodeId): void {
    const progress = this.#state.progress.get(id);
    if (progress === undefined) return;
    onUnreachable(progress);
  }

  status(): RaftStatus {
    const { id, role, term, leader, view, configuration, followers } = this.#state;
    return {
      id,
      role,
      term,
      leader,
      commit: view.commitIndex,
      lastIndex: view.lastIndex,
      uncommittedBytes: view.uncommittedBytes,
      configuration,
      progress: followers.map((progress) => ({
        id: progress.id,
        match: progress.match,
        next: progress.next,
        state: PROGRESS_STATE_NAMES[progress.state],
        recentlyActive: progress.recentlyActive,
      })),
    };
  }
}

/** Stands for every empty list in a Ready; frozen, so that sharing it is safe. */
const NOTHING: readonly never[] = Object.freeze([]);

/** The commit hint never runs ahead of the log on disk. */
function durableCommit(state: RaftState): number {
  return Math.min(state.view.commitIndex, state.view.durableIndex);
}

function takeHardState(state: RaftState): HardState | undefined {
  const { term, vote, handedHardState } = state;
  const commit = Math.max(durableCommit(state), handedHardState.commit);
  if (term === handedHardState.term && vote === handedHardState.vote && commit === handedHardState.commit) {
    return undefined;
  }
  state.handedHardState = { term, vote, commit };
  return state.handedHardState;
}

/** A message of a term that is over: its sender is told, where that helps it to catch up. */
function stepOlder(state: RaftState, message: Message): void {
  if (isLeaderMessage(message)) state.respondToAppend(message.from, true, 0, 0, 0);
  else if (message.type === 'voteRequest') respondToVote(state, message.from, false);
  else if (message.type === 'readIndexRequest') refuseRead(state, message.from, message.context);
}

/** A message of a newer term: enters that term, unless the message is one that must not disturb. True when it is to be looked at then. */
function stepNewer(state: RaftState, message: Message): boolean {
  switch (message.type) {
    case 'voteRequest':
      // Thesis 4.2.3: who may be out of touch must not unseat a leader that works.
      if (!message.transfer && leaderIsAlive(state)) return false;
      break;
    case 'preVoteResponse':
      // A grant is for a term that has not begun.
      if (message.granted) return true;
      break;
    case 'timeoutNowRequest':
      return false;
    default:
      break;
  }
  const isAnswer = message.type.endsWith('Response');
  if (isAnswer && state.role === 'leader' && !state.progress.has(message.from)) return false;
  becomeFollower(state, message.term, isLeaderMessage(message) ? message.from : 0);
  return true;
}

function stepCurrent(state: RaftState, message: Message): void {
  if (message.type === 'voteRequest') onVoteRequest(state, message);
  else if (state.role === 'leader') stepLeader(state, message);
  else if (message.type === 'readIndexRequest') refuseRead(state, message.from, message.context);
  else if (state.role === 'follower') stepFollower(state, message);
  else stepCandidate(state, message);
}

/** This node does not lead: the read has to be asked for again. */
function refuseRead(state: RaftState, from: NodeId, context: number): void {
  state.send(readIndexResponse(state, from, context, 0));
}
