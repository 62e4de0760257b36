/**
 * Who leads has heard of a quorum lately, and who names a leader has heard of it (check-quorum, section 6.2 of the Raft thesis): otherwise a leader that is half cut off
 * keeps the others from electing one that could work, and a node that is cut off goes on to answer sequential reads.
 *
 * What was heard is seen on the network, and any Raft frame counts, so that nothing depends on what the node itself believes. Time is counted in the node's own ticks: a
 * paused node, or one whose clock is slow, has had no time to notice.
 *
 * Invariant: nobody is blamed before two election timeouts and a little have passed since the voters were last others; that is as long as a leader may take that looks
 * once in an election timeout.
 */
import type { NodeId, Role } from '../../raft/types.ts';
import type { Report } from './violation.ts';

/** A tick that is under way while a clock is set, and the one in which the frame came. */
const SPARE_TICKS = 2;
/** Times that lie no further apart are one: they come about by different sums. */
const SAME_MS = 0.001;

/** What is looked at of a node after its tick. */
export interface ContactView {
  readonly role: Role;
  readonly term: number;
  /** 0: it names nobody. */
  readonly leader: NodeId;
  /** Lists of voters of each of which a majority is needed. */
  readonly quorums: () => readonly (readonly NodeId[])[];
}

export class QuorumContact {
  readonly #id: NodeId;
  readonly #limitTicks: number;
  readonly #report: Report;
  /** The tick in which a node was last heard of, or came to matter. */
  readonly #heard = new Map<NodeId, number>();
  #ticks = 0;
  #leader: NodeId = 0;
  #term = 0;
  #voters = '';
  #votersSince = 0;
  #sinceTickMs = 0;
  #lookedMs = 0;

  constructor(id: NodeId, electionTicks: number, report: Report) {
    this.#id = id;
    this.#limitTicks = 2 * electionTicks + SPARE_TICKS;
    this.#report = report;
  }

  /** A Raft frame of another node has reached this one. */
  heard(from: NodeId): void {
    this.#heard.set(from, this.#ticks);
  }

  /**
   * True when the node was told of time since the last call.
   * @param sinceTickMs since the last tick, by the node's clock
   */
  hasTicked(sinceTickMs: number, nowMs: number): boolean {
    const ticked = sinceTickMs < this.#sinceTickMs || (sinceTickMs === 0 && nowMs - this.#lookedMs > SAME_MS);
    this.#sinceTickMs = sinceTickMs;
    this.#lookedMs = nowMs;
    return ticked;
  }

  /** REQUIRES: called once after each tick. */
  ticked({ role, term, leader, quorums }: ContactView): void {
    this.#ticks++;
    if (leader !== this.#leader || term !== this.#term) {
      this.#leader = leader;
      this.#term = term;
      this.#heard.clear();
    }
    if (role === 'leader') this.#leads(term, quorums());
    else if (leader !== 0 && this.#silentTicks(leader) > this.#limitTicks)
      this.#blame(`names node ${leader} as the leader of term ${term}, and has heard nothing of it`, {
        term,
        leader,
      });
  }

  #leads(term: number, quorums: readonly (readonly NodeId[])[]): void {
    const now = JSON.stringify(quorums);
    if (now !== this.#voters) {
      this.#voters = now;
      this.#votersSince = this.#ticks;
    }
    for (const voters of quorums) {
      const near = voters.filter((id) => id === this.#id || this.#silentTicks(id) <= this.#limitTicks);
      if (2 * near.length > voters.length || this.#ticks - this.#votersSince <= this.#limitTicks) continue;
      this.#blame(`leads in term ${term}, and has heard of ${near.length} of ${voters.length} voters only`, {
        term,
        voters,
        near,
      });
      return;
    }
  }

  /** Whoever is new begins as if it had just been heard of. */
  #silentTicks(id: NodeId): number {
    const heard = this.#heard.get(id);
    if (heard === undefined) this.#heard.set(id, this.#ticks);
    return this.#ticks - (heard ?? this.#ticks);
  }

  #blame(what: string, details: Record<string, unknown>): void {
    this.#report(
      'contact with a quorum',
      this.#id,
      `node ${this.#id} ${what}, for ${this.#limitTicks} ticks: two election timeouts and a little`,
      details,
    );
  }
}
