/** Messages of etcdserverpb, part 2: watches. */
import {
  bool,
  bytes,
  type EnumType,
  enumeration,
  int64,
  message,
  messageType,
  oneof,
  repeated,
  string,
} from '../protobuf/message_type.ts';
import { Event, ResponseHeader } from './kv.ts';

export const FilterType = {
  name: 'etcdserverpb.WatchCreateRequest.FilterType',
  values: { NOPUT: 0, NODELETE: 1 },
} as const satisfies EnumType;
export const WatchCreateRequest = messageType('etcdserverpb.WatchCreateRequest', {
  key: bytes(1),
  range_end: bytes(2),
  start_revision: int64(3),
  progress_notify: bool(4),
  filters: repeated(enumeration(5, FilterType)),
  prev_kv: bool(6),
  watch_id: int64(7),
  fragment: bool(8),
});
export type WatchCreateRequest = ReturnType<typeof WatchCreateRequest.create>;
export const WatchCancelRequest = messageType('etcdserverpb.WatchCancelRequest', { watch_id: int64(1) });
export const WatchProgressRequest = messageType('etcdserverpb.WatchProgressRequest', {});
export const WatchRequest = messageType('etcdserverpb.WatchRequest', {
  create_request: oneof(
    'request_union',
    message(1, () => WatchCreateRequest),
  ),
  cancel_request: oneof(
    'request_union',
    message(2, () => WatchCancelRequest),
  ),
  progress_request: oneof(
    'request_union',
    message(3, () => WatchProgressRequest),
  ),
});
export type WatchRequest = ReturnType<typeof WatchRequest.create>;
export const WatchResponse = messageType('etcdserverpb.WatchResponse', {
  header: message(1, () => ResponseHeader),
  watch_id: int64(2),
  created: bool(3),
  canceled: bool(4),
  compact_revision: int64(5),
  cancel_reason: string(6),
  fragment: bool(7),
  events: repeated(message(11, () => Event)),
});
export type WatchResponse = ReturnType<typeof WatchResponse.create>;
