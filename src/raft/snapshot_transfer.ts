/**
 * Leader's side of a snapshot transfer (Raft paper, section 7): chunk by chunk, one under way per follower.
 *
 * The follower says which byte it wants next, so an interrupted transfer goes on where it stopped, and a chunk that arrives twice does no harm. After
 * the last byte an append response with the snapshot's index ends the transfer. A chunk without an answer is sent again after a few
 * heartbeat intervals. When the source has no usable snapshot the shell is asked for one (Ready.snapshotWanted).
 */
import { PROBE, type Progress, SNAPSHOT } from './progress.ts';
import type { RaftState } from './state.ts';
import type { SnapshotChunkResponse, SnapshotMeta } from './types.ts';

/** Heartbeat intervals without an answer before a chunk is sent again. */
const RESEND_HEARTBEATS = 3;

/** The follower needs entries that are gone: from now on it is sent a snapshot. */
export function startSnapshot(state: RaftState, progress: Progress): void {
  progress.becomeSnapshot();
  sendChunk(state, progress);
}

/** Sends what the follower wants next, if nothing is under way to it. */
export function sendChunk(state: RaftState, progress: Progress): void {
  if (progress.snapshotWaitTicks >= 0) return;
  progress.snapshotWaitTicks = 0;
  const snapshot = chooseSnapshot(state, progress);
  if (snapshot === undefined) {
    state.snapshotWanted = Math.max(state.snapshotWanted, state.view.firstIndex() - 1);
    return;
  }
  if (progress.snapshotOffset >= snapshot.sizeBytes && snapshot.sizeBytes > 0) {
    askWhetherInstalled(state, progress, snapshot);
    return;
  }
  const offset = progress.snapshotOffset;
  const data = state.options.snapshots.read(snapshot.index, offset, state.options.snapshotChunkBytes);
  if (data === undefined) {
    // It went away between two chunks: the next attempt chooses anew.
    progress.snapshot = undefined;
    return;
  }
  state.sendAsLeader({
    type: 'snapshotChunkRequest',
    from: state.id,
    to: progress.id,
    term: state.term,
    snapshot,
    offset,
    data,
  });
}

/** Stays with the snapshot begun while it leads up to the log; else takes the source's newest, if that does. */
function chooseSnapshot(state: RaftState, progress: Progress): SnapshotMeta | undefined {
  const needed = state.view.firstIndex() - 1;
  if (progress.snapshot !== undefined && progress.snapshot.index >= needed) return progress.snapshot;
  const latest = state.options.snapshots.latest();
  if (latest === undefined || latest.index < needed || latest.index <= progress.match) return undefined;
  progress.snapshot = latest;
  progress.snapshotOffset = 0;
  return latest;
}

/** All bytes were stored, the word of its installation is missing: an empty append gets it out of the follower. */
function askWhetherInstalled(state: RaftState, progress: Progress, snapshot: SnapshotMeta): void {
  state.sendAsLeader({
    type: 'appendRequest',
    from: state.id,
    to: progress.id,
    term: state.term,
    prevIndex: snapshot.index,
    prevTerm: snapshot.term,
    commit: Math.min(state.view.commitIndex, snapshot.index),
    entries: [],
  });
}

export function onSnapshotChunkResponse(
  state: RaftState,
  progress: Progress,
  message: SnapshotChunkResponse,
): void {
  const { snapshot } = progress;
  if (progress.state !== SNAPSHOT || snapshot === undefined || message.snapshotIndex !== snapshot.index)
    return;
  progress.snapshotOffset = Math.min(message.nextOffset, snapshot.sizeBytes);
  // With the last byte stored, the installation is under way: give it time.
  if (progress.snapshotOffset < snapshot.sizeBytes) {
    progress.snapshotWaitTicks = -1;
    sendChunk(state, progress);
  } else progress.snapshotWaitTicks = 0;
}

/** The follower refused the append that asks whether the snapshot is installed: it has lost what it stored. */
export function onSnapshotRefused(progress: Progress, prevIndex: number): void {
  if (progress.snapshot?.index !== prevIndex) return;
  progress.snapshotOffset = 0;
  progress.snapshotWaitTicks = -1;
}

/** The follower's log may now reach the leader's: back to appends. */
export function endSnapshotIfCaughtUp(state: RaftState, progress: Progress): void {
  if (progress.match + 1 >= state.view.firstIndex()) progress.becomeReplicate();
}

/** Every tick of a leader. */
export function tickSnapshot(state: RaftState, progress: Progress): void {
  if (progress.state !== SNAPSHOT) return;
  const waiting = progress.snapshotWaitTicks >= 0;
  if (waiting && ++progress.snapshotWaitTicks < state.options.heartbeatTicks * RESEND_HEARTBEATS) return;
  progress.snapshotWaitTicks = -1;
  sendChunk(state, progress);
}

/** The connection was lost: whatever was under way is. */
export function onUnreachable(progress: Progress): void {
  if (progress.state === SNAPSHOT) progress.snapshotWaitTicks = -1;
  else if (progress.state !== PROBE) progress.becomeProbe(progress.match + 1);
  else progress.probeSent = false;
}
