/** Messages of etcd's packages mvccpb and etcdserverpb, part 1: keys and values, ranges, transactions, compaction. Names and numbers are etcd's (3.5). */
import {
  bigInt64,
  bigUint64,
  bool,
  bytes,
  type EnumType,
  enumeration,
  int64,
  MessageType,
  message,
  messageType,
  oneof,
  repeated,
  uint64,
} from '../protobuf/message_type.ts';

export const KeyValue = messageType('mvccpb.KeyValue', {
  key: bytes(1),
  create_revision: int64(2),
  mod_revision: int64(3),
  version: int64(4),
  value: bytes(5),
  lease: bigInt64(6),
});
export type KeyValue = ReturnType<typeof KeyValue.create>;

export const EventType: EnumType = { name: 'mvccpb.Event.EventType', values: { PUT: 0, DELETE: 1 } };
export const Event = messageType('mvccpb.Event', {
  type: enumeration(1, EventType),
  kv: message(2, () => KeyValue),
  prev_kv: message(3, () => KeyValue),
});
export type Event = ReturnType<typeof Event.create>;

export const ResponseHeader = messageType('etcdserverpb.ResponseHeader', {
  cluster_id: bigUint64(1),
  member_id: bigUint64(2),
  revision: int64(3),
  raft_term: uint64(4),
});
export type ResponseHeader = ReturnType<typeof ResponseHeader.create>;
const header = message(1, () => ResponseHeader);

export const SortOrder = {
  name: 'etcdserverpb.RangeRequest.SortOrder',
  values: { NONE: 0, ASCEND: 1, DESCEND: 2 },
} as const satisfies EnumType;
export const SortTarget = {
  name: 'etcdserverpb.RangeRequest.SortTarget',
  values: { KEY: 0, VERSION: 1, CREATE: 2, MOD: 3, VALUE: 4 },
} as const satisfies EnumType;
export const RangeRequest = messageType('etcdserverpb.RangeRequest', {
  key: bytes(1),
  range_end: bytes(2),
  limit: int64(3),
  revision: int64(4),
  sort_order: enumeration(5, SortOrder),
  sort_target: enumeration(6, SortTarget),
  serializable: bool(7),
  keys_only: bool(8),
  count_only: bool(9),
  min_mod_revision: int64(10),
  max_mod_revision: int64(11),
  min_create_revision: int64(12),
  max_create_revision: int64(13),
});
export type RangeRequest = ReturnType<typeof RangeRequest.create>;
export const RangeResponse = messageType('etcdserverpb.RangeResponse', {
  header,
  kvs: repeated(message(2, () => KeyValue)),
  more: bool(3),
  count: int64(4),
});
export type RangeResponse = ReturnType<typeof RangeResponse.create>;

export const PutRequest = messageType('etcdserverpb.PutRequest', {
  key: bytes(1),
  value: bytes(2),
  lease: bigInt64(3),
  prev_kv: bool(4),
  ignore_value: bool(5),
  ignore_lease: bool(6),
});
export type PutRequest = ReturnType<typeof PutRequest.create>;
export const PutResponse = messageType('etcdserverpb.PutResponse', {
  header,
  prev_kv: message(2, () => KeyValue),
});
export type PutResponse = ReturnType<typeof PutResponse.create>;

export const DeleteRangeRequest = messageType('etcdserverpb.DeleteRangeRequest', {
  key: bytes(1),
  range_end: bytes(2),
  prev_kv: bool(3),
});
export type DeleteRangeRequest = ReturnType<typeof DeleteRangeRequest.create>;
export const DeleteRangeResponse = messageType('etcdserverpb.DeleteRangeResponse', {
  header,
  deleted: int64(2),
  prev_kvs: repeated(message(3, () => KeyValue)),
});
export type DeleteRangeResponse = ReturnType<typeof DeleteRangeResponse.create>;

export const CompareResult = {
  name: 'etcdserverpb.Compare.CompareResult',
  values: { EQUAL: 0, GREATER: 1, LESS: 2, NOT_EQUAL: 3 },
} as const satisfies EnumType;
export const CompareTarget = {
  name: 'etcdserverpb.Compare.CompareTarget',
  values: { VERSION: 0, CREATE: 1, MOD: 2, VALUE: 3, LEASE: 4 },
} as const satisfies EnumType;
export const Compare = messageType('etcdserverpb.Compare', {
  result: enumeration(1, CompareResult),
  target: enumeration(2, CompareTarget),
  key: bytes(3),
  version: oneof('target_union', int64(4)),
  create_revision: oneof('target_union', int64(5)),
  mod_revision: oneof('target_union', int64(6)),
  value: oneof('target_union', bytes(7)),
  lease: oneof('target_union', bigInt64(8)),
  range_end: bytes(64),
});
export type Compare = ReturnType<typeof Compare.create>;

// Transactions contain themselves: their types are written out.
export interface TxnRequest {
  compare: Compare[];
  success: RequestOp[];
  failure: RequestOp[];
}
export interface RequestOp {
  request_range: RangeRequest | undefined;
  request_put: PutRequest | undefined;
  request_delete_range: DeleteRangeRequest | undefined;
  request_txn: TxnRequest | undefined;
}
export interface TxnResponse {
  header: ResponseHeader | undefined;
  succeeded: boolean;
  responses: ResponseOp[];
}
export interface ResponseOp {
  response_range: RangeResponse | undefined;
  response_put: PutResponse | undefined;
  response_delete_range: DeleteRangeResponse | undefined;
  response_txn: TxnResponse | undefined;
}

export const RequestOp: MessageType<RequestOp> = new MessageType<RequestOp>('etcdserverpb.RequestOp', {
  request_range: oneof(
    'request',
    message(1, () => RangeRequest),
  ),
  request_put: oneof(
    'request',
    message(2, () => PutRequest),
  ),
  request_delete_range: oneof(
    'request',
    message(3, () => DeleteRangeRequest),
  ),
  request_txn: oneof(
    'request',
    message(4, () => TxnRequest),
  ),
});
export const TxnRequest: MessageType<TxnRequest> = new MessageType<TxnRequest>('etcdserverpb.TxnRequest', {
  compare: repeated(message(1, () => Compare)),
  success: repeated(message(2, () => RequestOp)),
  failure: repeated(message(3, () => RequestOp)),
});
export const ResponseOp: MessageType<ResponseOp> = new MessageType<ResponseOp>('etcdserverpb.ResponseOp', {
  response_range: oneof(
    'response',
    message(1, () => RangeResponse),
  ),
  response_put: oneof(
    'response',
    message(2, () => PutResponse),
  ),
  response_delete_range: oneof(
    'response',
    message(3, () => DeleteRangeResponse),
  ),
  response_txn: oneof(
    'response',
    message(4, () => TxnResponse),
  ),
});
export const TxnResponse: MessageType<TxnResponse> = new MessageType<TxnResponse>(
  'etcdserverpb.TxnResponse',
  {
    header,
    succeeded: bool(2),
    responses: repeated(message(3, () => ResponseOp)),
  },
);

export const CompactionRequest = messageType('etcdserverpb.CompactionRequest', {
  revision: int64(1),
  physical: bool(2),
});
export type CompactionRequest = ReturnType<typeof CompactionRequest.create>;
export const CompactionResponse = messageType('etcdserverpb.CompactionResponse', { header });
export type CompactionResponse = ReturnType<typeof CompactionResponse.create>;
