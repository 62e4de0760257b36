/**
 * Leadership transfer (thesis 3.10): the leader stops taking proposals, brings the target's log up to its own, and tells it to start an election at once.
 *
 * Invariants: only a voter of the configuration in force is ever told to; when the target has not taken over within an election timeout
 * the leader takes proposals again.
 */
import type { RaftState } from './state.ts';
import type { NodeId } from './types.ts';

/** False when this node does not lead or `to` is no voter. */
export function transferLeadership(state: RaftState, to: NodeId): boolean {
  if (state.role !== 'leader' || !state.configuration.voters.includes(to)) return false;
  if (to === state.id) return true;
  state.transferee = to;
  state.transferElapsed = 0;
  sendTimeoutNowIfReady(state, to);
  return true;
}

/** The target's log moved, or the transfer began: tells it to go ahead once it has everything. */
export function sendTimeoutNowIfReady(state: RaftState, id: NodeId): void {
  if (state.transferee !== id || state.matchOf(id) !== state.view.lastIndex) return;
  sendTimeoutNow(state, id);
}

export function sendTimeoutNow(state: RaftState, to: NodeId): void {
  state.sendAsLeader({ type: 'timeoutNowRequest', from: state.id, to, term: state.term });
}

/** Every tick of a leader. */
export function tickTransfer(state: RaftState): void {
  if (state.transferee === 0) return;
  const gone = !state.configuration.voters.includes(state.transferee);
  if (++state.transferElapsed >= state.options.electionTicks || gone) state.transferee = 0;
}
