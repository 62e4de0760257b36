/**
 * Turns stored versions back into the events that made them, for watchers that lag.
 *
 * Versions come ordered by key, events are wanted ordered by revision: the collector reads the whole range once and keeps the smallest revisions that fit its
 * budget, so that memory stays bounded however long the history is. The caller delivers those and starts over behind them.
 *
 * Invariants: every event of the range with from <= revision <= `completeUpTo` is in the answer, none above it; a revision is in it whole or not at
 * all; at least one revision is (a single one may exceed the budget).
 */
import { copyRecord, FLAG_TOMBSTONE, type StoredRecord } from '../storage/record.ts';
import type { KvEvent } from './command.ts';
import { equalKeys } from './key_order.ts';
import { live, recordBytes } from './records.ts';

export interface WatchHistoryOptions {
  readonly fromRevision: number;
  /** The last revision to look at; usually the store's at the time of the first page. */
  readonly toRevision: number;
  /** Bytes of events kept; up to twice that while reading. */
  readonly maxBytes: number;
  readonly prevKv: boolean;
}
export interface WatchHistory {
  /** By (revision, subRevision). Copies. */
  readonly events: readonly KvEvent[];
  /** Events of later revisions are still to be read. */
  readonly completeUpTo: number;
}

interface CollectedEvent {
  readonly type: 'put' | 'delete';
  readonly record: StoredRecord;
  previous: StoredRecord | undefined;
}

/**
 * Use: feed every page of `engine.versions({start, end, minRevision: collector.minRevision, maxRevision: collector.maxRevision, ...})`, then `finish`.
 * Both bounds may be asked for anew before each page: `maxRevision` goes down as the budget fills.
 */
export class WatchHistoryCollector {
  private readonly options: WatchHistoryOptions;
  private events: CollectedEvent[] = [];
  private bytes = 0;
  private trimAtBytes: number;
  /** No event above it is kept any more. */
  private limit: number;
  /** The event that the next record may be the previous version of. */
  private open: CollectedEvent | undefined;

  constructor(options: WatchHistoryOptions) {
    this.options = options;
    this.limit = options.toRevision;
    this.trimAtBytes = 2 * options.maxBytes;
  }

  /** The smallest revision to ask the engine for. Previous versions may be older than any event. */
  get minRevision(): number {
    return this.options.prevKv ? 0 : this.options.fromRevision;
  }

  /** The largest revision that is still of use. */
  get maxRevision(): number {
    return this.limit;
  }

  /** Takes the next records of the range, in record order (key ascending, modRevision descending). Views are fine: what is kept is copied. */
  feed(records: readonly StoredRecord[]): void {
    for (const record of records) this.take(record);
  }

  /** The events found, within the budget. Call once, after the last page. */
  finish(): WatchHistory {
    this.trim();
    return { events: this.events, completeUpTo: this.limit };
  }

  private take(record: StoredRecord): void {
    const open = this.open;
    if (open !== undefined) {
      this.open = undefined;
      const kept = open.record.modRevision <= this.limit;
      if (kept && live(record) !== undefined && equalKeys(open.record.key, record.key)) {
        open.previous = copyRecord(record);
        this.bytes += recordBytes(record);
      }
    }
    const revision = record.modRevision;
    if (revision < this.options.fromRevision || revision > this.limit) return;
    const type = (record.flags & FLAG_TOMBSTONE) === 0 ? 'put' : 'delete';
    const event: CollectedEvent = { type, record: copyRecord(record), previous: undefined };
    this.events.push(event);
    this.bytes += recordBytes(record);
    if (this.options.prevKv) this.open = event;
    if (this.bytes > this.trimAtBytes) this.trim();
  }

  /** Sorts what is kept and lets go of the largest revisions beyond the budget. */
  private trim(): void {
    const events = this.events.sort(
      (a, b) => a.record.modRevision - b.record.modRevision || a.record.subRevision - b.record.subRevision,
    );
    let kept = 0;
    let keptBytes = 0;
    while (kept < events.length) {
      const end = endOfRevision(events, kept);
      let size = 0;
      for (let at = kept; at < end; at++) size += bytesOf(events[at] as CollectedEvent);
      if (kept > 0 && keptBytes + size > this.options.maxBytes) break;
      kept = end;
      keptBytes += size;
    }
    // A single revision beyond the budget must not make every further record sort everything again.
    this.trimAtBytes = 2 * Math.max(this.options.maxBytes, keptBytes);
    const firstDropped = events[kept];
    if (firstDropped === undefined) return;
    this.limit = firstDropped.record.modRevision - 1;
    this.events = events.slice(0, kept);
    this.bytes = keptBytes;
  }
}

function endOfRevision(events: readonly CollectedEvent[], start: number): number {
  const revision = (events[start] as CollectedEvent).record.modRevision;
  let end = start + 1;
  while (events[end]?.record.modRevision === revision) end++;
  return end;
}

function bytesOf(event: CollectedEvent): number {
  return recordBytes(event.record) + (event.previous === undefined ? 0 : recordBytes(event.previous));
}
