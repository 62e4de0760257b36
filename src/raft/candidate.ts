/**
 * Candidates and pre-candidates (Raft paper, section 5.2): they count votes until they have won or lost, or until a leader shows up.
 */
import { countVote } from './election.ts';
import { isLeaderMessage, stepFollower } from './follower.ts';
import { becomeFollower } from './roles.ts';
import type { RaftState } from './state.ts';
import type { Message } from './types.ts';

/** A message of the candidate's own term (for a pre-candidate also a grant for the next one). */
export function stepCandidate(state: RaftState, message: Message): void {
  if (isLeaderMessage(message)) {
    becomeFollower(state, state.term, message.from);
    stepFollower(state, message);
  } else if (message.type === 'voteResponse') {
    if (state.role === 'candidate') countVote(state, message);
  } else if (message.type === 'preVoteResponse' && state.role === 'preCandidate') {
    const current = message.term === (message.granted ? state.term + 1 : state.term);
    if (current) countVote(state, message);
  }
}
