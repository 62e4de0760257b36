/**
 * The writing half of the log: a queue (empty in the usual case), the current segment, group commit and the space ahead.
 *
 * Invariants: batches reach the file in the order of their submission; a batch lies in one segment; positions are noted only for what is
 * written; after the first failed write or sync nothing is written any more.
 */
import { KvError } from '../../errors.ts';
import type { TimerHandle } from '../../ports.ts';
import type { Entry } from '../../raft/types.ts';
import type { MaybePromise } from '../record.ts';
import {
  type Batch,
  HARD_STATE_BYTES,
  type LogStart,
  type Mark,
  sizeOf,
  type WriterOptions,
  type WriterState,
} from './batch.ts';
import { BatchQueue } from './batch_queue.ts';
import {
  encodeHeader,
  HEADER_BYTES,
  KIND_CLOSE,
  KIND_HARD_STATE,
  KIND_WATERMARK,
  recordBytes,
  writeU64,
} from './format.ts';
import { GroupCommit } from './group_commit.ts';
import { RecordEncoder } from './record_encoder.ts';
import { removeFile } from './recovery.ts';
import type { Segment } from './segment.ts';
import { SegmentSpace } from './segment_space.ts';
import { isNoSpace, storageFailed } from './storage_failure.ts';

const IDLE_MS = 1000;
/** Relaxed: written at the latest when so much waits. */
const RELAXED_BATCH_BYTES = 1024 * 1024;
/** No more entries are taken while so much waits for room; hard states always are. */
export const SOFT_QUEUE_BYTES = 16 * 1024 * 1024;
/** How many bytes of entries may go by before the commit index is written along. */
const COMMIT_EVERY_BYTES = 64 * 1024;
const NO_ENTRIES: readonly Entry[] = [];
const NO_DATA = new Uint8Array(0);

export class LogWriter {
  /** Oldest first; the last one is written to. */
  readonly segments: Segment[];
  readonly commit: GroupCommit;
  readonly space: SegmentSpace;
  failure: KvError | undefined;
  onFailure: ((error: KvError) => void) | undefined;
  onDrained: (() => void) | undefined;
  readonly #options: WriterOptions;
  readonly #state: WriterState;
  readonly #encoder = new RecordEncoder();
  /** The list of `writeAtOnce`, used again and again. */
  readonly #single: Entry[] = [];
  readonly #vote = new Uint8Array(8);
  readonly #voteView = new DataView(this.#vote.buffer);
  #current: Segment;
  readonly #queue = new BatchQueue();
  #paused = false;
  #commitPending = false;
  #bytesSinceCommit = 0;
  #idleTimer: TimerHandle | undefined;
  #idlePosition = -1;
  #sealedPosition: number;
  #flushTimer: TimerHandle | undefined;

  constructor(options: WriterOptions, state: WriterState, segments: Segment[], current: Segment) {
    this.#options = options;
    this.#state = state;
    this.segments = segments;
    this.#current = current;
    this.#sealedPosition = current.endPosition;
    const fail = (error: unknown): void => {
      this.fail(error);
    };
    this.commit = new GroupCommit(current, current.endPosition, fail);
    const syncZeros = options.durability === 'fsync';
    this.space = new SegmentSpace({ ...options, syncZeros }, current, () => this.drain(), fail);
  }

  get queuedBytes(): number {
    return this.#queue.bytes;
  }

  get endPosition(): number {
    return this.#current.endPosition;
  }

  /** Bytes of records that surely fit without new disk space. */
  get roomBytes(): number {
    const room = Math.max(this.#current.roomBytes, this.space.spareRoomBytes);
    return Math.max(0, room - this.space.reserveBytes - this.#queue.bytes);
  }

  hasRoom(bytes: number): boolean {
    if (this.failure !== undefined) return false;
    if (bytes <= this.roomBytes) return true;
    if (!this.space.skipsZeros(bytes + this.#queue.bytes)) this.space.want(bytes);
    if (!this.space.likely(bytes + this.#queue.bytes)) return false;
    return this.#queue.bytes === 0 || this.#queue.bytes + bytes <= SOFT_QUEUE_BYTES;
  }

  /** The commit index moved and nothing else did: it goes along with what is written next. */
  noteCommit(): void {
    this.#commitPending = true;
    this.#armIdle();
  }

  /** `hardState`: the state's term or vote changed and must be written. See RaftLog.append for the answer. */
  submit(hardState: boolean, entries: readonly Entry[], mustSync: boolean): MaybePromise<void> {
    const { durability } = this.#options;
    if (durability === 'relaxed' && !hardState) return this.#submitRelaxed(entries);
    const bytes = sizeOf(hardState, entries, undefined);
    const sync = mustSync && durability === 'fsync';
    if (this.#queue.length > 0 && durability === 'relaxed') this.drain();
    if (this.#queue.length === 0 && !this.#paused) {
      try {
        if (this.#tryWrite(hardState, entries, undefined, bytes))
          return sync ? this.commit.durable() : undefined;
      } catch (error) {
        return Promise.reject(this.fail(error));
      }
    }
    return this.#enqueue(hardState, entries, undefined, sync);
  }

  /** Writes one entry now; false, and nothing has happened, when something waits or there is no room yet. Throws STORAGE_FAILED. */
  writeAtOnce(entry: Entry): boolean {
    if (this.failure !== undefined) throw this.failure;
    if (this.#queue.length > 0 || this.#paused) return false;
    this.#single[0] = entry;
    try {
      return this.#tryWrite(false, this.#single, undefined, recordBytes(entry.data.byteLength));
    } catch (error) {
      throw this.fail(error);
    }
  }

  #submitRelaxed(entries: readonly Entry[]): undefined {
    this.#queue.add(entries, RELAXED_BATCH_BYTES / 4);
    if (this.#queue.bytes >= RELAXED_BATCH_BYTES) {
      this.drain();
    } else {
      this.#flushTimer ??= this.#options.ports.timers.after(this.#options.relaxedFlushMs, () => {
        this.#flushTimer = undefined;
        this.drain();
      });
    }
    return undefined;
  }

  #enqueue(
    hardState: boolean,
    entries: readonly Entry[],
    mark: Mark | undefined,
    sync: boolean,
  ): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    const bytes = sizeOf(hardState, entries, mark);
    return new Promise((resolve, reject) => {
      this.#queue.push({ hardState, entries, mark, bytes, sync, waiter: { resolve, reject } });
      this.drain();
    });
  }

  /** Writes a mark; resolves when it, and so everything before it, is durable. */
  mark(mark: Mark): Promise<void> {
    return this.#enqueue(this.#commitPending, NO_ENTRIES, mark, true);
  }

  /** Resolves when everything submitted so far is durable. */
  flush(): Promise<void> {
    return this.#enqueue(this.#commitPending, NO_ENTRIES, undefined, true);
  }

  /** Writes what waits, as far as there is room. */
  drain(): void {
    if (this.failure !== undefined || this.#paused) return;
    try {
      const stuck = this.#queue.drain(this.#takeBatch);
      if (stuck !== undefined) this.space.want(stuck.bytes + HARD_STATE_BYTES);
    } catch (error) {
      this.fail(error);
      return;
    }
    if (this.#queue.length > 0) return;
    this.space.satisfied();
    this.onDrained?.();
  }

  readonly #takeBatch = (batch: Batch): boolean => {
    if (!this.#tryWrite(batch.hardState, batch.entries, batch.mark, batch.bytes)) return false;
    this.#settle(batch);
    return true;
  };

  #settle(batch: Batch): void {
    const waiter = batch.waiter;
    if (waiter === undefined) return;
    if (batch.sync) this.commit.durable().then(waiter.resolve, waiter.reject);
    else waiter.resolve();
  }

  /** False when there is no room yet; throws what the disk throws. */
  #tryWrite(hardState: boolean, entries: readonly Entry[], mark: Mark | undefined, bytes: number): boolean {
    if (bytes === 0) return true;
    const withCommit = hardState || (this.#commitPending && this.#bytesSinceCommit >= COMMIT_EVERY_BYTES);
    const total = withCommit && !hardState ? bytes + HARD_STATE_BYTES : bytes;
    if (!this.#makePlace(total, entries.length === 0)) return false;
    const segment = this.#current;
    const encoder = this.#encoder;
    encoder.begin(segment.seed, this.commit.syncedPosition);
    if (withCommit) this.#encodeHardState();
    for (let i = 0; i < entries.length; i++) encoder.entry(entries[i]!);
    if (mark !== undefined) encoder.record(mark.kind, mark.index, mark.term, mark.data);
    segment.file.writeSync(encoder.finish(), segment.end);
    const { positions } = this.#state;
    let position = segment.endPosition + (withCommit ? HARD_STATE_BYTES : 0);
    for (let i = 0; i < entries.length; i++) {
      const { index, data } = entries[i]!;
      if (index !== positions.next) positions.truncate(index);
      positions.push(position, data.byteLength);
      position += recordBytes(data.byteLength);
    }
    if (entries.length > 0) {
      const last = entries[entries.length - 1]!;
      this.#state.written.index = last.index;
      this.#state.written.term = last.term;
    }
    segment.end += total;
    if (segment.end > segment.zeroedEnd) segment.zeroedEnd = segment.end;
    this.space.appended(total);
    this.#bytesSinceCommit = withCommit ? 0 : this.#bytesSinceCommit + bytes;
    if (segment.roomBytes < this.#options.preallocateBytes) this.space.poke();
    this.#armIdle();
    return true;
  }

  #encodeHardState(): void {
    const { term, vote, commit } = this.#state.hardState;
    writeU64(this.#voteView, 0, vote);
    this.#encoder.record(KIND_HARD_STATE, commit, term, this.#vote);
    this.#commitPending = false;
  }

  /** Sees to it that `bytes` fit into the current segment, if need be by beginning the next one. */
  #makePlace(bytes: number, mayUseReserve: boolean): boolean {
    const needed = mayUseReserve ? bytes : bytes + this.space.reserveBytes;
    if (needed <= this.#current.roomBytes) return true;
    if (this.space.mayExtend(bytes)) return true;
    if (needed > this.space.spareRoomBytes) return false;
    const before = this.#current;
    const segment = this.space.takeSpare();
    segment.position = before.endPosition;
    this.#writeHeader(segment, this.#state.start, this.#state.written, this.commit.syncedPosition);
    this.#current = segment;
    this.segments.push(segment);
    this.commit.roll(segment);
    this.commit.request();
    return true;
  }

  #writeHeader(
    segment: Segment,
    start: LogStart,
    last: { index: number; term: number },
    synced: number,
  ): void {
    const header = encodeHeader(
      {
        sequence: segment.sequence,
        position: segment.position,
        synced,
        lowestSequence: start.lowestSequence,
        startIndex: start.index,
        startTerm: start.term,
        lastIndex: last.index,
        lastTerm: last.term,
        ...this.#state.hardState,
      },
      segment.seed,
    );
    segment.file.writeSync([header], 0);
    segment.end = HEADER_BYTES;
  }

  /** Removes the oldest segments. REQUIRES: a mark that says so is durable. */
  async removeOldest(count: number): Promise<void> {
    try {
      for (const segment of this.segments.splice(0, count)) await this.#remove(segment);
    } catch (error) {
      throw this.fail(error);
    }
  }

  async #remove(segment: Segment): Promise<void> {
    const { disk, path } = this.#options;
    await this.space.release(segment);
    await removeFile(disk, path, segment.file.path, segment.file);
  }

  /**
   * Begins a new log after `start`, in one step that is durable when `adopt` is called; then removes the old segments. What waited to be written
   * is given up: it belonged to the old log. Throws the disk's error, with nothing changed, when the disk is full.
   */
  async reset(start: { index: number; term: number }, adopt: (start: LogStart) => void): Promise<void> {
    this.#paused = true;
    try {
      await this.space.stop();
      await this.commit.idle();
      this.space.spare ??= await this.space.create();
    } catch (error) {
      if (!isNoSpace(error)) throw this.fail(error);
      this.#resume();
      throw error;
    }
    const givenUp = this.#queue.takeAll();
    try {
      const segment = this.space.takeSpare();
      segment.position = this.#current.endPosition;
      const whole: LogStart = { ...start, lowestSequence: segment.sequence };
      this.#writeHeader(segment, whole, start, segment.position);
      await segment.file.sync();
      if (this.failure !== undefined) throw this.failure;
      const old = this.segments.splice(0, this.segments.length, segment);
      this.#current = segment;
      this.commit.reset(segment, segment.endPosition);
      this.#sealedPosition = segment.endPosition;
      adopt(whole);
      for (const each of old) await this.#remove(each);
    } catch (error) {
      // A header that may or may not be there: nothing can be appended to the old log any more, not even after a full disk.
      const failure = this.fail(error);
      for (const batch of givenUp) batch.waiter?.reject(failure);
      throw failure;
    }
    for (const batch of givenUp) batch.waiter?.resolve();
    this.#resume();
  }

  #resume(): void {
    this.#paused = false;
    this.space.resume(this.#current);
    this.drain();
  }

  #armIdle(): void {
    if (this.#idleTimer !== undefined || this.failure !== undefined) return;
    this.#idleTimer = this.#options.ports.timers.after(IDLE_MS, () => {
      this.#idleTimer = undefined;
      this.#idle();
    });
  }

  /** Nothing written for a while: says in the log that all of it is durable, so that later damage to its end shows. */
  #idle(): void {
    const position = this.endPosition;
    if (this.failure !== undefined || (position === this.#sealedPosition && !this.#commitPending)) return;
    if (position !== this.#idlePosition || this.#queue.length > 0 || this.#paused) {
      this.#idlePosition = position;
      this.#armIdle();
      return;
    }
    this.commit.durable().then(
      () => this.#seal(position),
      (error: unknown) => this.fail(error),
    );
  }

  #seal(position: number): void {
    if (this.failure !== undefined || this.#paused || this.#queue.length > 0) return;
    if (this.endPosition !== position) {
      this.#armIdle();
      return;
    }
    // The mark must not eat what a full disk has left for hard states.
    try {
      if (!this.#mayWriteMark({ kind: KIND_WATERMARK, index: 0, term: 0, data: NO_DATA }, false)) return;
    } catch {
      // Reported by fail() already; nobody waits for a mark.
      return;
    }
    this.#sealedPosition = this.endPosition;
    this.commit.request();
  }

  /** Poisons the log for good. */
  fail(error: unknown): KvError {
    if (this.failure !== undefined) return this.failure;
    const failure = storageFailed(error);
    this.failure = failure;
    this.stopTimers();
    void this.space.stop();
    this.commit.fail(failure);
    for (const batch of this.#queue.takeAll()) batch.waiter?.reject(failure);
    this.onFailure?.(failure);
    return failure;
  }

  stopTimers(): void {
    this.#idleTimer?.cancel();
    this.#idleTimer = undefined;
    this.#flushTimer?.cancel();
    this.#flushTimer = undefined;
  }

  /** Writes what waits, makes it durable and marks the orderly close; what still has no room then is given up (NO_SPACE). Nothing after a failure. */
  async finish(): Promise<void> {
    for (this.drain(); this.#queue.length > 0 && !this.space.full; this.drain()) await this.space.settled();
    this.#giveUp(new KvError('NO_SPACE', 'the log was closed before there was room', { maybeApplied: true }));
    if (this.failure !== undefined) return;
    await this.commit.durable();
    this.#mayWriteMark({ kind: KIND_CLOSE, index: 0, term: 0, data: NO_DATA }, true);
    await this.commit.durable();
  }

  /** Writes a mark that the log can do without; false when it has no place. */
  #mayWriteMark(mark: Mark, mayUseReserve: boolean): boolean {
    const withHardState = this.#commitPending;
    const bytes = sizeOf(withHardState, NO_ENTRIES, mark);
    if (bytes + (mayUseReserve ? 0 : this.space.reserveBytes) > this.#current.roomBytes) return false;
    try {
      return this.#tryWrite(withHardState, NO_ENTRIES, mark, bytes);
    } catch (error) {
      throw this.fail(error);
    }
  }

  async closeFiles(): Promise<void> {
    this.stopTimers();
    await this.space.stop();
    await this.commit.quiet();
    if (this.space.spare !== undefined) await this.space.spare.file.close();
    for (const segment of this.segments) await segment.file.close();
  }

  /** Whoever waits for room is told that there will be none. */
  #giveUp(error: KvError): void {
    for (const batch of this.#queue.takeAll()) batch.waiter?.reject(error);
  }
}
