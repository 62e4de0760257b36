/**
 * The leases in the form in which the state holds them: rows of bytes that are kept up to date with every change, so that capturing the state copies memory and
 * encodes nothing, however many leases there are.
 *
 *     row := lease:u64 ttlMs:u64 expiresAtMs:u64 keys:u32          little-endian; 28 bytes
 *
 * Invariants: rows lie in the order of granting; the row of a lease that is gone has id 0, which no lease has, until `compact` closes the gap; what `capture` gives has no
 * such row and shares no memory with what later changes write.
 */

export const LEASE_ROW_BYTES = 28;
const TTL_AT = 8;
const END_AT = 16;
const KEYS_AT = 24;
const TWO_32 = 0x1_0000_0000;
const FIRST_ROWS = 16;

/** Byte form around the rows: wire/lease_codec.ts. */
export interface LeasesState {
  /** How many ids were chosen here. */
  readonly given: number;
  readonly rows: Uint8Array;
}

export const NO_LEASES: LeasesState = Object.freeze({ given: 0, rows: new Uint8Array(0) });

export interface LeaseRow {
  readonly id: bigint;
  readonly ttlMs: number;
  readonly expiresAtMs: number;
  readonly keys: number;
}

/** One row of a state. REQUIRES: it is there. */
export function leaseRowAt(rows: Uint8Array, at: number): LeaseRow {
  const view = new DataView(rows.buffer, rows.byteOffset + at * LEASE_ROW_BYTES, LEASE_ROW_BYTES);
  return {
    id: view.getBigInt64(0, true),
    ttlMs: getU64(view, TTL_AT),
    expiresAtMs: getU64(view, END_AT),
    keys: view.getUint32(KEYS_AT, true),
  };
}

/** The rows of a state. REQUIRES: numbers are safe integers, `keys` fits 32 bits. */
export function leaseRowsOf(leases: readonly LeaseRow[]): Uint8Array {
  const rows = new EncodedLeases();
  for (const { id, ttlMs, expiresAtMs, keys } of leases) rows.add(id, ttlMs, expiresAtMs, keys);
  return rows.capture();
}

export class EncodedLeases {
  private bytes = new Uint8Array(FIRST_ROWS * LEASE_ROW_BYTES);
  private view = new DataView(this.bytes.buffer);
  private used = 0;
  private gone = 0;

  /** Rows of leases that are gone. */
  get gaps(): number {
    return this.gone;
  }

  /** Gives the row's place. It may be lease 0, which counts as no gap until it is removed. */
  add(id: bigint, ttlMs: number, expiresAtMs: number, keys: number): number {
    const place = this.used++;
    const at = place * LEASE_ROW_BYTES;
    if (at + LEASE_ROW_BYTES > this.bytes.length) this.grow(2 * this.bytes.length);
    const { view } = this;
    view.setBigInt64(at, id, true);
    putU64(view, at + TTL_AT, ttlMs);
    putU64(view, at + END_AT, expiresAtMs);
    view.setUint32(at + KEYS_AT, keys, true);
    return place;
  }

  setEnd(place: number, expiresAtMs: number): void {
    putU64(this.view, place * LEASE_ROW_BYTES + END_AT, expiresAtMs);
  }

  setKeys(place: number, keys: number): void {
    this.view.setUint32(place * LEASE_ROW_BYTES + KEYS_AT, keys, true);
  }

  remove(place: number): void {
    this.view.setBigInt64(place * LEASE_ROW_BYTES, 0n, true);
    this.gone++;
  }

  /** A copy of the rows that are not gone. */
  capture(): Uint8Array {
    if (this.gone === 0) return this.bytes.slice(0, this.used * LEASE_ROW_BYTES);
    const rows = new Uint8Array((this.used - this.gone) * LEASE_ROW_BYTES);
    let to = 0;
    let start = 0;
    for (let place = 0; place <= this.used; place++) {
      if (place < this.used && !this.isGone(place)) continue;
      const run = this.bytes.subarray(start * LEASE_ROW_BYTES, place * LEASE_ROW_BYTES);
      rows.set(run, to);
      to += run.length;
      start = place + 1;
    }
    return rows;
  }

  /** Closes the gaps: the rows that are left have the places 0, 1, ... in the order in which they lay. */
  compact(): void {
    const rows = this.capture();
    this.used = rows.length / LEASE_ROW_BYTES;
    this.gone = 0;
    this.bytes = new Uint8Array(Math.max(FIRST_ROWS * LEASE_ROW_BYTES, rows.length));
    this.bytes.set(rows);
    this.view = new DataView(this.bytes.buffer);
  }

  clear(): void {
    this.used = 0;
    this.gone = 0;
  }

  private isGone(place: number): boolean {
    const at = place * LEASE_ROW_BYTES;
    return this.view.getUint32(at, true) === 0 && this.view.getUint32(at + 4, true) === 0;
  }

  private grow(sizeBytes: number): void {
    const bytes = new Uint8Array(sizeBytes);
    bytes.set(this.bytes);
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }
}

function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % TWO_32, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32), true);
}

function getU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * TWO_32 + view.getUint32(at, true);
}
