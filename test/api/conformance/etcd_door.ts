/** etcd's door, by whichever transport: its messages and texts brought to the suite's shape. */
import { ETCD_ERRORS, grpcErrorOf } from '../../../src/api/grpc/etcd_errors.ts';
import {
  CompactionRequest,
  CompactionResponse,
  type Compare,
  Compare as CompareMessage,
  DeleteRangeRequest,
  DeleteRangeResponse,
  type KeyValue,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  type RequestOp,
  RequestOp as RequestOpMessage,
  type ResponseHeader,
  type ResponseOp,
  TxnRequest,
  TxnResponse,
} from '../../../src/api/grpc/messages/kv.ts';
import {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseLeasesRequest,
  LeaseLeasesResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
} from '../../../src/api/grpc/messages/lease.ts';
import { WatchCreateRequest, WatchRequest, WatchResponse } from '../../../src/api/grpc/messages/watch.ts';
import type { MessageType } from '../../../src/api/grpc/protobuf/message_type.ts';
import type { KeySelection } from '../../../src/client/store_types.ts';
import { type ErrorCode, KvError } from '../../../src/errors.ts';
import { prefixEnd } from '../../../src/kv/keyspace.ts';
import {
  type Answer,
  type Door,
  type DoorCompare,
  type DoorDelete,
  DoorError,
  type DoorOperation,
  type DoorPut,
  type DoorRange,
  type DoorTxn,
  type DoorWatch,
  type Seen,
  type SeenEntry,
  type SeenEvent,
} from './door.ts';
import { type EtcdMethod, EtcdRefusal, type EtcdTransport } from './etcd_transport.ts';

const decoder = new TextDecoder();
const text = (bytes: Uint8Array): string => decoder.decode(bytes);
const utf8 = (value: string): Uint8Array => new Uint8Array(Buffer.from(value));
const NO_BYTES = new Uint8Array(0);

function method<Q extends object, R extends object>(
  path: string,
  request: MessageType<Q>,
  response: MessageType<R>,
): EtcdMethod<Q, R> {
  return { path: `/etcdserverpb.${path}`, request, response };
}

const RANGE = method('KV/Range', RangeRequest, RangeResponse);
const PUT = method('KV/Put', PutRequest, PutResponse);
const DELETE = method('KV/DeleteRange', DeleteRangeRequest, DeleteRangeResponse);
const TXN = method('KV/Txn', TxnRequest, TxnResponse);
const COMPACT = method('KV/Compact', CompactionRequest, CompactionResponse);
const GRANT = method('Lease/LeaseGrant', LeaseGrantRequest, LeaseGrantResponse);
const REVOKE = method('Lease/LeaseRevoke', LeaseRevokeRequest, LeaseRevokeResponse);
const KEEP_ALIVE = method('Lease/LeaseKeepAlive', LeaseKeepAliveRequest, LeaseKeepAliveResponse);
const TIME_TO_LIVE = method('Lease/LeaseTimeToLive', LeaseTimeToLiveRequest, LeaseTimeToLiveResponse);
const LEASES = method('Lease/LeaseLeases', LeaseLeasesRequest, LeaseLeasesResponse);
const WATCH = method('Watch/Watch', WatchRequest, WatchResponse);

/** What the texts of etcd stand for, where the suite provokes them. */
const CODES: readonly ErrorCode[] = [
  'REQUEST_TOO_LARGE',
  'DUPLICATE_KEY',
  'COMPACTED',
  'FUTURE_REVISION',
  'KEY_NOT_FOUND',
  'TOO_MANY_OPERATIONS',
  'LEASE_NOT_FOUND',
  'LEASE_EXISTS',
  'LEASE_TTL_TOO_LARGE',
];
const SORT_TARGETS = ['key', 'version', 'createRevision', 'modRevision', 'value'];
const RELATIONS = ['=', '>', '<', '!='];

export class EtcdDoorClient implements Door {
  readonly name: string;
  readonly #transport: EtcdTransport;

  constructor(transport: EtcdTransport) {
    this.name = transport.name;
    this.#transport = transport;
  }

  shows(code: ErrorCode): ErrorCode {
    const { code: status, message } = grpcErrorOf(new KvError(code, ''));
    return named(status, message) ?? code;
  }

  async run(operation: DoorOperation): Promise<Answer> {
    switch (operation.type) {
      case 'put': {
        const { header, prev_kv } = await this.#one(PUT, putOf(operation));
        return answer(header, putSeen(prev_kv));
      }
      case 'delete': {
        const response = await this.#one(DELETE, deleteOf(operation));
        return answer(response.header, deleteSeen(response));
      }
      case 'range': {
        const response = await this.#one(RANGE, rangeOf(operation));
        return answer(response.header, rangeSeen(response));
      }
      case 'txn': {
        const response = await this.#one(TXN, txnOf(operation));
        return answer(response.header, txnSeen(response));
      }
    }
  }

  async compact(revision: number): Promise<void> {
    await this.#one(COMPACT, CompactionRequest.create({ revision }));
  }

  async grant(id: bigint, ttlMs: number): Promise<number> {
    return (await this.#one(GRANT, LeaseGrantRequest.create({ ID: id, TTL: ttlMs / 1_000 }))).TTL * 1_000;
  }

  async revoke(id: bigint): Promise<void> {
    await this.#one(REVOKE, LeaseRevokeRequest.create({ ID: id }));
  }

  async lease(id: bigint): Promise<{ ttlMs: number; keys: string[] } | undefined> {
    const { TTL, grantedTTL, keys } = await this.#one(
      TIME_TO_LIVE,
      LeaseTimeToLiveRequest.create({ ID: id, keys: true }),
    );
    return TTL < 0 ? undefined : { ttlMs: grantedTTL * 1_000, keys: keys.map(text) };
  }

  async leases(): Promise<readonly bigint[]> {
    return (await this.#one(LEASES, {})).leases.map(({ ID }) => ID);
  }

  async keepAlive(id: bigint): Promise<void> {
    const { TTL } = await this.#one(KEEP_ALIVE, LeaseKeepAliveRequest.create({ ID: id }));
    if (TTL === 0) throw new DoorError('LEASE_NOT_FOUND', 'the keep-alive found no lease');
  }

  async watch({ keys, fromRevision, prevKv, events }: DoorWatch): Promise<readonly SeenEvent[]> {
    const create_request = WatchCreateRequest.create({
      ...bounds(keys),
      start_revision: fromRevision,
      prev_kv: prevKv,
    });
    const taken: SeenEvent[] = [];
    for await (const response of this.#calls(WATCH, WatchRequest.create({ create_request }))) {
      if (response.compact_revision > 0) throw new DoorError('COMPACTED', 'the watch was cancelled');
      if (response.canceled) throw new DoorError('INTERNAL', response.cancel_reason);
      for (const { type, kv, prev_kv } of response.events) {
        if (kv === undefined) throw new Error('an event without a key');
        const { lease: _lease, ...entry } = entryOf(kv);
        taken.push({ type: type === 0 ? 'put' : 'delete', entry, previous: prev_kv && entryOf(prev_kv) });
      }
      if (taken.length >= events) break;
    }
    return taken.slice(0, events);
  }

  close(): Promise<void> {
    return this.#transport.close();
  }

  async #one<Q extends object, R extends object>(method: EtcdMethod<Q, R>, request: Q): Promise<R> {
    for await (const response of this.#calls(method, request)) return response;
    throw new Error(`${method.path} gave no answer`);
  }

  async *#calls<Q extends object, R extends object>(method: EtcdMethod<Q, R>, request: Q): AsyncGenerator<R> {
    try {
      yield* this.#transport.call(method, request);
    } catch (error) {
      const code = error instanceof EtcdRefusal ? codeOf(error) : undefined;
      if (code === undefined || !(error instanceof Error)) throw error;
      throw new DoorError(code, error.message);
    }
  }
}

/** The first of the codes that etcd tells of by these very words. */
function named(status: number, message: string): ErrorCode | undefined {
  return CODES.find((code) => {
    const known = grpcErrorOf(new KvError(code, ''));
    return known.code === status && known.message === message;
  });
}

function codeOf({ status, message }: EtcdRefusal): ErrorCode | undefined {
  const code = named(status, message);
  if (code !== undefined) return code;
  if (/^etcdserver: transactions may nest/.test(message)) return 'TXN_TOO_DEEP';
  if (/^etcdserver: the quota of /.test(message)) return 'QUOTA_EXCEEDED';
  return status === ETCD_ERRORS.EmptyKey[0] ? 'INVALID_ARGUMENT' : undefined;
}

/** Of a range without an end: the keys from its start on. */
function bounds(keys: KeySelection): { key: Uint8Array; range_end: Uint8Array } {
  const { key, prefix, start, end } = keys;
  if (key !== undefined) return { key: utf8(String(key)), range_end: NO_BYTES };
  if (prefix !== undefined) {
    const first = utf8(String(prefix));
    return { key: first, range_end: prefixEnd(first) ?? Uint8Array.of(0) };
  }
  return { key: utf8(String(start)), range_end: utf8(String(end)) };
}

function putOf({ key, value, lease, ignoreLease, prevKv }: DoorPut): PutRequest {
  return PutRequest.create({
    key: utf8(key),
    value: utf8(value ?? ''),
    ignore_value: value === undefined,
    lease: lease ?? 0n,
    ignore_lease: ignoreLease ?? false,
    prev_kv: prevKv ?? false,
  });
}

function deleteOf({ keys, prevKv }: DoorDelete): DeleteRangeRequest {
  return DeleteRangeRequest.create({ ...bounds(keys), prev_kv: prevKv ?? false });
}

function rangeOf({ keys, view = {}, revision, level }: DoorRange): RangeRequest {
  const sort = view.sortTarget !== undefined || view.sortOrder !== undefined;
  return RangeRequest.create({
    ...bounds(keys),
    limit: view.limit ?? 0,
    revision: revision ?? 0,
    sort_target: SORT_TARGETS.indexOf(view.sortTarget ?? 'key'),
    sort_order: sort ? (view.sortOrder === 'descend' ? 2 : 1) : 0,
    serializable: level === 'sequential',
    keys_only: view.keysOnly ?? false,
    count_only: view.countOnly ?? false,
    min_mod_revision: view.minModRevision ?? 0,
    max_mod_revision: view.maxModRevision ?? 0,
    min_create_revision: view.minCreateRevision ?? 0,
    max_create_revision: view.maxCreateRevision ?? 0,
  });
}

function txnOf({ compare, then, else: otherwise }: DoorTxn): TxnRequest {
  return {
    compare: compare.map(compareOf),
    success: then.map(operationOf),
    failure: otherwise.map(operationOf),
  };
}

function operationOf(operation: DoorOperation): RequestOp {
  switch (operation.type) {
    case 'put':
      return RequestOpMessage.create({ request_put: putOf(operation) });
    case 'delete':
      return RequestOpMessage.create({ request_delete_range: deleteOf(operation) });
    case 'range':
      return RequestOpMessage.create({ request_range: rangeOf(operation) });
    case 'txn':
      return RequestOpMessage.create({ request_txn: txnOf(operation) });
  }
}

function compareOf(compare: DoorCompare): Compare {
  const { key, end, prefix, is = '=' } = compare;
  const keys = end === undefined ? { key, prefix } : { start: key, end };
  const message = { ...bounds(keys), result: RELATIONS.indexOf(is) };
  if ('version' in compare) return CompareMessage.create({ ...message, target: 0, version: compare.version });
  if ('createRevision' in compare)
    return CompareMessage.create({ ...message, target: 1, create_revision: compare.createRevision });
  if ('modRevision' in compare)
    return CompareMessage.create({ ...message, target: 2, mod_revision: compare.modRevision });
  if ('value' in compare) return CompareMessage.create({ ...message, target: 3, value: utf8(compare.value) });
  return CompareMessage.create({ ...message, target: 4, lease: compare.lease });
}

function answer(header: ResponseHeader | undefined, result: Seen): Answer {
  if (header === undefined) throw new Error('an answer without a header');
  return { revision: header.revision, result };
}

function putSeen(previous: KeyValue | undefined): Seen {
  return { type: 'put', previous: previous && entryOf(previous) };
}

function deleteSeen({ deleted, prev_kvs }: DeleteRangeResponse): Seen {
  return { type: 'delete', deleted, previous: prev_kvs.map(entryOf) };
}

function rangeSeen({ kvs, more, count }: RangeResponse): Seen {
  return { type: 'range', entries: kvs.map(entryOf), more, count };
}

function txnSeen({ succeeded, responses }: TxnResponse): Seen {
  return { type: 'txn', succeeded, results: responses.map(responseSeen) };
}

function responseSeen(response: ResponseOp): Seen {
  const { response_put, response_range, response_delete_range, response_txn } = response;
  if (response_put !== undefined) return putSeen(response_put.prev_kv);
  if (response_range !== undefined) return rangeSeen(response_range);
  if (response_delete_range !== undefined) return deleteSeen(response_delete_range);
  if (response_txn !== undefined) return txnSeen(response_txn);
  throw new Error('an empty response');
}

function entryOf(kv: KeyValue): SeenEntry {
  return {
    key: text(kv.key),
    value: text(kv.value),
    createRevision: kv.create_revision,
    modRevision: kv.mod_revision,
    version: kv.version,
    lease: kv.lease,
  };
}
