/**
 * The follower (Raft paper, section 5.3 and 7): takes entries, commit indexes and snapshots from the leader of its term.
 *
 * Invariants: an append response goes out after what it vouches for is on disk; committed entries are never replaced; while a snapshot is being put in
 * place nothing is appended or committed, so its installation can never cut off entries that were acknowledged meanwhile.
 */
import { KvError } from '../errors.ts';
import { decodeConfiguration } from './configuration.ts';
import { campaign, isPromotable } from './election.ts';
import type { RaftState } from './state.ts';
import {
  type AppendRequest,
  type Configuration,
  ENTRY_CONFIGURATION,
  type Entry,
  type HeartbeatRequest,
  type Message,
  type ReadIndexResponse,
  type SnapshotChunkRequest,
  type SnapshotMeta,
} from './types.ts';

export type LeaderMessage = AppendRequest | HeartbeatRequest | SnapshotChunkRequest;

/** Only the leader of a term sends these. */
export function isLeaderMessage(message: Message): message is LeaderMessage {
  return (
    message.type === 'appendRequest' ||
    message.type === 'heartbeatRequest' ||
    message.type === 'snapshotChunkRequest'
  );
}

/** A message of the follower's own term. */
export function stepFollower(state: RaftState, message: Message): void {
  if (isLeaderMessage(message)) {
    if (state.leader === 0) state.leader = message.from;
    else if (state.leader !== message.from) return;
    state.electionElapsed = 0;
  }
  switch (message.type) {
    case 'appendRequest':
      onAppend(state, message);
      break;
    case 'heartbeatRequest':
      onHeartbeat(state, message);
      break;
    case 'snapshotChunkRequest':
      onSnapshotChunk(state, message);
      break;
    case 'timeoutNowRequest':
      // Voters in force only: a node on its way out must not win by a late message (thesis 3.10).
      if (message.from === state.leader && state.configuration.voters.includes(state.id))
        campaign(state, true);
      break;
    case 'readIndexResponse':
      onReadIndexResponse(state, message);
      break;
    default: // Late answers to requests of a role this node no longer has.
      break;
  }
}

function onAppend(state: RaftState, message: AppendRequest): void {
  if (state.installing) return;
  const { view } = state;
  const { prevIndex, entries } = message;
  const lastNew = prevIndex + entries.length;
  // What is committed agrees with every later leader: no need to compare, and compacted entries could not be.
  if (lastNew <= view.commitIndex && prevIndex < view.commitIndex) {
    state.respondToAppend(message.from, false, view.commitIndex, 0, 0);
    return;
  }
  if (prevIndex >= view.commitIndex && !view.matches(prevIndex, message.prevTerm)) {
    refuse(state, message);
    return;
  }
  appendNew(state, message);
  state.commitTo(Math.min(message.commit, lastNew));
  state.respondToAppend(message.from, false, lastNew, 0, 0);
}

/** The logs differ at prevIndex: says where they may agree at the latest, skipping whole terms (Raft paper, end of section 5.3). */
function refuse(state: RaftState, message: AppendRequest): void {
  const { view } = state;
  const agree = view.lastIndexWithTermAtMost(message.prevIndex, message.prevTerm);
  const hintIndex = Math.max(agree, view.commitIndex);
  state.respondToAppend(message.from, true, message.prevIndex, hintIndex, view.term(hintIndex) ?? 0);
}

/** Appends what is not there yet; an entry that differs, and all that follow it, give way first. */
function appendNew(state: RaftState, { prevIndex, entries, term }: AppendRequest): void {
  const { view, history } = state;
  const configurations = checkEntries(entries, prevIndex, term);
  let skip = 0;
  while (skip < entries.length) {
    const entry = entries[skip]!;
    if (entry.index > view.commitIndex && !view.matches(entry.index, entry.term)) break;
    skip++;
  }
  if (skip === entries.length) return;
  const first = entries[skip]!.index;
  if (first <= view.lastIndex) {
    view.truncateAfter(first - 1);
    history.truncateAfter(first - 1);
  }
  for (let i = skip; i < entries.length; i++) view.append(entries[i]!);
  for (const { index, configuration } of configurations) {
    if (index >= first) history.push(index, configuration);
  }
}

const NO_CONFIGURATIONS: readonly { index: number; configuration: Configuration }[] = Object.freeze([]);

/**
 * Before anything is changed: entries must follow each other, and configurations must be readable.
 * @throws KvError PROTOCOL or CORRUPT
 */
function checkEntries(
  entries: readonly Entry[],
  prevIndex: number,
  term: number,
): readonly { index: number; configuration: Configuration }[] {
  let configurations: { index: number; configuration: Configuration }[] | undefined;
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i]!;
    if (entry.index !== prevIndex + 1 + i || entry.term > term) {
      throw new KvError(
        'PROTOCOL',
        `append after ${prevIndex}: entry ${i} has index ${entry.index}, term ${entry.term}`,
      );
    }
    if (entry.kind === ENTRY_CONFIGURATION) {
      configurations ??= [];
      configurations.push({ index: entry.index, configuration: decodeConfiguration(entry.data) });
    }
  }
  return configurations ?? NO_CONFIGURATIONS;
}

/** The answer confirms leadership for reads and vouches for nothing on disk: it goes out at once. */
function onHeartbeat(state: RaftState, message: HeartbeatRequest): void {
  if (!state.installing) state.commitTo(message.commit);
  const { id: from, term } = state;
  state.send({ type: 'heartbeatResponse', from, to: message.from, term, readRound: message.readRound });
}

function onReadIndexResponse(state: RaftState, message: ReadIndexResponse): void {
  const context = state.forwarded.take(message.context);
  if (context !== undefined) state.readStates.push({ context, index: message.index });
}

function onSnapshotChunk(state: RaftState, message: SnapshotChunkRequest): void {
  const { view } = state;
  const { snapshot, offset, data } = message;
  // The shell is busy with one already: the leader sends again.
  if (state.incoming !== undefined) return;
  if (snapshot.index > view.commitIndex && view.matches(snapshot.index, snapshot.term)) {
    // The log goes as far as the snapshot does, so the leader knows all that it covers to be committed.
    state.commitTo(snapshot.index);
  }
  if (snapshot.index <= view.commitIndex) {
    state.respondToAppend(message.from, false, view.commitIndex, 0, 0);
    return;
  }
  const end = offset + data.length;
  if (end > snapshot.sizeBytes) return;
  const last = end === snapshot.sizeBytes;
  state.incoming = { index: snapshot.index, last };
  state.snapshotChunks.push({ from: message.from, snapshot, offset, data, last });
}

/** The shell has stored a chunk and wants the one at `nextOffset`. */
export function onChunkStored(state: RaftState, snapshotIndex: number, nextOffset: number): void {
  if (state.incoming?.index === snapshotIndex) state.incoming = undefined;
  if (state.role !== 'follower' || state.leader === 0) return;
  const { id: from, leader: to, term } = state;
  state.sendAfterAppend({ type: 'snapshotChunkResponse', from, to, term, snapshotIndex, nextOffset });
}

/** The shell has put a snapshot in place of log and state. One that is not ahead of the commit index is history: nothing happens. */
export function onSnapshotInstalled(state: RaftState, snapshot: SnapshotMeta): void {
  if (state.incoming !== undefined && state.incoming.index <= snapshot.index) state.incoming = undefined;
  if (snapshot.index <= state.view.commitIndex) return;
  state.view.restore(snapshot.index, snapshot.term);
  state.history.reset(snapshot.index, snapshot.configuration);
  if (state.role === 'follower' && state.leader !== 0) {
    state.respondToAppend(state.leader, false, snapshot.index, 0, 0);
  }
}

/** Every tick of everybody but the leader. */
export function tickFollower(state: RaftState): void {
  if (++state.electionElapsed < state.randomizedElectionTicks) return;
  if (isPromotable(state)) {
    campaign(state, false);
    return;
  }
  // Learners and strangers only forget a leader that is silent.
  state.leader = 0;
  state.forwarded.clear((context) => state.readStates.push({ context, index: 0 }));
  state.resetElectionTimer();
}
