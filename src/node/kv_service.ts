/**
 * The service over one node: routes a call to where it can be answered (here, or the leader), with limits and time-outs.
 *
 * Writes go to the leader's log; linearizable reads are served here behind a read index; weaker reads are served here at once, or after a
 * condition. A node that does not lead forwards writes and membership calls, once: the leader never forwards on.
 */
import type {
  AuthService,
  CallOptions,
  LocalService,
  Service,
  SnapshotStream,
  Standing,
  WatchHandle,
  WatchSink,
} from '../api/service.ts';
import type { Config } from '../config.ts';
import { KvError } from '../errors.ts';
import type { Command, CommandResult } from '../kv/command.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import type { Ports } from '../ports.ts';
import type { Member, RaftCore } from '../raft/types.ts';
import { type Identity, THE_CLUSTER } from '../security/identity.ts';
import { type Passwords, ScryptPasswords } from '../security/passwords.ts';
import type { Engine } from '../storage/engine_port.ts';
import type { MaybePromise, StoredRecord } from '../storage/record.ts';
import { checkForwardedCommand } from '../wire/as_user.ts';
import { checkClientCommand, decodeCommand } from '../wire/command_codec.ts';
import type {
  GetRequest,
  GetResponse,
  MemberAddRequest,
  MemberAddResponse,
  MembersResponse,
  NodeStatus,
  ScanPageRequest,
  ScanPageResponse,
  WatchRequest,
} from '../wire/messages.ts';
import type { PeerOperation } from '../wire/peer_codec.ts';
import type { AlarmsResponse, ClusterHash, HashRequest, KeyHash } from '../wire/upkeep_messages.ts';
import type { Applier } from './applier.ts';
import { AuthDesk } from './auth_desk.ts';
import { AuthGate } from './auth_gate.ts';
import { AuthWatches } from './auth_watches.ts';
import { AuthWrites, whenFresh } from './auth_writes.ts';
import { assertMakesRoom } from './ballast.ts';
import type { Conditions } from './conditions.ts';
import type { Forwarding } from './forwarding.ts';
import { KeyReads } from './key_reads.ts';
import { LeaseDesk } from './lease_desk.ts';
import type { LoneWriter } from './lone_writer.ts';
import type { Membership } from './membership.ts';
import { MembershipCalls } from './membership_calls.ts';
import type { Pins } from './pins.ts';
import { QuotaDesk } from './quota_desk.ts';
import { RangeReads } from './range_reads.ts';
import type { ReadBarrier } from './read_barrier.ts';
import { checkReadable } from './readable.ts';
import type { Replica } from './replica.ts';
import type { StoreClock } from './store_clock.ts';
import type { Upkeep } from './upkeep_service.ts';
import type { Watches } from './watches.ts';

export interface KvServiceOptions {
  readonly config: Config;
  readonly raft: RaftCore;
  readonly replica: Replica;
  readonly applier: Applier;
  readonly loneWriter: LoneWriter;
  readonly engine: Engine;
  readonly stateMachine: StateMachine;
  readonly reads: ReadBarrier;
  readonly conditions: Conditions;
  readonly forwarding: Forwarding;
  readonly membership: Membership;
  readonly watches: Watches;
  readonly pins: Pins;
  readonly upkeep: Upkeep;
  readonly ports: Ports;
  readonly storeClock: StoreClock;
  /** Default: scrypt, on other threads. */
  readonly passwords: Passwords | undefined;
  /** While a snapshot is being put in place (snapshots.ts): a promise of its end. */
  readonly replaced: () => Promise<void> | undefined;
  /** Grows whenever this node slept for longer than an election timeout. */
  readonly sleeps: () => number;
  readonly status: () => NodeStatus;
  /** Throws when the node takes no calls (stopping, failed, removed). */
  readonly checkOpen: () => void;
  /** The disk is full: only writes that make room are taken (ballast.ts). */
  readonly onlyMakesRoom: () => boolean;
  readonly onRemoved: () => void;
  readonly answerRepair: (operation: PeerOperation, body: Uint8Array) => Promise<Uint8Array>;
}

export class KvService implements LocalService {
  readonly auth: AuthService;
  readonly leases: LeaseDesk;
  readonly #gate: AuthGate;
  readonly #authWrites: AuthWrites;
  readonly #authWatches: AuthWatches;
  readonly #members: MembershipCalls;
  readonly range: Service['range'];
  readonly #options: KvServiceOptions;
  readonly #reads: KeyReads;
  readonly quotas: QuotaDesk;
  readonly #requestTimeoutMs: number;
  #clusterId: string | undefined;
  /** Settles when the last write that waits for what it reads may be proposed; undefined: none waits. */
  #checked: Promise<unknown> | undefined;

  constructor(options: KvServiceOptions) {
    this.#options = options;
    this.#requestTimeoutMs = options.config.node.requestTimeoutMs;
    const { config, ports, passwords = new ScryptPasswords() } = options;
    const gate = new AuthGate(options.stateMachine.auth, ports.clock);
    const deadline = (call: CallOptions | undefined): number => this.#deadline(call);
    const { electionTicks, tickMs } = config.raft;
    const reads = new KeyReads({
      ...options,
      gate,
      electionTimeoutMs: electionTicks * tickMs,
      deadline,
    });
    const barrier = (): Promise<void> => reads.fresh();
    this.#gate = gate;
    this.#reads = reads;
    const desk = {
      ...options,
      gate,
      barrier,
      deadline,
    };
    this.#members = new MembershipCalls(desk);
    const ranges = new RangeReads(reads, options.stateMachine, ports, config.node);
    this.range = (request, call) => ranges.range(request, call);
    this.#authWatches = new AuthWatches(gate, ports.timers);
    this.#authWrites = new AuthWrites({
      gate,
      clock: ports.clock,
      barrier,
      submit: (encoded, decoded, timeoutMs) => this.#submit(encoded, decoded, { timeoutMs }),
    });
    this.leases = new LeaseDesk(desk);
    this.quotas = new QuotaDesk({
      ...options,
      gate,
      barrier: (call) => reads.fresh(call),
      write: (command, call) => this.write(command, call),
    });
    this.auth = new AuthDesk({
      ...ports,
      gate,
      passwords,
      limits: config.limits,
      tokenTtlMs: config.node.tokenTtlMs,
      barrier,
      write: async (command, change, call) =>
        this.#write(command, { type: 'authChange', change }, call, call.identity),
    });
  }

  write(command: Uint8Array, options?: CallOptions): Promise<CommandResult> {
    try {
      const decoded = decodeCommand(command);
      checkClientCommand(decoded, this.#options.config.limits, command.length);
      const result = this.#write(command, decoded, options, options?.identity);
      return result instanceof Promise ? result : Promise.resolve(result);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  writeAtOnce(
    command: Uint8Array,
    options?: CallOptions,
    decoded: Command = decodeCommand(command),
  ): MaybePromise<CommandResult> {
    checkClientCommand(decoded, this.#options.config.limits, command.length);
    return this.#write(command, decoded, options, options?.identity ?? THE_CLUSTER);
  }

  /** A command that was checked. */
  #write(
    command: Uint8Array,
    decoded: Command,
    options: CallOptions | undefined,
    identity: Identity | undefined,
  ): MaybePromise<CommandResult> {
    if (!this.#gate.auth.enabled || decoded.type === 'asUser') return this.#submit(command, decoded, options);
    this.#options.checkOpen();
    return this.#authWrites.write(command, decoded, identity, this.#deadline(options));
  }

  /** Into the log, here or on the leader. */
  #submit(
    command: Uint8Array,
    decoded: Command,
    options: CallOptions | undefined,
  ): MaybePromise<CommandResult> {
    const { raft, replica, forwarding, loneWriter, stateMachine, checkOpen } = this.#options;
    checkOpen();
    if (raft.role !== 'leader') return forwarding.write(command, this.#deadline(options));
    if (this.#options.onlyMakesRoom()) assertMakesRoom(decoded);
    const waits = this.#reads.servesAlone()
      ? checkReadable(this.#options.engine, stateMachine.reads(decoded), stateMachine.revision)
      : undefined;
    if (waits !== undefined || this.#checked !== undefined)
      return this.#proposeInTurn(command, waits, options);
    const result = loneWriter.write(command, decoded, this.#timeoutMs(options));
    return result ?? replica.propose(command, this.#deadline(options));
  }

  /** A write of a lone node waits until what it reads was found readable, and those after it wait with it: their order is that of the calls. */
  #proposeInTurn(
    command: Uint8Array,
    waits: Promise<void> | undefined,
    options: CallOptions | undefined,
  ): Promise<CommandResult> {
    const kept = new Uint8Array(command);
    const deadlineMs = this.#deadline(options);
    const turn = Promise.allSettled([waits, this.#checked]);
    this.#checked = turn;
    return turn.then(([own]) => {
      if (this.#checked === turn) this.#checked = undefined;
      if (own.status === 'rejected') throw own.reason;
      return this.#options.replica.propose(kept, deadlineMs);
    });
  }

  putAtOnce(
    key: Uint8Array | string,
    value: Uint8Array | string,
    ttlMs: number,
    options?: CallOptions,
  ): MaybePromise<CommandResult> | undefined {
    this.#options.checkOpen();
    // The ordinary way says why not.
    if (this.#options.onlyMakesRoom() || this.#gate.auth.enabled || this.#checked !== undefined)
      return undefined;
    return this.#options.loneWriter.put(key, value, ttlMs, this.#timeoutMs(options));
  }

  /** A write that another node has forwarded: not passed on again. */
  writeHere(command: Uint8Array, timeoutMs: number): Promise<CommandResult> {
    if (this.#options.raft.role !== 'leader') return Promise.reject(this.notLeader());
    try {
      const decoded = decodeCommand(command);
      checkForwardedCommand(decoded, this.#options.config.limits, command.length);
      return Promise.resolve(this.#submit(command, decoded, { timeoutMs }));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  get(request: GetRequest, options?: CallOptions): MaybePromise<GetResponse> {
    return this.#reads.get(request, options);
  }

  scan(request: ScanPageRequest, options?: CallOptions): MaybePromise<ScanPageResponse> {
    return this.#reads.scan(request, options);
  }

  readsAtOnce(): boolean {
    this.#options.checkOpen();
    return (
      this.#options.replaced() === undefined && this.#reads.servesAlone() && !this.#options.replica.owesTurn()
    );
  }

  latest(key: Uint8Array): MaybePromise<StoredRecord | undefined> {
    return this.#options.engine.get(key, this.#options.stateMachine.revision);
  }

  /** "From now on" begins with what this node applies next: nothing that is written after this call is missed. */
  async watch(request: WatchRequest, sink: WatchSink, options?: CallOptions): Promise<WatchHandle> {
    this.#options.checkOpen();
    const start = (one: WatchRequest, to: WatchSink): WatchHandle => this.#options.watches.start(one, to);
    const begin = (): WatchHandle => this.#authWatches.start(request, sink, options?.identity, start);
    if (!this.#gate.auth.enabled) return begin();
    return whenFresh(
      () => this.#reads.fresh(),
      () => this.#gate.checkKeys(options?.identity, request.start, request.end),
    ).then(begin);
  }

  status(): NodeStatus {
    return this.#options.status();
  }

  knownMembers(): readonly Member[] {
    return this.#options.raft.status().configuration.members;
  }

  standing(): Standing {
    const { raft, stateMachine, status } = this.#options;
    this.#clusterId ??= status().clusterId;
    return {
      nodeId: raft.id,
      clusterId: this.#clusterId,
      term: raft.term,
      leader: raft.leader,
      revision: stateMachine.revision,
    };
  }

  clusterStatus(options?: CallOptions): Promise<NodeStatus[]> {
    return this.#options.forwarding.clusterStatus(this.status(), this.#deadline(options));
  }

  members(options?: CallOptions): Promise<MembersResponse> {
    return this.#members.members(options);
  }

  memberAdd(request: MemberAddRequest, options?: CallOptions): Promise<MemberAddResponse> {
    return this.#members.add(request, options);
  }

  memberPromote(id: number, options?: CallOptions): Promise<MembersResponse> {
    return this.#members.promote(id, options);
  }

  memberUpdate(id: number, peerAddress: string, options?: CallOptions): Promise<MembersResponse> {
    return this.#members.update(id, peerAddress, options);
  }

  memberRemove(id: number, options?: CallOptions): Promise<MembersResponse> {
    return this.#members.remove(id, options);
  }

  moveLeader(to: number, options?: CallOptions): Promise<number> {
    return this.#members.moveLeader(to, options);
  }

  compact(...call: Parameters<Upkeep['compact']>): Promise<number> {
    return this.#options.upkeep.compact(...call);
  }

  async hash(request: HashRequest, options?: CallOptions): Promise<KeyHash> {
    this.#gate.checkRoot(options?.identity);
    return this.#options.upkeep.hash(request, options);
  }

  async clusterHash(options?: CallOptions): Promise<ClusterHash> {
    await this.#reads.fresh(options);
    this.#gate.checkRoot(options?.identity);
    return this.#options.upkeep.clusterHash(options);
  }

  async snapshot(options?: CallOptions): Promise<SnapshotStream> {
    this.#gate.checkRoot(options?.identity);
    return this.#options.upkeep.snapshot();
  }

  async alarms(options?: CallOptions): Promise<AlarmsResponse> {
    await this.#reads.fresh(options);
    return this.#options.upkeep.alarms();
  }

  changeAlarm(...call: Parameters<Upkeep['changeAlarm']>): Promise<AlarmsResponse> {
    return this.#options.upkeep.changeAlarm(...call);
  }

  answerHash(body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return this.#options.upkeep.answerHash(body, timeoutMs);
  }

  removed(): void {
    this.#options.onRemoved();
  }

  answerRepair(operation: PeerOperation, body: Uint8Array): Promise<Uint8Array> {
    return this.#options.answerRepair(operation, body);
  }

  notLeader(): KvError {
    const { raft } = this.#options;
    const leader = raft.status().configuration.members.find((member) => member.id === raft.leader);
    if (leader === undefined)
      return new KvError('NO_LEADER', 'the cluster has no leader at the moment; try again');
    const details = { leader: leader.id, leaderAddress: leader.clientAddress };
    return new KvError('NOT_LEADER', `node ${leader.id} at ${leader.clientAddress} leads`, { details });
  }

  #timeoutMs(options: CallOptions | undefined): number {
    return options?.timeoutMs ?? this.#requestTimeoutMs;
  }

  #deadline(options: CallOptions | undefined): number {
    return this.#options.ports.clock.monotonicMs() + this.#timeoutMs(options);
  }
}
