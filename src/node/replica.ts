/**
 * The ready loop: runs the pure Raft core over the real log, transport and state machine.
 *
 * What happens in a turn of the event loop (messages, proposals, reads) is collected and worked off together: one log entry for all proposals, one round for all
 * reads, one gathered write to the log and to each peer.
 *
 * Invariants (the contract of `Ready`, raft/types.ts): entries and hard state go to the log in order; messages that depend on them wait until they are
 * durable; committed entries go to the applier in order. Any failure of the log or of apply ends the replica: `onFailure` is called once
 * and nothing is sent, appended or applied any more.
 */
import type { Transport } from '../../transports/transport.ts';
import { KvError } from '../errors.ts';
import type { CommandResult } from '../kv/command.ts';
import type { Clock, Timers } from '../ports.ts';
import {
  type Configuration,
  ENTRY_CONFIGURATION,
  type Message,
  type NodeId,
  type RaftCore,
  type Ready,
} from '../raft/types.ts';
import type { Engine } from '../storage/engine_port.ts';
import type { SegmentedLog } from '../storage/log/segmented_log.ts';
import { RAFT_PREFIX } from '../wire/peer_codec.ts';
import { decodeMessage, encodeMessage } from '../wire/raft_codec.ts';
import type { Applier } from './applier.ts';
import type { NodeState } from './node_state.ts';
import type { Proposals } from './proposals.ts';
import type { ReadBarrier } from './read_barrier.ts';
import { asStorageError } from './replica_storage.ts';
import type { Snapshots } from './snapshots.ts';
import type { StoreClock } from './store_clock.ts';

/** After so many turns in a row without I/O being polled, the loop lets I/O happen: a caller that awaits each put must not starve timers. */
const TURNS_BETWEEN_IO = 64;
/** The same for a caller that awaits read after read. */
const READS_BETWEEN_IO = 512;
const FORGET_PEER_MS = 5_000;
/** Peers that are known by their own word only, at most. */
const MAX_STRANGERS = 64;
/** Appends from the leader are dropped while more committed bytes than this wait to be applied. */
const MAX_BACKLOG_BYTES = 64 * 1024 * 1024;
/** What a log record takes besides its data, generously. */
const RECORD_OVERHEAD_BYTES = 64;

export interface ReplicaOptions {
  readonly raft: RaftCore;
  readonly log: SegmentedLog;
  readonly engine: Engine;
  readonly transport: Transport;
  readonly applier: Applier;
  readonly proposals: Proposals;
  readonly reads: ReadBarrier;
  readonly snapshots: Snapshots;
  readonly clock: Clock;
  readonly storeClock: StoreClock;
  readonly timers: Timers;
  /** 'turn': work starts at the end of the current turn (lowest latency for one caller). 'io': after all pending I/O was read (largest batches). */
  readonly batching: 'turn' | 'io';
  readonly restore: (state: NodeState) => void;
  readonly onRoleChange: () => void;
  readonly onFailure: (error: KvError) => void;
}

export class Replica {
  readonly #options: ReplicaOptions;
  readonly #raft: RaftCore;
  #scheduled = false;
  #running = false;
  #waitsForRoom = false;
  #turns = 0;
  #reads = 0;
  #appendsUnderWay = 0;
  #lastAppend: Promise<void> = Promise.resolve();
  #failed = false;
  #stopped = false;
  #role = '';
  #leader = -1;
  readonly #knownPeers = new Map<NodeId, string>();
  /** Peers that have introduced themselves and that no configuration here names yet. */
  readonly #strangers = new Set<NodeId>();
  #lastTickMs: number;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.#raft = options.raft;
    this.#lastTickMs = options.clock.monotonicMs();
    this.usePeersOf(this.#raft.status().configuration);
  }

  /** Milliseconds since Raft was last told of time: large after the process was stopped and woken. */
  get sinceTickMs(): number {
    return this.#options.clock.monotonicMs() - this.#lastTickMs;
  }

  get failed(): boolean {
    return this.#failed;
  }

  /** @throws KvError (as a rejection): see Proposals.add */
  propose(command: Uint8Array, deadlineMs: number): Promise<CommandResult> {
    const result = this.#options.proposals.add(command, deadlineMs);
    this.schedule();
    return result;
  }

  /** True when nothing is under way here, so that a write may be carried out in its own call (lone_writer.ts); counts as a turn. */
  beginTurn(): boolean {
    if (this.#running || this.#failed || this.#stopped || this.#appendsUnderWay > 0) return false;
    // The ordinary way then lets I/O happen.
    if (this.#options.batching !== 'turn' || this.#turns >= TURNS_BETWEEN_IO) return false;
    this.#turns++;
    return true;
  }

  /** True when reads have been served for so long without I/O that the next one should wait for it; else one more is counted. */
  owesTurn(): boolean {
    if (this.#reads >= READS_BETWEEN_IO && this.#options.batching === 'turn') return true;
    this.#reads++;
    return false;
  }

  /** undefined, or the end of pending I/O when a turn is owed. */
  turnOwed(): Promise<void> | undefined {
    if (!this.owesTurn()) return undefined;
    this.#reads = 0;
    return new Promise((resolve) => this.#options.timers.afterIo(resolve));
  }

  tick(): void {
    this.#lastTickMs = this.#options.clock.monotonicMs();
    this.#guard(this.#tickRaft);
    this.scheduleIfNeeded();
  }

  readonly #tickRaft = (): void => this.#raft.tick();

  /** A Raft message from a peer, without its prefix byte. Garbage from a peer is dropped by the caller (KvError PROTOCOL). */
  onMessage(from: NodeId, payload: Uint8Array): void {
    const message = decodeMessage(payload);
    if (message.from !== from)
      throw new KvError('PROTOCOL', `node ${from} sent a message in the name of ${message.from}`);
    if (this.#mustDrop(message)) return;
    this.#guard(() => this.#raft.step(message));
    this.scheduleIfNeeded();
  }

  /** What can't be taken in now is treated like a lost message: the leader sends it again. */
  #mustDrop(message: Message): boolean {
    if (message.type !== 'appendRequest' || message.entries.length === 0) return false;
    const { snapshots, applier, log } = this.#options;
    if (snapshots.installing || applier.backlogBytes > MAX_BACKLOG_BYTES) return true;
    let bytes = 0;
    for (const entry of message.entries) bytes += entry.data.length + RECORD_OVERHEAD_BYTES;
    return !log.hasRoom(bytes);
  }

  /** Schedules a turn if one would find something to do: most ticks, and many answers of peers, leave nothing behind. */
  scheduleIfNeeded(): void {
    if (this.#scheduled || this.#running || this.#failed || this.#stopped) return;
    const { proposals, reads } = this.#options;
    const raft = this.#raft;
    const roleMoved = raft.role !== this.#role || raft.leader !== this.#leader;
    const proposes = proposals.queued && raft.role === 'leader';
    if (proposes || reads.waiting || roleMoved || raft.hasReady()) this.schedule();
  }

  /** Schedules a turn of the ready loop. */
  schedule(): void {
    // What comes up while the loop runs is worked off by the loop.
    if (this.#scheduled || this.#running || this.#failed || this.#stopped) return;
    this.#scheduled = true;
    const { timers, batching } = this.#options;
    if (batching === 'turn' && this.#turns < TURNS_BETWEEN_IO) {
      this.#turns++;
      timers.soon(this.#run);
    } else {
      this.#turns = 0;
      timers.afterIo(this.#run);
    }
  }

  readonly #run = (): void => {
    this.#scheduled = false;
    if (this.#failed || this.#stopped) return;
    this.#running = true;
    this.#guard(this.#workOff);
    this.#running = false;
  };

  readonly #workOff = (): void => {
    const { proposals, reads, storeClock, transport } = this.#options;
    if (proposals.queued && this.#raft.role === 'leader') {
      proposals.flush(storeClock.nowMs());
      if (proposals.queued) this.#scheduleWhenWritable();
    }
    reads.poll();
    while (this.#raft.hasReady() && !this.#failed) this.#process(this.#raft.ready());
    // Reads that waited for a round to end may begin theirs now.
    if (reads.waiting) {
      reads.poll();
      while (this.#raft.hasReady() && !this.#failed) this.#process(this.#raft.ready());
    }
    transport.flush();
    this.#noticeRole();
  };

  /** Proposals wait for the engine to catch up with its flushes, or for the log to make room. */
  #scheduleWhenWritable(): void {
    if (this.#waitsForRoom) return;
    this.#waitsForRoom = true;
    const { engine, log } = this.#options;
    (engine.behind ? engine.caughtUp() : log.roomMade()).then(
      () => {
        this.#waitsForRoom = false;
        this.schedule();
      },
      (error) => this.fail(error),
    );
  }

  #process(ready: Ready): void {
    const { snapshots, applier, reads } = this.#options;
    for (const message of ready.messages) this.#send(message);
    this.#append(ready);
    if (ready.snapshotWanted > 0) snapshots.want(applier);
    if (ready.snapshotChunks.length > 0) {
      snapshots.receive(ready.snapshotChunks, this.#raft, applier, this.restore);
    }
    if (ready.committed.length > 0) applier.enqueue(ready.committed);
    if (ready.readStates.length > 0) reads.confirmed(ready.readStates, applier.appliedIndex);
  }

  #append(ready: Ready): void {
    const { entries, hardState } = ready;
    if (hardState === undefined && entries.length === 0) {
      if (ready.messagesAfterAppend.length === 0) return;
      if (this.#appendsUnderWay === 0) return this.#sendAll(ready.messagesAfterAppend);
      this.#afterAppend(this.#lastAppend, ready);
      return;
    }
    const done = this.#options.log.append(hardState, entries, ready.mustSync);
    if (entries.some((entry) => entry.kind === ENTRY_CONFIGURATION))
      this.usePeersOf(this.#raft.status().configuration);
    if (done === undefined && this.#appendsUnderWay === 0) this.#appended(ready);
    else this.#afterAppend(done ?? this.#lastAppend, ready);
  }

  #afterAppend(done: Promise<void>, ready: Ready): void {
    this.#appendsUnderWay++;
    // Chained on the one before: acknowledgements keep the order of the Readys.
    this.#lastAppend = Promise.all([this.#lastAppend, done]).then(
      () => {
        this.#appendsUnderWay--;
        if (this.#failed || this.#stopped) return;
        this.#guard(() => this.#appended(ready));
        this.scheduleIfNeeded();
      },
      (error) => this.fail(error),
    );
  }

  #appended(ready: Ready): void {
    const last = ready.entries.at(-1);
    if (last !== undefined) this.#raft.appended(ready.appendTerm, last.index);
    this.#sendAll(ready.messagesAfterAppend);
  }

  #sendAll(messages: readonly Message[]): void {
    for (const message of messages) this.#send(message);
  }

  #send(message: Message): void {
    this.#options.transport.send(message.to, [RAFT_PREFIX, ...encodeMessage(message)]);
  }

  /** The applier has moved on. */
  onApplied(index: number): void {
    this.#guard(() => this.#raft.applied(index));
    this.#options.reads.applied(index);
    this.scheduleIfNeeded();
  }

  /** The state machine takes over a snapshot's state. */
  readonly restore = (state: NodeState): void => {
    this.#options.restore(state);
    this.usePeersOf(this.#raft.status().configuration);
    this.schedule();
  };

  /** Points the transport at the members of a configuration. */
  usePeersOf(configuration: Configuration): void {
    const { transport } = this.#options;
    const present = new Set<NodeId>();
    for (const id of this.#strangers) {
      // Ids are given in order and once: this one was a member's, and is nobody's any more.
      if (id > configuration.lastId || configuration.members.some((member) => member.id === id)) continue;
      this.#strangers.delete(id);
      transport.removePeer(id);
    }
    for (const member of configuration.members) {
      if (member.id === this.#raft.id) continue;
      present.add(member.id);
      this.#strangers.delete(member.id);
      if (this.#knownPeers.get(member.id) === member.peerAddress) continue;
      this.#knownPeers.set(member.id, member.peerAddress);
      transport.setPeer(member.id, member.peerAddress);
    }
    for (const id of this.#knownPeers.keys()) if (!present.has(id)) this.#forgetLater(id);
  }

  /** Where this node is reached, as its configuration says; undefined when it is no member. */
  get ownAddress(): string | undefined {
    const { members } = this.#raft.status().configuration;
    return members.find(({ id }) => id === this.#raft.id)?.peerAddress;
  }

  /**
   * A peer says where it is. It may have joined, and even lead, by entries that this node, which was away, does not have: without an address to answer to, it would
   * never be sent them.
   */
  introduced(id: NodeId, address: string): void {
    // Where the configuration names the peer, it is believed.
    if (this.#stopped || id === this.#raft.id || this.#knownPeers.has(id)) return;
    if (!this.#strangers.has(id) && this.#strangers.size >= MAX_STRANGERS) return;
    this.#strangers.add(id);
    this.#options.transport.setPeer(id, address);
  }

  /** A removed member can be reached for a while: it has to be told. */
  #forgetLater(id: NodeId): void {
    const { timers, transport } = this.#options;
    timers.after(FORGET_PEER_MS, () => {
      const { members } = this.#raft.status().configuration;
      if (this.#stopped || members.some((member) => member.id === id) || !this.#knownPeers.delete(id)) return;
      transport.removePeer(id);
    });
  }

  #noticeRole(): void {
    if (this.#raft.role === this.#role && this.#raft.leader === this.#leader) return;
    this.#role = this.#raft.role;
    this.#leader = this.#raft.leader;
    this.#options.onRoleChange();
  }

  #guard(work: () => void): void {
    if (this.#failed) return;
    try {
      work();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Ends the replica: what is on disk is the only truth left, and only a restart may read it. */
  fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    const known = asStorageError(error);
    const failure =
      known instanceof KvError
        ? known
        : new KvError(
            'INTERNAL',
            `the node failed: ${error instanceof Error ? error.message : String(error)}`,
            { cause: error },
          );
    this.#options.onFailure(failure);
  }

  /** Nothing is started or reported any more. */
  halt(): void {
    this.#stopped = true;
    this.#failed = true;
  }

  /** Nothing is started any more; resolves when appends under way have ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#lastAppend;
  }
}
