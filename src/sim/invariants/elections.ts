/**
 * Election safety (Raft paper, figure 3: at most one leader in a term) and what a node has promised about terms and votes: neither goes back, within a life or over
 * a crash, and within a term a vote is never changed.
 *
 * A promise is what has left the node: a message of a term says that the term is on its disk, a granted vote says that the vote is. So what a node finds on its disk
 * at a start is held against what it has told others, which is more than what it wrote last and not less.
 */
import type { HardState, NodeId } from '../../raft/types.ts';
import type { Report } from './violation.ts';

interface Promised {
  term: number;
  /** Who was given the vote of `term`; 0: nobody yet. */
  vote: NodeId;
}

export class Elections {
  readonly #report: Report;
  readonly #leaders = new Map<number, NodeId>();
  readonly #promised = new Map<NodeId, Promised>();

  constructor(report: Report) {
    this.#report = report;
  }

  /** A node was seen to lead, or to speak as a leader. */
  leads(id: NodeId, term: number): void {
    const other = this.#leaders.get(term);
    if (other === id) return;
    if (other === undefined) this.#leaders.set(term, id);
    else {
      this.#report(
        'election safety',
        id,
        `nodes ${other} and ${id} both lead in term ${term}: two majorities have voted, so some node has voted twice`,
        { term, leaders: [other, id] },
      );
    }
  }

  leaderOf(term: number): NodeId | undefined {
    return this.#leaders.get(term);
  }

  /** A node has asked for votes, which is a vote for itself (`to` is `from`), or has granted one. */
  voted(from: NodeId, to: NodeId, term: number): void {
    const promised = this.#of(from);
    if (term < promised.term) {
      this.#report('vote', from, `node ${from} votes in term ${term} after it was in term ${promised.term}`, {
        term,
        promised: promised.term,
      });
    } else if (term === promised.term && promised.vote !== 0 && promised.vote !== to) {
      this.#report(
        'vote',
        from,
        `node ${from} votes for node ${to} in term ${term}, in which it has voted for node ${promised.vote} already`,
        { term, votes: [promised.vote, to] },
      );
    }
    this.entered(from, term);
    promised.vote = to;
  }

  /** A node has told another one, in a message that waits for its disk, that it is in a term. */
  entered(id: NodeId, term: number): void {
    const promised = this.#of(id);
    if (term <= promised.term) return;
    promised.term = term;
    promised.vote = 0;
  }

  /** What a node found on its disk when it was started. */
  opened(id: NodeId, hardState: HardState): void {
    const promised = this.#of(id);
    const { term, vote } = hardState;
    if (term < promised.term) {
      this.#report(
        'term goes back',
        id,
        `node ${id} starts in term ${term}, but it has told others that it is in term ${promised.term}: that was not on its disk`,
        { term, promised: promised.term },
      );
    } else if (term === promised.term && promised.vote !== 0 && vote !== promised.vote) {
      this.#report(
        'vote is lost',
        id,
        `node ${id} starts in term ${term} with ${vote === 0 ? 'no vote' : `a vote for node ${vote}`}, but it has given its vote to node ${promised.vote}: that was not on its disk`,
        { term, vote, promised: promised.vote },
      );
    }
    this.entered(id, term);
    if (term === promised.term && vote !== 0) promised.vote = vote;
  }

  /** The node is gone for good, and its id with it. */
  forget(id: NodeId): void {
    this.#promised.delete(id);
  }

  #of(id: NodeId): Promised {
    let promised = this.#promised.get(id);
    if (promised === undefined) {
      promised = { term: 0, vote: 0 };
      this.#promised.set(id, promised);
    }
    return promised;
  }
}
