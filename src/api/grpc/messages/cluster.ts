/** Messages of etcdserverpb, part 4: members and maintenance. */
import {
  bigUint64,
  bool,
  bytes,
  type EnumType,
  enumeration,
  int64,
  message,
  messageType,
  repeated,
  string,
  uint32,
  uint64,
} from '../protobuf/message_type.ts';
import { ResponseHeader } from './kv.ts';

const header = message(1, () => ResponseHeader);

export const Member = messageType('etcdserverpb.Member', {
  ID: bigUint64(1),
  name: string(2),
  peerURLs: repeated(string(3)),
  clientURLs: repeated(string(4)),
  isLearner: bool(5),
});
export type Member = ReturnType<typeof Member.create>;
const members = repeated(message(2, () => Member));

export const MemberAddRequest = messageType('etcdserverpb.MemberAddRequest', {
  peerURLs: repeated(string(1)),
  isLearner: bool(2),
});
export const MemberAddResponse = messageType('etcdserverpb.MemberAddResponse', {
  header,
  member: message(2, () => Member),
  members: repeated(message(3, () => Member)),
});
export const MemberRemoveRequest = messageType('etcdserverpb.MemberRemoveRequest', { ID: bigUint64(1) });
export const MemberRemoveResponse = messageType('etcdserverpb.MemberRemoveResponse', { header, members });
export const MemberUpdateRequest = messageType('etcdserverpb.MemberUpdateRequest', {
  ID: bigUint64(1),
  peerURLs: repeated(string(2)),
});
export const MemberUpdateResponse = messageType('etcdserverpb.MemberUpdateResponse', { header, members });
export const MemberListRequest = messageType('etcdserverpb.MemberListRequest', { linearizable: bool(1) });
export const MemberListResponse = messageType('etcdserverpb.MemberListResponse', { header, members });
export const MemberPromoteRequest = messageType('etcdserverpb.MemberPromoteRequest', { ID: bigUint64(1) });
export const MemberPromoteResponse = messageType('etcdserverpb.MemberPromoteResponse', { header, members });

export const AlarmType = {
  name: 'etcdserverpb.AlarmType',
  values: { NONE: 0, NOSPACE: 1, CORRUPT: 2 },
} as const satisfies EnumType;
export const AlarmAction = {
  name: 'etcdserverpb.AlarmRequest.AlarmAction',
  values: { GET: 0, ACTIVATE: 1, DEACTIVATE: 2 },
} as const satisfies EnumType;
export const AlarmRequest = messageType('etcdserverpb.AlarmRequest', {
  action: enumeration(1, AlarmAction),
  memberID: bigUint64(2),
  alarm: enumeration(3, AlarmType),
});
export const AlarmMember = messageType('etcdserverpb.AlarmMember', {
  memberID: bigUint64(1),
  alarm: enumeration(2, AlarmType),
});
export const AlarmResponse = messageType('etcdserverpb.AlarmResponse', {
  header,
  alarms: repeated(message(2, () => AlarmMember)),
});

export const StatusRequest = messageType('etcdserverpb.StatusRequest', {});
export const StatusResponse = messageType('etcdserverpb.StatusResponse', {
  header,
  version: string(2),
  dbSize: int64(3),
  leader: bigUint64(4),
  raftIndex: uint64(5),
  raftTerm: uint64(6),
  raftAppliedIndex: uint64(7),
  errors: repeated(string(8)),
  dbSizeInUse: int64(9),
  isLearner: bool(10),
});
export const DefragmentRequest = messageType('etcdserverpb.DefragmentRequest', {});
export const DefragmentResponse = messageType('etcdserverpb.DefragmentResponse', { header });
export const HashRequest = messageType('etcdserverpb.HashRequest', {});
export const HashResponse = messageType('etcdserverpb.HashResponse', { header, hash: uint32(2) });
export const HashKVRequest = messageType('etcdserverpb.HashKVRequest', { revision: int64(1) });
export const HashKVResponse = messageType('etcdserverpb.HashKVResponse', {
  header,
  hash: uint32(2),
  compact_revision: int64(3),
});
export const SnapshotRequest = messageType('etcdserverpb.SnapshotRequest', {});
export const SnapshotResponse = messageType('etcdserverpb.SnapshotResponse', {
  header,
  remaining_bytes: uint64(2),
  blob: bytes(3),
});
export const MoveLeaderRequest = messageType('etcdserverpb.MoveLeaderRequest', { targetID: bigUint64(1) });
export const MoveLeaderResponse = messageType('etcdserverpb.MoveLeaderResponse', { header });

export const DowngradeAction: EnumType = {
  name: 'etcdserverpb.DowngradeRequest.DowngradeAction',
  values: { VALIDATE: 0, ENABLE: 1, CANCEL: 2 },
};
export const DowngradeRequest = messageType('etcdserverpb.DowngradeRequest', {
  action: enumeration(1, DowngradeAction),
  version: string(2),
});
export const DowngradeResponse = messageType('etcdserverpb.DowngradeResponse', {
  header,
  version: string(2),
});
