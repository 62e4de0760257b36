/**
 * What a leader knows about one follower, and the flow control that follows from it.
 *
 * States: `probe` - where the logs agree is not known: one append at a time, until an answer or a heartbeat response comes; `replicate` - they agree up to
 * `match`: appends are pipelined, `next` runs ahead of the answers; `snapshot` - the follower needs entries that the
 * log no longer holds: chunks of a snapshot are sent instead, one at a time.
 *
 * Invariants: match < next; entries sent in `replicate` and not acknowledged are at most maxInflightBytes, or one message.
 */
import type { NodeId, SnapshotMeta } from './types.ts';

export const PROBE = 0;
export const REPLICATE = 1;
export const SNAPSHOT = 2;
export type ProgressState = typeof PROBE | typeof REPLICATE | typeof SNAPSHOT;
export const PROGRESS_STATE_NAMES = ['probe', 'replicate', 'snapshot'] as const;

/** Appends sent and not answered: their last indexes and sizes, oldest first. */
export class Inflight {
  sizeBytes = 0;
  readonly #lastIndexes: number[] = [];
  readonly #sizes: number[] = [];
  #head = 0;

  add(lastIndex: number, sizeBytes: number): void {
    this.#lastIndexes.push(lastIndex);
    this.#sizes.push(sizeBytes);
    this.sizeBytes += sizeBytes;
  }

  /** Everything up to `index` has been acknowledged. */
  freeTo(index: number): void {
    while (this.#head < this.#lastIndexes.length && this.#lastIndexes[this.#head]! <= index) {
      this.sizeBytes -= this.#sizes[this.#head]!;
      this.#head++;
    }
    if (this.#head === this.#lastIndexes.length) this.clear();
    else if (this.#head >= 256) {
      this.#lastIndexes.splice(0, this.#head);
      this.#sizes.splice(0, this.#head);
      this.#head = 0;
    }
  }

  clear(): void {
    this.#lastIndexes.length = 0;
    this.#sizes.length = 0;
    this.#head = 0;
    this.sizeBytes = 0;
  }
}

export class Progress {
  readonly id: NodeId;
  state: ProgressState = PROBE;
  /** The last index known to be on the follower's disk and equal to the leader's. */
  match = 0;
  /** The next index to send. */
  next: number;
  /** Heard of since the last check of the quorum. */
  recentlyActive = true;
  readonly inflight = new Inflight();
  /** Probe: an append is under way. */
  probeSent = false;
  /** The commit index that the follower was last told. */
  commitSent = 0;
  /** The newest read round that the follower has confirmed. */
  readRound = 0;
  /** Answered since the last heartbeat was sent. */
  heard = false;
  /** `match` when the last heartbeat was sent: no change until the next one hints at a lost message. */
  matchAtHeartbeat = 0;
  snapshot: SnapshotMeta | undefined = undefined;
  snapshotOffset = 0;
  /** Ticks since the last chunk; -1 when the next one may be sent at once. */
  snapshotWaitTicks = -1;
  /** Above 0: removed from the configuration, kept so many ticks more so that it may learn of that. */
  departingTicks = 0;

  constructor(id: NodeId, next: number) {
    this.id = id;
    this.next = next;
  }

  /** Back to one append at a time, from `next` on. */
  becomeProbe(next: number): void {
    this.state = PROBE;
    this.next = Math.max(next, this.match + 1);
    this.probeSent = false;
    this.inflight.clear();
    this.snapshot = undefined;
  }

  becomeReplicate(): void {
    this.state = REPLICATE;
    this.next = this.match + 1;
    this.probeSent = false;
    this.inflight.clear();
    this.snapshot = undefined;
  }

  becomeSnapshot(): void {
    this.state = SNAPSHOT;
    this.inflight.clear();
    this.snapshot = undefined;
    this.snapshotOffset = 0;
    this.snapshotWaitTicks = -1;
  }

  /** The follower has everything up to `index`. Returns true when that is news. */
  acknowledged(index: number): boolean {
    if (index >= this.next) this.next = index + 1;
    if (this.state === REPLICATE) this.inflight.freeTo(index);
    if (index <= this.match) return false;
    this.match = index;
    return true;
  }
}
