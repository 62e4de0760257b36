/**
 * What the log says, record by record: the entries that hold after all that was superseded, the hard state and the start of the log.
 *
 * Invariant: an entry at or below the last index takes away everything from its index on (truncation is written, never done in place).
 */
import type { HardState } from '../../raft/types.ts';
import { EntryPositions } from './entry_positions.ts';
import {
  KIND_CLOSE,
  KIND_CUT,
  KIND_HARD_STATE,
  KIND_LAST_ENTRY,
  type RecordHeader,
  readU64,
  type SegmentHeader,
} from './format.ts';
import { TermRuns } from './term_runs.ts';

export class Replay {
  readonly positions = new EntryPositions();
  readonly terms = new TermRuns();
  startIndex = 0;
  startTerm = 0;
  lastIndex = 0;
  lastTerm = 0;
  lowestSequence = 1;
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  /** The largest `synced` seen. */
  synced = 0;
  /** True while the last record was an orderly close. */
  closed = false;

  /** Begins with the oldest segment that is there. */
  begin(header: SegmentHeader): void {
    this.positions.reset(header.lastIndex + 1);
    this.startIndex = header.startIndex;
    this.startTerm = header.startTerm;
    this.lastIndex = header.lastIndex;
    this.lastTerm = header.lastTerm;
    this.#adopt(header);
  }

  /** Goes on with a later segment; gives what contradicts the segments before. */
  next(header: SegmentHeader): string | undefined {
    if (header.lastIndex !== this.lastIndex || header.lastTerm !== this.lastTerm) {
      return `begins after entry ${header.lastIndex}, but entry ${this.lastIndex} is the last one before it`;
    }
    if (header.startIndex > this.startIndex) {
      this.startIndex = header.startIndex;
      this.startTerm = header.startTerm;
    }
    this.#adopt(header);
    return undefined;
  }

  #adopt(header: SegmentHeader): void {
    this.lowestSequence = Math.max(this.lowestSequence, header.lowestSequence);
    this.hardState = { term: header.term, vote: header.vote, commit: header.commit };
    this.synced = Math.max(this.synced, header.synced);
    this.closed = false;
  }

  /** Takes in a valid record; gives what makes no sense about it. */
  record(header: RecordHeader, data: Uint8Array, position: number): string | undefined {
    this.synced = Math.max(this.synced, header.synced);
    this.closed = header.kind === KIND_CLOSE;
    if (header.kind <= KIND_LAST_ENTRY) return this.#entry(header, position);
    if (header.kind !== KIND_HARD_STATE && header.kind !== KIND_CUT) return undefined;
    if (data.byteLength !== 8) return 'a mark of the wrong length';
    const value = readU64(new DataView(data.buffer, data.byteOffset, 8), 0);
    if (header.kind === KIND_HARD_STATE) {
      if (header.term < this.hardState.term) return 'the term goes back';
      this.hardState = { term: header.term, vote: value, commit: header.index };
      return undefined;
    }
    if (header.index < this.startIndex || header.index > this.lastIndex) return 'a cut outside of the log';
    this.startIndex = header.index;
    this.startTerm = header.term;
    this.lowestSequence = Math.max(this.lowestSequence, value);
    return undefined;
  }

  #entry(header: RecordHeader, position: number): string | undefined {
    const { index, term } = header;
    if (index <= this.startIndex || index > this.lastIndex + 1) {
      return `entry ${index} does not belong after entry ${this.lastIndex}`;
    }
    const known = index === this.lastIndex + 1 || index > this.positions.first;
    const before = index === this.lastIndex + 1 ? this.lastTerm : known ? this.terms.at(index - 1) : 0;
    if (term < before) return `entry ${index} has a term below the one before it`;
    this.positions.truncate(index);
    this.terms.truncate(index);
    this.positions.push(position, header.length);
    this.terms.push(index, term);
    this.lastIndex = index;
    this.lastTerm = term;
    return undefined;
  }

  /** Drops what lies before the start; false when entries after the start are missing. */
  finish(): boolean {
    if (this.lastIndex === this.startIndex) {
      this.positions.reset(this.startIndex + 1);
      this.terms.clear();
      return true;
    }
    if (this.positions.first > this.startIndex + 1 || this.positions.next !== this.lastIndex + 1)
      return false;
    this.positions.dropBefore(this.startIndex + 1);
    this.terms.dropBefore(this.startIndex + 1);
    return true;
  }
}
