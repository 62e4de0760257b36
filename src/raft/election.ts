/**
 * Elections (Raft paper, section 5.2 and 5.4.1) with pre-vote (thesis 9.6) and leader stickiness (thesis 4.2.3).
 *
 * Invariants: a node votes once a term, for a log at least as up-to-date as its own; term and vote are durable before an answer or a vote request goes out;
 * while a leader was heard of within the election timeout, requests are refused without touching the term, unless they come from a leadership transfer.
 */
import { electionResult, isVoter } from './configuration.ts';
import { becomeLeader } from './leader.ts';
import { becomeCandidate, becomeFollower, becomePreCandidate } from './roles.ts';
import type { RaftState } from './state.ts';
import type { NodeId, PreVoteRequest, PreVoteResponse, VoteRequest, VoteResponse } from './types.ts';

/**
 * May this node start an election? Voters of the configuration in force may. So may one that it leaves out while that is not known to be committed and the
 * one before counted it: its log may be the only one that holds the new configuration, and then nobody else can win (thesis 4.2.2).
 * It asks, but its own vote does not count.
 */
export function isPromotable(state: RaftState): boolean {
  if (state.installing) return false;
  if (isVoter(state.configuration, state.id)) return true;
  const previous = state.history.previous();
  return (
    state.history.currentIndex > state.view.commitIndex &&
    previous !== undefined &&
    isVoter(previous, state.id)
  );
}

/** Starts an election with a pre-vote, or without one when a leader told this node to (`transfer`). */
export function campaign(state: RaftState, transfer: boolean): void {
  if (state.role === 'leader' || !isPromotable(state)) return;
  if (transfer) {
    startElection(state, true);
    return;
  }
  becomePreCandidate(state);
  if (electionResult(state.configuration, state.votes) === 'won') {
    startElection(state, false);
    return;
  }
  const { lastIndex, lastTerm } = state.view;
  forEachOtherVoter(state, (to) => {
    state.send({ type: 'preVoteRequest', from: state.id, to, term: state.term + 1, lastIndex, lastTerm });
  });
}

function startElection(state: RaftState, transfer: boolean): void {
  becomeCandidate(state);
  if (electionResult(state.configuration, state.votes) === 'won') {
    becomeLeader(state);
    return;
  }
  const { term, view } = state;
  const { lastIndex, lastTerm } = view;
  forEachOtherVoter(state, (to) => {
    state.sendAfterAppend({ type: 'voteRequest', from: state.id, to, term, lastIndex, lastTerm, transfer });
  });
}

function forEachOtherVoter(state: RaftState, ask: (to: NodeId) => void): void {
  for (const { id } of state.configuration.members) {
    if (id !== state.id && isVoter(state.configuration, id)) ask(id);
  }
}

/** A (pre-)vote came in: goes on when it decides the election. */
export function countVote(state: RaftState, message: PreVoteResponse | VoteResponse): void {
  if (!state.votes.has(message.from)) state.votes.set(message.from, message.granted);
  const result = electionResult(state.configuration, state.votes);
  if (result === 'pending') return;
  if (result === 'lost') becomeFollower(state, state.term, 0);
  else if (state.role === 'preCandidate') startElection(state, false);
  else becomeLeader(state);
}

/** A leader was heard of lately (or is this node): others need not disturb it. */
export function leaderIsAlive(state: RaftState): boolean {
  return state.leader !== 0 && state.electionElapsed < state.options.electionTicks;
}

/** Answers at any term and changes nothing. A grant carries the term asked for, a refusal this node's own. */
export function onPreVoteRequest(state: RaftState, message: PreVoteRequest): void {
  const granted =
    message.term > state.term &&
    !leaderIsAlive(state) &&
    state.view.isUpToDate(message.lastIndex, message.lastTerm);
  const term = granted ? message.term : state.term;
  state.send({ type: 'preVoteResponse', from: state.id, to: message.from, term, granted });
}

/** A vote request of this node's term: the first suitable candidate gets the vote, again if it asks again. */
export function onVoteRequest(state: RaftState, message: VoteRequest): void {
  const free = state.vote === message.from || (state.vote === 0 && state.leader === 0);
  const granted = free && state.view.isUpToDate(message.lastIndex, message.lastTerm);
  if (granted) {
    state.vote = message.from;
    if (state.role === 'preCandidate') becomeFollower(state, state.term, 0);
    state.resetElectionTimer();
  }
  respondToVote(state, message.from, granted);
}

export function respondToVote(state: RaftState, to: NodeId, granted: boolean): void {
  state.sendAfterAppend({ type: 'voteResponse', from: state.id, to, term: state.term, granted });
}
