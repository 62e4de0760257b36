/**
 * The leases of the store: replicated state, the same on every node at the same index.
 *
 * A lease is a time to live that several keys share. It ends when the store's time has passed its end and the leader's command has been applied
 * (leases.ts), or when it is revoked; until then a renewal, which is a command as well, gives it its whole time anew. Ends are points of the store's time and part of the
 * state: a change of leaders or a restart changes nothing about them.
 *
 * Invariants: ids are signed numbers of 64 bits, none is 0; ids that are given here are never given twice; leases are kept and captured in the order in which they were granted,
 * so that equal states have equal bytes; `keys` is the number of live rows of a lease (lease_rows.ts).
 *
 * What is due is found by a heap with one place per lease: a renewal leaves it where it is, and only a lease whose old end has come is looked at again. That order is
 * no part of the state.
 */

/** The first id given is one above. Far from what people make up, and 16 digits in hexadecimal, as ids of etcd have. */
const FIRST_ID = 0x4b00_0000_0000_0000n;

export interface Lease {
  readonly id: bigint;
  /** Granted, and what a renewal gives anew. */
  readonly ttlMs: number;
  /** In the store's time. */
  expiresAtMs: number;
  /** Keys that are attached. */
  keys: number;
  /** When the heap will show it; at or before expiresAtMs. */
  checkAtMs: number;
}

/** Columns, in the order of granting. Byte form: wire/lease_codec.ts. */
export interface LeasesState {
  /** How many ids were chosen here. */
  readonly given: number;
  readonly ids: BigInt64Array;
  readonly ttlsMs: Float64Array;
  readonly expiresAtMs: Float64Array;
  readonly keys: Uint32Array;
}

export const NO_LEASES: LeasesState = Object.freeze({
  given: 0,
  ids: new BigInt64Array(0),
  ttlsMs: new Float64Array(0),
  expiresAtMs: new Float64Array(0),
  keys: new Uint32Array(0),
});

/** Places of the heap that may belong to leases which are gone, besides as many as there are leases. */
const SPARE_PLACES = 1_024;

export class LeaseTable {
  private readonly leases = new Map<bigint, Lease>();
  /** A binary heap by checkAtMs; a lease that is gone is dropped when it comes to the top. */
  private heap: Lease[] = [];
  private given = 0;

  get size(): number {
    return this.leases.size;
  }

  get(id: bigint): Lease | undefined {
    return this.leases.get(id);
  }

  /** In the order of granting. */
  ids(): bigint[] {
    return [...this.leases.keys()];
  }

  /** An id that no lease has, nor any that was chosen here before. */
  chooseId(): bigint {
    for (;;) {
      this.given++;
      const id = BigInt.asIntN(64, FIRST_ID + BigInt(this.given));
      if (!this.leases.has(id)) return id;
    }
  }

  /** REQUIRES: no lease has this id, which is not 0. */
  grant(id: bigint, ttlMs: number, nowMs: number): Lease {
    const expiresAtMs = Math.min(nowMs + ttlMs, Number.MAX_SAFE_INTEGER);
    const lease: Lease = { id, ttlMs, expiresAtMs, keys: 0, checkAtMs: expiresAtMs };
    this.leases.set(id, lease);
    this.push(lease);
    return lease;
  }

  /** Its whole time anew; false when there is no such lease. */
  renew(id: bigint, nowMs: number): boolean {
    const lease = this.leases.get(id);
    if (lease === undefined) return false;
    lease.expiresAtMs = Math.min(nowMs + lease.ttlMs, Number.MAX_SAFE_INTEGER);
    return true;
  }

  remove(id: bigint): void {
    this.leases.delete(id);
    if (this.heap.length > 2 * this.leases.size + SPARE_PLACES) this.rebuild();
  }

  /** Leases whose end has come, at most `most`; they are due again until they are removed or renewed. */
  due(nowMs: number, most: number): Lease[] {
    const due: Lease[] = [];
    while (due.length < most) {
      const top = this.heap[0];
      if (top === undefined || top.checkAtMs > nowMs) break;
      this.pop();
      if (this.leases.get(top.id) !== top) continue;
      if (top.expiresAtMs <= nowMs) {
        due.push(top);
        continue;
      }
      top.checkAtMs = top.expiresAtMs;
      this.push(top);
    }
    for (const lease of due) this.push(lease);
    return due;
  }

  /** undefined: there is nothing to say. */
  capture(): LeasesState | undefined {
    const count = this.leases.size;
    if (count === 0 && this.given === 0) return undefined;
    const ids = new BigInt64Array(count);
    const ttlsMs = new Float64Array(count);
    const expiresAtMs = new Float64Array(count);
    const keys = new Uint32Array(count);
    let at = 0;
    for (const lease of this.leases.values()) {
      ids[at] = lease.id;
      ttlsMs[at] = lease.ttlMs;
      expiresAtMs[at] = lease.expiresAtMs;
      keys[at] = lease.keys;
      at++;
    }
    return { given: this.given, ids, ttlsMs, expiresAtMs, keys };
  }

  restore(state: LeasesState = NO_LEASES): void {
    this.leases.clear();
    this.given = state.given;
    for (let at = 0; at < state.ids.length; at++) {
      const id = state.ids[at] as bigint;
      const end = state.expiresAtMs[at] as number;
      const ttlMs = state.ttlsMs[at] as number;
      this.leases.set(id, { id, ttlMs, expiresAtMs: end, keys: state.keys[at] as number, checkAtMs: end });
    }
    this.rebuild();
  }

  private rebuild(): void {
    this.heap = [...this.leases.values()];
    for (const lease of this.heap) lease.checkAtMs = lease.expiresAtMs;
    for (let at = (this.heap.length >> 1) - 1; at >= 0; at--) this.sink(at, this.heap[at] as Lease);
  }

  private push(lease: Lease): void {
    const { heap } = this;
    let at = heap.length;
    heap.push(lease);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Lease;
      if (above.checkAtMs <= lease.checkAtMs) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = lease;
  }

  private pop(): void {
    const last = this.heap.pop() as Lease;
    if (this.heap.length > 0) this.sink(0, last);
  }

  /** Puts a lease where `at` is, or below. */
  private sink(from: number, lease: Lease): void {
    const { heap } = this;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      const right = child + 1;
      if (right < heap.length && (heap[right] as Lease).checkAtMs < (heap[child] as Lease).checkAtMs)
        child = right;
      const below = heap[child] as Lease;
      if (below.checkAtMs >= lease.checkAtMs) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = lease;
  }
}
