/**
 * A buddy allocator (Knowlton 1965) over numbered units, with its books on this side: the memory that it manages is never touched.
 *
 * Free runs are blocks of 2^k units, aligned to their size; a block and its buddy that are both free are one block of the next order. An allocation takes
 * the first units of a block and gives the rest of it back at once, so that nothing is rounded up to a power of two.
 *
 * Invariants: every unit is in exactly one allocation or one free block; no two free blocks are buddies. The caller remembers the size of what it holds.
 */

const ORDERS = 21;
const NONE = -1;
const NOT_A_FREE_BLOCK = -1;

export class BuddyAllocator {
  /** Units under management. */
  units = 0;
  freeUnits = 0;
  // Of the first unit of a free block: its order and its neighbours in the list of that order.
  #order = new Int8Array(0);
  #next = new Int32Array(0);
  #previous = new Int32Array(0);
  readonly #heads = new Int32Array(ORDERS).fill(NONE);

  /** So many units must be added at least for a block that holds `count`. */
  unitsForBlock(count: number): number {
    const size = 2 ** orderFor(count);
    return Math.ceil(this.units / size) * size + size - this.units;
  }

  /** Adds `count` units behind the present ones; the first `taken` of them are allocated at once. Gives the first. */
  extend(count: number, taken: number): number {
    const first = this.units;
    const units = first + count;
    if (units > 2 ** (ORDERS - 1))
      throw new RangeError(`${units} units are more than the allocator can manage`);
    if (units > this.#order.length) this.#makeRoom(Math.max(units, 2 * this.#order.length));
    this.units = units;
    this.free(first + taken, count - taken);
    return first;
  }

  #makeRoom(capacity: number): void {
    const order = new Int8Array(capacity).fill(NOT_A_FREE_BLOCK);
    order.set(this.#order);
    this.#order = order;
    const next = new Int32Array(capacity);
    next.set(this.#next);
    this.#next = next;
    const previous = new Int32Array(capacity);
    previous.set(this.#previous);
    this.#previous = previous;
  }

  /** The first of `count` (from 1) units in a row, or -1 when there is no such run. */
  allocate(count: number): number {
    const wanted = orderFor(count);
    let order = wanted;
    while (order < ORDERS && this.#heads[order] === NONE) order++;
    if (order >= ORDERS) return NONE;
    const block = this.#heads[order]!;
    this.#unlink(block, order);
    const size = 2 ** order;
    this.freeUnits -= size;
    if (count < size) this.free(block + count, size - count);
    return block;
  }

  /** Gives `count` units from `first` on back. REQUIRES: they are allocated; any part of an allocation may be given back. */
  free(first: number, count: number): void {
    this.freeUnits += count;
    let at = first;
    const end = first + count;
    while (at < end) {
      let order = at === 0 ? ORDERS - 1 : 31 - Math.clz32(at & -at);
      while (2 ** order > end - at) order--;
      this.#freeBlock(at, order);
      at += 2 ** order;
    }
  }

  #freeBlock(first: number, firstOrder: number): void {
    let block = first;
    let order = firstOrder;
    while (order < ORDERS - 1) {
      const size = 2 ** order;
      const buddy = block ^ size;
      if (buddy + size > this.units || this.#order[buddy] !== order) break;
      this.#unlink(buddy, order);
      if (buddy < block) block = buddy;
      order++;
    }
    const head = this.#heads[order]!;
    this.#order[block] = order;
    this.#next[block] = head;
    this.#previous[block] = NONE;
    if (head !== NONE) this.#previous[head] = block;
    this.#heads[order] = block;
  }

  #unlink(block: number, order: number): void {
    const next = this.#next[block]!;
    const previous = this.#previous[block]!;
    if (next !== NONE) this.#previous[next] = previous;
    if (previous === NONE) this.#heads[order] = next;
    else this.#next[previous] = next;
    this.#order[block] = NOT_A_FREE_BLOCK;
  }
}

/** The order of the smallest block that holds so many units. */
function orderFor(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1);
}
