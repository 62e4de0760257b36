/**
 * All that can go wrong with operations, found out before the first of them writes: afterwards executing them cannot fail half-way.
 *
 * Invariant: what is decided here depends on the operations, the limits and the replicated state only, never on what a single node happens to be
 * doing (who watches, what is cached).
 */
import type { KvEngine } from '../storage/engine_port.ts';
import { copyRecord, copyWithoutValue, type StoredRecord } from '../storage/record.ts';
import type { DeleteOp, Operation, PutOp, RangeOp, RangeResult, TouchOp, TxnBody } from './command.ts';
import { compareHolds, type LooksLeft } from './compare.ts';
import { MAX_SPARE_BYTES, type StateMachineLimits } from './limits.ts';
import { type Growth, type QuotaTable, quotaBytes } from './quotas.ts';
import { RangeCollector } from './range_collector.ts';
import { live, recordBytes, tombstoneBytes } from './records.ts';
import type { Refusal } from './refusal.ts';
import { lookAtRange, PutWeights } from './txn_ranges.ts';
import { walkRange } from './walk.ts';

/** A transaction whose branch is chosen, and those of the transactions in it. */
export interface Decision {
  readonly succeeded: boolean;
  readonly operations: readonly Operation[];
  /** One for each nested transaction of `operations`, in order. */
  readonly nested: readonly Decision[];
}
export interface TxnPlan {
  readonly decision: Decision;
  /** One for each delete, in the order of execution: copies of what it will remove. */
  readonly victims: (readonly StoredRecord[])[];
  /** One for each range, in the order of execution: its result as of the revision before; undefined where it must be read in its turn. */
  readonly ranges: (RangeResult | undefined)[];
  /** Whether anything will be written, and so whether the revision grows. */
  writes: boolean;
  /** Bytes of records that ranges with a limit may still put into the result. */
  resultBytesLeft: number;
  /** See MAX_SPARE_BYTES. */
  spareBytesLeft: number;
}
/** Whether puts may attach their keys to leases (leases.ts). Asked once per put of a plan. */
export interface AttachmentRules {
  refuse(put: PutOp): Refusal | undefined;
}
export interface PlanContext {
  readonly engine: KvEngine;
  readonly limits: StateMachineLimits;
  readonly revision: number;
  readonly compactRevision: number;
  /** Victims are copied with their values whether or not the client asked for them. */
  readonly valuesWanted: boolean;
  /** What comparisons and ranges may still look at. */
  readonly looks: LooksLeft;
  /** What may be written beyond what commands carry: MAX_SPARE_BYTES, less what the entry's earlier commands took. */
  readonly spareBytes: number;
  readonly attachments: AttachmentRules;
  readonly quotas: QuotaTable;
}

const NONE: readonly Decision[] = [];

/** Sizes of one operation. Keys are stored keys: one byte longer than what the limit speaks of. */
export function refuseOperation(
  operation: Exclude<Operation, { readonly type: 'txn' }>,
  limits: StateMachineLimits,
): Refusal | undefined {
  if (operation.key.length > limits.maxKeyBytes + 1) {
    return { code: 'KEY_TOO_LARGE', message: `a key may have ${limits.maxKeyBytes} bytes` };
  }
  if (operation.type === 'put' && operation.value.length > limits.maxValueBytes) {
    return { code: 'VALUE_TOO_LARGE', message: `a value may have ${limits.maxValueBytes} bytes` };
  }
  return undefined;
}

/** Counts, depth and sizes of a transaction, all branches. */
export function refuseTxn(txn: TxnBody, limits: StateMachineLimits): Refusal | undefined {
  const left = { operations: limits.maxTxnOperations };
  return refuseBody(txn, limits, left, limits.maxTxnDepth);
}

function refuseBody(
  txn: TxnBody,
  limits: StateMachineLimits,
  left: { operations: number },
  depthLeft: number,
): Refusal | undefined {
  const { compares, success, failure } = txn;
  left.operations -= Math.max(compares.length, success.length, failure.length);
  if (left.operations < 0) {
    return {
      code: 'TOO_MANY_OPERATIONS',
      message: `a transaction may have ${limits.maxTxnOperations} operations`,
    };
  }
  for (const compare of compares) {
    if (compare.key.length > limits.maxKeyBytes + 1) {
      return { code: 'KEY_TOO_LARGE', message: `a key may have ${limits.maxKeyBytes} bytes` };
    }
  }
  return (
    refuseOperations(success, limits, left, depthLeft) ?? refuseOperations(failure, limits, left, depthLeft)
  );
}

function refuseOperations(
  operations: readonly Operation[],
  limits: StateMachineLimits,
  left: { operations: number },
  depthLeft: number,
): Refusal | undefined {
  for (const operation of operations) {
    let refusal: Refusal | undefined;
    if (operation.type !== 'txn') refusal = refuseOperation(operation, limits);
    else if (depthLeft > 0) refusal = refuseBody(operation, limits, left, depthLeft - 1);
    else refusal = { code: 'TXN_TOO_DEEP', message: `transactions may nest ${limits.maxTxnDepth} deep` };
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

/**
 * Chooses the branches of a transaction and, within those, of the ones nested in it. All comparisons see the store as it is before the whole, as in etcd; those of
 * branches that are not taken are not looked at.
 */
export function decide(txn: TxnBody, context: PlanContext): Decision | Refusal {
  let succeeded = true;
  for (const compare of txn.compares) {
    const holds = compareHolds(compare, context.engine, context.revision, context.looks);
    if (holds === undefined) return tooManyKeys(context.limits);
    if (!holds) {
      succeeded = false;
      break;
    }
  }
  const operations = succeeded ? txn.success : txn.failure;
  let nested: Decision[] | undefined;
  for (const operation of operations) {
    if (operation.type !== 'txn') continue;
    const decision = decide(operation, context);
    if ('code' in decision) return decision;
    nested ??= [];
    nested.push(decision);
  }
  return { succeeded, operations, nested: nested ?? NONE };
}

/**
 * Looks up what the operations will remove, reads the ranges that lie before the first write, and checks revisions and sizes. A put never meets another write of its
 * transaction on a key (overlap.ts), so what it finds now is what it will find in its turn; where deletes meet, the later one finds less.
 */
export function planDecision(decision: Decision, context: PlanContext): TxnPlan | Refusal {
  const planner = new Planner(decision, context);
  planner.branch(decision);
  return planner.refusal ?? planner.plan;
}

class Planner {
  readonly plan: TxnPlan;
  private readonly context: PlanContext;
  private firstRefusal: Refusal | undefined;
  /** As in etcd, what is wrong with a put is told before what is wrong with a range. */
  private rangeRefusal: Refusal | undefined;
  private victimsLeft: number;
  private puts: PutWeights | undefined;
  /** undefined: there are no quotas. */
  private readonly growth: Growth | undefined;
  /** The versions that deletes have found: where another finds them again they are gone by then. */
  private readonly removed = new VersionSet();

  constructor(decision: Decision, context: PlanContext) {
    this.context = context;
    const { maxCommandBytes, maxDeleteRangeKeys } = context.limits;
    this.plan = {
      decision,
      victims: [],
      ranges: [],
      writes: false,
      resultBytesLeft: maxCommandBytes,
      spareBytesLeft: context.spareBytes,
    };
    this.victimsLeft = maxDeleteRangeKeys;
    this.growth = context.quotas.active ? context.quotas.growth() : undefined;
  }

  get refusal(): Refusal | undefined {
    return this.firstRefusal ?? this.rangeRefusal ?? this.growth?.refusal();
  }

  branch({ operations, nested }: Decision): void {
    let child = 0;
    for (const operation of operations) {
      switch (operation.type) {
        case 'put':
          this.put(operation);
          break;
        case 'touch':
          this.touch(operation);
          break;
        case 'delete':
          this.delete(operation);
          break;
        case 'range':
          this.range(operation);
          break;
        case 'txn':
          this.branch(nested[child++] as Decision);
      }
      if (this.firstRefusal !== undefined) return;
    }
  }

  private touch({ key }: TouchOp): void {
    const old = live(this.context.engine.latest(key));
    if (old === undefined) return;
    this.plan.writes = true;
    this.takeSpare(old, old.value.length);
  }

  private put(operation: PutOp): void {
    this.plan.writes = true;
    const { key, lease, prevKv, ignoreValue, ignoreLease } = operation;
    if (prevKv || ignoreValue || ignoreLease) {
      const old = live(this.context.engine.latest(key));
      if (old === undefined) {
        if (ignoreValue || ignoreLease) this.firstRefusal = KEY_NOT_FOUND;
      } else if (prevKv && !this.takeBytes(recordBytes(old))) {
        this.firstRefusal = resultTooLarge(this.context.limits);
      }
      if (old !== undefined && ignoreValue) this.takeSpare(old, old.value.length);
    }
    if (lease !== 0n) this.firstRefusal ??= this.context.attachments.refuse(operation);
    if (this.growth !== undefined && !ignoreValue) addPut(this.growth, this.context.engine, operation);
  }

  private delete({ key, end, prevKv }: DeleteOp): void {
    const { engine, revision } = this.context;
    const withValues = prevKv || this.context.valuesWanted;
    const victims: StoredRecord[] = [];
    if (end === undefined) {
      const record = live(engine.latest(key));
      if (record !== undefined) this.victim(record, prevKv, withValues, victims);
    } else {
      const readValues = withValues || this.growth !== undefined;
      const most = this.victimsLeft + 1;
      const range = { start: key, end, revision, reverse: false, most, withValues: () => readValues };
      walkRange(engine, range, (record) => {
        if (--this.victimsLeft < 0) this.firstRefusal = tooManyVictims(this.context.limits);
        else if (this.takeSpare(record, 0)) this.victim(record, prevKv, withValues, victims);
        return this.firstRefusal === undefined;
      });
    }
    if (victims.length > 0) this.plan.writes = true;
    this.plan.victims.push(victims);
  }

  /** Takes note of a record that will be removed. */
  private victim(record: StoredRecord, prevKv: boolean, withValues: boolean, victims: StoredRecord[]): void {
    if (this.growth !== undefined) this.shrink(this.growth, record);
    if (prevKv && !this.takeBytes(recordBytes(record))) {
      this.firstRefusal = resultTooLarge(this.context.limits);
      return;
    }
    victims.push((withValues ? copyRecord : copyWithoutValue)(record));
  }

  private shrink(growth: Growth, record: StoredRecord): void {
    if (this.removed.add(record)) growth.add(record.key, -quotaBytes(record.key, record.value), -1);
  }

  /** Reads the range even where it must be read again later: what is there now bounds what will be there then, together with what is put meanwhile. */
  private range(operation: RangeOp): void {
    // What is refused already shows nothing: no more is kept for it.
    if (this.rangeRefusal !== undefined) return;
    const { plan, context } = this;
    const refusal = refuseRevision(operation.revision, context);
    // With a limit it is read in its turn; here it is only seen that it looks at no more keys than it may.
    const bytesLeft = Math.max(0, plan.resultBytesLeft);
    const collector = operation.limit > 0 ? undefined : new RangeCollector(operation, bytesLeft);
    if (refusal === undefined) this.look(operation, collector);
    if (refusal !== undefined || context.looks.keys < 0) {
      this.rangeRefusal = refusal ?? tooManyKeys(context.limits);
      return;
    }
    if (collector === undefined) {
      plan.ranges.push(undefined);
      return;
    }
    const overflows = collector.overflows;
    const result: RangeResult = { type: 'range', revision: context.revision, ...collector.finish() };
    const changed = plan.writes && operation.revision === 0;
    let bytes = changed ? this.putBytesIn(operation) : 0;
    for (const record of result.records) bytes += recordBytes(record);
    if (overflows || result.more || !this.takeBytes(bytes))
      this.rangeRefusal = resultTooLarge(context.limits);
    plan.ranges.push(changed ? undefined : result);
  }

  /** Counts the keys that a range looks at, unless it names one key. */
  private look(operation: RangeOp, collector: RangeCollector | undefined): void {
    const { engine, revision, looks } = this.context;
    const seen = lookAtRange(operation, engine, revision, looks.keys, collector);
    if (operation.end !== undefined) looks.keys -= seen;
  }

  private putBytesIn(operation: RangeOp): number {
    this.puts ??= new PutWeights(putsOf(this.plan.decision, []));
    return this.puts.within(operation);
  }

  /** Of a record that gets a tombstone, or is written again with so many bytes of its value: either way its rows in the indexes follow. */
  private takeSpare(record: StoredRecord, valueBytes: number): boolean {
    this.plan.spareBytesLeft -= tombstoneBytes(record) + valueBytes;
    if (this.plan.spareBytesLeft < 0) this.firstRefusal ??= WRITES_TOO_MUCH;
    return this.plan.spareBytesLeft >= 0;
  }

  private takeBytes(bytes: number): boolean {
    this.plan.resultBytesLeft -= bytes;
    return this.plan.resultBytesLeft >= 0;
  }
}

/** By how much a put makes its prefixes grow. */
function addPut(growth: Growth, engine: KvEngine, { key, value }: PutOp): void {
  const old = live(engine.latest(key));
  if (old === undefined) growth.add(key, quotaBytes(key, value), 1);
  else growth.add(key, value.length - old.value.length, 0);
}

function putsOf({ operations, nested }: Decision, puts: PutOp[]): PutOp[] {
  for (const operation of operations) if (operation.type === 'put') puts.push(operation);
  for (const child of nested) putsOf(child, puts);
  return puts;
}

/** Versions of keys, each of which is written and removed once. */
export class VersionSet {
  private readonly known = new Set<string>();

  /** False when it is in already. */
  add({ modRevision, subRevision }: StoredRecord): boolean {
    const version = `${modRevision}.${subRevision}`;
    if (this.known.has(version)) return false;
    this.known.add(version);
    return true;
  }
}

const KEY_NOT_FOUND: Refusal = {
  code: 'KEY_NOT_FOUND',
  message: 'there is no such key whose value or lease could stay',
};

function resultTooLarge(limits: StateMachineLimits): Refusal {
  return {
    code: 'REQUEST_TOO_LARGE',
    message: `the records of the result would take more than ${limits.maxCommandBytes} bytes`,
  };
}

const WRITES_TOO_MUCH: Refusal = {
  code: 'REQUEST_TOO_LARGE',
  message: `deletes of ranges, touches and puts that keep their value may write ${MAX_SPARE_BYTES} bytes within one entry of the log`,
};

function tooManyVictims(limits: StateMachineLimits): Refusal {
  return {
    code: 'REQUEST_TOO_LARGE',
    message: `the deletes of ranges may remove ${limits.maxDeleteRangeKeys} keys, there are more`,
  };
}

function tooManyKeys(limits: StateMachineLimits): Refusal {
  return {
    code: 'REQUEST_TOO_LARGE',
    message: `the comparisons and ranges of a command may look at ${limits.maxDeleteRangeKeys} keys, there are more`,
  };
}

function refuseRevision(
  revision: number,
  store: { readonly revision: number; readonly compactRevision: number },
): Refusal | undefined {
  if (revision === 0) return undefined;
  if (revision < store.compactRevision) {
    return {
      code: 'COMPACTED',
      message: `revision ${revision} is compacted; the oldest is ${store.compactRevision}`,
    };
  }
  if (revision > store.revision) {
    return {
      code: 'FUTURE_REVISION',
      message: `revision ${revision} is above the current one, ${store.revision}`,
    };
  }
  return undefined;
}
