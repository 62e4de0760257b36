/** Transactions and their parts, from etcd's messages to Kvorum's commands and back. Keys become stored keys on the way in. */
import type {
  Compare as Comparison,
  CompareResult as ComparisonResult,
  CompareTarget as ComparisonTarget,
  DeleteOp,
  Operation,
  OperationResult,
  PutOp,
  RangeOp,
  RangeSelection,
  SortOrder as SelectionOrder,
  SortTarget as SelectionTarget,
  TxnBody,
  TxnResult,
} from '../../../kv/command.ts';
import { etcdError } from '../etcd_errors.ts';
import {
  type Compare,
  type DeleteRangeRequest,
  type PutRequest,
  type RangeRequest,
  RangeResponse,
  type RequestOp,
  ResponseHeader,
  ResponseOp,
  type TxnRequest,
} from '../messages/kv.ts';
import { CODE, GrpcError } from '../status.ts';
import { keyValueOf, storedEndOf, storedKeyOf } from './etcd_context.ts';

/** By number. */
const TARGETS: readonly ComparisonTarget[] = ['version', 'createRevision', 'modRevision', 'value', 'lease'];
const RESULTS: readonly ComparisonResult[] = ['=', '>', '<', '!='];
const SORT_ORDERS: readonly SelectionOrder[] = ['none', 'ascend', 'descend'];
const SORT_TARGETS: readonly SelectionTarget[] = ['key', 'version', 'createRevision', 'modRevision', 'value'];
const NO_BYTES = new Uint8Array(0);

/** @throws GrpcError */
export function txnBodyOf({ compare, success, failure }: TxnRequest): TxnBody {
  return {
    compares: compare.map(comparisonOf),
    success: success.map(operationOf),
    failure: failure.map(operationOf),
  };
}

function comparisonOf(compare: Compare): Comparison {
  const target = TARGETS[compare.target];
  const result = RESULTS[compare.result];
  if (target === undefined || result === undefined) {
    throw new GrpcError(CODE.INVALID_ARGUMENT, 'etcdserver: unknown target or result of a compare');
  }
  const numbers: Partial<Record<ComparisonTarget, number | undefined>> = {
    version: compare.version,
    createRevision: compare.create_revision,
    modRevision: compare.mod_revision,
  };
  const number = numbers[target] ?? 0;
  return {
    target,
    // Whatever a key has is above a negative number: said with one that nothing has.
    result: number >= 0 ? result : result === '!=' || result === '>' ? '!=' : '=',
    key: storedKeyOf(compare.key),
    end: storedEndOf(compare.range_end),
    value: target === 'value' ? (compare.value ?? NO_BYTES) : NO_BYTES,
    lease: target === 'lease' ? (compare.lease ?? 0n) : 0n,
    number: number >= 0 ? number : Number.MAX_SAFE_INTEGER,
  };
}

function operationOf(operation: RequestOp): Operation {
  const { request_range, request_put, request_delete_range, request_txn } = operation;
  if (request_put !== undefined) return putOf(request_put);
  if (request_range !== undefined) return rangeOf(request_range);
  if (request_delete_range !== undefined) return deleteOf(request_delete_range);
  if (request_txn !== undefined) return { type: 'txn', ...txnBodyOf(request_txn) };
  throw etcdError('KeyNotFound');
}

/** @throws GrpcError EmptyKey, ValueProvided, LeaseProvided */
export function putOf(request: PutRequest): PutOp {
  const key = storedKeyOf(request.key);
  if (request.ignore_value && request.value.length > 0) throw etcdError('ValueProvided');
  if (request.ignore_lease && request.lease !== 0n) throw etcdError('LeaseProvided');
  return {
    type: 'put',
    key,
    value: request.value,
    ttlMs: 0,
    lease: request.lease,
    prevKv: request.prev_kv,
    ignoreValue: request.ignore_value,
    ignoreLease: request.ignore_lease,
  };
}

export function deleteOf(request: DeleteRangeRequest): DeleteOp {
  return {
    type: 'delete',
    key: storedKeyOf(request.key),
    end: storedEndOf(request.range_end),
    prevKv: request.prev_kv,
  };
}

function rangeOf(request: RangeRequest): RangeOp {
  return {
    type: 'range',
    key: storedKeyOf(request.key),
    end: storedEndOf(request.range_end),
    // A negative revision means the newest, as 0 does.
    revision: Math.max(0, request.revision),
    ...selectionOf(request),
  };
}

/** @throws GrpcError InvalidSortOption */
export function selectionOf(request: RangeRequest): RangeSelection {
  const sortTarget = SORT_TARGETS[request.sort_target];
  const sortOrder = SORT_ORDERS[request.sort_order];
  if (sortTarget === undefined || sortOrder === undefined) throw etcdError('InvalidSortOption');
  // Nothing lies below a negative bound: as a lower one that nothing reaches.
  const nothing = Math.min(request.max_mod_revision, request.max_create_revision) < 0;
  return {
    limit: Math.max(0, request.limit),
    sortTarget,
    sortOrder,
    keysOnly: request.keys_only,
    countOnly: request.count_only,
    counted: true,
    minModRevision: nothing ? Number.MAX_SAFE_INTEGER : Math.max(0, request.min_mod_revision),
    maxModRevision: Math.max(0, request.max_mod_revision),
    minCreateRevision: Math.max(0, request.min_create_revision),
    maxCreateRevision: Math.max(0, request.max_create_revision),
  };
}

/** What a transaction's operations gave. As in etcd the headers of the parts say the revision only, and that of a nested transaction nothing. */
export function responsesOf({ results }: TxnResult): ResponseOp[] {
  return results.map(responseOf);
}

function responseOf(result: OperationResult): ResponseOp {
  const header = ResponseHeader.create({ revision: result.revision });
  switch (result.type) {
    case 'put': {
      const { previous } = result;
      const prev_kv = previous === undefined ? undefined : keyValueOf(previous);
      return ResponseOp.create({ response_put: { header, prev_kv } });
    }
    case 'delete': {
      const prev_kvs = result.previous.map((record) => keyValueOf(record));
      return ResponseOp.create({ response_delete_range: { header, deleted: result.deleted, prev_kvs } });
    }
    case 'range': {
      const kvs = result.records.map((record) => keyValueOf(record));
      const { more, count } = result;
      return ResponseOp.create({ response_range: RangeResponse.create({ header, kvs, more, count }) });
    }
    case 'txn':
      return ResponseOp.create({
        response_txn: {
          header: ResponseHeader.create(),
          succeeded: result.succeeded,
          responses: responsesOf(result),
        },
      });
    case 'touch':
      throw new TypeError('etcd has no touch');
  }
}
