/**
 * What the commands of leases do, and what a put with a lease must meet.
 *
 * Invariants: all that is read is read before the first write, so a damaged block leaves nothing half done; the keys of a lease go at one revision, which a lease
 * without keys does not need; an end is decided by the store's time, which entries carry, on every node alike.
 */
import type { KvEngine } from '../storage/engine_port.ts';
import { copyRecord, copyWithoutValue, type StoredRecord } from '../storage/record.ts';
import type {
  CommandResult,
  LeaseExpireCommand,
  LeaseGrantCommand,
  LeaseRenewCommand,
  LeaseRevokeCommand,
  PutOp,
} from './command.ts';
import type { KeyWriter } from './key_writer.ts';
import { keyOfLeaseRow, leaseRows } from './lease_rows.ts';
import type { LeaseTable } from './lease_table.ts';
import { MAX_SPARE_BYTES, type StateMachineLimits } from './limits.ts';
import { live, RECORD_OVERHEAD_BYTES, tombstoneBytes } from './records.ts';
import type { Refusal } from './refusal.ts';
import { failed } from './sessions.ts';
import { walkRange } from './walk.ts';

/** The largest time to live, as in etcd: 9,000,000,000 s. */
export const MAX_LEASE_TTL_MS = 9_000_000_000_000;

/** However many keys a lease may have. */
const MIN_ATTACHED_KEY_BYTES = 1_024;

export class Leases {
  private readonly engine: KvEngine;
  private readonly writer: KeyWriter;
  private readonly table: LeaseTable;
  private readonly limits: StateMachineLimits;

  constructor(engine: KvEngine, writer: KeyWriter, table: LeaseTable, limits: StateMachineLimits) {
    this.engine = engine;
    this.writer = writer;
    this.table = table;
    this.limits = limits;
  }

  /** A time to live below the least one is raised to it. */
  grant(command: LeaseGrantCommand): CommandResult {
    const { revision, timeMs } = this.writer;
    const { maxLeases, minLeaseTtlMs } = this.limits;
    if (command.ttlMs > MAX_LEASE_TTL_MS) {
      const message = `a lease may live ${MAX_LEASE_TTL_MS} ms`;
      return failed('LEASE_TTL_TOO_LARGE', message, revision);
    }
    if (this.table.get(command.lease) !== undefined) {
      return failed('LEASE_EXISTS', `lease ${command.lease} exists already`, revision);
    }
    if (this.table.size >= maxLeases) return failed('OVERLOADED', `there are ${maxLeases} leases`, revision);
    const id = command.lease === 0n ? this.table.chooseId() : command.lease;
    const { ttlMs } = this.table.grant(id, Math.max(command.ttlMs, minLeaseTtlMs), timeMs);
    return { type: 'lease', revision, lease: id, ttlMs };
  }

  revoke(command: LeaseRevokeCommand): CommandResult {
    const lease = this.table.get(command.lease);
    if (lease === undefined) return this.notFound(command.lease);
    const victims = this.victimsOf(command.lease);
    if (victims === undefined) {
      const message = 'other commands of the same entry of the log leave no room for this one; try again';
      return failed('OVERLOADED', message, this.writer.revision);
    }
    this.end([command.lease], victims);
    return { type: 'done', revision: this.writer.revision };
  }

  renew(command: LeaseRenewCommand): CommandResult {
    const { revision, timeMs } = this.writer;
    for (const id of command.leases) this.table.renew(id, timeMs);
    return { type: 'done', revision };
  }

  /** Those whose time has come; one that was renewed since the leader looked stays, and so does, until it is asked for again, one for which the entry has no room. */
  expire(command: LeaseExpireCommand): CommandResult {
    const nowMs = this.writer.timeMs;
    const ended: bigint[] = [];
    const victims: StoredRecord[] = [];
    for (const id of new Set(command.leases)) {
      const lease = this.table.get(id);
      if (lease === undefined || lease.expiresAtMs > nowMs) continue;
      const own = this.victimsOf(id);
      if (own === undefined) continue;
      ended.push(id);
      for (const record of own) victims.push(record);
    }
    this.end(ended, victims);
    return { type: 'done', revision: this.writer.revision };
  }

  /** The stored keys of a lease: views, valid for this turn. REQUIRES: its rows loaded. */
  namesOf(id: bigint): Uint8Array[] {
    const most = this.table.get(id)?.keys ?? 0;
    const names: Uint8Array[] = [];
    const walk = {
      ...leaseRows(id),
      revision: this.writer.revision,
      reverse: false,
      most,
      withValues: () => false,
    };
    walkRange(this.engine, walk, ({ key }) => {
      const name = keyOfLeaseRow(key);
      if (name !== undefined) names.push(name);
      return true;
    });
    return names;
  }

  /** Copies of the live keys of a lease. REQUIRES: loaded (`namingRows`). */
  keysOf(id: bigint, withValues: boolean): StoredRecord[] {
    const copy = withValues ? copyRecord : copyWithoutValue;
    return this.namesOf(id).flatMap((key) => {
      const record = live(this.engine.latest(key));
      return record === undefined ? [] : [copy(record)];
    });
  }

  /**
   * What ends with a lease, if the entry of the log has room for it (MAX_SPARE_BYTES): undefined where it has not. One that has written nothing of the kind yet has room for any lease, since what is attached
   * to one is bounded.
   */
  private victimsOf(id: bigint): StoredRecord[] | undefined {
    const { writer } = this;
    const victims = this.keysOf(id, writer.previousWanted);
    let bytes = 0;
    for (const record of victims) bytes += tombstoneBytes(record);
    if (bytes > writer.spareBytes && writer.spareBytes < MAX_SPARE_BYTES) return undefined;
    writer.spareBytes = Math.max(0, writer.spareBytes - bytes);
    return victims;
  }

  private end(ids: readonly bigint[], victims: readonly StoredRecord[]): void {
    const { writer, table } = this;
    if (victims.length > 0) {
      writer.revision++;
      for (let sub = 0; sub < victims.length; sub++) writer.remove(victims[sub] as StoredRecord, sub);
      writer.publish();
    }
    for (const id of ids) table.remove(id);
  }

  private notFound(id: bigint): CommandResult {
    const { code, message } = leaseNotFound(id);
    return failed(code, message, this.writer.revision);
  }
}

/** Stored keys that may be attached to a lease: as many of them as it may have, with all their rows, go in one entry of the log. */
export function maxAttachedKeyBytes(maxLeaseKeys: number): number {
  return Math.max(
    MIN_ATTACHED_KEY_BYTES,
    Math.floor(MAX_SPARE_BYTES / (3 * maxLeaseKeys)) - RECORD_OVERHEAD_BYTES,
  );
}

export function leaseNotFound(id: bigint): Refusal {
  return { code: 'LEASE_NOT_FOUND', message: `there is no lease ${id}` };
}

/**
 * Whether the puts of one command may attach their keys. REQUIRES: each key is asked for once (writes of one transaction never meet), and loaded.
 */
export class Attachments {
  private readonly table: LeaseTable;
  private readonly engine: KvEngine;
  private readonly maxKeys: number;
  /** Keys that the puts so far add, by lease. */
  private readonly added = new Map<bigint, number>();

  constructor(table: LeaseTable, engine: KvEngine, maxKeys: number) {
    this.table = table;
    this.engine = engine;
    this.maxKeys = maxKeys;
  }

  /** undefined: it may. */
  refuse({ key, lease: id }: Pick<PutOp, 'key' | 'lease'>): Refusal | undefined {
    if (id === 0n) return undefined;
    const lease = this.table.get(id);
    if (lease === undefined) return leaseNotFound(id);
    if (live(this.engine.latest(key))?.lease === id) return undefined;
    const maxKeyBytes = maxAttachedKeyBytes(this.maxKeys);
    if (key.length > maxKeyBytes) {
      return { code: 'KEY_TOO_LARGE', message: `a key with a lease may have ${maxKeyBytes - 1} bytes` };
    }
    const added = (this.added.get(id) ?? 0) + 1;
    if (lease.keys + added > this.maxKeys) {
      return { code: 'LEASE_FULL', message: `a lease may have ${this.maxKeys} keys` };
    }
    this.added.set(id, added);
    return undefined;
  }
}
