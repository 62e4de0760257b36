/**
 * Leader's side of log replication (Raft paper, section 5.3), pipelined (thesis 10.2.2).
 *
 * Nothing is sent while proposals come in: `replicate` runs when the shell takes a Ready, so proposals in between share messages. A follower in `replicate`
 * is sent everything there is, message after message, within maxInflightBytes; one in `probe` gets one append until it answers; one whose next entry is
 * gone from the log gets a snapshot. A lost message shows as a refusal of the next one; the last one being lost shows at a heartbeat.
 */
import { PROBE, type Progress, REPLICATE } from './progress.ts';
import { endSnapshotIfCaughtUp, onSnapshotRefused, startSnapshot } from './snapshot_transfer.ts';
import type { RaftState } from './state.ts';
import type { AppendResponse, Entry, EntryKind } from './types.ts';

const NO_ENTRIES: readonly Entry[] = Object.freeze([]);

/** Appends an entry of the leader's own term to its log; it goes out with the next Ready. Returns its index. */
export function appendOwn(state: RaftState, kind: EntryKind, data: Uint8Array): number {
  const index = state.view.lastIndex + 1;
  state.view.append({ index, term: state.term, kind, data });
  state.replicationPending = true;
  return index;
}

/** Sends every follower what it may be sent now. */
export function replicate(state: RaftState): void {
  state.replicationPending = false;
  for (const progress of state.followers) sendAppends(state, progress);
}

function sendAppends(state: RaftState, progress: Progress): void {
  if (progress.state === PROBE) {
    if (!progress.probeSent) sendNext(state, progress);
    return;
  }
  while (progress.state === REPLICATE && progress.next <= state.view.lastIndex) {
    if (!sendNext(state, progress)) break;
  }
  if (progress.state !== REPLICATE) return;
  if (progress.commitSent < Math.min(state.view.commitIndex, progress.next - 1))
    sendEmptyAppend(state, progress);
}

/** True when a follower in step has not been sent everything, or not been told of a commit that it can follow. */
function hasNews(state: RaftState, progress: Progress): boolean {
  const { lastIndex, commitIndex } = state.view;
  return progress.next <= lastIndex || progress.commitSent < Math.min(commitIndex, progress.next - 1);
}

/** One append from `next` on. False when none could go out: the window is full, or the log does not reach back so far. */
function sendNext(state: RaftState, progress: Progress): boolean {
  const { view, options } = state;
  const prevIndex = progress.next - 1;
  const prevTerm = view.term(prevIndex);
  if (prevTerm === undefined) {
    startSnapshot(state, progress);
    return false;
  }
  let entries = NO_ENTRIES;
  if (prevIndex < view.lastIndex) {
    entries = view.entriesFrom(progress.next, options.maxAppendBytes);
    const { inflight } = progress;
    if (inflight.sizeBytes > 0 && inflight.sizeBytes + view.sliceBytes > options.maxInflightBytes)
      return false;
  }
  sendAppend(state, progress, prevIndex, prevTerm, entries);
  if (progress.state === PROBE) progress.probeSent = true;
  else {
    progress.next += entries.length;
    progress.inflight.add(progress.next - 1, view.sliceBytes);
  }
  return true;
}

/** Tells a new commit index, or finds out whether what was sent has arrived. */
function sendEmptyAppend(state: RaftState, progress: Progress): void {
  const prevIndex = progress.next - 1;
  const prevTerm = state.view.term(prevIndex);
  if (prevTerm === undefined) startSnapshot(state, progress);
  else sendAppend(state, progress, prevIndex, prevTerm, NO_ENTRIES);
}

function sendAppend(
  state: RaftState,
  progress: Progress,
  prevIndex: number,
  prevTerm: number,
  entries: readonly Entry[],
): void {
  const commit = state.view.commitIndex;
  progress.commitSent = Math.min(commit, prevIndex + entries.length);
  state.sendAsLeader({
    type: 'appendRequest',
    from: state.id,
    to: progress.id,
    term: state.term,
    prevIndex,
    prevTerm,
    commit,
    entries,
  });
}

/** Heartbeats carry the commit index as far as the follower is known to agree, and the newest read round. */
export function sendHeartbeats(state: RaftState): void {
  const readRound = state.reads.pendingRound;
  for (const progress of state.followers) {
    state.sendAsLeader({
      type: 'heartbeatRequest',
      from: state.id,
      to: progress.id,
      term: state.term,
      commit: Math.min(progress.match, state.view.commitIndex),
      readRound,
    });
  }
}

/** At every heartbeat interval: followers that live but do not get on have lost a message. */
export function recoverLostAppends(state: RaftState): void {
  for (const progress of state.followers) {
    const stalled = progress.heard && progress.match === progress.matchAtHeartbeat;
    if (stalled && progress.match < state.view.lastIndex) {
      // Lost, or slow in being stored? Asked again without the entries, it costs next to nothing where they have arrived.
      if (progress.state === REPLICATE || progress.probeSent) sendEmptyAppend(state, progress);
      else if (progress.state === PROBE) state.replicationPending = true;
    }
    progress.heard = false;
    progress.matchAtHeartbeat = progress.match;
  }
}

/** Takes a follower's answer. Returns true when its match index moved. */
export function onAppendResponse(state: RaftState, progress: Progress, message: AppendResponse): boolean {
  if (message.rejected) {
    onRejected(state, progress, message);
    return false;
  }
  if (message.index > state.view.lastIndex) return false;
  const moved = progress.acknowledged(message.index);
  if (progress.state === PROBE) progress.becomeReplicate();
  else if (progress.state !== REPLICATE) endSnapshotIfCaughtUp(state, progress);
  if (progress.state === REPLICATE && hasNews(state, progress)) state.replicationPending = true;
  return moved;
}

function onRejected(state: RaftState, progress: Progress, message: AppendResponse): void {
  if (progress.state === PROBE) {
    // Only the answer to the append under way tells anything; older ones are late or doubled.
    if (message.index !== progress.next - 1) return;
  } else if (progress.state !== REPLICATE) {
    onSnapshotRefused(progress, message.index);
    return;
  }
  // Late; or the follower has lost what it had acknowledged, and nothing that could be sent at once would be taken. The append counts as under way still,
  // so that the follower is asked once a heartbeat interval until it has been mended.
  if (message.index <= progress.match) return;
  let agree = message.hintIndex;
  // The follower has nothing of a later term at or below the hint, so neither list can agree where ours is newer.
  if (message.hintTerm > 0) agree = state.view.lastIndexWithTermAtMost(message.hintIndex, message.hintTerm);
  progress.becomeProbe(Math.min(agree + 1, message.index));
  state.replicationPending = true;
}
