/**
 * What goes into the Raft core and what comes out of it.
 *
 * The core (raft.ts) is a synchronous state machine: `step(message)` or `tick()` in, `Ready` out. It does no I/O, reads no clock and
 * draws no random numbers of its own; a log, a snapshot source and a random function are handed to its constructor.
 *
 * Indexes and terms are safe integers from 1; 0 means none.
 */

/** A member's identity: a safe integer from 1, never reused within a cluster. 0 means nobody. */
export type NodeId = number;

export const ENTRY_COMMAND = 0;
export const ENTRY_NOOP = 1;
export const ENTRY_CONFIGURATION = 2;
export type EntryKind = typeof ENTRY_COMMAND | typeof ENTRY_NOOP | typeof ENTRY_CONFIGURATION;

export interface Entry {
  readonly index: number;
  readonly term: number;
  readonly kind: EntryKind;
  /** Opaque to the core unless the kind is ENTRY_CONFIGURATION (see configuration.ts). Never modified after it was handed over. */
  readonly data: Uint8Array;
}

/** What must survive a crash besides the entries. Term never goes back; vote is fixed within a term; commit is a hint. */
export interface HardState {
  readonly term: number;
  readonly vote: NodeId;
  readonly commit: number;
}

export interface Member {
  readonly id: NodeId;
  /** HOST:PORT where other nodes reach it. */
  readonly peerAddress: string;
  /** HOST:PORT where clients reach it. */
  readonly clientAddress: string;
}

/**
 * A cluster membership. While `votersOutgoing` is not empty the configuration is joint (C_old,new of the Raft paper, section 6): a
 * decision needs a majority of `voters` and a majority of `votersOutgoing`. `members` describes everybody named in any list.
 */
export interface Configuration {
  readonly voters: readonly NodeId[];
  readonly votersOutgoing: readonly NodeId[];
  readonly learners: readonly NodeId[];
  readonly members: readonly Member[];
  /** The largest id ever given to a member: ids are never reused. */
  readonly lastId: NodeId;
}

export interface SnapshotMeta {
  /** The last entry that the snapshot covers. */
  readonly index: number;
  readonly term: number;
  /** The configuration in force at `index`. */
  readonly configuration: Configuration;
  /** Length of the snapshot's bytes. */
  readonly sizeBytes: number;
}

/** Port: the log as the core reads it. Everything answers at once (recent entries from memory, older ones from the page cache). */
export interface RaftLog {
  /** Index of the first entry that is still there; lastIndex() + 1 when there is none. */
  firstIndex(): number;
  lastIndex(): number;
  /** Term of the entry at `index`; also answers for firstIndex() - 1 (0 when that is 0); undefined outside of that. */
  term(index: number): number | undefined;
  /** Entries [from, to), cut off after `maxBytes` of data, but at least one. REQUIRES firstIndex() <= from < to <= lastIndex() + 1. */
  entries(from: number, to: number, maxBytes: number): Entry[];
}

/** Port: where the core gets snapshot bytes to send. */
export interface SnapshotSource {
  /** The newest finished snapshot, or undefined (then the node is asked for one through `Ready.snapshotWanted`). */
  latest(): SnapshotMeta | undefined;
  /** Bytes [offset, offset + maxBytes) of the snapshot at `index`, or undefined when it is gone. */
  read(index: number, offset: number, maxBytes: number): Uint8Array | undefined;
}

interface MessageBase {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly term: number;
}
export interface PreVoteRequest extends MessageBase {
  readonly type: 'preVoteRequest';
  readonly lastIndex: number;
  readonly lastTerm: number;
}
export interface PreVoteResponse extends MessageBase {
  readonly type: 'preVoteResponse';
  readonly granted: boolean;
}
export interface VoteRequest extends MessageBase {
  readonly type: 'voteRequest';
  readonly lastIndex: number;
  readonly lastTerm: number;
  /** Set after a leadership transfer: the receiver must not refuse for having heard from a leader lately. */
  readonly transfer: boolean;
}
export interface VoteResponse extends MessageBase {
  readonly type: 'voteResponse';
  readonly granted: boolean;
}
export interface AppendRequest extends MessageBase {
  readonly type: 'appendRequest';
  readonly prevIndex: number;
  readonly prevTerm: number;
  readonly commit: number;
  readonly entries: readonly Entry[];
}
export interface AppendResponse extends MessageBase {
  readonly type: 'appendResponse';
  readonly rejected: boolean;
  /** Accepted: the last index known to match. Rejected: the prevIndex that was refused. */
  readonly index: number;
  /** Rejected only: where the follower's log may agree at the latest (thesis 5.3 "conflict" optimisation). */
  readonly hintIndex: number;
  readonly hintTerm: number;
}
export interface HeartbeatRequest extends MessageBase {
  readonly type: 'heartbeatRequest';
  readonly commit: number;
  /** Echoed by the response: confirms leadership for reads asked for up to this round. 0 when none waits. */
  readonly readRound: number;
}
export interface HeartbeatResponse extends MessageBase {
  readonly type: 'heartbeatResponse';
  readonly readRound: number;
}
export interface ReadIndexRequest extends MessageBase {
  readonly type: 'readIndexRequest';
  readonly context: number;
}
export interface ReadIndexResponse extends MessageBase {
  readonly type: 'readIndexResponse';
  readonly context: number;
  /** 0 when the receiver could not answer (no longer leader). */
  readonly index: number;
}
export interface SnapshotChunkRequest extends MessageBase {
  readonly type: 'snapshotChunkRequest';
  readonly snapshot: SnapshotMeta;
  readonly offset: number;
  readonly data: Uint8Array;
}
export interface SnapshotChunkResponse extends MessageBase {
  readonly type: 'snapshotChunkResponse';
  readonly snapshotIndex: number;
  /** The next byte that the follower wants: lets an interrupted transfer resume. */
  readonly nextOffset: number;
}
export interface TimeoutNowRequest extends MessageBase {
  readonly type: 'timeoutNowRequest';
}
export type Message =
  | PreVoteRequest
  | PreVoteResponse
  | VoteRequest
  | VoteResponse
  | AppendRequest
  | AppendResponse
  | HeartbeatRequest
  | HeartbeatResponse
  | ReadIndexRequest
  | ReadIndexResponse
  | SnapshotChunkRequest
  | SnapshotChunkResponse
  | TimeoutNowRequest;

/** A read asked for with `readIndex(context)` may be served once the applied index has reached `index`; 0: ask again. */
export interface ReadState {
  readonly context: number;
  readonly index: number;
}

export interface SnapshotChunk {
  readonly from: NodeId;
  readonly snapshot: SnapshotMeta;
  readonly offset: number;
  readonly data: Uint8Array;
  /** True for the chunk that ends the snapshot. */
  readonly last: boolean;
}

/**
 * What the shell must do next.
 *
 * THE CONTRACT: `hardState` and `entries` go to the log in the order of the Readys. `messages` may be sent at once.
 * `messagesAfterAppend` must not be sent before this Ready's (and every earlier Ready's) hardState and entries are durable. When they are, the
 * shell calls `raft.appended(term, index)` with `appendTerm` and the last entry's index, as given here. An entry in `committed` is decided and durable
 * on this node: it may be applied at once, in order, exactly once.
 */
export interface Ready {
  /**
   * True when this Ready must be durable (fsync) before its `messagesAfterAppend` go out: it carries entries, or the term or the vote changed. A change
   * of `hardState.commit` alone may be written lazily, or with the next Ready: losing it costs nothing but the hint. The `messagesAfterAppend` of a Ready
   * without it wait only for the earlier Readys that had it.
   */
  readonly mustSync: boolean;
  /** Present when it changed. */
  readonly hardState: HardState | undefined;
  /** Entries to append; the first may lie at or below the log's last index, and then replaces it and all that follows. */
  readonly entries: readonly Entry[];
  /** The core's term when this Ready was made: given back to `appended` (guards against the ABA race of asynchronous appends). */
  readonly appendTerm: number;
  readonly messages: readonly Message[];
  readonly messagesAfterAppend: readonly Message[];
  readonly committed: readonly Entry[];
  readonly readStates: readonly ReadState[];
  /**
   * A chunk of an incoming snapshot to store: one at a time, the next comes after the answer `raft.snapshotChunkStored` or (once the snapshot that the
   * `last` chunk completes is in place) `raft.snapshotInstalled`. Between a `last` chunk and its answer the core appends and commits nothing.
   */
  readonly snapshotChunks: readonly SnapshotChunk[];
  /** A follower needs a snapshot that covers at least this index, and the source has none. 0: no wish. */
  readonly snapshotWanted: number;
}

export type Role = 'leader' | 'follower' | 'candidate' | 'preCandidate';

export interface RaftStatus {
  readonly id: NodeId;
  readonly role: Role;
  readonly term: number;
  readonly leader: NodeId;
  readonly commit: number;
  readonly lastIndex: number;
  /** Of entries that are not known to be committed. */
  readonly uncommittedBytes: number;
  readonly configuration: Configuration;
  /** The leader's view of the others; empty elsewhere. */
  readonly progress: readonly {
    readonly id: NodeId;
    readonly match: number;
    readonly next: number;
    readonly state: 'probe' | 'replicate' | 'snapshot';
    readonly recentlyActive: boolean;
  }[];
}

export interface RaftOptions {
  readonly id: NodeId;
  readonly log: RaftLog;
  readonly snapshots: SnapshotSource;
  readonly hardState: HardState;
  /** The configuration in force at the log's start (the snapshot's); entries in the log are scanned for later ones. */
  readonly configuration: Configuration;
  /** Everything up to this index is applied already. */
  readonly applied: number;
  /** Ticks without a leader before an election; the actual value is drawn from [electionTicks, 2 * electionTicks). */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Bytes of entries in one append message. */
  readonly maxAppendBytes: number;
  /** Bytes of entries sent to one follower and not yet acknowledged. */
  readonly maxInflightBytes: number;
  /** Bytes of entries proposed and not yet committed, over all terms; past it `propose` refuses. */
  readonly maxUncommittedBytes: number;
  readonly snapshotChunkBytes: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export type ProposeResult =
  | { readonly ok: true; readonly term: number; readonly index: number }
  | {
      readonly ok: false;
      readonly reason:
        | 'notLeader'
        | 'transferring'
        | 'overloaded'
        | 'changeInProgress'
        | 'invalidChange'
        | 'learnerNotReady';
      readonly message?: string;
    };

export type ConfigurationChange =
  | { readonly type: 'addLearner'; readonly member: Omit<Member, 'id'> }
  | { readonly type: 'promote'; readonly id: NodeId }
  | { readonly type: 'remove'; readonly id: NodeId }
  | { readonly type: 'updateAddresses'; readonly member: Member };

/** The core's surface; implemented by `Raft` in raft.ts. */
export interface RaftCore {
  /** One unit of logical time has passed. */
  tick(): void;
  /** Takes a message from a peer. Messages from unknown nodes and stale terms are handled, never thrown on. */
  step(message: Message): void;
  /** Appends one command entry per element, in order; `index` is the first one's. Leader only. */
  propose(data: readonly Uint8Array[]): ProposeResult;
  proposeConfiguration(change: ConfigurationChange): ProposeResult;
  /**
   * The short way of a leader that is its whole cluster, while nothing at all is under way: the entry that a command becomes next; undefined: only `propose`
   * will do. Nothing has changed yet. The caller makes the entry durable and then calls `decidedAlone`, with no other call in between; or it never does, and
   * the entry has not come into being (if some of it may be on disk, the node must end).
   */
  entryAlone(data: Uint8Array): Entry | undefined;
  /** The entry of `entryAlone` is durable, and thereby decided. The caller applies it: no Ready will bring it. */
  decidedAlone(entry: Entry): void;
  /** Asks for a read index under a context chosen by the caller (unique per node); false when no leader is known. */
  readIndex(context: number): boolean;
  /** Hands leadership to a voter (thesis 3.10). False when not leader or not a voter; given up after an election timeout. */
  transferLeadership(to: NodeId): boolean;
  /** Starts an election now (a single voter at start-up need not wait for the timeout). */
  campaign(): void;
  hasReady(): boolean;
  /** Takes everything there is to do. The caller must carry it out (see Ready). */
  ready(): Ready;
  /**
   * The entries of a Ready, and everything of the Readys before it, are durable: `term` is its `appendTerm`, `index` its last entry's. Once for each Ready with
   * entries, in order (one call for several is fine; it names the last). Says nothing about entries that were replaced since.
   */
  appended(term: number, index: number): void;
  /** The state machine has applied everything up to `index`. Must be called: `committed` pauses at maxUncommittedBytes handed out and not applied. */
  applied(index: number): void;
  /** An incoming chunk was stored; `nextOffset` is the byte wanted next (0 starts anew). */
  snapshotChunkStored(snapshotIndex: number, nextOffset: number): void;
  /** The incoming snapshot is in place: state machine, configuration and log now start after it. */
  snapshotInstalled(snapshot: SnapshotMeta): void;
  /** Tells flow control that the transport lost the connection to a peer (back to probing). */
  peerUnreachable(id: NodeId): void;
  status(): RaftStatus;
  readonly id: NodeId;
  readonly role: Role;
  readonly term: number;
  readonly leader: NodeId;
  readonly commitIndex: number;
}
