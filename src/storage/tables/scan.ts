/**
 * Pages of scans and of versions over the tables of a set.
 *
 * A page that is full leaves its scan open for a while, so that the page after it goes on where it stands instead of seeking and decoding anew.
 *
 * Invariants: a page is read from the tables that were published when its scan was opened; an open scan that waits is dropped when other tables are published, after
 * IDLE_MS, and when too many wait. Pages answer at once while the set is warm, up to SLICE_BYTES read; then they make way for other work between slices. When the set is
 * not warm everything is read off the event loop. Memory is bounded: scans under way beyond MAX_ACTIVE wait their turn. The cache of blocks is not used.
 */
import { KvError } from '../../errors.ts';
import type { Ports, TimerHandle } from '../../ports.ts';
import {
  compareKeys,
  type MaybePromise,
  type ScanPage,
  type ScanRequest,
  type VersionsRequest,
} from '../record.ts';
import type { WasmBuild } from '../wasm_module.ts';
import type { MergeInput } from './merge_input.ts';
import { MergeMemoryPool } from './merge_memory.ts';
import { OpenScan, type PinnedRuns, type Place, type ScanShape } from './open_scan.ts';
import { ReadBudget } from './read_budget.ts';

/** What is read on this thread before others get their turn. */
const SLICE_BYTES = 1024 * 1024;
const MAX_ACTIVE = 32;
const MAX_IDLE = 8;
/** Room for those of all scans that may be under way or wait, of a few runs each; much of it is never touched. */
const MAX_POOLED_BYTES = 128 * 1024 * 1024;
const IDLE_MS = 3_000;

/** What scans need of the set of tables. */
export interface ScanTables {
  /** Reads have been quick lately: they may be done on this thread. */
  readonly warm: boolean;
  /** The tables as they are now; they stay readable until released. */
  pinRuns(): PinnedRuns;
}

export interface TableScannerOptions {
  readonly tables: ScanTables;
  readonly ports: Ports;
  readonly build?: WasmBuild;
}

export class TableScanner {
  readonly #tables: ScanTables;
  readonly #ports: Ports;
  readonly #pool: MergeMemoryPool;
  readonly #budget: ReadBudget;
  /** Grows whenever other tables are published. */
  #generation = 0;
  /** Longest idle first. */
  #idle: OpenScan[] = [];
  #timer: TimerHandle | undefined;
  #active = 0;
  #waiting: (() => void)[] = [];
  #closed = false;

  constructor(options: TableScannerOptions) {
    this.#tables = options.tables;
    this.#ports = options.ports;
    this.#budget = new ReadBudget(options.ports.clock);
    this.#pool = new MergeMemoryPool(MAX_POOLED_BYTES, options.build);
  }

  /** Open scans that wait for their next page; pages under way; memories made since the beginning, which stay few as they are used again. */
  stats(): { idle: number; active: number; memoriesMade: number } {
    return { idle: this.#idle.length, active: this.#active, memoriesMade: this.#pool.made };
  }

  /**
   * One page of a scan (src/storage/record.ts). Records own their bytes.
   * @throws KvError CORRUPT with `file`, `offset` and `problem`; CLOSED; UNAVAILABLE (no memory)
   */
  scan(request: ScanRequest): MaybePromise<ScanPage> {
    if (isEmpty(request)) return { records: [], more: false };
    return this.#page(scanShape(request), scanPlace(request), request.limit, request.maxBytes, false);
  }

  /** The same at once, from the disk if need be. */
  scanNow(request: ScanRequest): ScanPage {
    if (isEmpty(request)) return { records: [], more: false };
    const page = this.#page(scanShape(request), scanPlace(request), request.limit, request.maxBytes, true);
    if (page instanceof Promise) throw new KvError('INTERNAL', 'a scan that must answer at once has to wait');
    return page;
  }

  /** One page of versions; like `scan`. */
  versions(request: VersionsRequest): MaybePromise<ScanPage> {
    if (isEmpty(request)) return { records: [], more: false };
    const { after, start, end, minRevision, maxRevision } = request;
    const shape: ScanShape = {
      kind: 'versions',
      reverse: false,
      tombstones: true,
      keysOnly: false,
      smallestRevision: minRevision,
      largestRevision: maxRevision,
      stop: end,
    };
    const place =
      after === undefined || compareKeys(after.key, start) < 0
        ? { key: start, revision: Number.POSITIVE_INFINITY }
        : { key: after.key, revision: after.modRevision - 1 };
    return this.#page(shape, place, request.limit, request.maxBytes, false);
  }

  /**
   * Other tables were published: scans that wait are let go, and pages begun from now on see the new tables. REQUIRES: called in the turn of the publication. Cheap.
   */
  tablesChanged(): void {
    this.#generation++;
    this.#dropIdle();
  }

  #dropIdle(): void {
    for (const scan of this.#idle.splice(0)) this.#release(scan);
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** No page is begun any more; those under way fail with CLOSED at their next read. */
  close(): void {
    this.#closed = true;
    this.#dropIdle();
    this.#pool.clear();
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #page(
    shape: ScanShape,
    place: Place | undefined,
    limit: number,
    maxBytes: number,
    atOnce: boolean,
  ): MaybePromise<ScanPage> {
    if (this.#closed) throw new KvError('CLOSED', 'the tables are closed');
    if (!atOnce && this.#active >= MAX_ACTIVE)
      return new Promise<void>((resolve) => this.#waiting.push(resolve)).then(() =>
        this.#page(shape, place, limit, maxBytes, atOnce),
      );
    this.#active++;
    const known = this.#takeIdle(shape, place);
    const scan = known ?? this.#open(shape, place, limit, maxBytes);
    scan.budgetBytes = SLICE_BYTES;
    scan.atOnce = atOnce;
    let page: MaybePromise<ScanPage>;
    try {
      page =
        known === undefined && !atOnce && !this.#isWarm()
          ? scan.cursor.prefetch().then(() => scan.page(undefined, limit, maxBytes))
          : scan.page(known === undefined ? undefined : place, limit, maxBytes);
    } catch (error) {
      this.#over(scan, false);
      throw error;
    }
    if (page instanceof Promise) return this.#whenOver(scan, page);
    this.#over(scan, page.more);
    return page;
  }

  async #whenOver(scan: OpenScan, page: Promise<ScanPage>): Promise<ScanPage> {
    let more = false;
    try {
      const answer = await page;
      more = answer.more;
      return answer;
    } finally {
      this.#over(scan, more);
    }
  }

  #open(shape: ScanShape, place: Place | undefined, limit: number, maxBytes: number): OpenScan {
    let pinned: PinnedRuns | undefined;
    try {
      const memory = this.#pool.take();
      pinned = this.#tables.pinRuns();
      const fill = (scan: OpenScan) => (input: MergeInput) => this.#fill(scan, input);
      return new OpenScan(memory, pinned, this.#generation, shape, place, limit, maxBytes, fill);
    } catch (error) {
      pinned?.release();
      this.#leave();
      throw error;
    }
  }

  /** One scan less is under way: the next one may begin. */
  #leave(): void {
    this.#active--;
    this.#waiting.shift()?.();
  }

  /** Gives an input its next window, the way that disturbs others least. */
  #fill(scan: OpenScan, input: MergeInput): MaybePromise<void> {
    if (scan.atOnce) return input.fillNow();
    if (this.#closed) throw new KvError('CLOSED', 'the tables are closed');
    if (!this.#isWarm()) return input.fillLater();
    if (scan.budgetBytes <= 0)
      return new Promise<void>((resolve) => this.#ports.timers.afterIo(resolve)).then(() => {
        scan.budgetBytes = SLICE_BYTES;
        return this.#fill(scan, input);
      });
    const startMs = this.#budget.startMs();
    const before = input.readBytes;
    const waits = input.fillNow();
    const bytes = input.readBytes - before;
    scan.budgetBytes -= bytes;
    this.#budget.ended(startMs, bytes);
    return waits;
  }

  /** Whether this thread may read: point reads and scans have both found the files in memory lately. */
  #isWarm(): boolean {
    return this.#tables.warm && this.#budget.warm;
  }

  #takeIdle(shape: ScanShape, place: Place | undefined): OpenScan | undefined {
    const at = this.#idle.findLastIndex(
      (scan) => scan.version === this.#generation && isSameShape(scan.shape, shape) && scan.reaches(place),
    );
    return at < 0 ? undefined : this.#idle.splice(at, 1)[0];
  }

  /** A page ended: its scan waits for the next one, or is over. */
  #over(scan: OpenScan, more: boolean): void {
    this.#leave();
    if (!more || this.#closed || scan.memory.isLarge || scan.version !== this.#generation) {
      this.#release(scan);
      return;
    }
    scan.idleSinceMs = this.#ports.clock.monotonicMs();
    this.#idle.push(scan);
    if (this.#idle.length > MAX_IDLE) this.#release(this.#idle.shift()!);
    this.#timer ??= this.#ports.timers.after(IDLE_MS, () => this.#dropOld());
  }

  #dropOld(): void {
    this.#timer = undefined;
    const nowMs = this.#ports.clock.monotonicMs();
    while (this.#idle.length > 0 && nowMs - this.#idle[0]!.idleSinceMs >= IDLE_MS)
      this.#release(this.#idle.shift()!);
    const oldest = this.#idle[0];
    if (oldest === undefined) return;
    const delayMs = Math.max(1, oldest.idleSinceMs + IDLE_MS - nowMs);
    this.#timer = this.#ports.timers.after(delayMs, () => this.#dropOld());
  }

  #release(scan: OpenScan): void {
    scan.close();
    if (!this.#closed) this.#pool.give(scan.memory);
  }
}

function isEmpty(range: { readonly start: Uint8Array; readonly end: Uint8Array | undefined }): boolean {
  return range.end !== undefined && compareKeys(range.start, range.end) >= 0;
}

function scanShape(request: ScanRequest): ScanShape {
  const { start, end, reverse } = request;
  return {
    kind: 'newest',
    reverse,
    tombstones: request.tombstones === true,
    keysOnly: request.keysOnly,
    smallestRevision: 0,
    largestRevision: request.revision,
    stop: reverse ? (start.length === 0 ? undefined : start) : end,
  };
}

function scanPlace({ start, end, reverse }: ScanRequest): Place | undefined {
  const key = reverse ? end : start;
  return key === undefined ? undefined : { key, revision: Number.POSITIVE_INFINITY };
}

function isSameShape(a: ScanShape, b: ScanShape): boolean {
  return (
    a.kind === b.kind &&
    a.reverse === b.reverse &&
    a.tombstones === b.tombstones &&
    a.keysOnly === b.keysOnly &&
    a.smallestRevision === b.smallestRevision &&
    a.largestRevision === b.largestRevision &&
    (a.stop === undefined || b.stop === undefined ? a.stop === b.stop : compareKeys(a.stop, b.stop) === 0)
  );
}
