/**
 * The terms of the log's entries, as runs: terms change rarely, so a log of millions of entries has a handful of runs.
 *
 * Invariant: `#firsts` ascends strictly, `#terms` ascends strictly; run i covers [firsts[i], firsts[i + 1]).
 */
export class TermRuns {
  #firsts: number[] = [];
  #terms: number[] = [];

  clear(): void {
    this.#firsts = [];
    this.#terms = [];
  }

  /** The entry at `index` has `term`. REQUIRES: index follows the last one added (or what `truncate` left). */
  push(index: number, term: number): void {
    const last = this.#terms.length - 1;
    if (last >= 0 && this.#terms[last] === term) return;
    this.#firsts.push(index);
    this.#terms.push(term);
  }

  /** Forgets the entries from `index` on. */
  truncate(index: number): void {
    while (this.#firsts.length > 0 && this.#firsts[this.#firsts.length - 1]! >= index) {
      this.#firsts.pop();
      this.#terms.pop();
    }
  }

  /** Forgets the entries before `index`. */
  dropBefore(index: number): void {
    let runs = 0;
    while (runs + 1 < this.#firsts.length && this.#firsts[runs + 1]! <= index) runs++;
    if (runs > 0) {
      this.#firsts.splice(0, runs);
      this.#terms.splice(0, runs);
    }
  }

  /** REQUIRES: the entry at `index` was pushed and neither truncated nor dropped. */
  at(index: number): number {
    let low = 0;
    let high = this.#firsts.length - 1;
    // Nearly every question is about the newest run.
    if (high >= 0 && this.#firsts[high]! <= index) return this.#terms[high]!;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#firsts[middle]! <= index) low = middle;
      else high = middle - 1;
    }
    return this.#terms[low] ?? 0;
  }
}
