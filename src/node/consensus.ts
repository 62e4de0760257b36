/**
 * The replicating half of a node, put together: Raft, the ready loop, what feeds it and what it feeds.
 *
 * The parts are built in the order in which they depend on each other; what closes a circle is a function that is first called when all of them are there.
 */
import type { Transport } from '../../transports/transport.ts';
import type { KvError } from '../errors.ts';
import { Raft } from '../raft/raft.ts';
import type { Configuration } from '../raft/types.ts';
import { Applier } from './applier.ts';
import { Conditions } from './conditions.ts';
import { Health } from './health.ts';
import type { NodeOptions } from './node_options.ts';
import { encodeNodeState } from './node_state.ts';
import { Proposals } from './proposals.ts';
import { ReadBarrier } from './read_barrier.ts';
import { Replica } from './replica.ts';
import type { ReplicaStorage } from './replica_storage.ts';
import { Snapshots } from './snapshots.ts';
import { StoreClock } from './store_clock.ts';

/** What an entry has besides its commands, generously. */
const ENTRY_OVERHEAD_BYTES = 64 * 1024;

/** What the node is told. */
export interface ConsensusHooks {
  readonly configurationApplied: (configuration: Configuration, before: Configuration) => void;
  readonly roleChanged: () => void;
  /** The state machine is about to take over a snapshot. */
  readonly beforeRestore: () => void;
  readonly failed: (error: KvError) => void;
  /** Damaged data was met; `stuck`: by the entry after the applied index, which cannot be applied. */
  readonly damaged: (error: unknown, stuck: boolean) => void;
  /** False while damage keeps the state from being whole (repair.ts). */
  readonly isWhole: () => boolean;
}

export class Consensus {
  readonly transport: Transport;
  readonly raft: Raft;
  readonly health: Health;
  readonly proposals: Proposals;
  readonly applier: Applier;
  readonly reads: ReadBarrier;
  readonly conditions: Conditions = new Conditions();
  readonly snapshots: Snapshots;
  readonly replica: Replica;
  readonly storeClock: StoreClock;

  constructor(options: NodeOptions, storage: ReplicaStorage, hooks: ConsensusHooks) {
    const { config, ports, logger } = options;
    const { engine, log, stateMachine, identity } = storage;
    const nowMs = (): number => ports.clock.monotonicMs();
    const tickMs = config.raft.tickMs;
    const fail = (error: unknown): void => this.replica.fail(error);
    engine.onFailure = fail;
    engine.onDamage = (error) => hooks.damaged(error, false);
    log.onFailure = fail;

    this.transport = options.transport(identity);
    this.snapshots = new Snapshots({
      store: storage.snapshots,
      engine,
      log,
      timers: ports.timers,
      onInstalled: (index) => {
        this.proposals.skippedTo(index);
        this.replica.usePeersOf(this.raft.status().configuration);
      },
      onFailure: fail,
      onDamage: (error) => hooks.damaged(error, false),
      isWhole: hooks.isWhole,
      info: (message, facts) => logger.info(message, facts),
      warn: (message, error) => logger.warn(message, { error }),
    });
    this.raft = new Raft({
      id: identity.nodeId,
      log,
      snapshots: this.snapshots,
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
    this.health = new Health({
      ...options,
      storage,
      raft: this.raft,
      appliedIndex: () => this.applier.appliedIndex,
      nowMs,
    });
    const largestEntry = Math.max(config.raft.maxAppendBytes, config.limits.maxCommandBytes);
    this.proposals = new Proposals({
      maxEntryBytes: config.raft.maxAppendBytes,
      maxPendingBytes: config.node.maxPendingBytes,
      propose: (entries) => this.raft.propose(entries),
      hasRoom: (bytes) => this.health.hasRoom(bytes),
      held: (bytes) =>
        // On a full disk they are refused instead.
        (engine.behind && !engine.noSpace) ||
        (!log.diskFull && !log.hasRoom(Math.min(bytes, largestEntry) + ENTRY_OVERHEAD_BYTES)),
    });
    this.applier = new Applier({
      engine,
      stateMachine,
      proposals: this.proposals,
      clock: ports.clock,
      timers: ports.timers,
      appliedIndex: storage.appliedIndex,
      appliedTerm: storage.appliedTerm,
      appliedConfiguration: storage.appliedConfiguration,
      captureState: (configuration) => encodeNodeState({ configuration, kv: stateMachine.captureState() }),
      onApplied: (index) => {
        this.replica.onApplied(index);
        this.conditions.check();
      },
      onConfiguration: hooks.configurationApplied,
      onFailure: fail,
      onDamage: (error) => hooks.damaged(error, true),
    });
    this.reads = new ReadBarrier({
      readIndex: (context) => this.raft.readIndex(context),
      nowMs,
      timeoutMs: config.node.requestTimeoutMs,
      retryMs: config.raft.electionTicks * tickMs,
    });
    this.storeClock = new StoreClock(ports.clock, () => stateMachine.timeMs);
    this.replica = new Replica({
      raft: this.raft,
      log,
      engine,
      transport: this.transport,
      applier: this.applier,
      proposals: this.proposals,
      reads: this.reads,
      snapshots: this.snapshots,
      clock: ports.clock,
      storeClock: this.storeClock,
      timers: ports.timers,
      batching: options.batching,
      restore: (state) => {
        hooks.beforeRestore();
        stateMachine.restore(state.kv);
      },
      onRoleChange: hooks.roleChanged,
      onFailure: hooks.failed,
    });
  }
}
