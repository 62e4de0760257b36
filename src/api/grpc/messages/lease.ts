/** Messages of etcdserverpb, part 3: leases; and of v3lockpb and v3electionpb, which stand on them. */
import {
  bigInt64,
  bool,
  bytes,
  int64,
  message,
  messageType,
  repeated,
  string,
} from '../protobuf/message_type.ts';
import { KeyValue, ResponseHeader } from './kv.ts';

const header = message(1, () => ResponseHeader);

export const LeaseGrantRequest = messageType('etcdserverpb.LeaseGrantRequest', {
  TTL: int64(1),
  ID: bigInt64(2),
});
export const LeaseGrantResponse = messageType('etcdserverpb.LeaseGrantResponse', {
  header,
  ID: bigInt64(2),
  TTL: int64(3),
  error: string(4),
});
export const LeaseRevokeRequest = messageType('etcdserverpb.LeaseRevokeRequest', { ID: bigInt64(1) });
export const LeaseRevokeResponse = messageType('etcdserverpb.LeaseRevokeResponse', { header });
export const LeaseKeepAliveRequest = messageType('etcdserverpb.LeaseKeepAliveRequest', { ID: bigInt64(1) });
export const LeaseKeepAliveResponse = messageType('etcdserverpb.LeaseKeepAliveResponse', {
  header,
  ID: bigInt64(2),
  TTL: int64(3),
});
export const LeaseTimeToLiveRequest = messageType('etcdserverpb.LeaseTimeToLiveRequest', {
  ID: bigInt64(1),
  keys: bool(2),
});
export const LeaseTimeToLiveResponse = messageType('etcdserverpb.LeaseTimeToLiveResponse', {
  header,
  ID: bigInt64(2),
  TTL: int64(3),
  grantedTTL: int64(4),
  keys: repeated(bytes(5)),
});
export const LeaseLeasesRequest = messageType('etcdserverpb.LeaseLeasesRequest', {});
export const LeaseStatus = messageType('etcdserverpb.LeaseStatus', { ID: bigInt64(1) });
export const LeaseLeasesResponse = messageType('etcdserverpb.LeaseLeasesResponse', {
  header,
  leases: repeated(message(2, () => LeaseStatus)),
});

export const LockRequest = messageType('v3lockpb.LockRequest', { name: bytes(1), lease: bigInt64(2) });
export const LockResponse = messageType('v3lockpb.LockResponse', { header, key: bytes(2) });
export const UnlockRequest = messageType('v3lockpb.UnlockRequest', { key: bytes(1) });
export const UnlockResponse = messageType('v3lockpb.UnlockResponse', { header });

export const LeaderKey = messageType('v3electionpb.LeaderKey', {
  name: bytes(1),
  key: bytes(2),
  rev: int64(3),
  lease: bigInt64(4),
});
export const CampaignRequest = messageType('v3electionpb.CampaignRequest', {
  name: bytes(1),
  lease: bigInt64(2),
  value: bytes(3),
});
export const CampaignResponse = messageType('v3electionpb.CampaignResponse', {
  header,
  leader: message(2, () => LeaderKey),
});
export const LeaderRequest = messageType('v3electionpb.LeaderRequest', { name: bytes(1) });
export const LeaderResponse = messageType('v3electionpb.LeaderResponse', {
  header,
  kv: message(2, () => KeyValue),
});
export const ResignRequest = messageType('v3electionpb.ResignRequest', {
  leader: message(1, () => LeaderKey),
});
export const ResignResponse = messageType('v3electionpb.ResignResponse', { header });
export const ProclaimRequest = messageType('v3electionpb.ProclaimRequest', {
  leader: message(1, () => LeaderKey),
  value: bytes(2),
});
export const ProclaimResponse = messageType('v3electionpb.ProclaimResponse', { header });
