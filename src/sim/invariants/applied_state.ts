/**
 * Equal state at an equal applied index, on every node and in every life: the first node that is seen at an index says what the state is there, and every other
 * one that is seen at it must show the same.
 *
 * Two grains: a few numbers at every index at which a node is seen, and a checksum of all that the state machine keeps besides the records (sessions with their results,
 * revision, clock) at some of them. The records themselves are compared in full by full_state.ts, now and then and at the end.
 */
import type { NodeId } from '../../raft/types.ts';
import type { Report } from './violation.ts';

export interface Figures {
  readonly revision: number;
  readonly compactRevision: number;
  readonly timeMs: number;
  readonly sessions: number;
}

interface Seen extends Figures {
  readonly by: NodeId;
  /** Of the state besides the records; undefined: not taken yet. */
  sum: number | undefined;
}

/** Seen indexes are forgotten below the newest one by this much: nodes that are further behind are compared again when they have caught up. */
const KEPT = 20_000;

export class AppliedState {
  readonly #report: Report;
  readonly #seen = new Map<number, Seen>();
  #newest = 0;

  constructor(report: Report) {
    this.#report = report;
  }

  at(id: NodeId, index: number, figures: Figures): void {
    const seen = this.#seen.get(index);
    if (seen === undefined) {
      this.#seen.set(index, { ...figures, by: id, sum: undefined });
      if (index > this.#newest) this.#newest = index;
      if (this.#seen.size > 2 * KEPT) this.#forget();
      return;
    }
    for (const name of ['revision', 'compactRevision', 'timeMs', 'sessions'] as const) {
      if (figures[name] === seen[name]) continue;
      this.#report(
        'equal state at an equal index',
        id,
        `at applied index ${index}, ${name} is ${figures[name]} on node ${id} and was ${seen[name]} on node ${seen.by}`,
        { index, figure: name, values: [seen[name], figures[name]], nodes: [seen.by, id] },
      );
      return;
    }
  }

  /** REQUIRES: `at` was called for this index. */
  sumAt(id: NodeId, index: number, sum: number): void {
    const seen = this.#seen.get(index);
    if (seen === undefined) return;
    if (seen.sum === undefined) seen.sum = sum;
    else if (seen.sum !== sum) {
      this.#report(
        'equal state at an equal index',
        id,
        `at applied index ${index}, sessions or clock of node ${id} differ from what another node had there (checksum ${sum}, not ${seen.sum})`,
        { index, sums: [seen.sum, sum] },
      );
    }
  }

  #forget(): void {
    for (const index of this.#seen.keys()) if (index < this.#newest - KEPT) this.#seen.delete(index);
  }
}
