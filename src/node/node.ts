/**
 * One node: opens its storage, joins the replicating half (consensus.ts) and the answering half together, drives time, and takes all of it down again.
 *
 * Invariants: several nodes live in one process (no module state); `stop` leaves no timer, handle or lock behind; after a failure of the disk or of
 * apply the node answers nothing any more and `onEnd` is told why.
 */
import { isDamage, KvError } from '../errors.ts';
import type { TimerHandle } from '../ports.ts';
import type { Configuration } from '../raft/types.ts';
import type { Ballast } from './ballast.ts';
import { Consensus } from './consensus.ts';
import { answerPeer, Forwarding } from './forwarding.ts';
import { handOver } from './hand_over.ts';
import { FollowerNeeds, Housekeeping } from './housekeeping.ts';
import type { Identity } from './identity.ts';
import { keepState } from './keep_state.ts';
import { KeptState } from './kept_state.ts';
import { KvService } from './kv_service.ts';
import { LeaderDuties } from './leader_duties.ts';
import { LoneWriter } from './lone_writer.ts';
import { Membership } from './membership.ts';
import type { NodeOptions } from './node_options.ts';
import { PeerFrames } from './peer_frames.ts';
import { PeerRpc } from './peer_rpc.ts';
import { Pins } from './pins.ts';
import { Repair } from './repair.ts';
import { openStorage, type ReplicaStorage } from './replica_storage.ts';
import { TimeTelling } from './time_telling.ts';
import type { UpkeepDuties } from './upkeep_duties.ts';
import { makeBallast, makeUpkeep } from './upkeep_parts.ts';
import { Watches } from './watches.ts';

const SWEEP_MS = 100;
const DUTIES_MS = 200;
const HOUSEKEEPING_MS = 1_000;
const HAND_OVER_MS = 1_500;
const REMOVED_LINGER_MS = 250;

export interface NodeParts {
  readonly storage: ReplicaStorage;
  readonly consensus: Consensus;
  readonly watches: Watches;
}

export class KvorumNode {
  readonly #options: NodeOptions;
  readonly #storage: ReplicaStorage;
  readonly #consensus: Consensus;
  readonly #rpc: PeerRpc;
  readonly #frames: PeerFrames;
  readonly #forwarding: Forwarding;
  readonly #membership: Membership;
  readonly #watches: Watches;
  readonly #housekeeping: Housekeeping;
  readonly #ballast: Ballast;
  readonly #repair: Repair;
  readonly #duties: LeaderDuties;
  readonly #time: TimeTelling;
  readonly #upkeepDuties: UpkeepDuties;
  readonly #timers: TimerHandle[] = [];
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
        await node.#consensus.transport.close();
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
    const fail = (error: unknown): void => this.#consensus.replica.fail(error);
    this.#consensus = new Consensus(options, storage, {
      configurationApplied: (configuration, before) => this.#configurationApplied(configuration, before),
      roleChanged: () => this.#roleChanged(),
      beforeRestore: () => this.#watches.beforeRestore(),
      failed: (error) => this.#failed(error),
      damaged: (error, stuck) => this.#repair.noticed(error, stuck),
      isWhole: () => this.#repair.blocked === undefined,
    });
    const consensus = this.#consensus;
    const replaced = (): Promise<void> | undefined => this.#repair.blocked ?? consensus.snapshots.replaced;
    const alone = (): boolean => consensus.raft.status().configuration.members.length <= 1;
    this.#rpc = new PeerRpc(consensus.transport, nowMs, ports.random, (operation, body, timeoutMs) =>
      answerPeer(this.service, () => consensus.raft.role === 'leader', operation, body, timeoutMs),
    );
    this.#membership = new Membership({
      raft: consensus.raft,
      applier: consensus.applier,
      conditions: consensus.conditions,
      clock: ports.clock,
      clusterId: identity.clusterId,
      schedule: () => consensus.replica.schedule(),
    });
    this.#watches = new Watches({
      engine,
      stateMachine,
      config: config.node,
      timers: ports.timers,
      replaced,
      alone,
      onFailure: fail,
    });
    this.#repair = new Repair({
      raft: consensus.raft,
      log,
      applier: consensus.applier,
      snapshots: consensus.snapshots,
      store: storage.snapshots,
      rpc: this.#rpc,
      timers: ports.timers,
      logger,
      stepAside: async () => {
        await this.#membership.moveLeader(0, nowMs() + HAND_OVER_MS);
      },
      restore: consensus.replica.restore,
      onState: (damaged) => consensus.health.damaged(damaged),
      onFailure: fail,
    });
    if (storage.lost !== undefined) {
      this.#repair.lost();
      void consensus.applier.pause();
    }
    const pins = new Pins(nowMs);
    const kept = new KeptState(options.disk, options.path);
    const needs = new FollowerNeeds();
    this.#ballast = makeBallast(options, storage, consensus);
    this.#housekeeping = new Housekeeping({
      engine,
      log,
      applier: consensus.applier,
      config: config.storage,
      isShortOfRoom: () => this.#ballast.released,
      followersNeedAfter: () => needs.lowest(consensus.raft, consensus.snapshots.latest()?.index ?? 0),
      beforeCut: (index, applied) => keepState(kept, consensus.applier.appliedConfiguration, index, applied),
      onFailure: (error) => this.#housekeepingFailed(error),
    });
    this.#duties = new LeaderDuties({
      engine,
      stateMachine,
      clock: ports.clock,
      storeClock: consensus.storeClock,
      leaseGraceMs: config.raft.electionTicks * config.raft.tickMs,
      history: config.node,
      alone,
      isShortOfRoom: () => this.#ballast.released,
      lowestPin: () => Math.min(pins.lowest(), this.#watches.lowestNeeded()),
      propose: (command) => consensus.replica.propose(command, nowMs() + config.node.requestTimeoutMs),
      warn: (message, error) => logger.warn(message, { error }),
    });
    this.#time = new TimeTelling(consensus.raft, consensus.transport, consensus.storeClock);
    this.#frames = new PeerFrames({ ...consensus, rpc: this.#rpc, time: this.#time, logger });
    this.#forwarding = new Forwarding({ ...consensus, rpc: this.#rpc, clock: ports.clock });
    const { upkeep, upkeepDuties } = makeUpkeep(options, storage, consensus, {
      rpc: this.#rpc,
      forwarding: this.#forwarding,
      pins,
      replaced,
      checkOpen: () => this.#checkOpen(),
      write: (command, callOptions) => this.service.write(command, callOptions),
      isShortOfRoom: () => this.#ballast.released,
    });
    this.#upkeepDuties = upkeepDuties;
    this.service = new KvService({
      config,
      raft: consensus.raft,
      replica: consensus.replica,
      applier: consensus.applier,
      loneWriter: new LoneWriter({ ...consensus, ...storage, clock: ports.clock }),
      engine,
      stateMachine,
      reads: consensus.reads,
      conditions: consensus.conditions,
      forwarding: this.#forwarding,
      membership: this.#membership,
      watches: this.#watches,
      pins,
      ports,
      storeClock: consensus.storeClock,
      passwords: options.passwords,
      replaced,
      upkeep,
      sleeps: () => this.#sleeps,
      status: () => consensus.health.status(),
      checkOpen: () => this.#checkOpen(),
      onlyMakesRoom: () => this.#ballast.released,
      onRemoved: () => this.#removed(),
      answerRepair: (operation, body) => this.#repair.answer(operation, body),
    });
  }

  get identity(): Identity {
    return this.#storage.identity;
  }

  /** What the node is made of, for the checks of the simulator (src/sim/invariants/): to be looked at between two turns, never to be changed or called into action. */
  get parts(): NodeParts {
    return { storage: this.#storage, consensus: this.#consensus, watches: this.#watches };
  }

  async #start(): Promise<void> {
    const { ports, config, logger } = this.#options;
    await this.#consensus.transport.start({
      frame: ({ from, payload }) => {
        if (!this.#closed) this.#frames.received(from, payload);
      },
      wasRemoved: (peer) => this.#frames.wasRemoved(peer),
      removed: () => this.#removed(),
      connected: (peer) => this.#frames.introduce(peer),
      disconnected: (peer, reason) => {
        logger.debug('lost the connection to a peer', { peer, reason });
        this.#rpc.disconnected(peer);
        this.#consensus.raft.peerUnreachable(peer);
        this.#consensus.replica.schedule();
      },
    });
    if (this.#storage.lost !== undefined) this.#repair.noticed(this.#storage.lost, true);
    const { voters } = this.#storage.appliedConfiguration;
    if (voters.length === 1 && voters[0] === this.identity.nodeId) this.#consensus.raft.campaign();
    const { timers } = ports;
    this.#timers.push(
      timers.every(config.raft.tickMs, () => {
        if (this.#consensus.replica.sinceTickMs > config.raft.tickMs * config.raft.electionTicks)
          this.#sleeps++;
        this.#consensus.replica.tick();
      }),
      timers.every(SWEEP_MS, () => this.#sweep()),
      timers.every(DUTIES_MS, () => {
        if (this.#consensus.raft.role !== 'leader' || this.#consensus.replica.failed) return;
        this.#time.tellAll();
        this.#duties.run(this.#consensus.raft.term);
        this.#upkeepDuties.run();
      }),
      timers.every(HOUSEKEEPING_MS, () => {
        const { replica, snapshots } = this.#consensus;
        if (replica.failed) return;
        this.#ballast.run();
        // Nobody may be writing: it is asked for, too, when there is room again.
        if (this.#consensus.health.state === 'NO_SPACE') this.#consensus.health.hasRoom(0);
        if (!snapshots.installing && this.#repair.blocked === undefined) this.#housekeeping.run();
      }),
    );
    this.#consensus.replica.schedule();
  }

  /** Resolves when this node knows a leader. @throws KvError NO_LEADER at the time-out. */
  whenLed(timeoutMs: number): Promise<void> {
    const deadlineMs = this.#options.ports.clock.monotonicMs() + timeoutMs;
    const late = (): KvError => new KvError('NO_LEADER', `no leader after ${timeoutMs} ms`);
    return this.#consensus.conditions.until(() => this.#consensus.raft.leader !== 0, deadlineMs, late);
  }

  /** Resolves when everything that is known to be committed has been applied, the leader's own first entry included. */
  whenApplied(timeoutMs: number): Promise<void> {
    const deadlineMs = this.#options.ports.clock.monotonicMs() + timeoutMs;
    const late = (): KvError => new KvError('TIMEOUT', `the log was not replayed within ${timeoutMs} ms`);
    return this.#consensus.conditions.until(
      () => this.#consensus.applier.appliedTerm === this.#consensus.raft.term,
      deadlineMs,
      late,
    );
  }

  #sweep(): void {
    const nowMs = this.#options.ports.clock.monotonicMs();
    this.#consensus.proposals.sweep(nowMs);
    this.#consensus.reads.sweep();
    this.#rpc.sweep();
    this.#consensus.conditions.sweep(nowMs);
    this.#consensus.replica.scheduleIfNeeded();
  }

  #roleChanged(): void {
    const { role, leader, term } = this.#consensus.raft;
    this.#options.logger.info('role', { role, leader, term });
    if (role === 'leader') {
      this.#repair.leads();
      this.#time.tellAll();
    } else this.#consensus.proposals.refuseQueued(this.service.notLeader());
    this.#consensus.conditions.check();
  }

  #housekeepingFailed(error: unknown): void {
    if (error instanceof KvError && error.code === 'NO_SPACE') {
      this.#options.logger.warn('no room for a checkpoint; trying again', { error });
    } else if (isDamage(error)) this.#repair.noticed(error, false);
    else this.#consensus.replica.fail(error);
  }

  #checkOpen(): void {
    if (this.#closed) throw new KvError('UNAVAILABLE', 'the node is stopping');
    if (this.#consensus.health.state === 'REMOVED')
      throw new KvError('UNAVAILABLE', 'this node was removed from the cluster');
    if (this.#consensus.replica.failed)
      throw new KvError('UNAVAILABLE', `the node has failed: ${this.#consensus.health.state}`);
  }

  #failed(error: KvError): void {
    // What is cut short by stopping is no failure.
    if (this.#closed) return;
    this.#consensus.health.state = error.code;
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
          // It may have dialed before this node, started anew, had applied the removal: it has to dial again, to be refused and so told.
          this.#consensus.transport.removePeer(id);
        });
      }
    }
  }

  #removed(): void {
    if (this.#consensus.health.state === 'REMOVED') return;
    this.#consensus.health.state = 'REMOVED';
    this.#options.logger.info('this node was removed from the cluster');
    // Whoever waits for the removal itself gets an answer first, which may have to go through another node. The others need not wait for their deadlines.
    this.#options.ports.timers.after(REMOVED_LINGER_MS, () => {
      if (this.#closed) return;
      this.#abandonCallers();
      this.#options.onEnd(undefined);
    });
  }

  #abandonCallers(): void {
    this.#consensus.proposals.close();
    this.#consensus.reads.close();
    this.#rpc.close();
    this.#consensus.conditions.close();
    this.#watches.close();
  }

  /** Stops at once, as a power loss would: nothing is handed over, finished, written or closed. For simulated crashes. */
  halt(): void {
    this.#closed = true;
    for (const timer of this.#timers.splice(0)) timer.cancel();
    this.#consensus.snapshots.close();
    this.#repair.close();
    this.#consensus.replica.halt();
    this.#abandonCallers();
    void this.#consensus.transport.close();
  }

  /** Hands leadership over, finishes what is under way, and closes everything. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const { raft, replica, applier, proposals, conditions } = this.#consensus;
    if (!replica.failed) {
      await handOver({
        membership: this.#membership,
        conditions,
        deadlineMs: this.#options.ports.clock.monotonicMs() + HAND_OVER_MS,
        leads: raft.role === 'leader' && applier.appliedConfiguration.voters.length > 1,
        pending: () => proposals.pending,
        logger: this.#options.logger,
      });
    }
    this.#closed = true;
    for (const timer of this.#timers.splice(0)) timer.cancel();
    this.#consensus.snapshots.close();
    this.#repair.close();
    this.#abandonCallers();
    await this.#consensus.transport.close();
    await this.#ballast.idle();
    const ends = [this.#consensus.replica.stop(), this.#consensus.applier.pause()];
    // Appends, checkpoints and snapshots under way end with this: waited for before, they might wait for room on a full disk.
    await this.#storage.close();
    await Promise.all([...ends, this.#housekeeping.idle()]);
  }
}
