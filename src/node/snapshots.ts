/**
 * Snapshots between nodes: made when a follower needs what the log no longer has, sent by the Raft core in chunks, received into a file, and installed.
 *
 * The order of an install, each step durable before the next: the received file is verified and named; the engine takes its content (atomically); the log
 * starts anew after it; only then does Raft learn of it. A crash in between leaves a tree that is ahead of the log, which opening the node
 * recognises and mends by resetting the log (replica_storage.ts).
 *
 * Invariants: one snapshot is made and one installed at a time; nothing is applied and no append is taken in while one is being installed.
 */
import { KvError } from '../errors.ts';
import type { RaftCore, SnapshotChunk, SnapshotMeta, SnapshotSource } from '../raft/types.ts';
import type { Engine } from '../storage/engine_port.ts';
import type { SegmentedLog } from '../storage/log/segmented_log.ts';
import type { SnapshotFile, SnapshotStore } from '../storage/snapshot/snapshot_store.ts';
import type { Applier } from './applier.ts';
import { decodeNodeState, type NodeState } from './node_state.ts';

export interface SnapshotsOptions {
  readonly store: SnapshotStore;
  readonly engine: Engine;
  readonly log: SegmentedLog;
  readonly onFailure: (error: unknown) => void;
  readonly info: (message: string, facts: Record<string, number>) => void;
}

export class Snapshots implements SnapshotSource {
  readonly #options: SnapshotsOptions;
  #making: Promise<void> | undefined;
  #installing = false;
  #meta: SnapshotMeta | undefined;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  /** True while a snapshot is being installed: appends must be dropped. */
  get installing(): boolean {
    return this.#installing;
  }

  latest(): SnapshotMeta | undefined {
    const file = this.#options.store.latest();
    if (file === undefined) return undefined;
    if (this.#meta?.index !== file.index) {
      const { configuration } = decodeNodeState(file.state);
      this.#meta = { index: file.index, term: file.term, sizeBytes: file.sizeBytes, configuration };
    }
    return this.#meta;
  }

  read(index: number, offset: number, maxBytes: number): Uint8Array | undefined {
    return this.#options.store.readSync(index, offset, maxBytes);
  }

  /** A follower needs a snapshot: makes one as of now, unless one is being made. */
  want(applier: Applier): void {
    if (this.#making !== undefined || this.#installing) return;
    this.#making = this.#make(applier).then(
      () => {
        this.#making = undefined;
      },
      (error) => {
        this.#making = undefined;
        // Without room the follower has to wait: the next wish tries again.
        if (!(error instanceof KvError && error.code === 'NO_SPACE')) this.#options.onFailure(error);
      },
    );
  }

  async #make(applier: Applier): Promise<void> {
    const { engine, store, info } = this.#options;
    await engine.checkpoint(applier.appliedIndex, applier.appliedTerm, applier.capture);
    const view = await engine.snapshot();
    try {
      const file = await store.create(view);
      info('made a snapshot', { index: file.index, sizeBytes: file.sizeBytes });
    } finally {
      view.release();
    }
  }

  /** Takes chunks in; `restore` is told the state of a snapshot that has been installed. */
  receive(
    chunks: readonly SnapshotChunk[],
    raft: RaftCore,
    applier: Applier,
    restore: (state: NodeState) => void,
  ): void {
    for (const chunk of chunks) {
      if (this.#installing) return;
      const { index, term, sizeBytes } = chunk.snapshot;
      let next: number;
      try {
        next = this.#options.store.receive({ index, term, sizeBytes }, chunk.offset, chunk.data);
      } catch (error) {
        if (!(error instanceof KvError && error.code === 'NO_SPACE')) throw error;
        // No answer: the leader sends the chunk again after a while.
        return;
      }
      if (next < sizeBytes) raft.snapshotChunkStored(index, next);
      else this.#startInstall(chunk.snapshot, raft, applier, restore);
    }
  }

  #startInstall(
    snapshot: SnapshotMeta,
    raft: RaftCore,
    applier: Applier,
    restore: (state: NodeState) => void,
  ): void {
    this.#installing = true;
    this.#install(snapshot, raft, applier, restore).then(
      () => {
        this.#installing = false;
      },
      (error) => {
        this.#installing = false;
        const again = error instanceof KvError && (error.code === 'CORRUPT' || error.code === 'NO_SPACE');
        if (!again) return this.#options.onFailure(error);
        applier.resume();
        raft.snapshotChunkStored(snapshot.index, 0);
      },
    );
  }

  async #install(
    snapshot: SnapshotMeta,
    raft: RaftCore,
    applier: Applier,
    restore: (state: NodeState) => void,
  ): Promise<void> {
    const { store, engine, log, info } = this.#options;
    await applier.pause();
    if (applier.appliedIndex >= snapshot.index) {
      applier.resume();
      raft.snapshotInstalled(snapshot);
      return;
    }
    const file: SnapshotFile = await store.finishIncoming();
    const state = decodeNodeState(file.state);
    const reader = await store.open(file.index);
    await engine.install({ index: file.index, term: file.term, state: file.state }, reader.records());
    await log.reset(file.index, file.term);
    restore(state);
    raft.snapshotInstalled(snapshot);
    applier.resume({ index: file.index, term: file.term, configuration: state.configuration });
    info('installed a snapshot', { index: file.index, sizeBytes: file.sizeBytes });
  }
}
