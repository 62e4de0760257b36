/**
 * How transactions of the public store become commands, and their results answers.
 *
 * Invariants: everything a caller gives is checked before it is encoded, with a KvError that names what is wrong; an answer is read by the operations that it
 * answers: one that does not fit them is PROTOCOL.
 */
import { KvError } from '../errors.ts';
import type { Compare, Operation, OperationResult, PutOp, TxnBody, TxnResult } from '../kv/command.ts';
import { checkDepth } from '../wire/operation_codec.ts';
import { PLAIN_SELECTION } from '../wire/selection_codec.ts';
import { keysOf, storedKeyOf } from './key_range.ts';
import {
  checkCount,
  checkedLease,
  checkRevision,
  checkTtl,
  entryOf,
  putOperation,
  type StoreLimits,
  touchOperation,
  unknownType,
  type ValueForm,
  valueBytes,
} from './operations.ts';
import { entriesOf, selectedKeys, selectionOf } from './ranges.ts';
import type { TxnCompare, TxnOperation, TxnOperationResult, TxnRequest, TxnResponse } from './store_types.ts';

const NO_BYTES = new Uint8Array(0);

/** @throws KvError INVALID_ARGUMENT, TOO_MANY_OPERATIONS, TXN_TOO_DEEP, and what keys and values throw */
export function txnBody<In>(
  request: TxnRequest<In>,
  form: ValueForm<In, unknown>,
  limits: StoreLimits,
  depth = 0,
): TxnBody {
  checkDepth(depth);
  const { compare = [], then, else: otherwise = [] } = request;
  for (const list of [compare, then, otherwise]) {
    if (!Array.isArray(list))
      throw new KvError('INVALID_ARGUMENT', 'compare, then and else of a transaction are arrays');
    checkCount(list.length, limits);
  }
  const convert = (one: TxnOperation<In>): Operation => txnOperation(one, form, limits, depth);
  return {
    compares: compare.map((one) => txnCompare(one, form, limits)),
    success: then.map(convert),
    failure: otherwise.map(convert),
  };
}

function txnOperation<In>(
  operation: TxnOperation<In>,
  form: ValueForm<In, unknown>,
  limits: StoreLimits,
  depth: number,
): Operation {
  const { maxKeyBytes } = limits;
  switch (operation.type) {
    case 'put':
      return txnPut(operation, form, limits);
    case 'delete': {
      const key = storedKeyOf(operation.key, maxKeyBytes);
      return { type: 'delete', key, end: undefined, prevKv: operation.prevKv ?? false };
    }
    case 'deleteRange': {
      const range = keysOf({ ...operation, key: undefined }, maxKeyBytes);
      if (range === undefined) throw new KvError('INVALID_ARGUMENT', 'the range to delete is empty');
      return { type: 'delete', ...range, prevKv: operation.prevKv ?? false };
    }
    case 'get': {
      const key = storedKeyOf(operation.key, maxKeyBytes);
      const revision = checkRevision(operation.revision, 'revision');
      return { type: 'range', key, end: undefined, revision, ...PLAIN_SELECTION, limit: 1 };
    }
    case 'range': {
      const revision = checkRevision(operation.revision, 'revision');
      return { type: 'range', ...selectedKeys(operation, maxKeyBytes), revision, ...selectionOf(operation) };
    }
    case 'touch':
      return touchOperation(operation.key, operation.ttlMs, limits);
    case 'txn':
      return { type: 'txn', ...txnBody(operation, form, limits, depth + 1) };
    default:
      throw unknownType(operation);
  }
}

function txnPut<In>(
  operation: TxnOperation<In> & { readonly type: 'put' },
  form: ValueForm<In, unknown>,
  limits: StoreLimits,
): PutOp {
  const { key, prevKv = false, ignoreLease = false, ttlMs, lease } = operation;
  if (ignoreLease && lease !== undefined)
    throw new KvError('INVALID_ARGUMENT', 'a put either has a lease or keeps the one that is there');
  if (operation.ignoreValue && operation.value !== undefined)
    throw new KvError('INVALID_ARGUMENT', 'a put either has a value or keeps the one that is there');
  if (!operation.ignoreValue) {
    const put = putOperation({ key, value: operation.value, ttlMs, lease }, form, limits);
    return { ...put, prevKv, ignoreLease };
  }
  return {
    type: 'put',
    key: storedKeyOf(key, limits.maxKeyBytes),
    value: NO_BYTES,
    ttlMs: checkTtl(ttlMs),
    lease: checkedLease(lease),
    prevKv,
    ignoreValue: true,
    ignoreLease,
  };
}

function txnCompare<In>(compare: TxnCompare<In>, form: ValueForm<In, unknown>, limits: StoreLimits): Compare {
  const where = comparedKeys(compare, limits);
  const none = { ...where, value: NO_BYTES, lease: 0n, number: 0 };
  if ('exists' in compare) {
    if (typeof compare.exists !== 'boolean') throw new KvError('INVALID_ARGUMENT', 'exists is true or false');
    return { ...none, target: 'version', result: compare.exists ? '>' : '=' };
  }
  const result = compare.is ?? '=';
  if (!RELATIONS.has(result))
    throw new KvError('INVALID_ARGUMENT', `is: ${String(result)}, allowed: ${[...RELATIONS].join(' ')}`);
  if ('value' in compare)
    return { ...none, target: 'value', result, value: valueBytes(compare.value, form, limits) };
  if ('lease' in compare) return { ...none, target: 'lease', result, lease: comparedLease(compare.lease) };
  for (const target of ['version', 'modRevision', 'createRevision'] as const) {
    const operand = numberIn(compare, target);
    if (operand !== undefined) return { ...none, target, result, number: checkRevision(operand, target) };
  }
  throw new KvError(
    'INVALID_ARGUMENT',
    'a comparison names value, version, modRevision, createRevision, lease or exists',
  );
}

const RELATIONS: ReadonlySet<string> = new Set(['=', '!=', '>', '<']);

type NumberTarget = 'version' | 'modRevision' | 'createRevision';

function numberIn(
  compare: { readonly [target in NumberTarget]?: number | undefined },
  target: NumberTarget,
): number | undefined {
  return compare[target];
}

/** 0n: attached to none. */
function comparedLease(lease: bigint): bigint {
  if (lease === undefined) throw new KvError('INVALID_ARGUMENT', 'a comparison names the lease, or 0n');
  return lease === 0n ? 0n : checkedLease(lease);
}

function comparedKeys(
  { key, end, prefix }: TxnCompare<unknown>,
  { maxKeyBytes }: StoreLimits,
): Pick<Compare, 'key' | 'end'> {
  if (prefix === undefined && key !== undefined && end === undefined)
    return { key: storedKeyOf(key, maxKeyBytes), end: undefined };
  if ((prefix === undefined) === (key === undefined && end === undefined))
    throw new KvError('INVALID_ARGUMENT', 'a comparison names a key (and an end), or a prefix');
  const range = keysOf({ start: key, end, prefix }, maxKeyBytes);
  if (range === undefined) throw new KvError('INVALID_ARGUMENT', 'the compared range is empty');
  return range;
}

/** The answer to a transaction, with the values decoded. @throws KvError PROTOCOL when it is none to `request` */
export function txnResponse<Out>(
  request: TxnRequest<unknown>,
  result: TxnResult,
  form: ValueForm<never, Out>,
): TxnResponse<Out> {
  const { succeeded, revision } = result;
  return { succeeded, revision, results: txnResults(request, result, form) };
}

function txnResults<Out>(
  request: TxnRequest<unknown>,
  { succeeded, results }: TxnResult,
  form: ValueForm<never, Out>,
): TxnOperationResult<Out>[] {
  const operations = succeeded ? request.then : (request.else ?? []);
  if (operations.length !== results.length) throw notTheAnswer();
  return operations.map((operation, at) => resultOf(operation, results[at] as OperationResult, form));
}

function resultOf<Out>(
  operation: TxnOperation<unknown>,
  result: OperationResult,
  form: ValueForm<never, Out>,
): TxnOperationResult<Out> {
  switch (operation.type) {
    case 'put': {
      if (result.type !== 'put') throw notTheAnswer();
      const { previous } = result;
      return previous === undefined ? { type: 'put' } : { type: 'put', previous: entryOf(previous, form) };
    }
    case 'delete':
    case 'deleteRange': {
      if (result.type !== 'delete') throw notTheAnswer();
      const { deleted } = result;
      if (!operation.prevKv) return { type: 'delete', deleted };
      return { type: 'delete', deleted, previous: result.previous.map((one) => entryOf(one, form)) };
    }
    case 'touch':
      if (result.type !== 'touch') throw notTheAnswer();
      return { type: 'touch', found: result.found };
    case 'get': {
      if (result.type !== 'range') throw notTheAnswer();
      const [record] = result.records;
      return { type: 'get', entry: record === undefined ? undefined : entryOf(record, form) };
    }
    case 'range': {
      if (result.type !== 'range') throw notTheAnswer();
      const { records, more, count } = result;
      return { type: 'range', entries: entriesOf(records, operation.keysOnly === true, form), more, count };
    }
    case 'txn':
      if (result.type !== 'txn') throw notTheAnswer();
      return { type: 'txn', succeeded: result.succeeded, results: txnResults(operation, result, form) };
  }
}

function notTheAnswer(): KvError {
  return new KvError('PROTOCOL', 'the answer is not one to this transaction', { maybeApplied: true });
}
