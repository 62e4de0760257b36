/**
 * The Raft log on disk: the one write-ahead log of the store. docs/formats/log.md describes its bytes.
 *
 * Invariants: what `append` took is visible to `entries` at once; its promise resolves when it is as durable as the mode asks, in the order of the
 * appends; the term never goes back and entries follow each other without a gap; the first failed write or sync ends the log for good
 * (every later append rejects with STORAGE_FAILED, `onFailure` is called once); a full disk is not a failure, see `hasRoom`.
 */
import { KvError } from '../../errors.ts';
import type { Ports } from '../../ports.ts';
import type { Entry, HardState, RaftLog } from '../../raft/types.ts';
import type { Disk } from '../disk.ts';
import type { MaybePromise } from '../record.ts';
import type { Durability, LogStart, WriterState } from './batch.ts';
import { EntryCache } from './entry_cache.ts';
import { readEntries } from './entry_reader.ts';
import { KIND_CUT, recordBytes, writeU64 } from './format.ts';
import { LogWriter } from './log_writer.ts';
import { openLog } from './open_log.ts';
import { asOpenError } from './storage_failure.ts';
import type { TermRuns } from './term_runs.ts';

export interface SegmentedLogOptions {
  readonly disk: Disk;
  /** The log's own directory; made when missing. */
  readonly path: string;
  readonly durability: Durability;
  /** 'relaxed': entries are written at the latest after so long. */
  readonly relaxedFlushMs: number;
  /** A segment is followed by the next one at about this size; one larger append makes a larger segment. */
  readonly segmentSizeBytes: number;
  readonly preallocateBytes: number;
  /** Recent entries kept in memory. */
  readonly cacheBytes: number;
  readonly ports: Ports;
}

export class SegmentedLog implements RaftLog {
  readonly #writer: LogWriter;
  readonly #state: WriterState;
  readonly #start: LogStart;
  readonly #terms: TermRuns;
  readonly #cache = new EntryCache();
  readonly #cacheBytes: number;
  readonly #durability: Durability;
  #lastIndex: number;
  #lastTerm: number;
  /** The end of the chain of cuts, resets and the close: one at a time. */
  #lane: Promise<void> = Promise.resolve();
  /** Resets asked for and not yet ended. */
  #resets = 0;
  #closed = false;
  #closing: Promise<void> | undefined;

  private constructor(options: SegmentedLogOptions, state: WriterState, terms: TermRuns, writer: LogWriter) {
    this.#writer = writer;
    this.#state = state;
    this.#start = state.start;
    this.#terms = terms;
    this.#durability = options.durability;
    this.#cacheBytes = options.cacheBytes;
    this.#lastIndex = state.written.index;
    this.#lastTerm = state.written.term;
    this.#cache.reset(this.#lastIndex + 1);
    writer.onDrained = () => this.#cache.evict(this.#cacheBytes);
  }

  /**
   * Opens the log, or begins one where there is none; cuts a torn tail that was never acknowledged.
   * Throws KvError CORRUPT (details: file, offset, problem), UNSUPPORTED_VERSION, NO_SPACE or STORAGE_FAILED.
   */
  static async open(options: SegmentedLogOptions): Promise<SegmentedLog> {
    try {
      const { replay, segments } = await openLog(options.disk, options.path, options.ports);
      const { hardState, positions, lastIndex, lastTerm } = replay;
      const state: WriterState = {
        // The commit index is a hint: with a lost tail it may be ahead of the log.
        hardState: { ...hardState, commit: Math.min(hardState.commit, lastIndex) },
        start: { index: replay.startIndex, term: replay.startTerm, lowestSequence: replay.lowestSequence },
        positions,
        written: { index: lastIndex, term: lastTerm },
      };
      const writer = new LogWriter(options, state, segments, segments.at(-1)!);
      const log = new SegmentedLog(options, state, replay.terms, writer);
      // Room is promised before the first append, not some time after.
      await writer.space.measure();
      writer.space.poke();
      await writer.space.settled();
      if (writer.failure !== undefined) {
        await writer.closeFiles();
        throw writer.failure;
      }
      return log;
    } catch (error) {
      throw asOpenError(error);
    }
  }

  /** Called once, with STORAGE_FAILED, when the log has failed. */
  get onFailure(): ((error: KvError) => void) | undefined {
    return this.#writer.onFailure;
  }

  set onFailure(listener: ((error: KvError) => void) | undefined) {
    this.#writer.onFailure = listener;
  }

  /** The newest hard state that `append` was given; after `open`, the one on disk. */
  get hardState(): HardState {
    return this.#state.hardState;
  }

  firstIndex(): number {
    return this.#start.index + 1;
  }

  lastIndex(): number {
    return this.#lastIndex;
  }

  term(index: number): number | undefined {
    if (index === this.#lastIndex) return this.#lastTerm;
    if (index > this.#start.index && index < this.#lastIndex) return this.#terms.at(index);
    return index === this.#start.index ? this.#start.term : undefined;
  }

  /** Throws CORRUPT when the disk gives back something else than was written, STORAGE_FAILED when it gives nothing. */
  entries(from: number, to: number, maxBytes: number): Entry[] {
    if (from <= this.#start.index || from >= to || to > this.#lastIndex + 1) {
      throw new KvError(
        'INTERNAL',
        `entries [${from}, ${to}) asked of a log that holds [${this.firstIndex()}, ${this.#lastIndex + 1})`,
      );
    }
    const result: Entry[] = [];
    let bytes = 0;
    let index = from;
    const cached = this.#cache.first;
    try {
      while (index < to && index < cached && (index === from || bytes < maxBytes)) {
        const { positions } = this.#state;
        if (index > from && bytes + positions.length(index) > maxBytes) return result;
        const end = Math.min(to, cached);
        bytes += readEntries(this.#writer.segments, positions, index, end, maxBytes - bytes, result);
        index = from + result.length;
      }
    } catch (error) {
      throw asOpenError(error);
    }
    for (; index >= cached && index < to; index++) {
      const entry = this.#cache.get(index)!;
      bytes += entry.data.byteLength;
      if (bytes > maxBytes && index > from) break;
      result.push(entry);
    }
    return result;
  }

  /**
   * Writes a hard state, if there is a new one, and entries; the first entry may lie at or below the last index and then replaces it and all that
   * follows. Nothing when it is already as durable as the mode asks ('os': written; 'relaxed': taken; or `mustSync` is false), else a promise for
   * that moment, which rejects with STORAGE_FAILED when the log fails. A hard state whose commit index alone moved is written along with a later
   * append, or within about a second. Throws INTERNAL when the entries do not fit the log.
   */
  append(hardState: HardState | undefined, entries: readonly Entry[], mustSync: boolean): MaybePromise<void> {
    const writer = this.#writer;
    if (writer.failure !== undefined) return Promise.reject(writer.failure);
    if (this.#closed) return Promise.reject(new KvError('CLOSED', 'the log is closed'));
    this.#check(hardState, entries);
    let newTermOrVote = false;
    if (hardState !== undefined) {
      const before = this.#state.hardState;
      newTermOrVote = hardState.term !== before.term || hardState.vote !== before.vote;
      this.#state.hardState = hardState;
      if (hardState.commit !== before.commit) writer.noteCommit();
    }
    for (let i = 0; i < entries.length; i++) this.#take(entries[i]!);
    if (entries.length === 0 && !newTermOrVote) return this.#nothingToWrite(mustSync);
    const done = writer.submit(newTermOrVote, entries, mustSync);
    if (writer.queuedBytes === 0) this.#cache.evict(this.#cacheBytes);
    return done;
  }

  /**
   * Makes one entry as durable as the mode asks, here and now: written to the operating system ('os') or copied into memory ('relaxed'). False, and nothing has
   * happened, when that is not enough ('fsync'), when something waits to be written before it, or when there is no room at the moment: `append` will do.
   * The data is the caller's again after the call. Throws STORAGE_FAILED, INTERNAL when the entry does not follow the last one.
   */
  appendAtOnce(entry: Entry): boolean {
    const writer = this.#writer;
    if (this.#durability === 'fsync' || this.#closed || this.#resets > 0) return false;
    const { index, term } = entry;
    if (index !== this.#lastIndex + 1 || term < this.#lastTerm) {
      throw new KvError('INTERNAL', `entry ${index} of term ${term} does not follow ${this.#lastIndex}`);
    }
    if (this.#durability === 'relaxed') return this.#takeCopy(entry);
    if (!writer.writeAtOnce(entry)) return false;
    this.#terms.push(index, term);
    this.#cache.skipTo(index + 1);
    this.#lastIndex = index;
    this.#lastTerm = term;
    return true;
  }

  /** False: `appendAtOnce` never takes anything, for the mode asks for more. */
  get appendsAtOnce(): boolean {
    return this.#durability !== 'fsync';
  }

  #takeCopy(entry: Entry): boolean {
    const { failure } = this.#writer;
    if (failure !== undefined) throw failure;
    if (!this.hasRoom(entry.data.byteLength)) return false;
    this.append(undefined, [{ ...entry, data: new Uint8Array(entry.data) }], true);
    if (this.#writer.failure !== undefined) throw this.#writer.failure;
    return true;
  }

  #nothingToWrite(mustSync: boolean): MaybePromise<void> {
    const writer = this.#writer;
    if (!mustSync || this.#durability !== 'fsync') return undefined;
    if (writer.queuedBytes > 0) return writer.flush();
    return writer.commit.syncedPosition === writer.endPosition ? undefined : writer.commit.durable();
  }

  /** Refuses what would break the log, before anything of it is taken. */
  #check(hardState: HardState | undefined, entries: readonly Entry[]): void {
    if (hardState !== undefined && hardState.term < this.#state.hardState.term) {
      throw new KvError(
        'INTERNAL',
        `the term goes back from ${this.#state.hardState.term} to ${hardState.term}`,
      );
    }
    if (entries.length === 0) return;
    if (this.#resets > 0) throw new KvError('INTERNAL', 'entries were appended while the log is being reset');
    const first = entries[0]!.index;
    if (first <= this.#start.index || first > this.#lastIndex + 1) {
      throw new KvError(
        'INTERNAL',
        `entry ${first} does not fit a log of [${this.firstIndex()}, ${this.#lastIndex}]`,
      );
    }
    let term = this.term(first - 1) ?? 0;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      if (entry.index !== first + i || entry.term < term) {
        throw new KvError('INTERNAL', `entry ${entry.index} of term ${entry.term} is out of order`);
      }
      term = entry.term;
    }
  }

  #take(entry: Entry): void {
    const { index, term } = entry;
    if (index <= this.#lastIndex) {
      this.#terms.truncate(index);
      this.#cache.truncate(index);
    }
    this.#terms.push(index, term);
    this.#cache.push(entry);
    this.#lastIndex = index;
    this.#lastTerm = term;
  }

  /** Bytes of records that can be appended for sure without new disk space. */
  roomBytes(): number {
    return this.#writer.roomBytes;
  }

  /**
   * Whether an append of `bytes` of data in `entryCount` entries may be made. False when the disk is full (it is tried again about once a
   * second), or when too much waits for room already. Hard states may always be appended: space is kept for them.
   */
  hasRoom(bytes: number, entryCount = 1): boolean {
    return !this.#closed && this.#writer.hasRoom(bytes + entryCount * recordBytes(8) + recordBytes(8));
  }

  /** Resolves when `hasRoom` may answer otherwise than it just did because room is being made. */
  roomMade(): Promise<void> {
    return this.#writer.space.madeSome();
  }

  /** The disk has refused space lately; while it has not, room that is missing now is being made. */
  get diskFull(): boolean {
    return this.#writer.space.full;
  }

  /** Bytes that wait to be written: for room, for the end of a reset or, in relaxed mode, for their time. */
  queuedBytes(): number {
    return this.#writer.queuedBytes;
  }

  /** Bytes of the records from the log's first segment to its end. */
  sizeBytes(): number {
    return this.#writer.endPosition - this.#writer.segments[0]!.position;
  }

  /** Makes everything appended so far durable, whatever the mode. */
  async sync(): Promise<void> {
    if (this.#writer.failure !== undefined) throw this.#writer.failure;
    await this.#writer.flush();
  }

  /** Runs one maintenance work after another. */
  #inLane(work: () => Promise<void>): Promise<void> {
    const done = this.#lane.then(work);
    // The chain goes on after a failure; `done` carries it to the caller.
    this.#lane = done.then(
      () => undefined,
      () => undefined,
    );
    return done;
  }

  /**
   * Removes whole segments from the front whose entries are all at or below `index`. `firstIndex` moves at once to the first entry that stays;
   * the promise resolves when the space is free.
   */
  cut(index: number): Promise<void> {
    return this.#inLane(() => this.#cut(index));
  }

  async #cut(index: number): Promise<void> {
    const { segments, failure } = this.#writer;
    if (failure !== undefined) throw failure;
    if (this.#closed) throw new KvError('CLOSED', 'the log is closed');
    const { positions } = this.#state;
    let count = 0;
    let startIndex = this.#start.index;
    while (count + 1 < segments.length) {
      const last = positions.firstAtOrAfter(segments[count + 1]!.position) - 1;
      if (last > index) break;
      startIndex = last;
      count++;
    }
    if (count === 0) return;
    const startTerm = this.term(startIndex) ?? 0;
    const lowestSequence = segments[count]!.sequence;
    Object.assign(this.#start, { index: startIndex, term: startTerm, lowestSequence });
    positions.dropBefore(startIndex + 1);
    this.#terms.dropBefore(startIndex + 1);
    this.#cache.dropBefore(startIndex + 1);
    const data = new Uint8Array(8);
    writeU64(new DataView(data.buffer), 0, lowestSequence);
    await this.#writer.mark({ kind: KIND_CUT, index: startIndex, term: startTerm, data });
    await this.#writer.removeOldest(count);
  }

  /**
   * After a snapshot took the state machine to (index, term): the log is empty and begins after it. Atomic: a crash leaves the old log or the new one.
   * Throws NO_SPACE with nothing changed. REQUIRES: no entries are appended until it resolves; hard states may be.
   */
  reset(index: number, term: number): Promise<void> {
    this.#resets++;
    return this.#inLane(() => this.#reset(index, term)).finally(() => {
      this.#resets--;
    });
  }

  async #reset(index: number, term: number): Promise<void> {
    if (this.#writer.failure !== undefined) throw this.#writer.failure;
    if (this.#closed) throw new KvError('CLOSED', 'the log is closed');
    try {
      await this.#writer.reset({ index, term }, (start) => {
        Object.assign(this.#start, start);
        Object.assign(this.#state.written, { index, term });
        this.#lastIndex = index;
        this.#lastTerm = term;
        this.#terms.clear();
        this.#state.positions.reset(index + 1);
        this.#cache.reset(index + 1);
      });
    } catch (error) {
      throw asOpenError(error);
    }
  }

  /** Makes everything durable, marks the close in the log and closes the files. Appends that still wait for room are refused (NO_SPACE). */
  close(): Promise<void> {
    this.#closed = true;
    this.#closing ??= this.#inLane(() => this.#close());
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.#writer.finish();
    } finally {
      await this.#writer.closeFiles();
    }
  }
}
