/** Rules of Raft whose breach loses nothing by itself, but lets a later leader take back what was promised: found where they are broken, not only where that was noticed. */
import type { NodeId } from '../../raft/types.ts';
import type { Report } from './violation.ts';

/** What a node has acknowledged to the leader of a term. */
export interface PromisedEntries {
  /** The newest term in which it acknowledged entries; 0: none that counts. */
  promisedIn: number;
  /** The highest index that it did in it. */
  promisedTo: number;
}

/** A node acknowledges entries up to `index` to the leader of `term`. */
export function promiseEntries(promised: PromisedEntries, term: number, index: number): void {
  promised.promisedTo = term === promised.promisedIn ? Math.max(promised.promisedTo, index) : index;
  promised.promisedIn = term;
}

/** Section 5.4.2 of the paper: a leader decides by counting only what ends with an entry of its own term. `own`: the term of the entry. */
export function checkCommit(
  id: NodeId,
  index: number,
  own: number | undefined,
  term: number,
  report: Report,
): void {
  if (own === term) return;
  report(
    'commit rule',
    id,
    `node ${id} leads in term ${term} and takes entry ${index} of term ${own} for decided: one that is not of its own term may still be replaced by a later leader`,
    { index, own, term },
  );
}

/** What a follower has acknowledged it keeps as long as it follows in that term. REQUIRES: it follows in `term`. */
export function checkKept(
  id: NodeId,
  { promisedIn, promisedTo }: PromisedEntries,
  lastIndex: number,
  term: number,
  report: Report,
): void {
  if (term !== promisedIn || lastIndex >= promisedTo) return;
  report(
    'acknowledged entries stay',
    id,
    `node ${id} has acknowledged entries up to ${promisedTo} to the leader of term ${term}, and its log ends at ${lastIndex} in the same term`,
    { lastIndex, promisedTo, term },
  );
}
