/**
 * The memtables of an engine: the active one, which is written to, and the frozen ones, which wait for their flush.
 *
 * Invariants: revisions of a newer memtable are above those of an older one, key by key; a memtable goes back to the pool only when it has been dropped,
 * no page that may still look at it is under way, the turn in which that became so has ended (views are valid for a turn), and every reader thread has left the epoch
 * in which it could still find it (shared/epochs.ts).
 */
import type { Timers } from '../ports.ts';
import type { Memtable } from './memtable.ts';
import type { MemtablePool } from './memtable_pool.ts';
import type { AppliedState, ScanRequest } from './record.ts';
import type { SharedReads } from './shared/shared_reads.ts';

/** A memtable and who uses it. */
export class Layer {
  readonly memtable: Memtable;
  /** Set when it is frozen: the state as of its last entry. */
  applied: AppliedState | undefined;
  /** The compact revision as of its last entry. */
  compactRevision = 0;
  /** Its records are in the tree. */
  flushed = false;
  dropped = false;
  /** Pages under way that look at it across turns. */
  readers = 0;

  constructor(memtable: Memtable) {
    this.memtable = memtable;
  }
}

export class Layers {
  readonly #pool: MemtablePool;
  readonly #timers: Timers;
  readonly #shared: SharedReads | undefined;
  #active: Layer;
  /** Oldest first. */
  #frozen: Layer[] = [];
  /** All, newest first. Replaced, never changed. */
  #newestFirst: readonly Layer[];

  /** `shared`: for the threads that read the memtables, where there are any. */
  constructor(pool: MemtablePool, timers: Timers, shared?: SharedReads) {
    this.#pool = pool;
    this.#timers = timers;
    this.#shared = shared;
    this.#active = new Layer(pool.acquire());
    this.#newestFirst = [this.#active];
    this.#publish();
  }

  get active(): Memtable {
    return this.#active.memtable;
  }

  get newestFirst(): readonly Layer[] {
    return this.#newestFirst;
  }

  /** Frozen and not yet flushed, oldest first. */
  get waiting(): readonly Layer[] {
    return this.#frozen.filter((layer) => !layer.flushed);
  }

  get memoryBytes(): number {
    return this.#newestFirst.reduce((sum, layer) => sum + layer.memtable.usedBytes, 0);
  }

  /** Whether any memtable has a record, be it a tombstone, that a scan of this range at this revision has to look at. */
  anyIn({ start, end, revision }: ScanRequest): boolean {
    const probe = {
      start,
      end,
      revision,
      reverse: false,
      limit: 1,
      maxBytes: 1,
      keysOnly: true,
      tombstones: true,
    };
    return this.#newestFirst.some(
      ({ memtable }) => memtable.recordCount > 0 && memtable.scan(probe).records.length > 0,
    );
  }

  /** Freezes the active memtable and begins a new one. */
  freeze(applied: AppliedState, compactRevision: number): void {
    const next = new Layer(this.#pool.acquire());
    this.#active.applied = applied;
    this.#active.compactRevision = compactRevision;
    this.#frozen.push(this.#active);
    this.#active = next;
    this.#changed();
  }

  /** Drops the frozen memtables that are flushed. */
  dropFlushed(): void {
    const dropped = this.#frozen.filter((layer) => layer.flushed);
    if (dropped.length === 0) return;
    this.#frozen = this.#frozen.filter((layer) => !layer.flushed);
    this.#changed();
    for (const layer of dropped) this.#drop(layer);
  }

  /** Drops everything and begins anew. */
  replaceAll(): void {
    const dropped = this.#newestFirst;
    this.#active = new Layer(this.#pool.acquire());
    this.#frozen = [];
    this.#changed();
    for (const layer of dropped) this.#drop(layer);
  }

  /** Keeps the present memtables readable until `unpin` with the same list. */
  pin(): readonly Layer[] {
    const layers = this.#newestFirst;
    for (const layer of layers) layer.readers++;
    return layers;
  }

  unpin(layers: readonly Layer[]): void {
    for (const layer of layers) {
      layer.readers--;
      this.#releaseLater(layer);
    }
  }

  #changed(): void {
    this.#newestFirst = [this.#active, ...this.#frozen.toReversed()];
    this.#publish();
  }

  #publish(): void {
    this.#shared?.publishList(this.#newestFirst.map((layer) => layer.memtable));
  }

  #drop(layer: Layer): void {
    layer.dropped = true;
    this.#releaseLater(layer);
  }

  #releaseLater(layer: Layer): void {
    if (!layer.dropped || layer.readers > 0) return;
    const release = (): void => this.#pool.release(layer.memtable);
    const epochs = this.#shared?.epochs;
    this.#timers.afterIo(() => (epochs === undefined ? release() : epochs.retire(release)));
  }
}
