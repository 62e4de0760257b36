/**
 * Keeps the log short: asks the engine for a checkpoint when enough was applied since the last flush, and cuts what no restart and no
 * follower needs.
 *
 * Memtables are flushed when they are full; a checkpoint is for those that fill slowly while the log grows (removals, overwriting with little).
 *
 * Invariants: the log is never cut past what the tree holds durably; a follower that is being served from the log, or is loading a snapshot, keeps the
 * entries it needs next, unless that would hold more than MAX_FOLLOWER_LOG_BYTES.
 */
import type { StorageConfig } from '../config.ts';
import type { NodeId, RaftCore } from '../raft/types.ts';
import type { Engine } from '../storage/engine_port.ts';
import type { AppliedState } from '../storage/record.ts';
import type { Applier } from './applier.ts';

const MAX_FOLLOWER_LOG_BYTES = 1024 * 1024 * 1024;

/** The part of the log that housekeeping needs. */
export interface CuttableLog {
  firstIndex(): number;
  sizeBytes(): number;
  cut(index: number): Promise<void> | undefined | void;
}

export interface HousekeepingOptions {
  readonly engine: Engine;
  readonly log: CuttableLog;
  readonly applier: Applier;
  readonly config: StorageConfig;
  /** The disk is full, and a reserve is in use to make room (ballast.ts). */
  readonly isShortOfRoom?: () => boolean;
  /** The lowest index that an active follower has; undefined when nobody depends on this node's log. */
  readonly followersNeedAfter: () => number | undefined;
  /** Entries up to `index` are about to be cut; `applied`: what the tree holds durably. */
  readonly beforeCut?: (index: number, applied: AppliedState) => Promise<void>;
  readonly onFailure: (error: unknown) => void;
}

export class Housekeeping {
  readonly #options: HousekeepingOptions;
  /** (index, bytes applied until then), one a round: finds the index that lies `logRetainBytes` back. */
  readonly #samples: { index: number; bytes: number }[] = [];
  /** Bytes applied when the durable index was last seen to move, and that index. */
  #durableBytes = 0;
  #durableIndex: number;
  #working = false;
  #idle: Promise<void> = Promise.resolve();

  constructor(options: HousekeepingOptions) {
    this.#options = options;
    this.#durableIndex = options.engine.durable?.index ?? 0;
  }

  /** One round; called about once a second. Rounds do not overlap. */
  run(): void {
    if (this.#working) return;
    this.#working = true;
    this.#idle = this.#round().then(
      () => {
        this.#working = false;
      },
      (error) => {
        this.#working = false;
        this.#options.onFailure(error);
      },
    );
  }

  /** Resolves when the round under way, if any, has ended. */
  idle(): Promise<void> {
    return this.#idle;
  }

  async #round(): Promise<void> {
    const { engine, applier, config } = this.#options;
    const bytes = applier.appliedBytes;
    this.#samples.push({ index: applier.appliedIndex, bytes });
    const durableIndex = engine.durable?.index ?? 0;
    if (durableIndex !== this.#durableIndex) {
      this.#durableIndex = durableIndex;
      this.#durableBytes = bytes;
    }
    // Deletes free nothing, and compaction hears of no revision, before they are flushed.
    const isUrgent = this.#options.isShortOfRoom?.() === true && applier.appliedIndex > durableIndex;
    if (isUrgent || bytes - this.#durableBytes > config.checkpointLogBytes)
      await engine.checkpoint(applier.appliedIndex, applier.appliedTerm, applier.capture);
    await this.#cut();
  }

  async #cut(): Promise<void> {
    const { engine, log, followersNeedAfter } = this.#options;
    const durable = engine.durable?.index ?? 0;
    let index = Math.min(durable, this.#retainedFrom());
    const needed = followersNeedAfter();
    if (needed !== undefined && log.sizeBytes() < MAX_FOLLOWER_LOG_BYTES) index = Math.min(index, needed);
    if (index < log.firstIndex()) return;
    const applied = engine.durable;
    if (applied !== undefined) await this.#options.beforeCut?.(index, applied);
    await log.cut(index);
  }

  /** The newest index with at least `logRetainBytes` applied after it. */
  #retainedFrom(): number {
    const { applier, config } = this.#options;
    const limit = applier.appliedBytes - config.logRetainBytes;
    let found = 0;
    while (this.#samples.length > 0 && this.#samples[0]!.bytes <= limit) found = this.#samples.shift()!.index;
    if (found > 0) this.#samples.unshift({ index: found, bytes: limit });
    return found;
  }
}

/** Rounds without a word from a follower before the log stops waiting for it. One is too few: Raft forgets who was active at every check of its quorum. */
const MAX_SILENT_ROUNDS = 5;

/** Who still needs the beginning of this node's log. */
export class FollowerNeeds {
  readonly #silentRounds = new Map<NodeId, number>();

  /**
   * The lowest entry that a follower has, or will have from a snapshot at `snapshotIndex`; followers that have been silent for long do not count; undefined when
   * nobody depends on this node's log. Called once a round.
   */
  lowest(raft: RaftCore, snapshotIndex: number): number | undefined {
    if (raft.role !== 'leader') {
      this.#silentRounds.clear();
      return undefined;
    }
    let lowest: number | undefined;
    for (const peer of raft.status().progress) {
      if (peer.id === raft.id) continue;
      const silent = peer.recentlyActive ? 0 : (this.#silentRounds.get(peer.id) ?? 0) + 1;
      this.#silentRounds.set(peer.id, silent);
      if (silent > MAX_SILENT_ROUNDS) continue;
      const has = peer.state === 'snapshot' ? Math.max(peer.match, snapshotIndex) : peer.match;
      if (lowest === undefined || has < lowest) lowest = has;
    }
    return lowest;
  }
}
