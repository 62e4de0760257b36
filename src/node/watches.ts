/**
 * The watches of a node: the hub (kv/watch_hub.ts) fed by apply, and the reading of history for watchers that lag.
 *
 * History is read in pages, one watcher at a time, and other work goes on between pages. A watcher that is being read for holds back automatic
 * compaction (`lowestNeeded`); one whose consumer is stuck does not, and ends with COMPACTED when history passes it by.
 */
import type { WatchHandle, WatchSink } from '../api/service.ts';
import type { NodeConfig } from '../config.ts';
import { isDamage, KvError } from '../errors.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import { WatchHistoryCollector } from '../kv/watch_history.ts';
import { type LaggingWatcher, WatchHub } from '../kv/watch_hub.ts';
import type { TimerHandle, Timers } from '../ports.ts';
import type { Engine } from '../storage/engine_port.ts';
import { keyAfter, type ScanPage } from '../storage/record.ts';
import type { WatchRequest } from '../wire/messages.ts';

/** Events of the history that are collected before they are handed on, and records looked through in one go. */
const MAX_HISTORY_BYTES = 1024 * 1024;
const MAX_PAGE_BYTES = 1024 * 1024;
const PAGE_RECORDS = 1_000;
const PROGRESS_MS = 5_000;
/** Queued for all slow watchers together, as a multiple of one watcher's bound. */
export const TOTAL_QUEUES = 16;

export interface WatchesOptions {
  readonly engine: Pick<Engine, 'versions'>;
  readonly stateMachine: StateMachine;
  readonly config: NodeConfig;
  readonly timers: Timers;
  /** While a snapshot is being put in place (snapshots.ts): a promise of its end. */
  readonly replaced: () => Promise<void> | undefined;
  /** No other node has what is damaged here. */
  readonly alone: () => boolean;
  readonly onFailure: (error: unknown) => void;
}

export class Watches {
  readonly #options: WatchesOptions;
  readonly #hub: WatchHub;
  readonly #ids = new Set<number>();
  readonly #progressTimer: TimerHandle;
  #reading = false;
  #closed = false;
  /** How often the content has been replaced. */
  #restores = 0;

  constructor(options: WatchesOptions) {
    this.#options = options;
    const { stateMachine, config, timers } = options;
    this.#hub = new WatchHub({
      store: stateMachine,
      maxTotalQueueBytes: config.maxWatchQueueBytes * TOTAL_QUEUES,
      onInterest: (watching, previousWanted) => {
        stateMachine.writer.onEvents = watching
          ? (revision, events) => this.#hub.publish(revision, events)
          : undefined;
        stateMachine.writer.eventsWithPrevious = previousWanted;
        stateMachine.writer.watches = watching ? (key) => this.#hub.watches(key) : undefined;
      },
      onLagging: () => this.#wake(),
    });
    this.#progressTimer = timers.every(PROGRESS_MS, () => {
      for (const id of this.#ids) this.#hub.progress(id);
    });
  }

  /** Bytes of events that wait for slow watchers, all together. */
  get queuedBytes(): number {
    return this.#hub.totalQueuedBytes;
  }

  /** @throws KvError COMPACTED, INVALID_ARGUMENT */
  start(request: WatchRequest, sink: WatchSink): WatchHandle {
    if (this.#closed) throw new KvError('UNAVAILABLE', 'the node is stopping');
    const { start, end, fromRevision, prevKv, filters } = request;
    const id = this.#hub.register({
      start,
      end,
      fromRevision,
      prevKv,
      filters,
      maxQueueBytes: this.#options.config.maxWatchQueueBytes,
      sink: {
        deliver: (revision, events) => sink.deliver({ revision, events }),
        end: (error) => {
          this.#ids.delete(id);
          sink.end(error);
        },
      },
    });
    this.#ids.add(id);
    return {
      fromRevision: this.#hub.nextRevision(id) ?? fromRevision,
      resume: () => this.#hub.resume(id),
      progress: () => this.#hub.progress(id),
      cancel: () => {
        this.#ids.delete(id);
        this.#hub.cancel(id);
      },
    };
  }

  /** The newest revision that may be compacted without ending a watcher that is being read for. */
  lowestNeeded(): number {
    let lowest = Number.POSITIVE_INFINITY;
    if (this.#ids.size === 0) return lowest;
    for (const { fromRevision } of this.#hub.lagging()) lowest = Math.min(lowest, fromRevision - 1);
    return lowest;
  }

  /** The state machine is about to take over a snapshot: watchers will read what they miss from it. */
  beforeRestore(): void {
    this.#restores++;
    this.#hub.lagAll();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#progressTimer.cancel();
    this.#hub.endAll(new KvError('UNAVAILABLE', 'the node is stopping: watch on from another one'));
    this.#ids.clear();
  }

  #wake(): void {
    if (this.#reading || this.#closed) return;
    this.#reading = true;
    this.#readAll().then(
      () => {
        this.#reading = false;
        // One may have come to lag after the last look.
        if (this.#hub.lagging().length > 0) this.#wake();
      },
      (error) => {
        this.#reading = false;
        if (!this.#closed) this.#options.onFailure(error);
      },
    );
  }

  async #readAll(): Promise<void> {
    // First let the caller of `start` have its handle before anything is delivered.
    await this.#otherWork();
    for (;;) {
      const lagging = this.#hub.lagging();
      if (lagging.length === 0) return;
      for (const watcher of lagging) {
        if (this.#closed) return;
        try {
          await this.#readFor(watcher);
        } catch (error) {
          if (!(error instanceof KvError && isDamage(error))) throw error;
          this.#hub.fail(watcher.id, this.#unreadable(error));
        }
      }
    }
  }

  /** Damage costs the watchers that need it, not the node: the others have the history whole. */
  #unreadable(cause: KvError): KvError {
    if (this.#options.alone()) return cause;
    return new KvError(
      'UNAVAILABLE',
      `history is damaged here (${cause.message}): watch on from another node`,
      {
        cause,
      },
    );
  }

  async #readFor(watcher: LaggingWatcher): Promise<void> {
    // While a lost or damaged tree waits to be filled again, what is not there proves nothing.
    await this.#whole();
    const restores = this.#restores;
    const { engine, stateMachine, config } = this.#options;
    const { id, start, fromRevision, prevKv } = watcher;
    const end = watcher.end ?? keyAfter(start);
    const toRevision = stateMachine.revision;
    const collector = new WatchHistoryCollector({
      fromRevision,
      toRevision,
      maxBytes: Math.min(MAX_HISTORY_BYTES, config.maxWatchQueueBytes * TOTAL_QUEUES),
      prevKv,
    });
    let after: { key: Uint8Array; modRevision: number } | undefined;
    for (;;) {
      const page: ScanPage = await engine.versions({
        start,
        end,
        after,
        minRevision: collector.minRevision,
        maxRevision: collector.maxRevision,
        limit: PAGE_RECORDS,
        maxBytes: Math.min(MAX_PAGE_BYTES, config.maxWatchQueueBytes),
      });
      collector.feed(page.records);
      const last = page.records.at(-1);
      if (!page.more || last === undefined) break;
      after = { key: new Uint8Array(last.key), modRevision: last.modRevision };
      await this.#otherWork();
      if (this.#closed) return;
    }
    await this.#whole();
    // What was read may be of two contents, or of the new one with less history than the state machine knew to be gone: it is read again.
    if (this.#closed || restores !== this.#restores) return;
    const { events, completeUpTo } = collector.finish();
    this.#hub.catchUp(id, completeUpTo, events);
  }

  async #whole(): Promise<void> {
    for (let wait = this.#options.replaced(); wait !== undefined; wait = this.#options.replaced()) await wait;
  }

  #otherWork(): Promise<void> {
    return new Promise((resolve) => this.#options.timers.afterIo(resolve));
  }
}
