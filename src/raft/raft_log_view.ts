/**
 * The log as the core sees it: a window of recent entries in memory in front of the RaftLog port, and the marks that move along it.
 *
 *     delivered <= min(commit, durable)      what was handed out to be applied
 *     commit    <= lastIndex                 decided by a quorum, as far as this node knows
 *     durable   <= handed <= lastIndex       on this node's stable storage / given to the shell in a Ready
 *
 * Invariants: the window covers every index in (min(durable, delivered), lastIndex], unless it grew past WINDOW_BYTES; it always covers (durable,
 * lastIndex], so the port is never asked for an entry that may not be on disk yet or is being replaced. Entries at or below commit never change.
 *
 * Asynchronous appends (thesis 10.2.1) and the ABA race: a Ready's entries become durable some time after they were handed out; meanwhile a new leader
 * may have replaced them, even by the same entries again. So each outstanding append keeps how far its entries are still those
 * of the log (`intactTo`, lowered by each truncation), and its acknowledgement counts only up to there. Comparing terms
 * alone would not do: an entry that was truncated and written anew in between would be taken for durable.
 */
import type { Entry, RaftLog } from './types.ts';

/** What an entry costs besides its data, so that empty entries are bounded too. */
export const ENTRY_OVERHEAD_BYTES = 16;
/** Durable, committed entries are kept in memory until they are handed out, up to so many bytes. */
const WINDOW_BYTES = 64 * 1024 * 1024;
const NO_ENTRIES: readonly Entry[] = Object.freeze([]);

interface OutstandingAppend {
  readonly term: number;
  readonly index: number;
  intactTo: number;
}
interface Delivery {
  readonly lastIndex: number;
  readonly sizeBytes: number;
}

/** Bytes that an entry counts for in every bound. */
export function entryBytes(entry: Entry): number {
  return entry.data.length + ENTRY_OVERHEAD_BYTES;
}

export class RaftLogView {
  readonly #log: RaftLog;
  /** Bytes handed out and not yet reported as applied; past it nothing more is handed out. */
  readonly #maxUnappliedBytes: number;
  #window: Entry[] = [];
  /** Index of #window[0]. */
  #offset: number;
  #windowBytes = 0;
  #handedIndex: number;
  readonly #outstanding: OutstandingAppend[] = [];
  readonly #deliveries: Delivery[] = [];
  #unappliedBytes = 0;
  /** The last slice made: followers in step with each other are sent the same array. */
  #sliceFrom = 0;
  #sliceMaxBytes = 0;
  #slice: readonly Entry[] = NO_ENTRIES;
  /** Bytes of what `entriesFrom` returned last. */
  sliceBytes = 0;
  lastIndex: number;
  lastTerm: number;
  durableIndex: number;
  commitIndex: number;
  deliveredIndex: number;
  /** Bytes of the entries in (commit, lastIndex], whatever their term. */
  uncommittedBytes = 0;

  constructor(log: RaftLog, commitIndex: number, applied: number, maxUnappliedBytes: number) {
    this.#log = log;
    this.#maxUnappliedBytes = maxUnappliedBytes;
    this.lastIndex = log.lastIndex();
    this.lastTerm = log.term(this.lastIndex) ?? 0;
    this.#offset = this.lastIndex + 1;
    this.#handedIndex = this.lastIndex;
    this.durableIndex = this.lastIndex;
    // The hint may be older than what was applied, and must not claim more than the log holds.
    this.commitIndex = Math.min(Math.max(commitIndex, applied, log.firstIndex() - 1), this.lastIndex);
    this.deliveredIndex = Math.min(applied, this.commitIndex);
  }

  /** Index of the first entry that can still be read. */
  firstIndex(): number {
    return Math.min(this.#log.firstIndex(), this.lastIndex + 1);
  }

  /** Term of the entry at `index`; undefined when it was compacted away or is not there yet; 0 for index 0. */
  term(index: number): number | undefined {
    if (index > this.lastIndex) return undefined;
    if (index >= this.#offset) return this.#window[index - this.#offset]!.term;
    return index === this.lastIndex ? this.lastTerm : this.#log.term(index);
  }

  /** True when an entry with this index and term is in the log (or is what a snapshot ended with). */
  matches(index: number, term: number): boolean {
    return index === this.lastIndex ? term === this.lastTerm : this.term(index) === term;
  }

  /** Raft paper, section 5.4.1: is a log that ends so at least as up-to-date as this one? */
  isUpToDate(lastIndex: number, lastTerm: number): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex);
  }

  /** The largest index at or below `index` whose term is at most `term`; stops below the first entry there is. */
  lastIndexWithTermAtMost(index: number, term: number): number {
    let at = Math.min(index, this.lastIndex);
    while (at > 0) {
      const own = this.term(at);
      if (own === undefined || own <= term) break;
      at--;
    }
    return at;
  }

  /** Adds one entry at the end. REQUIRES: entry.index is lastIndex + 1. */
  append(entry: Entry): void {
    this.#window.push(entry);
    const size = entryBytes(entry);
    this.#windowBytes += size;
    this.uncommittedBytes += size;
    this.lastIndex = entry.index;
    this.lastTerm = entry.term;
    this.#slice = NO_ENTRIES;
  }

  /** Every entry is durable, decided, handed out and applied. */
  get settled(): boolean {
    const { lastIndex } = this;
    return (
      this.deliveredIndex === lastIndex &&
      this.durableIndex === lastIndex &&
      this.#handedIndex === lastIndex &&
      this.#window.length === 0 &&
      this.#deliveries.length === 0 &&
      this.#outstanding.length === 0
    );
  }

  /** An entry became durable and decided without having been here. REQUIRES: `settled`, and the entry is the next one. */
  decidedAlone(entry: Entry): void {
    const { index, term } = entry;
    if (index !== this.lastIndex + 1 || !this.settled)
      throw new Error(`entry ${index} was not decided alone`);
    this.lastIndex = index;
    this.lastTerm = term;
    this.#handedIndex = index;
    this.durableIndex = index;
    this.commitIndex = index;
    this.deliveredIndex = index;
    this.#offset = index + 1;
    this.#slice = NO_ENTRIES;
  }

  /** Removes the entries above `lastIndex`, which must not be below commit. */
  truncateAfter(lastIndex: number): void {
    this.uncommittedBytes -= this.#sizeOf(lastIndex + 1, this.lastIndex);
    const term = this.term(lastIndex) ?? 0;
    if (lastIndex + 1 >= this.#offset) {
      for (let i = lastIndex + 1 - this.#offset; i < this.#window.length; i++) {
        this.#windowBytes -= entryBytes(this.#window[i]!);
      }
      this.#window.length = lastIndex + 1 - this.#offset;
    } else {
      this.#window = [];
      this.#windowBytes = 0;
      this.#offset = lastIndex + 1;
    }
    this.lastIndex = lastIndex;
    this.lastTerm = term;
    this.durableIndex = Math.min(this.durableIndex, lastIndex);
    this.#handedIndex = Math.min(this.#handedIndex, lastIndex);
    for (const append of this.#outstanding) append.intactTo = Math.min(append.intactTo, lastIndex);
    this.#slice = NO_ENTRIES;
  }

  /** A snapshot took the place of everything: the log is empty and goes on after `index`. */
  restore(index: number, term: number): void {
    this.#window = [];
    this.#windowBytes = 0;
    this.#offset = index + 1;
    this.lastIndex = index;
    this.lastTerm = term;
    this.durableIndex = index;
    this.#handedIndex = index;
    this.commitIndex = index;
    this.deliveredIndex = index;
    this.uncommittedBytes = 0;
    this.#deliveries.length = 0;
    this.#unappliedBytes = 0;
    // Not forgotten: a late acknowledgement must find its own append, not a newer one with the same term and index.
    for (const append of this.#outstanding) append.intactTo = 0;
    this.#slice = NO_ENTRIES;
  }

  /** Entries from `from` on, up to `maxBytes` but at least one. Shared between callers: never modified. REQUIRES: from <= lastIndex and readable. */
  entriesFrom(from: number, maxBytes: number): readonly Entry[] {
    if (from === this.#sliceFrom && maxBytes === this.#sliceMaxBytes && this.#slice.length > 0)
      return this.#slice;
    this.#slice = this.#read(from, this.lastIndex, maxBytes);
    this.#sliceFrom = from;
    this.#sliceMaxBytes = maxBytes;
    this.sliceBytes = 0;
    for (const entry of this.#slice) this.sliceBytes += entryBytes(entry);
    return this.#slice;
  }

  /** Entries [from, last], cut off before the one that would pass `maxBytes`, or where the window begins; at least one. */
  #read(from: number, last: number, maxBytes: number): Entry[] {
    if (from < this.#offset) return this.#log.entries(from, Math.min(last + 1, this.#offset), maxBytes);
    const start = from - this.#offset;
    const limit = last + 1 - this.#offset;
    let end = start + 1;
    let bytes = entryBytes(this.#window[start]!);
    for (; end < limit; end++) {
      bytes += entryBytes(this.#window[end]!);
      if (bytes > maxBytes) break;
    }
    return this.#window.slice(start, end);
  }

  /** Bytes of the entries [from, to]. Outside of the window (the tail found at a restart) they are read once more. */
  #sizeOf(from: number, to: number): number {
    let bytes = 0;
    let index = from;
    while (index <= to && index < this.#offset) {
      for (const entry of this.#log.entries(index, Math.min(to + 1, this.#offset), WINDOW_BYTES / 64)) {
        bytes += entryBytes(entry);
        index++;
      }
    }
    for (; index <= to; index++) bytes += entryBytes(this.#window[index - this.#offset]!);
    return bytes;
  }

  /** Everything up to `index` is decided. Returns false when that is no news. REQUIRES: index <= lastIndex. */
  commitTo(index: number): boolean {
    if (index <= this.commitIndex) return false;
    this.uncommittedBytes -= this.#sizeOf(this.commitIndex + 1, index);
    this.commitIndex = index;
    return true;
  }

  hasEntriesToHand(): boolean {
    return this.#handedIndex < this.lastIndex;
  }

  /** The entries to append to the log, once each. `term` is the core's: it comes back with the acknowledgement. */
  takeEntries(term: number): readonly Entry[] {
    if (this.#handedIndex === this.lastIndex) return NO_ENTRIES;
    const entries = this.#window.slice(this.#handedIndex + 1 - this.#offset);
    this.#handedIndex = this.lastIndex;
    this.#outstanding.push({ term, index: this.lastIndex, intactTo: this.lastIndex });
    return entries;
  }

  /** An append handed out in `term` and ending at `index`, and all before it, are durable. Returns true when the durable index moved. */
  appended(term: number, index: number): boolean {
    const outstanding = this.#outstanding;
    let durable = this.durableIndex;
    for (let i = 0; i < outstanding.length; i++) {
      const append = outstanding[i]!;
      if (append.intactTo > durable) durable = append.intactTo;
      if (append.term !== term || append.index !== index) continue;
      outstanding.splice(0, i + 1);
      return this.#durableTo(durable);
    }
    return false;
  }

  #durableTo(durable: number): boolean {
    if (durable === this.durableIndex) return false;
    this.durableIndex = durable;
    this.#shrink();
    return true;
  }

  hasCommittedToDeliver(): boolean {
    return (
      this.deliveredIndex < this.commitIndex &&
      this.deliveredIndex < this.durableIndex &&
      this.#unappliedBytes < this.#maxUnappliedBytes
    );
  }

  /** The next decided entries, each once and in order, at most about `maxBytes`. */
  takeCommitted(maxBytes: number): readonly Entry[] {
    if (!this.hasCommittedToDeliver()) return NO_ENTRIES;
    const last = Math.min(this.commitIndex, this.durableIndex);
    const entries = this.#read(this.deliveredIndex + 1, last, maxBytes);
    let sizeBytes = 0;
    for (const entry of entries) sizeBytes += entryBytes(entry);
    this.deliveredIndex += entries.length;
    this.#deliveries.push({ lastIndex: this.deliveredIndex, sizeBytes });
    this.#unappliedBytes += sizeBytes;
    this.#shrink();
    return entries;
  }

  /** The state machine has got to `index`. */
  applied(index: number): void {
    let done = 0;
    while (done < this.#deliveries.length && this.#deliveries[done]!.lastIndex <= index) {
      this.#unappliedBytes -= this.#deliveries[done]!.sizeBytes;
      done++;
    }
    if (done > 0) this.#deliveries.splice(0, done);
  }

  /** Lets go of entries that are durable and handed out, or durable and decided once the window is too large. */
  #shrink(): void {
    let keepFrom = Math.min(this.durableIndex, this.deliveredIndex) + 1;
    if (this.#windowBytes > WINDOW_BYTES) keepFrom = Math.min(this.durableIndex, this.commitIndex) + 1;
    const count = keepFrom - this.#offset;
    if (count <= 0) return;
    if (count >= this.#window.length) {
      this.#window = [];
      this.#windowBytes = 0;
    } else {
      for (let i = 0; i < count; i++) this.#windowBytes -= entryBytes(this.#window[i]!);
      this.#window.splice(0, count);
    }
    this.#offset = keepFrom;
    this.#slice = NO_ENTRIES;
  }
}
