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

import { EncodedLeases, LEASE_ROW_BYTES, type LeasesState, leaseRowAt, NO_LEASES } from './lease_state.ts';

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
  /** Of its row in the encoded state. */
  place: number;
}

/** Places of the heap, and rows, that may belong to leases which are gone, besides as many as there are leases. */
const SPARE_PLACES = 1_024;

export class LeaseTable {
  private readonly leases = new Map<bigint, Lease>();
  /** A binary heap by checkAtMs; a lease that is gone is dropped when it comes to the top. */
  private heap: Lease[] = [];
  /** What `capture` gives, kept up to date: with many leases there would be no time to write it then. */
  private readonly rows = new EncodedLeases();
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
    const place = this.rows.add(id, ttlMs, expiresAtMs, 0);
    const lease: Lease = { id, ttlMs, expiresAtMs, keys: 0, checkAtMs: expiresAtMs, place };
    this.leases.set(id, lease);
    this.push(lease);
    return lease;
  }

  /** Its whole time anew; false when there is no such lease. */
  renew(id: bigint, nowMs: number): boolean {
    const lease = this.leases.get(id);
    if (lease === undefined) return false;
    lease.expiresAtMs = Math.min(nowMs + lease.ttlMs, Number.MAX_SAFE_INTEGER);
    this.rows.setEnd(lease.place, lease.expiresAtMs);
    return true;
  }

  /** As many keys more are attached to a lease; or, below 0, fewer. REQUIRES: it is one of this table's. */
  countKeys(lease: Lease, more: number): void {
    lease.keys += more;
    this.rows.setKeys(lease.place, lease.keys);
  }

  remove(id: bigint): void {
    const lease = this.leases.get(id);
    if (lease === undefined) return;
    this.leases.delete(id);
    this.rows.remove(lease.place);
    if (this.rows.gaps > this.leases.size + SPARE_PLACES) this.closeGaps();
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

  /** undefined: there is nothing to say. Shares nothing that later changes write to. */
  capture(): LeasesState | undefined {
    if (this.leases.size === 0 && this.given === 0) return undefined;
    return { given: this.given, rows: this.rows.capture() };
  }

  restore(state: LeasesState = NO_LEASES): void {
    this.leases.clear();
    this.rows.clear();
    this.given = state.given;
    const count = state.rows.length / LEASE_ROW_BYTES;
    for (let at = 0; at < count; at++) {
      const { id, ttlMs, expiresAtMs, keys } = leaseRowAt(state.rows, at);
      const place = this.rows.add(id, ttlMs, expiresAtMs, keys);
      this.leases.set(id, { id, ttlMs, expiresAtMs, keys, checkAtMs: expiresAtMs, place });
    }
    this.rebuild();
  }

  /** The map lists leases in the order of granting, as their rows lie. */
  private closeGaps(): void {
    this.rows.compact();
    let place = 0;
    for (const lease of this.leases.values()) lease.place = place++;
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
