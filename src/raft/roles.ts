/**
 * The changes of role that need nobody else: to follower, pre-candidate and candidate (Raft paper, figure 4). Becoming leader is in leader.ts.
 *
 * Invariants: whoever leaves leadership has told every waiting read to ask again; a change of leader does the same for reads that were forwarded.
 */

import type { WaitingRead } from './read_index.ts';
import type { RaftState } from './state.ts';
import type { NodeId, ReadIndexResponse, Role } from './types.ts';

/** Follows `leader` (0: nobody yet) in `term`, which must not be below the node's own. */
export function becomeFollower(state: RaftState, term: number, leader: NodeId): void {
  if (term > state.term) {
    state.term = term;
    state.vote = 0;
  }
  enter(state, 'follower', leader);
}

/** Asks around whether an election could be won (thesis 9.6): neither term nor vote change. */
export function becomePreCandidate(state: RaftState): void {
  enter(state, 'preCandidate', 0);
  state.votes.set(state.id, true);
}

/** A new term, and a vote for itself; both must be durable before anybody is asked. */
export function becomeCandidate(state: RaftState): void {
  state.term++;
  state.vote = state.id;
  enter(state, 'candidate', 0);
  state.votes.set(state.id, true);
}

/** Common to all changes of role. */
export function enter(state: RaftState, role: Role, leader: NodeId): void {
  if (state.role === 'leader') resignReads(state);
  if (state.leader !== leader)
    state.forwarded.clear((context) => state.readStates.push({ context, index: 0 }));
  state.role = role;
  state.leader = leader;
  state.votes.clear();
  state.progress.clear();
  state.followers = [];
  state.ownTermCommitted = false;
  state.termDurable = false;
  state.replicationPending = false;
  state.transferee = 0;
  state.heartbeatElapsed = 0;
  state.resetElectionTimer();
}

function resignReads(state: RaftState): void {
  state.reads.clear((read, index) => answerRead(state, read, index));
}

/** Gives a read its index: to the shell when it was asked here, to the follower that forwarded it otherwise. */
export function answerRead(state: RaftState, read: WaitingRead, index: number): void {
  if (read.from === state.id) state.readStates.push({ context: read.context, index });
  else state.send(readIndexResponse(state, read.from, read.context, index));
}

/** Index 0: cannot answer, ask again. */
export function readIndexResponse(
  state: RaftState,
  to: NodeId,
  context: number,
  index: number,
): ReadIndexResponse {
  return { type: 'readIndexResponse', from: state.id, to, term: state.term, context, index };
}
