/**
 * The one log that all nodes must agree on: each entry as it was when some node first knew that it is decided (Raft paper, figure 3).
 *
 * - State-machine safety: every node that applies an index applies this entry.
 * - Leader completeness: the log of a new leader holds every entry that was decided in an earlier term.
 * - Durability: what a node has applied was on its disk, so it is in its log, or under its snapshot, when the node is started again.
 *
 * Invariant: the table has no gaps from its first entry to its last.
 */
import type { NodeId } from '../../raft/types.ts';
import type { Report } from './violation.ts';

/** A log as these checks look at it. */
export interface LogView {
  firstIndex(): number;
  lastIndex(): number;
  /** undefined outside of [firstIndex - 1, lastIndex]. */
  term(index: number): number | undefined;
}

export class CommittedLog {
  readonly #report: Report;
  /** By index - 1. */
  readonly #terms: number[] = [];
  readonly #sums: number[] = [];
  readonly #kinds: number[] = [];
  /** The term in which the entry was first known to be decided. */
  readonly #knownInTerm: number[] = [];
  readonly #knownBy: NodeId[] = [];

  constructor(report: Report) {
    this.#report = report;
  }

  /** The highest index that is known to be decided. */
  get lastIndex(): number {
    return this.#terms.length;
  }

  termAt(index: number): number | undefined {
    return this.#terms[index - 1];
  }

  /**
   * A node knows an entry to be decided. REQUIRES: in order, without gaps over all calls (`lastIndex` + 1 at most).
   * @param sum checksum of the entry's data
   * @param nodeTerm the term that the node was in
   */
  decided(id: NodeId, index: number, term: number, kind: number, sum: number, nodeTerm: number): void {
    const at = index - 1;
    const known = this.#terms[at];
    if (known === undefined) {
      this.#terms[at] = term;
      this.#sums[at] = sum;
      this.#kinds[at] = kind;
      this.#knownInTerm[at] = nodeTerm;
      this.#knownBy[at] = id;
      return;
    }
    if (known === term && this.#sums[at] === sum && this.#kinds[at] === kind) return;
    this.#report(
      'state-machine safety',
      id,
      `node ${id} takes entry ${index} of term ${term} (checksum ${sum}) for decided, node ${this.#knownBy[at]} had the entry of term ${known} (checksum ${this.#sums[at]}) at this index`,
      { index, terms: [known, term], sums: [this.#sums[at], sum], nodes: [this.#knownBy[at], id] },
    );
  }

  /** A node has begun to lead; its log as of then. */
  leaderElected(id: NodeId, term: number, log: LogView): void {
    for (let index = log.firstIndex(); index <= this.#terms.length; index++) {
      if (this.#knownInTerm[index - 1]! >= term) continue;
      const own = log.term(index);
      if (own === this.#terms[index - 1]) continue;
      this.#report(
        'leader completeness',
        id,
        `node ${id} leads in term ${term}, but ${own === undefined ? 'its log lacks entry' : `its log has an entry of term ${own} at index`} ${index}, which was decided in term ${this.#terms[index - 1]} (node ${this.#knownBy[index - 1]} knew)`,
        { index, term, own, decided: this.#terms[index - 1] },
      );
      return;
    }
  }

  /** A node was started again. `heldTo`: the last entry that it had applied or acknowledged in its lives so far; `flushedTo`: what its tree covers. */
  opened(id: NodeId, heldTo: number, flushedTo: number, log: LogView): void {
    const first = Math.max(log.firstIndex(), flushedTo + 1);
    const end = Math.min(heldTo, this.#terms.length);
    for (let index = first; index <= end; index++) {
      const own = log.term(index);
      if (own === this.#terms[index - 1]) continue;
      this.#report(
        'durability',
        id,
        `node ${id} had entry ${index} of term ${this.#terms[index - 1]} on its disk, and starts ${own === undefined ? `with a log that ends at ${log.lastIndex()}` : `with one of term ${own} in its place`}`,
        { index, heldTo, flushedTo, lastIndex: log.lastIndex(), own },
      );
      return;
    }
  }
}
