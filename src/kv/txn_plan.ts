/**
 * All that can go wrong with operations, found out before the first of them writes: afterwards executing them cannot fail half-way.
 *
 * Invariant: what is decided here depends on the operations, the limits and the replicated state only, never on what a single node happens to be
 * doing (who watches, what is cached).
 */
import type { ErrorCode } from '../errors.ts';
import type { KvEngine } from '../storage/engine_port.ts';
import { copyRecord, copyWithoutValue, type StoredRecord } from '../storage/record.ts';
import type { DeleteOp, Operation, PutOp, RangeOp, RangeResult, TxnCommand } from './command.ts';
import type { StateMachineLimits } from './limits.ts';
import { live, recordBytes } from './records.ts';

export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
}
export interface TxnPlan {
  readonly operations: readonly Operation[];
  /** By operation: copies of what a delete will remove. */
  readonly victims: (readonly StoredRecord[] | undefined)[];
  /** Whether anything will be written, and so whether the revision grows. */
  readonly writes: boolean;
  /** Bytes of records that ranges may still put into the result. */
  resultBytesLeft: number;
}
/** Whether puts may attach their keys to leases (leases.ts). Asked once per put of a plan. */
export interface AttachmentRules {
  refuse(put: PutOp): Refusal | undefined;
}
interface Revisions {
  readonly revision: number;
  readonly compactRevision: number;
}

/** Sizes of one operation. Keys are stored keys: one byte longer than what the limit speaks of. */
export function refuseOperation(operation: Operation, limits: StateMachineLimits): Refusal | undefined {
  if (operation.key.length > limits.maxKeyBytes + 1) {
    return { code: 'KEY_TOO_LARGE', message: `a key may have ${limits.maxKeyBytes} bytes` };
  }
  if (operation.type === 'put' && operation.value.length > limits.maxValueBytes) {
    return { code: 'VALUE_TOO_LARGE', message: `a value may have ${limits.maxValueBytes} bytes` };
  }
  return undefined;
}

/** Counts and sizes of a transaction, both branches. */
export function refuseTxn(command: TxnCommand, limits: StateMachineLimits): Refusal | undefined {
  const { compares, success, failure } = command;
  if (Math.max(compares.length, success.length, failure.length) > limits.maxTxnOperations) {
    return {
      code: 'REQUEST_TOO_LARGE',
      message: `a transaction may have ${limits.maxTxnOperations} operations`,
    };
  }
  for (const operation of success) {
    const refusal = refuseOperation(operation, limits);
    if (refusal !== undefined) return refusal;
  }
  for (const operation of failure) {
    const refusal = refuseOperation(operation, limits);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

/**
 * Looks up what the operations will remove and checks revisions and sizes. Writes of one transaction never meet on a key (overlap.ts), so what a delete finds
 * now is what it will find in its turn. `valuesWanted`: victims are copied with their values whether or not the client asked for them.
 */
export function planBranch(
  operations: readonly Operation[],
  engine: KvEngine,
  store: Revisions,
  limits: StateMachineLimits,
  valuesWanted: boolean,
  attachments: AttachmentRules,
): TxnPlan | Refusal {
  const victims: (readonly StoredRecord[] | undefined)[] = [];
  let writes = false;
  let resultBytesLeft = limits.maxCommandBytes;
  for (let at = 0; at < operations.length; at++) {
    const operation = operations[at] as Operation;
    switch (operation.type) {
      case 'put': {
        const refusal = attachments.refuse(operation);
        if (refusal !== undefined) return refusal;
        writes = true;
        const old = operation.prevKv ? live(engine.latest(operation.key)) : undefined;
        if (old !== undefined) resultBytesLeft -= recordBytes(old);
        break;
      }
      case 'touch':
        if (live(engine.latest(operation.key)) !== undefined) writes = true;
        break;
      case 'delete': {
        const found = findVictims(operation, engine, store.revision, limits, valuesWanted);
        if ('code' in found) return found;
        if (found.length > 0) writes = true;
        if (operation.prevKv) for (const record of found) resultBytesLeft -= recordBytes(record);
        victims[at] = found;
        break;
      }
      case 'range': {
        const refusal = refuseRevision(operation.revision, store);
        if (refusal !== undefined) return refusal;
      }
    }
    if (resultBytesLeft < 0) {
      return {
        code: 'REQUEST_TOO_LARGE',
        message: `the previous records would take more than ${limits.maxCommandBytes} bytes`,
      };
    }
  }
  return { operations, victims, writes, resultBytesLeft };
}

function findVictims(
  operation: DeleteOp,
  engine: KvEngine,
  revision: number,
  limits: StateMachineLimits,
  valuesWanted: boolean,
): readonly StoredRecord[] | Refusal {
  const copy = operation.prevKv || valuesWanted ? copyRecord : copyWithoutValue;
  if (operation.end === undefined) {
    const record = live(engine.latest(operation.key));
    return record === undefined ? [] : [copy(record)];
  }
  const most = limits.maxDeleteRangeKeys;
  const range = { start: operation.key, end: operation.end };
  const records = engine.range(range, revision, false, most + 1);
  if (records.length > most) {
    return { code: 'REQUEST_TOO_LARGE', message: `a delete may remove ${most} keys, the range holds more` };
  }
  return records.map((record) => copy(record));
}

function refuseRevision(revision: number, store: Revisions): Refusal | undefined {
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

/**
 * A range within a transaction: at its own revision, or at `newest` where it names none. Cut off (`more`) at its limit, at as many keys as a delete
 * may touch, and where the result's bytes are used up.
 */
export function readRange(
  engine: KvEngine,
  plan: TxnPlan,
  operation: RangeOp,
  newest: number,
  maxRecords: number,
  resultRevision: number,
): RangeResult {
  const at = operation.revision === 0 ? newest : operation.revision;
  const most = operation.limit === 0 ? maxRecords : Math.min(operation.limit, maxRecords);
  const found = findRecords(engine, operation, at, newest, most + 1);
  const records: StoredRecord[] = [];
  let more = found.length > most;
  for (const record of found) {
    if (records.length === most) break;
    const copy = operation.keysOnly ? copyWithoutValue(record) : copyRecord(record);
    plan.resultBytesLeft -= recordBytes(copy);
    if (plan.resultBytesLeft < 0) {
      more = true;
      break;
    }
    records.push(copy);
  }
  return { type: 'range', revision: resultRevision, records, more };
}

function findRecords(
  engine: KvEngine,
  operation: RangeOp,
  revision: number,
  newest: number,
  limit: number,
): readonly StoredRecord[] {
  if (operation.end !== undefined) {
    return engine.range({ start: operation.key, end: operation.end }, revision, operation.reverse, limit);
  }
  const record = live(revision >= newest ? engine.latest(operation.key) : engine.at(operation.key, revision));
  return record === undefined ? [] : [record];
}
