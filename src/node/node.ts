/**
 * One node: opens its storage, joins Raft, transport, state machine and service together, drives time, and takes all of it down again.
 *
 * Invariants: several nodes live in one process (no module state); `stop` leaves no timer, handle or lock behind; after a failure of the disk or of
 * apply the node answers nothing any more and `onEnd` is told why.
 */
import type { Transport } from '../../transports/transport.ts';
import type { Config } from '../config.ts';
import { KvError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import type { Ports, TimerHandle } from '../ports.ts';
import { Raft } from '../raft/raft.ts';
import type { Configuration } from '../raft/types.ts';
import type { Disk } from '../storage/disk.ts';
import { FRAME_ANSWER, FRAME_RAFT, FRAME_REQUEST } from '../wire/peer_codec.ts';
import { Applier } from './applier.ts';
import { Conditions } from './conditions.ts';
import { answerPeer, Forwarding } from './forwarding.ts';
import { Health } from './health.ts';
import { followersNeedAfter, Housekeeping } from './housekeeping.ts';
import type { Identity } from './identity.ts';
import { KvService } from './kv_service.ts';
import { LeaderDuties } from './leader_duties.ts';
import { Membership } from './membership.ts';
import { encodeNodeState } from './node_state.ts';
import { PeerRpc } from './peer_rpc.ts';
import { Pins } from './pins.ts';
import { Proposals } from './proposals.ts';
import { ReadBarrier } from './read_barrier.ts';
import { Replica } from './replica.ts';
import { openStorage, type ReplicaStorage } from './replica_storage.ts';
import { Snapshots } from './snapshots.ts';
import { Watches } from './watches.ts';

const SWEEP_MS = 100;
const DUTIES_MS = 200;
const HOUSEKEEPING_MS = 1_000;
const HAND_OVER_MS = 1_500;
/** What an entry has besides its commands, generously. */
const ENTRY_OVERHEAD_BYTES = 64 * 1024;

export interface NodeOptions {
  readonly path: string;
  readonly config: Config;
  readonly ports: Ports;
  readonly disk: Disk;
  readonly logger: Logger;
  readonly version: string;
  readonly pid: number;
  readonly rssBytes: () => number;
  /** Who to be when the directory is new. */
  readonly create: () => Promise<Identity>;
  /** Made once the node knows who it is. */
  readonly transport: (identity: Identity) => Transport;
  /** Where clients reach this node, for statuses. */
  readonly endpoints: readonly string[];
  readonly batching: 'turn' | 'io';
  /** The node has ended by itself: a failure, or it was removed from the cluster (no error). */
  readonly onEnd: (error: KvError | undefined) => void;
}

export class KvorumNode {
  readonly #options: NodeOptions;
  readonly #storage: ReplicaStorage;
  readonly #transport: Transport;
  readonly #raft: Raft;
  readonly #proposals: Proposals;
  readonly #applier: Applier;
  readonly #reads: ReadBarrier;
  readonly #conditions = new Conditions();
  readonly #snapshots: Snapshots;
  readonly #replica: Replica;
  readonly #rpc: PeerRpc;
  readonly #forwarding: Forwarding;
  readonly #membership: Membership;
  readonly #watches: Watches;
  readonly #housekeeping: Housekeeping;
  readonly #duties: LeaderDuties;
  readonly #timers: TimerHandle[] = [];
  readonly #health: Health;
  #closed = false;
  /** How often time has passed without a tick for longer than an election takes: the process was stopped, or very busy. */
  #sleeps = 0;
  #stopping: Promise<void> | undefined;
  readonly service: KvService;

  /** Opens the data directory and starts to run. @throws KvError when the directory can't be opened or an address is taken. */
  static async start(options: NodeOptions): Promise<KvorumNode> {
    const storage = await openStorage(options);
    let node: KvorumNode | undefined;
    try {
      node = new KvorumNode(options, storage);
      await node.#start();
    } catch (error) {
      if (node !== undefined) {
        node.#closed = true;
        node.#abandonCallers();
        await node.#transport.close();
      }
      await storage.close();
      throw error;
    }
    return node;
  }

  private constructor(options: NodeOptions, storage: ReplicaStorage) {
    this.#options = options;
    this.#storage = storage;
    const { config, ports, logger } = options;
    const { engine, log, stateMachine, identity } = storage;
    const nowMs = (): number => ports.clock.monotonicMs();
    const tickMs = config.raft.tickMs;
    const fail = (error: unknown): void => this.#replica.fail(error);
    engine.onFailure = fail;
    log.onFailure = fail;

    this.#transport = options.transport(identity);
    this.#snapshots = new Snapshots({
      store: storage.snapshots,
      engine,
      log,
      timers: ports.timers,
      onInstalled: (index) => {
        this.#proposals.skippedTo(index);
        this.#replica.usePeersOf(this.#raft.status().configuration);
      },
      onFailure: fail,
      info: (message, facts) => logger.info(message, facts),
    });
    this.#raft = new Raft({
      id: identity.nodeId,
      log,
      snapshots: this.#snapshots,
      hardState: log.hardState,
      configuration: storage.appliedConfiguration,
      applied: storage.appliedIndex,
      electionTicks: config.raft.electionTicks,
      heartbeatTicks: config.raft.heartbeatTicks,
      maxAppendBytes: config.raft.maxAppendBytes,
      maxInflightBytes: config.raft.maxInflightBytes,
      maxUncommittedBytes: config.raft.maxUncommittedBytes,
      snapshotChunkBytes: config.raft.snapshotChunkBytes,
      random: () => ports.random.next(),
    });
    this.#health = new Health({
      ...options,
      storage,
      raft: this.#raft,
      appliedIndex: () => this.#applier.appliedIndex,
      nowMs,
    });
    const largestEntry = Math.max(config.raft.maxAppendBytes, config.limits.maxCommandBytes);
    this.#proposals = new Proposals({
      maxEntryBytes: config.raft.maxAppendBytes,
      maxPendingBytes: config.node.maxPendingBytes,
      propose: (entries) => this.#raft.propose(entries),
      hasRoom: (bytes) => this.#health.hasRoom(bytes),
      held: (bytes) =>
        engine.behind ||
        (!log.diskFull && !log.hasRoom(Math.min(bytes, largestEntry) + ENTRY_OVERHEAD_BYTES)),
    });
    this.#applier = new Applier({
      engine,
      stateMachine,
      proposals: this.#proposals,
      clock: ports.clock,
      timers: ports.timers,
      appliedIndex: storage.appliedIndex,
      appliedTerm: storage.appliedTerm,
      appliedConfiguration: storage.appliedConfiguration,
      captureState: (configuration) => encodeNodeState({ configuration, kv: stateMachine.captureState() }),
      onApplied: (index) => {
        this.#replica.onApplied(index);
        this.#conditions.check();
      },
      onConfiguration: (configuration, before) => this.#configurationApplied(configuration, before),
      onFailure: fail,
    });
    this.#reads = new ReadBarrier({
      readIndex: (context) => this.#raft.readIndex(context),
      nowMs,
      timeoutMs: config.node.requestTimeoutMs,
      retryMs: config.raft.electionTicks * tickMs,
    });
    this.#replica = new Replica({
      raft: this.#raft,
      log,
      engine,
      transport: this.#transport,
      applier: this.#applier,
      proposals: this.#proposals,
      reads: this.#reads,
      snapshots: this.#snapshots,
      clock: ports.clock,
      timers: ports.timers,
      batching: options.batching,
      restore: (state) => {
        this.#watches.beforeRestore();
        stateMachine.restore(state.kv);
      },
      onRoleChange: () => this.#roleChanged(),
      onFailure: (error) => this.#failed(error),
    });
    this.#rpc = new PeerRpc(this.#transport, nowMs, (operation, body, timeoutMs) =>
      answerPeer(this.service, () => this.#raft.role === 'leader', operation, body, timeoutMs),
    );
    const schedule = (): void => this.#replica.schedule();
    this.#membership = new Membership({
      raft: this.#raft,
      applier: this.#applier,
      conditions: this.#conditions,
      clock: ports.clock,
      clusterId: identity.clusterId,
      schedule,
    });
    this.#watches = new Watches({
      engine,
      stateMachine,
      config: config.node,
      timers: ports.timers,
      replaced: () => this.#snapshots.replaced,
      onFailure: fail,
    });
    const pins = new Pins(nowMs);
    this.#housekeeping = new Housekeeping({
      engine,
      log,
      applier: this.#applier,
      config: config.storage,
      followersNeedAfter: () => followersNeedAfter(this.#raft, this.#snapshots.latest()?.index ?? 0),
      onFailure: (error) => this.#housekeepingFailed(error),
    });
    this.#duties = new LeaderDuties({
      engine,
      stateMachine,
      clock: ports.clock,
      historyRevisions: config.node.historyRevisions,
      lowestPin: () => Math.min(pins.lowest(), this.#watches.lowestNeeded()),
      propose: (command) => this.#replica.propose(command, nowMs() + config.node.requestTimeoutMs),
      warn: (message, error) => logger.warn(message, { error }),
    });
    this.#forwarding = new Forwarding({
      rpc: this.#rpc,
      raft: this.#raft,
      conditions: this.#conditions,
      clock: ports.clock,
    });
    this.service = new KvService({
      config,
      raft: this.#raft,
      replica: this.#replica,
      applier: this.#applier,
      engine,
      stateMachine,
      reads: this.#reads,
      conditions: this.#conditions,
      forwarding: this.#forwarding,
      membership: this.#membership,
      watches: this.#watches,
      pins,
      clock: ports.clock,
      replaced: () => this.#snapshots.replaced,
      sleeps: () => this.#sleeps,
      status: () => this.#health.status(),
      checkOpen: () => this.#checkOpen(),
      onRemoved: () => this.#removed(),
    });
  }

  get identity(): Identity {
    return this.#storage.identity;
  }

  async #start(): Promise<void> {
    const { ports, config, logger } = this.#options;
    await this.#transport.start({
      frame: ({ from, payload }) => this.#onFrame(from, payload),
      wasRemoved: (peer) => {
        const { members, lastId } = this.#applier.appliedConfiguration;
        // Ids are never used again: one that was given and belongs to nobody is a removed member's.
        return peer <= lastId && !members.some((member) => member.id === peer);
      },
      removed: () => this.#removed(),
      disconnected: (peer, reason) => {
        logger.debug('lost the connection to a peer', { peer, reason });
        this.#rpc.disconnected(peer);
        this.#raft.peerUnreachable(peer);
        this.#replica.schedule();
      },
    });
    const { voters } = this.#storage.appliedConfiguration;
    if (voters.length === 1 && voters[0] === this.identity.nodeId) this.#raft.campaign();
    const { timers } = ports;
    this.#timers.push(
      timers.every(config.raft.tickMs, () => {
        if (this.#replica.sinceTickMs > config.raft.tickMs * config.raft.electionTicks) this.#sleeps++;
        this.#replica.tick();
      }),
      timers.every(SWEEP_MS, () => this.#sweep()),
      timers.every(DUTIES_MS, () => {
        if (this.#raft.role === 'leader' && !this.#replica.failed) this.#duties.run();
      }),
      timers.every(HOUSEKEEPING_MS, () => {
        if (!this.#replica.failed && !this.#snapshots.installing) this.#housekeeping.run();
      }),
    );
    this.#replica.schedule();
  }

  /** Resolves when this node knows a leader. @throws KvError NO_LEADER at the time-out. */
  whenLed(timeoutMs: number): Promise<void> {
    const deadlineMs = this.#options.ports.clock.monotonicMs() + timeoutMs;
    const late = (): KvError => new KvError('NO_LEADER', `no leader after ${timeoutMs} ms`);
    return this.#conditions.until(() => this.#raft.leader !== 0, deadlineMs, late);
  }

  /** Resolves when everything that is known to be committed has been applied, the leader's own first entry included. */
  whenApplied(timeoutMs: number): Promise<void> {
    const deadlineMs = this.#options.ports.clock.monotonicMs() + timeoutMs;
    const late = (): KvError => new KvError('TIMEOUT', `the log was not replayed within ${timeoutMs} ms`);
    return this.#conditions.until(() => this.#applier.appliedTerm === this.#raft.term, deadlineMs, late);
  }

  #onFrame(from: number, payload: Uint8Array): void {
    if (this.#closed) return;
    try {
      switch (payload[0]) {
        case FRAME_RAFT:
          return this.#replica.onMessage(from, payload.subarray(1));
        case FRAME_REQUEST:
          return this.#rpc.onRequest(from, payload);
        case FRAME_ANSWER:
          return this.#rpc.onAnswer(from, payload);
        default:
          throw new KvError('PROTOCOL', `unknown kind of frame ${payload[0]}`);
      }
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      this.#options.logger.warn('dropped a frame from a peer', { peer: from, error });
    }
  }

  #sweep(): void {
    const nowMs = this.#options.ports.clock.monotonicMs();
    this.#proposals.sweep(nowMs);
    this.#reads.sweep();
    this.#rpc.sweep();
    this.#conditions.sweep(nowMs);
    this.#replica.schedule();
  }

  #roleChanged(): void {
    const { role, leader, term } = this.#raft;
    this.#options.logger.info('role', { role, leader, term });
    if (role !== 'leader') this.#proposals.refuseQueued(this.service.notLeader());
    this.#conditions.check();
  }

  #housekeepingFailed(error: unknown): void {
    if (error instanceof KvError && error.code === 'NO_SPACE') {
      this.#options.logger.warn('no room for a checkpoint; trying again', { error });
    } else this.#replica.fail(error);
  }

  #checkOpen(): void {
    if (this.#closed) throw new KvError('UNAVAILABLE', 'the node is stopping');
    if (this.#health.state === 'REMOVED')
      throw new KvError('UNAVAILABLE', 'this node was removed from the cluster');
    if (this.#replica.failed) throw new KvError('UNAVAILABLE', `the node has failed: ${this.#health.state}`);
  }

  #failed(error: KvError): void {
    // What is cut short by stopping is no failure.
    if (this.#closed) return;
    this.#health.state = error.code;
    this.#options.logger.error('the node has failed and takes no more calls', { error });
    this.#abandonCallers();
    this.#options.onEnd(error);
  }

  #configurationApplied(configuration: Configuration, before: Configuration): void {
    // A node that joined knows of members, itself among them, that the entries which it replays do not have yet: ids above lastId are still to come.
    const gone = before.members.filter(
      ({ id }) => id <= configuration.lastId && !configuration.members.some((member) => member.id === id),
    );
    for (const { id } of gone) {
      if (id === this.identity.nodeId) this.#removed();
      else {
        this.#forwarding.farewell(id).catch((error) => {
          this.#options.logger.info('a removed node could not be told', { node: id, error });
        });
      }
    }
  }

  #removed(): void {
    if (this.#health.state === 'REMOVED') return;
    this.#health.state = 'REMOVED';
    this.#options.logger.info('this node was removed from the cluster');
    // After whoever waits for the removal itself has had its answer. The others need not wait for their deadlines.
    this.#options.ports.timers.afterIo(() => {
      this.#abandonCallers();
      this.#options.onEnd(undefined);
    });
  }

  #abandonCallers(): void {
    this.#proposals.close();
    this.#reads.close();
    this.#rpc.close();
    this.#conditions.close();
    this.#watches.close();
  }

  /** Stops at once, as a power loss would: nothing is handed over, finished, written or closed. For simulated crashes. */
  halt(): void {
    this.#closed = true;
    for (const timer of this.#timers.splice(0)) timer.cancel();
    this.#snapshots.close();
    this.#replica.halt();
    this.#abandonCallers();
    void this.#transport.close();
  }

  /** Hands leadership over, finishes what is under way, and closes everything. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    if (!this.#replica.failed) await this.#handOver();
    this.#closed = true;
    for (const timer of this.#timers.splice(0)) timer.cancel();
    this.#snapshots.close();
    this.#abandonCallers();
    await this.#transport.close();
    await this.#replica.stop();
    await this.#applier.pause();
    // Checkpoints and snapshots under way end with CLOSED: waited for before, they might wait for room on a full disk.
    await this.#storage.close();
    await this.#housekeeping.idle();
  }

  async #handOver(): Promise<void> {
    const { clock } = this.#options.ports;
    const deadlineMs = clock.monotonicMs() + HAND_OVER_MS;
    if (this.#raft.role === 'leader' && this.#applier.appliedConfiguration.voters.length > 1) {
      try {
        await this.#membership.moveLeader(0, deadlineMs);
      } catch (error) {
        this.#options.logger.warn('leadership was not handed over', { error });
      }
    }
    if (!this.#proposals.pending) return;
    try {
      await this.#conditions.until(
        () => !this.#proposals.pending,
        deadlineMs,
        () => new KvError('TIMEOUT', 'writes were still under way'),
      );
    } catch (error) {
      this.#options.logger.warn('stopping with writes under way', { error });
    }
  }
}
