/** An in-memory RaftLog for tests: what a node's disk, or its page cache, holds. */
import type { Entry, RaftLog } from '../../src/raft/types.ts';

export class MemoryLog implements RaftLog {
  startIndex = 0;
  startTerm = 0;
  list: Entry[] = [];
  /** How often entries were asked for: shows that nothing scans. */
  reads = 0;

  firstIndex(): number {
    return this.startIndex + 1;
  }
  lastIndex(): number {
    return this.startIndex + this.list.length;
  }
  term(index: number): number | undefined {
    if (index === this.startIndex) return this.startTerm;
    return this.list[index - this.startIndex - 1]?.term;
  }
  entries(from: number, to: number, maxBytes: number): Entry[] {
    this.reads++;
    if (from < this.firstIndex() || from >= to || to > this.lastIndex() + 1) {
      throw new Error(`entries(${from}, ${to}) of a log with [${this.firstIndex()}, ${this.lastIndex()}]`);
    }
    const found: Entry[] = [];
    let bytes = 0;
    for (let index = from; index < to && (found.length === 0 || bytes < maxBytes); index++) {
      const entry = this.at(index)!;
      found.push(entry);
      bytes += entry.data.length;
    }
    return found;
  }

  at(index: number): Entry | undefined {
    return this.list[index - this.startIndex - 1];
  }

  /** Appends, after removing what lies at or above the first new entry. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    if (first.index <= this.startIndex || first.index > this.lastIndex() + 1) {
      throw new Error(`append at ${first.index} to a log with [${this.firstIndex()}, ${this.lastIndex()}]`);
    }
    this.list.length = first.index - this.startIndex - 1;
    this.list.push(...entries);
  }

  /** Forgets everything up to `index`. */
  compact(index: number): void {
    const term = this.term(index);
    if (term === undefined || index <= this.startIndex) return;
    this.list = this.list.slice(index - this.startIndex);
    this.startIndex = index;
    this.startTerm = term;
  }

  reset(index: number, term: number): void {
    this.list = [];
    this.startIndex = index;
    this.startTerm = term;
  }

  clone(): MemoryLog {
    const copy = new MemoryLog();
    copy.startIndex = this.startIndex;
    copy.startTerm = this.startTerm;
    copy.list = [...this.list];
    return copy;
  }
}
