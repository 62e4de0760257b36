/**
 * Mends a store whose disk has damaged what was flushed: fetches a whole snapshot from another node and puts it in place of everything here.
 *
 * Reads that meet the damage fail with CORRUPT, others go on. Where an entry met it while it was being applied, half of the entry may be in memory: then nothing is
 * read, flushed or applied any more (`blocked`) until the snapshot has replaced it all. A node that leads hands leadership over first. A cluster of one has
 * nobody to ask: its reads of the damaged range go on failing, and an entry that cannot be applied ends the node.
 *
 * The snapshot comes over requests between nodes, not through Raft: the log of this node is sound and goes on growing meanwhile (Alagappan et al., FAST '18: a
 * damaged copy is restored from the others', never guessed at). It must reach what was applied here, so nothing is applied while it is fetched: under steady
 * writes it would be too old whenever it has come.
 *
 * Invariants: what is fetched is checked whole before it is used; one repair at a time; every step may fail and is tried again.
 */
import { z } from 'zod';
import { KvError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import type { TimerHandle, Timers } from '../ports.ts';
import type { NodeId, RaftCore } from '../raft/types.ts';
import type { SegmentedLog } from '../storage/log/segmented_log.ts';
import type { SnapshotKey } from '../storage/snapshot/incoming_snapshot.ts';
import type { SnapshotFile, SnapshotStore } from '../storage/snapshot/snapshot_store.ts';
import {
  decodeJson,
  encodeJson,
  PEER_SNAPSHOT,
  PEER_SNAPSHOT_READ,
  type PeerOperation,
} from '../wire/peer_codec.ts';
import type { Applier } from './applier.ts';
import type { NodeState } from './node_state.ts';
import type { PeerRpc } from './peer_rpc.ts';
import type { Snapshots } from './snapshots.ts';

const CALL_TIMEOUT_MS = 5_000;
/** The question for a snapshot is answered at once or not at all, and the next peer may be the one that can. */
const WISH_TIMEOUT_MS = 1_000;
const POLL_MS = 200;
const RETRY_MS = 1_000;
/** Pauses grow up to here: a snapshot that the leader sends by itself mends just as well, and must not be cut short for ever. */
const MAX_RETRY_MS = 10_000;
const CHUNK_BYTES = 512 * 1024;
/** How often a peer is asked whether it has made the snapshot by now. */
const MAX_POLLS = 1_500;

const wishSchema = z.object({ minIndex: z.number().int().min(0) });
/** Without `made` the snapshot is still being made. */
const answerSchema = z.object({
  made: z
    .object({ index: z.number(), term: z.number(), sizeBytes: z.number() })
    .optional()
    .transform((made): SnapshotKey | undefined => made),
});
const placeSchema = z.object({ index: z.number().int().min(0), offset: z.number().int().min(0) });

export interface RepairOptions {
  readonly raft: RaftCore;
  readonly log: SegmentedLog;
  readonly applier: Applier;
  readonly snapshots: Snapshots;
  readonly store: SnapshotStore;
  readonly rpc: PeerRpc;
  readonly timers: Timers;
  readonly logger: Logger;
  /** Hands leadership to another node. */
  readonly stepAside: () => Promise<void>;
  /** The state machine takes over a snapshot. */
  readonly restore: (state: NodeState) => void;
  /** Whether the store is damaged, for the node's status. */
  readonly onState: (damaged: boolean) => void;
  readonly onFailure: (error: unknown) => void;
}

export class Repair {
  readonly #options: RepairOptions;
  #running = false;
  #closed = false;
  #stuckAt = 0;
  #blocked: { readonly over: Promise<void>; readonly end: () => void } | undefined;
  #timer: { handle: TimerHandle; wake: () => void } | undefined;

  constructor(options: RepairOptions) {
    this.#options = options;
  }

  /** While the state here may be half an entry ahead of itself: resolves when it is whole again. Nothing may be read or flushed meanwhile. */
  get blocked(): Promise<void> | undefined {
    return this.#blocked?.over;
  }

  /** True from the first word of a damage to the end of its repair. */
  get active(): boolean {
    return this.#running;
  }

  /** There is nothing here of what was applied (lost_tree.ts): nothing is read until `noticed`, to be called when peers can be reached, has come to its end. */
  lost(): void {
    if (this.#blocked === undefined) this.#block();
  }

  /**
   * Damage was met. `stuck`: while applying the entry after the applied index.
   * Ends the node when it cannot apply and has nobody to ask.
   */
  noticed(error: unknown, stuck: boolean): void {
    if (this.#closed) return;
    const { raft, applier, logger, onState, onFailure } = this.#options;
    const alone = raft.status().configuration.members.length <= 1;
    if (alone && stuck) return onFailure(error);
    if (stuck && this.#blocked === undefined) {
      this.#stuckAt = applier.appliedIndex + 1;
      this.#block();
    }
    if (this.#running) return;
    this.#running = true;
    onState(true);
    logger.error(
      alone
        ? 'a file of the store is damaged: reads that need the damaged part fail, all others go on; there is no other node to repair it from'
        : 'a file of the store is damaged: all of the store is fetched from another node',
      { error },
    );
    void this.#run();
  }

  /** This node has come to lead: it can apply nothing while it is damaged, and must hand over at once and not after the pause between two tries. */
  leads(): void {
    if (this.#running) this.#timer?.wake();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.wake();
    this.#unblock();
  }

  /** Answers another node's repair. */
  async answer(operation: PeerOperation, body: Uint8Array): Promise<Uint8Array> {
    const { applier, snapshots } = this.#options;
    if (operation === PEER_SNAPSHOT_READ) {
      const { index, offset } = parse(placeSchema, body);
      const bytes = snapshots.read(index, offset, CHUNK_BYTES);
      if (bytes === undefined) throw new KvError('NOT_FOUND', `there is no snapshot at index ${index} here`);
      return bytes;
    }
    const { minIndex } = parse(wishSchema, body);
    const latest = snapshots.latest();
    if (latest !== undefined && latest.index >= minIndex) {
      const { index, term, sizeBytes } = latest;
      return encodeJson({ made: { index, term, sizeBytes } });
    }
    if (this.#running) throw new KvError('UNAVAILABLE', 'the store of this node is damaged, too');
    if (applier.appliedIndex < minIndex)
      throw new KvError('UNAVAILABLE', 'this node has not come so far yet');
    snapshots.want(applier);
    return encodeJson({});
  }

  async #run(): Promise<void> {
    const { logger, onState } = this.#options;
    for (let delayMs = RETRY_MS; !this.#closed; delayMs = Math.min(2 * delayMs, MAX_RETRY_MS)) {
      try {
        if (await this.#repair()) {
          this.#running = false;
          this.#stuckAt = 0;
          onState(false);
          this.#unblock();
          return;
        }
      } catch (error) {
        logger.warn('the store could not be repaired yet; trying again', { error });
      }
      await this.#pause(delayMs);
    }
  }

  /** False when there was nobody to repair from, or the state of things changed on the way. */
  async #repair(): Promise<boolean> {
    const { raft, applier, snapshots } = this.#options;
    const peers = raft
      .status()
      .configuration.members.map(({ id }) => id)
      .filter((id) => id !== raft.id)
      .sort((a, b) => Number(b === raft.leader) - Number(a === raft.leader));
    if (peers.length === 0) return false;
    await this.#stepAside();
    await applier.pause();
    try {
      return await this.#repairFromOneOf(peers);
    } finally {
      // An install under way goes on by itself when it has ended.
      if (!this.#closed && this.#blocked === undefined && !snapshots.installing) applier.resume();
    }
  }

  /** A leader that can hand over to nobody is mended nevertheless: there may be a learner. */
  async #stepAside(): Promise<void> {
    const { raft, stepAside, logger } = this.#options;
    if (raft.role !== 'leader') return;
    try {
      await stepAside();
    } catch (error) {
      logger.warn('cannot hand leadership over before the repair', { error });
    }
  }

  async #repairFromOneOf(peers: readonly NodeId[]): Promise<boolean> {
    const { raft, logger } = this.#options;
    const led = raft.role === 'leader';
    for (const peer of peers) {
      try {
        const file = await this.#fetch(peer, led);
        if (file !== undefined) return await this.#replaceWith(file);
      } catch (error) {
        if (this.#closed) return false;
        logger.warn('another node could not help with the repair', { peer, error });
      }
      if (this.#mustEnd(led)) return false;
    }
    return false;
  }

  /** @param led whether this node leads: one that becomes the leader must apply entries again, and hand over first. */
  async #fetch(peer: NodeId, led: boolean): Promise<SnapshotFile | undefined> {
    const made = await this.#made(peer, led);
    if (made === undefined) return undefined;
    const { store, rpc } = this.#options;
    let offset = store.receive(made, 0, new Uint8Array(0));
    while (offset < made.sizeBytes) {
      if (this.#mustEnd(led)) return undefined;
      const body = encodeJson({ index: made.index, offset });
      const bytes = await rpc.call(peer, PEER_SNAPSHOT_READ, body, CALL_TIMEOUT_MS);
      if (bytes.length === 0) throw new KvError('PROTOCOL', 'a snapshot ended before its end');
      const next = store.receive(made, offset, bytes);
      if (next < offset) throw new KvError('UNAVAILABLE', 'the leader sends a snapshot of its own');
      // The disk is behind.
      if (next === offset) await this.#pause(POLL_MS);
      offset = next;
    }
    return store.finishIncoming();
  }

  /** A snapshot at the peer that covers all that was applied here; undefined when it takes too long to make one. */
  async #made(peer: NodeId, led: boolean): Promise<SnapshotKey | undefined> {
    const { rpc, applier } = this.#options;
    for (let poll = 0; poll < MAX_POLLS && !this.#mustEnd(led); poll++) {
      const wish = encodeJson({ minIndex: Math.max(applier.appliedIndex, this.#stuckAt) });
      const { made } = parse(answerSchema, await rpc.call(peer, PEER_SNAPSHOT, wish, WISH_TIMEOUT_MS));
      if (made !== undefined) return made;
      await this.#pause(POLL_MS);
    }
    return undefined;
  }

  #mustEnd(led: boolean): boolean {
    return this.#closed || (!led && this.#options.raft.role === 'leader');
  }

  async #replaceWith(file: SnapshotFile): Promise<boolean> {
    const { raft, log, applier, snapshots, restore } = this.#options;
    for (let poll = 0; poll < MAX_POLLS && !this.#closed; poll++) {
      if (applier.appliedIndex > file.index) return false;
      const ready = raft.commitIndex >= file.index || log.lastIndex() < file.index;
      if (ready && !snapshots.installing) {
        await snapshots.repairWith(file, raft, applier, restore);
        return true;
      }
      await this.#pause(POLL_MS);
    }
    return false;
  }

  #pause(delayMs: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#timer?.handle.cancel();
        this.#timer = undefined;
        resolve();
      };
      this.#timer = { handle: this.#options.timers.after(delayMs, wake), wake };
    });
  }

  #block(): void {
    let end: () => void = () => undefined;
    const over = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.#blocked = { over, end };
  }

  #unblock(): void {
    this.#blocked?.end();
    this.#blocked = undefined;
  }
}

function parse<T>(schema: z.ZodType<T>, body: Uint8Array): T {
  const result = schema.safeParse(decodeJson(body));
  if (result.success) return result.data;
  throw new KvError('PROTOCOL', `a node sent an unexpected message: ${z.prettifyError(result.error)}`);
}
