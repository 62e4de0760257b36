/**
 * Everything a Raft node remembers, and what it wants the shell to do next. The step functions (follower.ts, candidate.ts, leader.ts, election.ts,
 * replication.ts, ...) work on it; raft.ts is its face.
 *
 * Invariants: the term never falls; within a term the vote changes only from nobody to somebody; `progress` is filled on leaders only and then names every
 * other member (and, for a while, members that were removed).
 */
import { decodeConfiguration } from './configuration.ts';
import { ConfigurationHistory } from './configuration_history.ts';
import type { Progress } from './progress.ts';
import { entryBytes, RaftLogView } from './raft_log_view.ts';
import { ForwardedReads, LeaderReads } from './read_index.ts';
import {
  type Configuration,
  ENTRY_CONFIGURATION,
  type HardState,
  type Message,
  type NodeId,
  type RaftOptions,
  type ReadState,
  type Role,
  type SnapshotChunk,
} from './types.ts';

/** Bytes read at a time when the log is looked through at construction. */
const SCAN_BYTES = 1024 * 1024;

/** The chunk of an incoming snapshot that the shell is storing. One at a time. */
export interface IncomingChunk {
  readonly index: number;
  /** The shell is putting the whole snapshot in place: the log must not change until it is done. */
  readonly last: boolean;
}

export class RaftState {
  readonly id: NodeId;
  readonly options: RaftOptions;
  readonly view: RaftLogView;
  readonly history: ConfigurationHistory;

  term: number;
  vote: NodeId;
  role: Role = 'follower';
  leader: NodeId = 0;
  /** What the shell was last told to make durable. */
  handedHardState: HardState;

  /** Ticks since the leader was heard of (follower), the election began (candidate), the quorum was checked (leader). */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  randomizedElectionTicks = 0;

  /** Candidates: answers so far. */
  readonly votes = new Map<NodeId, boolean>();

  /** Leaders: the others. `followers` holds the same objects for loops. */
  readonly progress = new Map<NodeId, Progress>();
  followers: Progress[] = [];
  /** Leaders: an entry of the own term is committed (needed for reads and membership changes). */
  ownTermCommitted = false;
  /** Leaders: index of the entry that opened the term. */
  termStartIndex = 0;
  /** Leaders: false while nobody but this node, which has not synced it yet, knows the term (see leader.ts). */
  termDurable = false;
  /** Leaders: something may be ready to be sent to followers. */
  replicationPending = false;
  /** Leaders: who leadership is being handed to; 0 for nobody. */
  transferee: NodeId = 0;
  transferElapsed = 0;

  readonly reads = new LeaderReads();
  readonly forwarded: ForwardedReads;
  incoming: IncomingChunk | undefined = undefined;

  messages: Message[] = [];
  messagesAfterAppend: Message[] = [];
  readStates: ReadState[] = [];
  snapshotChunks: SnapshotChunk[] = [];
  snapshotWanted = 0;

  /** Overwritten by quorum computations. */
  readonly scratch: number[] = [];
  /** Leaders: how far each member's durable log is known to agree. The leader counts itself only up to what it has synced. */
  readonly matchOf = (id: NodeId): number =>
    id === this.id ? this.view.durableIndex : (this.progress.get(id)?.match ?? 0);
  /** Leaders: the newest read round that each member has confirmed. */
  readonly confirmedRoundOf = (id: NodeId): number =>
    id === this.id ? this.reads.round : (this.progress.get(id)?.readRound ?? 0);

  constructor(options: RaftOptions) {
    const { hardState, log } = options;
    this.id = options.id;
    this.options = options;
    this.term = hardState.term;
    this.vote = hardState.vote;
    this.view = new RaftLogView(log, hardState.commit, options.applied, options.maxUncommittedBytes);
    this.handedHardState = hardState;
    this.history = new ConfigurationHistory(log.firstIndex() - 1, options.configuration);
    this.forwarded = new ForwardedReads(options.random);
    this.#scanLog();
    this.resetElectionTimer();
  }

  get configuration(): Configuration {
    return this.history.current;
  }

  /** A snapshot is being put in place: nothing may be appended or committed meanwhile, and no election started. */
  get installing(): boolean {
    return this.incoming?.last === true;
  }

  /** Once, at start: finds the configurations in the log and the size of its uncommitted tail. */
  #scanLog(): void {
    const { log } = this.options;
    for (let index = log.firstIndex(); index <= this.view.lastIndex; ) {
      for (const entry of log.entries(index, this.view.lastIndex + 1, SCAN_BYTES)) {
        if (entry.kind === ENTRY_CONFIGURATION)
          this.history.push(entry.index, decodeConfiguration(entry.data));
        if (entry.index > this.view.commitIndex) this.view.uncommittedBytes += entryBytes(entry);
        index = entry.index + 1;
      }
    }
    this.history.committed(this.view.commitIndex);
  }

  /** A new random timeout in [electionTicks, 2 * electionTicks), from now on (Raft paper, section 5.2). */
  resetElectionTimer(): void {
    const { electionTicks, random } = this.options;
    this.electionElapsed = 0;
    this.randomizedElectionTicks = electionTicks + Math.floor(random() * electionTicks);
  }

  /** May go out at once. */
  send(message: Message): void {
    this.messages.push(message);
  }

  /** Says something that must be on this node's disk first. */
  sendAfterAppend(message: Message): void {
    this.messagesAfterAppend.push(message);
  }

  /** A leader's message: at once, for its term is known to be durable; see leader.ts for the exception. */
  sendAsLeader(message: Message): void {
    if (this.termDurable) this.messages.push(message);
    else this.messagesAfterAppend.push(message);
  }

  /** An append response. Waits for this node's disk, because it vouches for entries or for the term. */
  respondToAppend(to: NodeId, rejected: boolean, index: number, hintIndex: number, hintTerm: number): void {
    const { id: from, term } = this;
    this.sendAfterAppend({ type: 'appendResponse', from, to, term, rejected, index, hintIndex, hintTerm });
  }

  /** Moves the commit index, as far as the log goes. Returns true when it moved. */
  commitTo(index: number): boolean {
    if (!this.view.commitTo(Math.min(index, this.view.lastIndex))) return false;
    this.history.committed(this.view.commitIndex);
    return true;
  }
}
