/**
 * Carries out the writes of the log: single operations and transactions.
 *
 * Invariants: everything is checked before the first write (txn_plan.ts), so that a command takes effect whole or not at all; the revision grows by one per command that
 * writes, and never otherwise; the versions that one command writes are numbered by subRevision in the order of its operations, nested ones in their place.
 */
import type { KvEngine } from '../storage/engine_port.ts';
import { copyRecord, copyWithoutValue, type StoredRecord } from '../storage/record.ts';
import type {
  CommandResult,
  DeleteOp,
  DeleteResult,
  OperationResult,
  PutOp,
  PutResult,
  RangeOp,
  RangeResult,
  TouchOp,
  TouchResult,
  TxnBody,
  TxnResult,
  WriteCommand,
} from './command.ts';
import type { KeyWriter } from './key_writer.ts';
import type { LeaseTable } from './lease_table.ts';
import { Attachments, leaseNotFound } from './leases.ts';
import type { StateMachineLimits } from './limits.ts';
import { type Meeting, txnMeeting } from './overlap.ts';
import { type QuotaTable, quotaBytes } from './quotas.ts';
import { live, recordBytes } from './records.ts';
import type { Refusal } from './refusal.ts';
import { failed } from './sessions.ts';
import {
  type Decision,
  decide,
  type PlanContext,
  planDecision,
  refuseOperation,
  refuseTxn,
  type TxnPlan,
  VersionSet,
} from './txn_plan.ts';
import { readRange } from './txn_ranges.ts';

export interface TransactionsOptions {
  readonly engine: KvEngine;
  readonly writer: KeyWriter;
  readonly leases: LeaseTable;
  readonly quotas: QuotaTable;
  readonly limits: StateMachineLimits;
  /** Reads below it are refused. */
  readonly compactRevision: () => number;
}

const NO_RECORDS: readonly StoredRecord[] = [];

export class Transactions {
  private readonly options: TransactionsOptions;
  private readonly engine: KvEngine;
  private readonly writer: KeyWriter;
  private readonly limits: StateMachineLimits;

  constructor(options: TransactionsOptions) {
    this.options = options;
    this.engine = options.engine;
    this.writer = options.writer;
    this.limits = options.limits;
  }

  /** A single operation. */
  write(operation: WriteCommand['operation']): CommandResult {
    const refusal = refuseOperation(operation, this.limits);
    if (refusal !== undefined) return this.refuse(refusal);
    if (
      operation.type === 'put' &&
      operation.lease === 0n &&
      !operation.ignoreValue &&
      !operation.ignoreLease
    ) {
      const { writer } = this;
      const { key, value, ttlMs, prevKv } = operation;
      const overQuota = this.options.quotas.active ? this.refusedByQuota(key, value) : undefined;
      if (overQuota !== undefined) return this.refuse(overQuota);
      const revision = writer.revision + 1;
      writer.revision = revision;
      const previous = writer.put(key, value, ttlMs, 0n, prevKv, 0);
      writer.publish();
      return { type: 'put', revision, previous };
    }
    // As etcd has it: a put by itself is told of a missing lease before a missing key, one in a transaction after it.
    if (operation.type === 'put' && operation.lease !== 0n) {
      const { lease } = operation;
      if (this.options.leases.get(lease) === undefined) return this.refuse(leaseNotFound(lease));
    }
    return operation.type === 'delete' && operation.end === undefined
      ? this.deleteKey(operation)
      : this.only(operation);
  }

  txn(txn: TxnBody): CommandResult {
    const refusal = refuseTxn(txn, this.limits);
    if (refusal !== undefined) return this.refuse(refusal);
    const meeting = txnMeeting(txn);
    if (meeting === 'writes') return this.refuse(DUPLICATE);
    const context = this.context();
    const decision = decide(txn, context);
    if ('code' in decision) return this.refuse(decision);
    const plan = planDecision(decision, context);
    return 'code' in plan ? this.refuse(plan) : this.execute(plan, meeting);
  }

  private refusedByQuota(key: Uint8Array, value: Uint8Array): Refusal | undefined {
    const { quotas } = this.options;
    if (!quotas.covers(key)) return undefined;
    const old = live(this.engine.latest(key));
    if (old === undefined) return quotas.refuses(key, quotaBytes(key, value), 1);
    return quotas.refuses(key, value.length - old.value.length, 0);
  }

  private deleteKey({ key, prevKv }: DeleteOp): CommandResult {
    const { writer } = this;
    const found = live(this.engine.latest(key));
    if (found === undefined) {
      return { type: 'delete', revision: writer.revision, deleted: 0, previous: NO_RECORDS };
    }
    if (prevKv && recordBytes(found) > this.limits.maxCommandBytes)
      return this.only({ type: 'delete', key, end: undefined, prevKv });
    const victim = (prevKv || writer.previousWanted ? copyRecord : copyWithoutValue)(found);
    writer.revision++;
    writer.remove(victim, 0);
    writer.publish();
    return {
      type: 'delete',
      revision: writer.revision,
      deleted: 1,
      previous: prevKv ? [victim] : NO_RECORDS,
    };
  }

  /** A single operation with the checks of a transaction. */
  private only(operation: WriteCommand['operation']): CommandResult {
    const decision: Decision = { succeeded: true, operations: [operation], nested: [] };
    const plan = planDecision(decision, this.context());
    return 'code' in plan ? this.refuse(plan) : (this.execute(plan, 'apart').results[0] as OperationResult);
  }

  private context(): PlanContext {
    const { engine, limits, writer } = this;
    const { leases, quotas } = this.options;
    return {
      engine,
      limits,
      revision: writer.revision,
      compactRevision: this.options.compactRevision(),
      valuesWanted: writer.previousWanted,
      looks: { keys: limits.maxDeleteRangeKeys },
      spareBytes: writer.spareBytes,
      attachments: new Attachments(leases, engine, limits.maxLeaseKeys),
      quotas,
    };
  }

  /** Carries out a plan that was checked whole: nothing here may fail. */
  private execute(plan: TxnPlan, meeting: Meeting): TxnResult {
    const { engine, writer } = this;
    const before = writer.revision;
    if (plan.writes) writer.revision = before + 1;
    writer.spareBytes = plan.spareBytesLeft;
    const result = new Execution(engine, writer, plan, before, meeting).branch(plan.decision);
    writer.publish();
    return result;
  }

  private refuse(refusal: Refusal): CommandResult {
    return failed(refusal.code, refusal.message, this.writer.revision);
  }
}

/** One transaction on its way through its operations. */
class Execution {
  private readonly engine: KvEngine;
  private readonly writer: KeyWriter;
  private readonly plan: TxnPlan;
  private readonly before: number;
  private readonly deletesMeet: boolean;
  /** The next write's. */
  private sub = 0;
  private nextDelete = 0;
  private nextRange = 0;
  /** Where deletes meet: what the earlier ones have removed. Nothing else can have. */
  private readonly removed = new VersionSet();

  constructor(engine: KvEngine, writer: KeyWriter, plan: TxnPlan, before: number, meeting: Meeting) {
    this.engine = engine;
    this.writer = writer;
    this.plan = plan;
    this.before = before;
    this.deletesMeet = meeting === 'deletes';
  }

  branch({ succeeded, operations, nested }: Decision): TxnResult {
    const results: OperationResult[] = [];
    let child = 0;
    for (const operation of operations) {
      switch (operation.type) {
        case 'put':
          results.push(this.put(operation));
          break;
        case 'touch':
          results.push(this.touch(operation));
          break;
        case 'delete':
          results.push(this.delete(operation));
          break;
        case 'range':
          results.push(this.range(operation));
          break;
        case 'txn':
          results.push(this.branch(nested[child++] as Decision));
      }
    }
    return { type: 'txn', revision: this.writer.revision, succeeded, results };
  }

  /** What the store's revision looks like from here: the new one once something is written. */
  private get revision(): number {
    return this.sub > 0 ? this.writer.revision : this.before;
  }

  private put(operation: PutOp): PutResult {
    const { writer } = this;
    const { key, ttlMs, prevKv, ignoreValue, ignoreLease } = operation;
    let { value, lease } = operation;
    if (ignoreValue || ignoreLease) {
      // Found by the plan; no other operation of the transaction writes it.
      const old = this.engine.latest(key) as StoredRecord;
      // A view of the memory that is about to be written to.
      if (ignoreValue) value = new Uint8Array(old.value);
      if (ignoreLease) lease = writer.leaseOf(old);
    }
    const previous = writer.put(key, value, ttlMs, lease, prevKv, this.sub++);
    return { type: 'put', revision: writer.revision, previous };
  }

  private touch(operation: TouchOp): TouchResult {
    const found = this.writer.touch(operation, this.sub);
    if (found) this.sub++;
    return { type: 'touch', revision: this.revision, found };
  }

  private delete(operation: DeleteOp): DeleteResult {
    let victims = this.plan.victims[this.nextDelete++] as readonly StoredRecord[];
    if (this.deletesMeet) victims = victims.filter((victim) => this.removed.add(victim));
    for (const victim of victims) this.writer.remove(victim, this.sub++);
    const previous = operation.prevKv ? victims : NO_RECORDS;
    return { type: 'delete', revision: this.revision, deleted: victims.length, previous };
  }

  /** Sees what earlier operations of this transaction wrote, as in etcd. */
  private range(operation: RangeOp): RangeResult {
    const { plan, engine } = this;
    const known = plan.ranges[this.nextRange++];
    const newest = this.revision;
    // One of the past may be told after a write, and then tells of it.
    if (known !== undefined) return known.revision === newest ? known : { ...known, revision: newest };
    const maxBytes = operation.limit === 0 ? Number.POSITIVE_INFINITY : plan.resultBytesLeft;
    const result = readRange(operation, engine, newest, maxBytes);
    if (operation.limit > 0) for (const record of result.records) plan.resultBytesLeft -= recordBytes(record);
    return result;
  }
}

const DUPLICATE: Refusal = { code: 'DUPLICATE_KEY', message: 'a key is written twice in one transaction' };
