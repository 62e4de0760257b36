/** How a node is: what its status tells, and whether its disk takes writes. */
import type { Logger } from '../observability/logger.ts';
import type { RaftCore } from '../raft/types.ts';
import type { EngineStats } from '../storage/engine_port.ts';
import type { NodeStatus } from '../wire/messages.ts';
import type { ReplicaStorage } from './replica_storage.ts';

export interface HealthOptions {
  readonly storage: ReplicaStorage;
  readonly raft: RaftCore;
  readonly appliedIndex: () => number;
  readonly nowMs: () => number;
  readonly logger: Logger;
  readonly version: string;
  readonly pid: number;
  readonly rssBytes: () => number;
  readonly endpoints: readonly string[];
}

export class Health {
  readonly #options: HealthOptions;
  readonly #startedMs: number;
  /** 'ok', or the code of what keeps the node from taking writes. */
  state = 'ok';
  #onReserve = false;

  constructor(options: HealthOptions) {
    this.#options = options;
    this.#startedMs = options.nowMs();
  }

  /** Part of what was flushed is damaged, or is whole again. */
  damaged(is: boolean): void {
    if (is) this.state = 'CORRUPT';
    else if (this.state === 'CORRUPT') this.state = 'ok';
  }

  /** Whether the log takes so many bytes, and memtables can be flushed; notes and logs when a full disk begins and ends. */
  hasRoom(bytes: number): boolean {
    const { storage } = this.#options;
    const room = storage.log.hasRoom(bytes) && !storage.engine.noSpace;
    this.#notice(room && !this.#onReserve);
    return room;
  }

  /** The reserve for a full disk is in use, or is no longer (ballast.ts). */
  reserveReleased(released: boolean): void {
    this.#onReserve = released;
    if (released) this.#notice(false);
    else this.hasRoom(0);
  }

  #notice(room: boolean): void {
    const { logger } = this.#options;
    if (room !== (this.state === 'NO_SPACE') || this.state === 'CORRUPT') return;
    this.state = room ? 'ok' : 'NO_SPACE';
    if (room) logger.info('there is room on the disk again: writes go on');
    else
      logger.error(
        'the disk is full: no writes until there is room, but for deletes where a reserve is left',
      );
  }

  /** Bytes of the tree, the memtables and the log. */
  get dataBytes(): number {
    const { engine, log } = this.#options.storage;
    const { tree, memtableBytes } = engine.stats();
    return tree.sizeBytes + memtableBytes + log.sizeBytes();
  }

  status(): NodeStatus {
    const { storage, raft, appliedIndex, nowMs, version, pid, rssBytes, endpoints } = this.#options;
    const { stateMachine, engine, identity, log } = storage;
    const { learners } = raft.status().configuration;
    const stats = engine.stats();
    const { tree, memtableBytes } = stats;
    return {
      id: identity.nodeId,
      clusterId: identity.clusterId,
      role: learners.includes(identity.nodeId) ? 'learner' : raft.role,
      pid,
      term: raft.term,
      leader: raft.leader,
      commitIndex: raft.commitIndex,
      appliedIndex: appliedIndex(),
      revision: stateMachine.revision,
      compactRevision: stateMachine.compactRevision,
      version,
      uptimeMs: Math.round(nowMs() - this.#startedMs),
      rssBytes: rssBytes(),
      dataBytes: tree.sizeBytes + memtableBytes + log.sizeBytes(),
      health: this.state,
      alarms: stateMachine.alarms.list,
      endpoints,
      metrics: storageMetrics(stats),
    };
  }
}

function storageMetrics({
  memtableBytes,
  frozenMemtables,
  writeLimitBytesPerSecond,
  tree,
}: EngineStats): Record<string, number> {
  const metrics: Record<string, number> = {
    storage_memtable_bytes: memtableBytes,
    storage_frozen_memtables: frozenMemtables,
    storage_tree_records: tree.recordCount,
    storage_tree_bytes: tree.sizeBytes,
  };
  if (Number.isFinite(writeLimitBytesPerSecond))
    metrics['storage_write_limit_bytes_per_second'] = writeLimitBytesPerSecond;
  for (const [name, value] of Object.entries(tree.metrics ?? {})) metrics[`storage_${name}`] = value;
  return metrics;
}
