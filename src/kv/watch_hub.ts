/**
 * Who watches what, and what each of them gets.
 *
 * A watcher is *synced* when it has been given (or has queued) everything below the next revision to be published; it then lives from `publish`. Otherwise it
 * lags: somebody reads the history that it misses (watch_history.ts) and hands it to `catchUp`, until it has reached the store's revision and is
 * synced again in the same call. Nothing is published in between, since all of this is synchronous.
 *
 * Invariants (known ways to fail: lost, doubled, reordered or torn events): a watcher's batches carry whole revisions, ascending, each at most once, none of
 * its range left out from its first revision on; it ends with an error rather than with a gap; bytes queued for slow watchers are bounded, per watcher and in
 * all; progress is never ahead of events.
 */
import { KvError } from '../errors.ts';
import { compareKeys } from '../storage/record.ts';
import type { KvEvent } from './command.ts';
import { EventQueue, eventBytes } from './event_queue.ts';
import { equalKeys } from './key_order.ts';
import { type Watched, WatcherIndex } from './watcher_index.ts';

export interface WatcherOptions {
  /** Stored key. */
  readonly start: Uint8Array;
  /** The first stored key not watched; undefined: only `start`. */
  readonly end: Uint8Array | undefined;
  /** The first revision wanted; may lie in the future; 0: from now on. */
  readonly fromRevision: number;
  /** Whether events carry the version that was replaced. */
  readonly prevKv: boolean;
  /** Events that are left out. */
  readonly filters?: WatchFilters | undefined;
  /** Bytes of events kept while the sink is full; beyond them the watcher lags. */
  readonly maxQueueBytes: number;
  readonly sink: WatcherSink;
}
export interface WatchFilters {
  readonly noPut: boolean;
  readonly noDelete: boolean;
}
export interface WatcherSink {
  /**
   * Takes the events of whole revisions; everything up to `revision` has now been given (no events: progress). False: full, nothing more until
   * `resume` (this batch was taken). Must not throw.
   */
  deliver(revision: number, events: readonly KvEvent[]): boolean;
  /** The watch is over: COMPACTED (details.compactRevision), or what `endAll` or `fail` was called with. */
  end(error: KvError): void;
}
/** A watcher that waits for history from `fromRevision` on. */
export interface LaggingWatcher {
  readonly id: number;
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
  readonly fromRevision: number;
  readonly prevKv: boolean;
}
export type CatchUpState = 'synced' | 'lagging' | 'paused' | 'ended';

export interface WatchHubOptions {
  /** The state machine, or what stands for it. `revision` must be up to date when `publish` is called with it. */
  readonly store: { readonly revision: number; readonly compactRevision: number };
  /** Bytes queued over all watchers; beyond them watchers lag as if their own bound were reached. */
  readonly maxTotalQueueBytes: number;
  /** Called when it changes whether anybody watches, or whether anybody wants previous versions. */
  readonly onInterest?: (watching: boolean, previousWanted: boolean) => void;
  /** Called when a watcher has come to wait for history. */
  readonly onLagging?: () => void;
}

interface Watcher extends Watched {
  readonly prevKv: boolean;
  /** The type of event that is left out; 'both'; undefined: none. */
  readonly leftOut: KvEvent['type'] | 'both' | undefined;
  readonly maxQueueBytes: number;
  readonly sink: WatcherSink;
  /** Everything of its range below this revision was delivered or is queued. */
  nextRevision: number;
  synced: boolean;
  /** The sink is full. */
  paused: boolean;
  ended: boolean;
  readonly queue: EventQueue;
  /** Its events of the revision being published. */
  matched: KvEvent[];
}

export class WatchHub {
  private readonly options: WatchHubOptions;
  private readonly index = new WatcherIndex<Watcher>();
  private readonly watchers = new Map<number, Watcher>();
  /** Not synced and not paused: these wait for `catchUp`. */
  private readonly waiting = new Set<Watcher>();
  private previousWanted = 0;
  private queuedBytes = 0;
  private lastId = 0;
  /** What `collect` works on while a revision is published. */
  private touched: Watcher[] = [];
  private publishing = 0;
  private event: KvEvent | undefined;
  private readonly collect = (watcher: Watcher): void => {
    if (!watcher.synced || watcher.nextRevision > this.publishing || this.event === undefined) return;
    if (watcher.leftOut !== undefined && isLeftOut(watcher.leftOut, this.event)) return;
    if (watcher.matched.length === 0) this.touched.push(watcher);
    watcher.matched.push(this.event);
  };

  constructor(options: WatchHubOptions) {
    this.options = options;
  }

  get size(): number {
    return this.watchers.size;
  }
  /** Bytes of events waiting for slow sinks. */
  get totalQueuedBytes(): number {
    return this.queuedBytes;
  }

  /**
   * Adds a watcher and gives its id. Nothing is delivered before this returns.
   * @throws KvError COMPACTED when `fromRevision` is at or below the compacted revision, INVALID_ARGUMENT for an empty range.
   */
  register(options: WatcherOptions): number {
    const { revision, compactRevision } = this.options.store;
    const { start, end, fromRevision, prevKv, filters, maxQueueBytes, sink } = options;
    if (end !== undefined && compareKeys(start, end) >= 0) {
      throw new KvError('INVALID_ARGUMENT', 'the watched range is empty');
    }
    if (fromRevision !== 0 && fromRevision <= compactRevision) throw compacted(fromRevision, compactRevision);
    const watcher: Watcher = {
      id: ++this.lastId,
      start: new Uint8Array(start),
      end: end === undefined || isSuccessor(start, end) ? undefined : new Uint8Array(end),
      prevKv,
      leftOut: filters?.noPut
        ? filters.noDelete
          ? 'both'
          : 'put'
        : filters?.noDelete
          ? 'delete'
          : undefined,
      maxQueueBytes,
      sink,
      nextRevision: fromRevision === 0 ? revision + 1 : fromRevision,
      synced: fromRevision === 0 || fromRevision > revision,
      paused: false,
      ended: false,
      queue: new EventQueue(),
      matched: [],
    };
    this.watchers.set(watcher.id, watcher);
    this.index.add(watcher);
    if (prevKv) this.previousWanted++;
    this.tellInterest(this.watchers.size === 1 || (prevKv && this.previousWanted === 1));
    if (!watcher.synced) this.wait(watcher);
    return watcher.id;
  }

  /** Takes a watcher out without a word to its sink. Fine when it is gone already. */
  cancel(id: number): void {
    const watcher = this.watchers.get(id);
    if (watcher !== undefined) this.drop(watcher);
  }

  /** The first revision that a watcher has neither been given nor queued; undefined when it is gone. */
  nextRevision(id: number): number | undefined {
    const watcher = this.watchers.get(id);
    return watcher?.synced ? this.syncedFrom(watcher) : watcher?.nextRevision;
  }

  /** Whether anybody watches a key (for StateMachine.watches). */
  watches(key: Uint8Array): boolean {
    return this.index.has(key);
  }

  /** Gives the events of one revision to all who watch their keys. REQUIRES: called once per revision with events, ascending. */
  publish(revision: number, events: readonly KvEvent[]): void {
    this.publishing = revision;
    for (const event of events) {
      this.event = event;
      this.index.match(event.record.key, this.collect);
    }
    this.event = undefined;
    const touched = this.touched;
    if (touched.length === 0) return;
    this.touched = [];
    // From here on sinks may register, resume or cancel watchers (but not publish).
    for (const watcher of touched) {
      const matched = watcher.matched;
      watcher.matched = [];
      if (!watcher.ended) this.give(watcher, revision, watcher.prevKv ? matched : withoutPrevious(matched));
    }
  }

  /** The sink has room again: gives it what is queued, then lets the watcher catch up where it lags. */
  resume(id: number): void {
    const watcher = this.watchers.get(id);
    if (watcher === undefined || !watcher.paused) return;
    watcher.paused = false;
    this.drain(watcher);
    if (!watcher.paused && !watcher.ended && !watcher.synced) this.wait(watcher);
  }

  /** Watchers that wait for history, each with the revision it needs next. Ends those for whom it is compacted. */
  lagging(): LaggingWatcher[] {
    this.endCompacted();
    const list: LaggingWatcher[] = [];
    for (const watcher of this.waiting) {
      const { id, start, end, nextRevision, prevKv } = watcher;
      if (nextRevision > this.options.store.revision) {
        watcher.synced = true;
        this.waiting.delete(watcher);
      } else {
        list.push({ id, start, end, fromRevision: nextRevision, prevKv });
      }
    }
    return list;
  }

  /**
   * Makes every watcher read history before it goes on: the store is about to be replaced by a later state whose events will not be published (a snapshot).
   * REQUIRES: called while the store still shows the old revision.
   */
  lagAll(): void {
    for (const watcher of this.watchers.values()) {
      if (!watcher.synced) continue;
      watcher.nextRevision = this.syncedFrom(watcher);
      watcher.synced = false;
      if (!watcher.paused) this.waiting.add(watcher);
    }
    if (this.waiting.size > 0) this.options.onLagging?.();
  }

  /**
   * Hands a lagging watcher its history: all events of its range from the revision that `lagging` named up to and including `upToRevision`, ordered by
   * (revision, subRevision). At the store's revision it is synced from then on. What it has already is left out; history read before a compaction
   * that reaches into it ends the watcher, since the reading may have missed versions.
   */
  catchUp(id: number, upToRevision: number, events: readonly KvEvent[]): CatchUpState {
    const watcher = this.watchers.get(id);
    if (watcher === undefined) return 'ended';
    if (watcher.synced) return watcher.paused ? 'paused' : 'synced';
    if (watcher.paused) return 'paused';
    const { revision, compactRevision } = this.options.store;
    if (watcher.nextRevision <= compactRevision) {
      this.finish(watcher, compacted(watcher.nextRevision, compactRevision));
      return 'ended';
    }
    const upTo = Math.min(upToRevision, revision);
    if (upTo < watcher.nextRevision) return 'lagging';
    const from = watcher.nextRevision;
    const { leftOut } = watcher;
    const fresh = events.filter((event) => {
      const { modRevision } = event.record;
      return modRevision >= from && modRevision <= upTo && !isLeftOut(leftOut, event);
    });
    watcher.nextRevision = upTo + 1;
    if (upTo === revision) {
      watcher.synced = true;
      this.waiting.delete(watcher);
    }
    const wanted = watcher.prevKv ? fresh : withoutPrevious(fresh);
    if (wanted.length > 0) this.deliver(watcher, upTo, wanted);
    if (watcher.ended) return 'ended';
    return watcher.paused ? 'paused' : watcher.synced ? 'synced' : 'lagging';
  }

  /** Tells a synced watcher with nothing queued how far it is. False: it is not in that state, nothing was sent. */
  progress(id: number): boolean {
    const watcher = this.watchers.get(id);
    const revision = this.options.store.revision;
    if (watcher === undefined || !watcher.synced || watcher.paused || watcher.matched.length > 0)
      return false;
    // One that waits for a future revision has no progress to tell: it would resume too early after a reconnect.
    if (watcher.nextRevision > revision + 1) return false;
    this.deliver(watcher, revision, []);
    return true;
  }

  /** The store was compacted: ends watchers that need what is gone. */
  endCompacted(): void {
    const compactRevision = this.options.store.compactRevision;
    for (const watcher of this.watchers.values()) {
      if (watcher.synced || watcher.nextRevision > compactRevision) continue;
      this.finish(watcher, compacted(watcher.nextRevision, compactRevision));
    }
  }

  /** Ends a watcher whose history cannot be read. Fine when it is gone already. */
  fail(id: number, error: KvError): void {
    const watcher = this.watchers.get(id);
    if (watcher !== undefined) this.finish(watcher, error);
  }

  /** Ends every watcher: the node closes, or its state was replaced by a snapshot's. */
  endAll(error: KvError): void {
    for (const watcher of [...this.watchers.values()]) this.finish(watcher, error);
  }

  /** The first revision that a synced watcher may still be given: those before it that did not touch its range count as given. */
  private syncedFrom(watcher: Watcher): number {
    return Math.max(watcher.nextRevision, this.options.store.revision + 1);
  }

  private give(watcher: Watcher, revision: number, events: readonly KvEvent[]): void {
    if (!watcher.paused) {
      watcher.nextRevision = revision + 1;
      this.deliver(watcher, revision, events);
      return;
    }
    const size = eventBytes(events);
    const { maxTotalQueueBytes } = this.options;
    if (watcher.queue.bytes + size > watcher.maxQueueBytes || this.queuedBytes + size > maxTotalQueueBytes) {
      // What is queued stays: it ends right before the revision needed next.
      watcher.nextRevision = revision;
      watcher.synced = false;
      return;
    }
    watcher.nextRevision = revision + 1;
    watcher.queue.push(revision, events, size);
    this.queuedBytes += size;
  }

  private drain(watcher: Watcher): void {
    while (!watcher.paused && !watcher.ended) {
      const before = watcher.queue.bytes;
      const batch = watcher.queue.take(DRAIN_BYTES);
      if (batch === undefined) return;
      this.queuedBytes -= before - watcher.queue.bytes;
      this.deliver(watcher, batch.revision, batch.events);
    }
  }

  private deliver(watcher: Watcher, revision: number, events: readonly KvEvent[]): void {
    if (watcher.sink.deliver(revision, events) || watcher.ended) return;
    watcher.paused = true;
    this.waiting.delete(watcher);
  }

  private wait(watcher: Watcher): void {
    this.waiting.add(watcher);
    this.options.onLagging?.();
  }

  private finish(watcher: Watcher, error: KvError): void {
    if (watcher.ended) return;
    this.drop(watcher);
    watcher.sink.end(error);
  }

  private drop(watcher: Watcher): void {
    watcher.ended = true;
    this.watchers.delete(watcher.id);
    this.waiting.delete(watcher);
    this.index.remove(watcher);
    this.queuedBytes -= watcher.queue.bytes;
    watcher.queue.clear();
    if (watcher.prevKv) this.previousWanted--;
    this.tellInterest(this.watchers.size === 0 || (watcher.prevKv && this.previousWanted === 0));
  }

  private tellInterest(changed: boolean): void {
    if (changed) this.options.onInterest?.(this.watchers.size > 0, this.previousWanted > 0);
  }
}

/** Bytes of queued events joined into one batch for a sink that has room again. */
const DRAIN_BYTES = 256 * 1024;

function compacted(revision: number, compactRevision: number): KvError {
  const message = `revision ${revision} is compacted; the oldest that can be watched is ${compactRevision + 1}`;
  return new KvError('COMPACTED', message, { details: { compactRevision } });
}

function isLeftOut(leftOut: Watcher['leftOut'], { type }: KvEvent): boolean {
  return leftOut === type || leftOut === 'both';
}

/** Whether [start, end) holds the one key `start` and no other. */
function isSuccessor(start: Uint8Array, end: Uint8Array): boolean {
  if (end.length !== start.length + 1 || end[start.length] !== 0) return false;
  return equalKeys(start, end.subarray(0, start.length));
}

/** The same events without the replaced versions that another watcher asked for. */
function withoutPrevious(events: readonly KvEvent[]): readonly KvEvent[] {
  if (!events.some((event) => event.previous !== undefined)) return events;
  return events.map(({ type, record }) => ({ type, record, previous: undefined }));
}
