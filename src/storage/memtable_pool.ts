/**
 * Memtables to use again: a memory that was touched once needs no page faults the second time, and its address space is already reserved.
 *
 * Invariants: what `acquire` gives is empty; at most `maxPooled` memtables wait here; one that grew far beyond its soft size is dropped,
 * so that one large entry does not hold its memory for ever. Whoever releases a memtable holds no view of it any more.
 */
import { KvError } from '../errors.ts';
import { Memtable, type MemtableOptions } from './memtable.ts';

/** A memory this much larger than the soft size is not kept. */
const MAX_KEPT_GROWTH = 1.5;
const MAX_KEPT_EXTRA_BYTES = 8 * 1024 * 1024;

export class MemtablePool {
  private readonly options: MemtableOptions;
  private readonly maxPooled: number;
  private readonly free: Memtable[] = [];
  private readonly onDropped: (memtable: Memtable) => void;
  private readonly lent = new Set<Memtable>();

  /** `options` are those of every memtable of the pool; `onDropped` hears of each that is neither lent nor kept any more. */
  constructor(
    options: MemtableOptions,
    maxPooled: number,
    onDropped: (memtable: Memtable) => void = () => {},
  ) {
    this.options = options;
    this.maxPooled = maxPooled;
    this.onDropped = onDropped;
  }

  /** Memtables that wait to be used again. */
  get pooled(): number {
    return this.free.length;
  }

  /** Bytes of memory held by waiting memtables. */
  get pooledBytes(): number {
    return this.free.reduce((sum, memtable) => sum + memtable.memoryBytes, 0);
  }

  /**
   * An empty memtable.
   * @throws KvError UNAVAILABLE when the system has no memory for another one.
   */
  acquire(): Memtable {
    const memtable = this.free.pop() ?? new Memtable(this.options);
    this.lent.add(memtable);
    return memtable;
  }

  /**
   * Takes a memtable back. REQUIRES: nobody holds views or handles of it.
   * @throws KvError INTERNAL for one that is not lent: two owners would write over each other.
   */
  release(memtable: Memtable): void {
    if (!this.lent.delete(memtable)) {
      throw new KvError('INTERNAL', 'a memtable was released that is not lent by this pool');
    }
    const keptBytes = Math.max(
      memtable.fullBytes * MAX_KEPT_GROWTH,
      memtable.fullBytes + MAX_KEPT_EXTRA_BYTES,
    );
    if (this.free.length >= this.maxPooled || memtable.memoryBytes > keptBytes) {
      this.onDropped(memtable);
      return;
    }
    memtable.reset();
    this.free.push(memtable);
  }
}
