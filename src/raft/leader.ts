/**
 * The leader (Raft paper, section 5.3 and 5.4.2; thesis 6.2 for the quorum check).
 *
 * Invariants: an entry is committed by counting replicas only if it is of the leader's own term; the leader counts itself only up to what it has on
 * disk; a leader that has not heard from a quorum for an election timeout steps down.
 *
 * What a leader sends need not wait for its own disk, because its term is on it: the votes that made it leader came after its vote was durable. A sole
 * voter elects itself without anybody's vote; until the first entry of its term is durable, so that no other history of the
 * same term can come up after a crash, its messages wait for the disk.
 */
import { isSoleVoter, quorumValue } from './configuration.ts';
import { afterCommit, syncProgress, tickDeparting } from './membership.ts';
import type { Progress } from './progress.ts';
import { appendOwn, onAppendResponse, recoverLostAppends, sendHeartbeats } from './replication.ts';
import { answerRead, becomeFollower, enter } from './roles.ts';
import { onSnapshotChunkResponse, tickSnapshot } from './snapshot_transfer.ts';
import type { RaftState } from './state.ts';
import { sendTimeoutNowIfReady, tickTransfer } from './transfer.ts';
import {
  ENTRY_COMMAND,
  ENTRY_NOOP,
  type Entry,
  type Message,
  type NodeId,
  type ProposeResult,
} from './types.ts';

const NO_DATA = new Uint8Array(0);

/** The election is won: opens the term with an empty entry, since only an entry of its own term tells what is committed (section 8). */
export function becomeLeader(state: RaftState): void {
  let otherVotes = false;
  for (const [id, granted] of state.votes) if (granted && id !== state.id) otherVotes = true;
  enter(state, 'leader', state.id);
  state.termDurable = otherVotes;
  syncProgress(state);
  state.termStartIndex = appendOwn(state, ENTRY_NOOP, NO_DATA);
}

/** Appends commands. Refused past maxUncommittedBytes, over all terms; one batch is always let in when nothing is uncommitted. */
export function propose(state: RaftState, data: readonly Uint8Array[]): ProposeResult {
  if (state.role !== 'leader') return { ok: false, reason: 'notLeader' };
  if (state.transferee !== 0) return { ok: false, reason: 'transferring' };
  const { uncommittedBytes } = state.view;
  if (uncommittedBytes > 0) {
    let sizeBytes = uncommittedBytes;
    for (const command of data) sizeBytes += command.length;
    if (sizeBytes > state.options.maxUncommittedBytes) return { ok: false, reason: 'overloaded' };
  }
  const index = state.view.lastIndex + 1;
  for (const command of data) appendOwn(state, ENTRY_COMMAND, command);
  return { ok: true, term: state.term, index };
}

/**
 * The entry of a command whose fate this node decides alone: it is the only member, and all that came before is durable, decided and handed out. An entry of
 * this term is committed, so that its being durable decides it (section 5.4.2). No follower, not even a learner, has to be sent anything.
 */
export function entryAlone(state: RaftState, data: Uint8Array): Entry | undefined {
  const { view, configuration } = state;
  if (state.role !== 'leader' || !state.ownTermCommitted || state.transferee !== 0) return undefined;
  if (configuration.members.length !== 1 || state.followers.length > 0) return undefined;
  if (!isSoleVoter(configuration, state.id) || !view.settled) return undefined;
  return { index: view.lastIndex + 1, term: state.term, kind: ENTRY_COMMAND, data };
}

/** A message of the leader's own term. */
export function stepLeader(state: RaftState, message: Message): void {
  if (message.type === 'readIndexRequest') {
    addRead(state, message.from, message.context);
    return;
  }
  const progress = state.progress.get(message.from);
  if (progress === undefined) return;
  switch (message.type) {
    case 'appendResponse':
      progress.recentlyActive = true;
      progress.heard = true;
      if (onAppendResponse(state, progress, message)) onMatchMoved(state, progress);
      break;
    case 'heartbeatResponse':
      progress.recentlyActive = true;
      progress.heard = true;
      if (message.readRound > progress.readRound) {
        progress.readRound = message.readRound;
        confirmReads(state);
      }
      break;
    case 'snapshotChunkResponse':
      progress.recentlyActive = true;
      onSnapshotChunkResponse(state, progress, message);
      break;
    default: // A leader has no use for the others: they are late answers of its election.
      break;
  }
}

function onMatchMoved(state: RaftState, progress: Progress): void {
  maybeCommit(state);
  if (state.role !== 'leader') return;
  sendTimeoutNowIfReady(state, progress.id);
}

/** The leader's own log got durable up to a new index. */
export function onOwnAppendDurable(state: RaftState): void {
  if (state.view.durableIndex >= state.termStartIndex) state.termDurable = true;
  maybeCommit(state);
}

/** Commits what a quorum has on disk, if it is of this term (section 5.4.2): entries of earlier terms are committed along with it. */
function maybeCommit(state: RaftState): void {
  const index = quorumValue(state.configuration, state.matchOf, state.scratch);
  if (index <= state.view.commitIndex || index < state.termStartIndex) return;
  state.commitTo(index);
  state.ownTermCommitted = true;
  state.replicationPending = true;
  afterCommit(state);
}

/** Asks for a read index on behalf of this node or a follower. */
export function addRead(state: RaftState, from: NodeId, context: number): void {
  if (!state.reads.add(from, context)) answerRead(state, { from, context }, 0);
}

/** True when reads wait that `startReadRound` would do something for. */
export function canStartReadRound(state: RaftState): boolean {
  return state.ownTermCommitted && state.reads.canStartRound;
}

/** One round of heartbeats for all reads that wait; none at all where this node is the quorum. */
export function startReadRound(state: RaftState): void {
  state.reads.startRound(state.view.commitIndex);
  if (!isSoleVoter(state.configuration, state.id)) sendHeartbeats(state);
  confirmReads(state);
}

function confirmReads(state: RaftState): void {
  const round = quorumValue(state.configuration, state.confirmedRoundOf, state.scratch);
  state.reads.confirm(round, (read, index) => answerRead(state, read, index));
}

export function tickLeader(state: RaftState): void {
  tickTransfer(state);
  tickDeparting(state);
  if (++state.electionElapsed >= state.options.electionTicks) {
    state.electionElapsed = 0;
    if (!hasActiveQuorum(state)) {
      becomeFollower(state, state.term, 0);
      return;
    }
  }
  for (const progress of state.followers) tickSnapshot(state, progress);
  if (++state.heartbeatElapsed >= state.options.heartbeatTicks) {
    state.heartbeatElapsed = 0;
    recoverLostAppends(state);
    sendHeartbeats(state);
  }
}

/** Thesis 6.2: has a quorum been heard of since the last check? */
function hasActiveQuorum(state: RaftState): boolean {
  const active = quorumValue(
    state.configuration,
    (id) => (id === state.id || state.progress.get(id)?.recentlyActive ? 1 : 0),
    state.scratch,
  );
  for (const progress of state.followers) progress.recentlyActive = false;
  return active === 1;
}
