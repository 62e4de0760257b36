/**
 * Snapshots between nodes: made when a follower needs what the log no longer has, sent by the Raft core in chunks, received into a file, and installed.
 *
 * The order of an install, each step durable before the next: the received file is verified and named; the engine takes its content (atomically); the log
 * starts anew after it; only then does Raft learn of it. A crash in between leaves a tree that is ahead of the log, which opening the node
 * recognises and mends by resetting the log (replica_storage.ts).
 *
 * Invariants: one snapshot is made and one installed at a time; nothing is applied and no append is taken in while one is being installed; nothing is read
 * between the engine's change to the new content and the state machine's (`replaced`): the two would not fit each other.
 */
import { isDamage, KvError } from '../errors.ts';
import type { TimerHandle, Timers } from '../ports.ts';
import type { RaftCore, SnapshotChunk, SnapshotMeta, SnapshotSource } from '../raft/types.ts';
import type { Engine } from '../storage/engine_port.ts';
import type { SegmentedLog } from '../storage/log/segmented_log.ts';
import type { StoredRecord } from '../storage/record.ts';
import type { SnapshotFile, SnapshotStore } from '../storage/snapshot/snapshot_store.ts';
import type { Applier } from './applier.ts';
import { decodeNodeState, type NodeState } from './node_state.ts';

/** A chunk for which there was no room, or no time while a repair was under way, is not asked for again before. */
const RETRY_MS = 1_000;

export interface SnapshotsOptions {
  readonly store: SnapshotStore;
  readonly engine: Engine;
  readonly log: SegmentedLog;
  readonly timers: Timers;
  /** Everything up to an index is now in place that did not come through the log. */
  readonly onInstalled: (index: number) => void;
  readonly onFailure: (error: unknown) => void;
  /** A snapshot could not be made of what the disk has damaged. */
  readonly onDamage: (error: unknown) => void;
  /** False while the state here is not whole: no snapshot can be made of it. */
  readonly isWhole: () => boolean;
  readonly info: (message: string, facts: Record<string, number>) => void;
  readonly warn: (message: string, error: unknown) => void;
}

export class Snapshots implements SnapshotSource {
  readonly #options: SnapshotsOptions;
  #making: Promise<void> | undefined;
  #installing = false;
  #meta: SnapshotMeta | undefined;
  #replaced: { readonly over: Promise<void>; readonly end: () => void } | undefined;
  #retry: TimerHandle | undefined;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    options.store.onThrownAway = (error) =>
      options.warn('a snapshot to be sent is damaged and was thrown away; another one is made', error);
  }

  /** True while a snapshot is being installed: appends must be dropped. */
  get installing(): boolean {
    return this.#installing;
  }

  /** While engine and state machine may show different states: resolves when they agree again, or when the node has failed. */
  get replaced(): Promise<void> | undefined {
    return this.#replaced?.over;
  }

  /** Nothing is begun any more by itself. */
  close(): void {
    this.#retry?.cancel();
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
    if (this.#making !== undefined || this.#installing || !this.#options.isWhole()) return;
    this.#making = this.#make(applier).then(
      () => {
        this.#making = undefined;
      },
      (error) => {
        this.#making = undefined;
        // Without room the follower has to wait: the next wish tries again.
        if (error instanceof KvError && error.code === 'NO_SPACE') return;
        if (isDamage(error)) this.#options.onDamage(error);
        else this.#options.onFailure(error);
      },
    );
  }

  /** A snapshot as of now, or of what one that is being made shows. @throws KvError UNAVAILABLE while the state here is not whole; NO_SPACE, CORRUPT */
  async create(applier: Applier): Promise<SnapshotFile> {
    const { store, isWhole, onDamage } = this.#options;
    if (this.#making === undefined) {
      if (this.#installing || !isWhole())
        throw new KvError('UNAVAILABLE', 'this node is being given a snapshot itself; ask another one');
      const making = this.#make(applier);
      const over = (): void => {
        this.#making = undefined;
      };
      this.#making = making.then(over, over);
      await making.catch((error: unknown) => {
        if (isDamage(error)) onDamage(error);
        throw error;
      });
    } else await this.#making;
    const file = store.latest();
    if (file === undefined) throw new KvError('UNAVAILABLE', 'no snapshot could be made; try again');
    return file;
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
      const { index, term, sizeBytes } = chunk.snapshot;
      if (this.#installing) {
        // By a repair. Raft takes nothing more until this chunk is answered: it must not be dropped.
        this.#askAgainLater(index, raft);
        return;
      }
      let next: number;
      try {
        next = this.#options.store.receive({ index, term, sizeBytes }, chunk.offset, chunk.data);
      } catch (error) {
        if (!(error instanceof KvError && error.code === 'NO_SPACE')) throw error;
        this.#askAgainLater(index, raft);
        return;
      }
      if (next < sizeBytes) raft.snapshotChunkStored(index, next);
      else this.#startInstall(chunk.snapshot, raft, applier, restore);
    }
  }

  /** The leader is told to begin anew, a while later. Until then Raft waits for this answer and takes no other chunk. */
  #askAgainLater(index: number, raft: RaftCore): void {
    this.#retry?.cancel();
    this.#retry = this.#options.timers.after(RETRY_MS, () => raft.snapshotChunkStored(index, 0));
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
        this.#endReplaced();
      },
      (error) => {
        this.#installing = false;
        const again = canBeRepeated(error);
        if (!again) this.#options.onFailure(error instanceof HalfInstalled ? error.cause : error);
        this.#endReplaced();
        if (!again) return;
        this.#resume(applier);
        if (error instanceof KvError && error.code === 'NO_SPACE') this.#askAgainLater(snapshot.index, raft);
        else raft.snapshotChunkStored(snapshot.index, 0);
      },
    );
  }

  /** Goes on with the state that was here before, if that can be gone on with (repair.ts). */
  #resume(applier: Applier): void {
    if (this.#options.isWhole()) applier.resume();
  }

  #beginReplaced(): void {
    let end: () => void = () => undefined;
    const over = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.#replaced = { over, end };
  }

  #endReplaced(): void {
    this.#replaced?.end();
    this.#replaced = undefined;
  }

  /** The records, noting when the last of them has been taken: from then on the engine may show them. */
  async *#lastNoted(records: AsyncIterable<StoredRecord[]>): AsyncGenerator<StoredRecord[]> {
    yield* records;
    this.#beginReplaced();
  }

  async #install(
    snapshot: SnapshotMeta,
    raft: RaftCore,
    applier: Applier,
    restore: (state: NodeState) => void,
  ): Promise<void> {
    const { store, log, info } = this.#options;
    await applier.pause();
    if (applier.appliedIndex >= snapshot.index) {
      this.#resume(applier);
      raft.snapshotInstalled(snapshot);
      return;
    }
    const file: SnapshotFile = await store.finishIncoming();
    await this.#replace(file, applier, restore, async () => {
      await log.reset(file.index, file.term);
      return () => raft.snapshotInstalled(snapshot);
    });
    info('installed a snapshot', { index: file.index, sizeBytes: file.sizeBytes });
  }

  /**
   * Puts a finished snapshot of the store in place of what is here, whose disk has lost some of it (repair.ts). `raft.commitIndex` has reached it, or the log ends before
   * it: a log that goes further stays, since others may count on it.
   * @throws KvError UNAVAILABLE, with nothing changed, while another one is being installed or when the log has moved meanwhile; NO_SPACE and CORRUPT (the
   * snapshot) with nothing changed but the applier paused; whatever else it throws has ended the node.
   */
  async repairWith(
    file: SnapshotFile,
    raft: RaftCore,
    applier: Applier,
    restore: (state: NodeState) => void,
  ): Promise<void> {
    const { log, onFailure, info } = this.#options;
    const covered = raft.commitIndex >= file.index;
    if (this.#installing || (!covered && log.lastIndex() >= file.index))
      throw new KvError('UNAVAILABLE', 'the log is not where the repair needs it; it is tried again');
    this.#installing = true;
    try {
      await applier.pause();
      const { configuration } = decodeNodeState(file.state);
      const { index, term, sizeBytes } = file;
      await this.#replace(file, applier, restore, async () => {
        if (covered) return () => undefined;
        await log.reset(index, term);
        return () => raft.snapshotInstalled({ index, term, sizeBytes, configuration });
      });
      info('repaired the store from a snapshot', { index, sizeBytes });
    } catch (error) {
      if (!canBeRepeated(error)) onFailure(error instanceof HalfInstalled ? error.cause : error);
      throw error;
    } finally {
      this.#installing = false;
      this.#endReplaced();
    }
  }

  /** Engine, log, state machine and applier, in this order, take over a snapshot. */
  async #replace(
    file: SnapshotFile,
    applier: Applier,
    restore: (state: NodeState) => void,
    moveLog: () => Promise<() => void>,
  ): Promise<void> {
    const { store, engine } = this.#options;
    const state = decodeNodeState(file.state);
    const reader = await store.open(file.index);
    const applied = { index: file.index, term: file.term, state: file.state };
    await engine.install(applied, this.#lastNoted(reader.records()));
    let tellRaft: () => void;
    try {
      tellRaft = await moveLog();
    } catch (error) {
      throw new HalfInstalled(error);
    }
    restore(state);
    tellRaft();
    this.#options.onInstalled(file.index);
    applier.resume({ index: file.index, term: file.term, configuration: state.configuration });
  }
}

/** Whether an install that failed has changed nothing. Once the engine shows the new content there is no way back: the next start goes on from there. */
function canBeRepeated(error: unknown): boolean {
  return error instanceof KvError && (error.code === 'CORRUPT' || error.code === 'NO_SPACE');
}

/** The log could not follow the engine. */
class HalfInstalled extends Error {
  constructor(cause: unknown) {
    super('the log could not be begun anew after a snapshot', { cause });
  }
}
