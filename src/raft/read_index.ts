/**
 * Linearizable reads without a log entry: read index (thesis 6.4).
 *
 * Leader: a read waits for a round of heartbeats that was started after the read arrived; when a quorum has answered that round, this node was still
 * the leader then, and the commit index at the round's start covers every write acknowledged before the read. One round serves all
 * reads that wait; a few rounds may be under way. Nothing starts before an entry of the leader's own term is committed.
 *
 * Follower: asks the leader. The context on the wire is one of its own, from a random start: an answer that was meant for the same node before a restart
 * must not be taken for the answer to a newer read. Asks that stay unanswered for an election timeout or two fail.
 */
import type { NodeId } from './types.ts';

/** Rounds under way at once; reads that come later share the next one. */
const MAX_ROUNDS = 4;
/** Reads waiting at the leader; further ones are told to ask again. */
export const MAX_WAITING_READS = 65_536;

export interface WaitingRead {
  /** Who asked: this node itself or a follower. */
  readonly from: NodeId;
  readonly context: number;
}
interface ReadRound {
  readonly round: number;
  readonly index: number;
  readonly reads: readonly WaitingRead[];
}

export class LeaderReads {
  /** The newest round started; 0 while none was. */
  round = 0;
  #confirmed = 0;
  #size = 0;
  #waiting: WaitingRead[] = [];
  #rounds: ReadRound[] = [];

  /** False when too many wait already. */
  add(from: NodeId, context: number): boolean {
    if (this.#size >= MAX_WAITING_READS) return false;
    this.#size++;
    this.#waiting.push({ from, context });
    return true;
  }

  get canStartRound(): boolean {
    return this.#waiting.length > 0 && this.#rounds.length < MAX_ROUNDS;
  }

  /** The round that heartbeats carry: 0 when no read waits for one. */
  get pendingRound(): number {
    return this.#rounds.length > 0 ? this.round : 0;
  }

  /** Opens a round for every read that waits. REQUIRES: `index` is the commit index, of the leader's own term. */
  startRound(index: number): number {
    this.round++;
    this.#rounds.push({ round: this.round, index, reads: this.#waiting });
    this.#waiting = [];
    return this.round;
  }

  /** A quorum has answered `round`: hands each read that this confirms to `serve`, with its index. */
  confirm(round: number, serve: (read: WaitingRead, index: number) => void): void {
    if (round <= this.#confirmed) return;
    this.#confirmed = round;
    while (this.#rounds.length > 0 && this.#rounds[0]!.round <= round) {
      const done = this.#rounds.shift()!;
      this.#size -= done.reads.length;
      for (const read of done.reads) serve(read, done.index);
    }
  }

  /** Leadership ends: gives up every read. */
  clear(serve: (read: WaitingRead, index: number) => void): void {
    const rounds = this.#rounds;
    const waiting = this.#waiting;
    this.#rounds = [];
    this.#waiting = [];
    this.#size = 0;
    this.#confirmed = 0;
    this.round = 0;
    for (const round of rounds) for (const read of round.reads) serve(read, 0);
    for (const read of waiting) serve(read, 0);
  }
}

export class ForwardedReads {
  #nextWireContext: number;
  /** Wire context -> the caller's context; asked in this generation and in the one before. */
  #young = new Map<number, number>();
  #old = new Map<number, number>();
  #generationTicks = 0;

  constructor(random: () => number) {
    this.#nextWireContext = 1 + Math.floor(random() * 2 ** 51);
  }

  /** Returns the context to send. */
  add(context: number): number {
    const wireContext = this.#nextWireContext++;
    this.#young.set(wireContext, context);
    return wireContext;
  }

  /** The caller's context that an answer is for, once; undefined for an answer nobody waits for. */
  take(wireContext: number): number | undefined {
    const generation = this.#young.has(wireContext) ? this.#young : this.#old;
    const context = generation.get(wireContext);
    generation.delete(wireContext);
    return context;
  }

  /** Every `lifeTicks` ticks, what was asked before the last such moment has failed. */
  tick(lifeTicks: number, fail: (context: number) => void): void {
    if (++this.#generationTicks < lifeTicks) return;
    this.#generationTicks = 0;
    const expired = this.#old;
    this.#old = this.#young;
    this.#young = new Map();
    for (const context of expired.values()) fail(context);
  }

  clear(fail: (context: number) => void): void {
    if (this.#young.size + this.#old.size === 0) return;
    const pending = [...this.#old.values(), ...this.#young.values()];
    this.#old.clear();
    this.#young.clear();
    for (const context of pending) fail(context);
  }
}
