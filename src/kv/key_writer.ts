/**
 * Writes versions of keys at the revision of the command under way, with the index rows and events that belong to them.
 *
 * Invariants: whatever writes or removes a user's key goes through here; a version, its index rows and its event carry one revision and one subRevision; events are
 * handed over once per command, by ascending subRevision; records in results and events are copies.
 */
import type { KvEngine } from '../storage/engine_port.ts';
import { copyRecord, FLAG_TOMBSTONE, type StoredRecord } from '../storage/record.ts';
import type { KvEvent, TouchOp } from './command.ts';
import { expiryRowKey } from './expiry.ts';
import { SPACE_USER } from './keyspace.ts';
import { leaseRowKey } from './lease_rows.ts';
import type { LeaseTable } from './lease_table.ts';
import { MAX_SPARE_BYTES } from './limits.ts';
import { type QuotaTable, quotaBytes } from './quotas.ts';
import { EMPTY_BYTES, live } from './records.ts';

/** The revision of a store that nothing was written to (etcd's first, too). */
export const FIRST_REVISION = 1;

export class KeyWriter {
  /** Called after each command that changed user keys, with its events by ascending subRevision. Must not throw. Unset: no events are built. */
  onEvents: ((revision: number, events: KvEvent[]) => void) | undefined = undefined;
  /** Whether events carry the version that was replaced. */
  eventsWithPrevious = false;
  /** Whether anybody watches a key: events of other keys are not built. Unset: all are. */
  watches: ((key: Uint8Array) => boolean) | undefined = undefined;
  /** Of the last command that wrote; the one under way has raised it before it writes. */
  revision: number = FIRST_REVISION;
  /** The store's clock: the largest entry time so far, wall-clock milliseconds. */
  timeMs = 0;
  /** Of MAX_SPARE_BYTES, what the entry under way has left. */
  spareBytes = MAX_SPARE_BYTES;

  private readonly engine: KvEngine;
  private readonly leases: LeaseTable;
  private readonly quotas: QuotaTable;
  private events: KvEvent[] = [];

  constructor(engine: KvEngine, leases: LeaseTable, quotas: QuotaTable) {
    this.engine = engine;
    this.leases = leases;
    this.quotas = quotas;
  }

  /** Whether somebody wants the versions that are replaced. */
  get previousWanted(): boolean {
    return this.onEvents !== undefined && this.eventsWithPrevious;
  }

  /** Writes a version at the current revision; gives the one it replaces where that is wanted. REQUIRES: the lease exists, or is 0n. */
  put(
    key: Uint8Array,
    value: Uint8Array,
    ttlMs: number,
    lease: bigint,
    prevKv: boolean,
    sub: number,
  ): StoredRecord | undefined {
    const revision = this.revision;
    const heard = this.onEvents !== undefined && this.heard(key);
    const old = this.engine.latest(key);
    let createRevision = revision;
    let version = 1;
    let oldExpiresAtMs = 0;
    let oldLease = 0n;
    let previous: StoredRecord | undefined;
    if (old !== undefined && (old.flags & FLAG_TOMBSTONE) === 0) {
      createRevision = old.createRevision;
      version = old.version + 1;
      oldExpiresAtMs = old.expiresAtMs;
      oldLease = old.lease;
      if (prevKv || (heard && this.eventsWithPrevious)) previous = copyRecord(old);
    }
    if (this.quotas.active) {
      if (version === 1) this.quotas.note(key, quotaBytes(key, value), 1);
      else this.quotas.note(key, value.length - (old as StoredRecord).value.length, 0);
    }
    const expiresAtMs = ttlMs === 0 ? 0 : this.expiryAfter(ttlMs);
    this.engine.put(key, value, revision, createRevision, version, sub, 0, lease, expiresAtMs);
    if (expiresAtMs !== oldExpiresAtMs) this.moveExpiryRow(key, oldExpiresAtMs, expiresAtMs, sub);
    if (lease !== oldLease) this.moveLeaseRow(key, oldLease, lease, sub);
    if (heard) {
      const record = copyRecord({
        key,
        value,
        modRevision: revision,
        createRevision,
        version,
        subRevision: sub,
        flags: 0,
        lease,
        expiresAtMs,
      });
      this.events.push({ type: 'put', record, previous: this.eventsWithPrevious ? previous : undefined });
    }
    return prevKv ? previous : undefined;
  }

  /** Writes the key's value again with another expiry. False, and nothing written, when there is no such key. */
  touch(operation: TouchOp, sub: number): boolean {
    const old = live(this.engine.latest(operation.key));
    if (old === undefined) return false;
    // The value is a view of the memory that is about to be written to.
    const value = new Uint8Array(old.value);
    this.put(operation.key, value, operation.ttlMs, this.leaseOf(old), false, sub);
    return true;
  }

  /** Writes a tombstone over a live record at the current revision. REQUIRES: `victim` is a copy. */
  remove(victim: StoredRecord, sub: number): void {
    const revision = this.revision;
    if (this.quotas.active && this.quotas.covers(victim.key)) {
      // The victim may have come without its value.
      const record = this.engine.latest(victim.key) as StoredRecord;
      this.quotas.note(victim.key, -quotaBytes(victim.key, record.value), -1);
    }
    this.engine.put(victim.key, EMPTY_BYTES, revision, 0, 0, sub, FLAG_TOMBSTONE, 0n, 0);
    if (victim.expiresAtMs !== 0) this.moveExpiryRow(victim.key, victim.expiresAtMs, 0, sub);
    if (victim.lease !== 0n) this.moveLeaseRow(victim.key, victim.lease, 0n, sub);
    if (this.onEvents === undefined || !this.heard(victim.key)) return;
    const record: StoredRecord = {
      key: victim.key,
      value: EMPTY_BYTES,
      modRevision: revision,
      createRevision: 0,
      version: 0,
      subRevision: sub,
      flags: FLAG_TOMBSTONE,
      lease: 0n,
      expiresAtMs: 0,
    };
    this.events.push({ type: 'delete', record, previous: this.eventsWithPrevious ? victim : undefined });
  }

  /** Hands over the events of the command that has ended. */
  publish(): void {
    if (this.events.length === 0) return;
    const events = this.events;
    this.events = [];
    this.onEvents?.(this.revision, events);
  }

  /** Of a command that was broken off. */
  forgetEvents(): void {
    this.events = [];
  }

  /** The lease that a live record is attached to. A store from before there were leases may hold records with numbers that are none. */
  leaseOf(record: StoredRecord): bigint {
    return record.lease !== 0n && this.leases.get(record.lease) === undefined ? 0n : record.lease;
  }

  private moveLeaseRow(key: Uint8Array, fromId: bigint, toId: bigint, sub: number): void {
    const revision = this.revision;
    const from = this.leases.get(fromId);
    if (from !== undefined) {
      this.leases.countKeys(from, -1);
      this.engine.put(leaseRowKey(fromId, key), EMPTY_BYTES, revision, 0, 0, sub, FLAG_TOMBSTONE, 0n, 0);
    }
    const to = this.leases.get(toId);
    if (to !== undefined) {
      this.leases.countKeys(to, 1);
      this.engine.put(leaseRowKey(toId, key), EMPTY_BYTES, revision, revision, 1, sub, 0, 0n, 0);
    }
  }

  private heard(key: Uint8Array): boolean {
    return key[0] === SPACE_USER && (this.watches === undefined || this.watches(key));
  }

  private expiryAfter(ttlMs: number): number {
    return Math.min(this.timeMs + ttlMs, Number.MAX_SAFE_INTEGER);
  }

  private moveExpiryRow(key: Uint8Array, fromMs: number, toMs: number, sub: number): void {
    const revision = this.revision;
    if (fromMs !== 0) {
      this.engine.put(expiryRowKey(fromMs, key), EMPTY_BYTES, revision, 0, 0, sub, FLAG_TOMBSTONE, 0n, 0);
    }
    if (toMs !== 0) {
      this.engine.put(expiryRowKey(toMs, key), EMPTY_BYTES, revision, revision, 1, sub, 0, 0n, 0);
    }
  }
}
