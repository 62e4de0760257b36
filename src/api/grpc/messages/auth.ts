/** Messages of etcdserverpb, part 5, and of authpb: users, roles and permissions. */
import {
  bool,
  bytes,
  type EnumType,
  enumeration,
  message,
  messageType,
  repeated,
  string,
  uint64,
} from '../protobuf/message_type.ts';
import { ResponseHeader } from './kv.ts';

const header = message(1, () => ResponseHeader);

export const UserAddOptions = messageType('authpb.UserAddOptions', { no_password: bool(1) });
export const PermissionType = {
  name: 'authpb.Permission.Type',
  values: { READ: 0, WRITE: 1, READWRITE: 2 },
} as const satisfies EnumType;
export const Permission = messageType('authpb.Permission', {
  permType: enumeration(1, PermissionType),
  key: bytes(2),
  range_end: bytes(3),
});

export const AuthEnableRequest = messageType('etcdserverpb.AuthEnableRequest', {});
export const AuthEnableResponse = messageType('etcdserverpb.AuthEnableResponse', { header });
export const AuthDisableRequest = messageType('etcdserverpb.AuthDisableRequest', {});
export const AuthDisableResponse = messageType('etcdserverpb.AuthDisableResponse', { header });
export const AuthStatusRequest = messageType('etcdserverpb.AuthStatusRequest', {});
export const AuthStatusResponse = messageType('etcdserverpb.AuthStatusResponse', {
  header,
  enabled: bool(2),
  authRevision: uint64(3),
});
export const AuthenticateRequest = messageType('etcdserverpb.AuthenticateRequest', {
  name: string(1),
  password: string(2),
});
export const AuthenticateResponse = messageType('etcdserverpb.AuthenticateResponse', {
  header,
  token: string(2),
});
export const AuthUserAddRequest = messageType('etcdserverpb.AuthUserAddRequest', {
  name: string(1),
  password: string(2),
  options: message(3, () => UserAddOptions),
  hashedPassword: string(4),
});
export const AuthUserAddResponse = messageType('etcdserverpb.AuthUserAddResponse', { header });
export const AuthUserGetRequest = messageType('etcdserverpb.AuthUserGetRequest', { name: string(1) });
export const AuthUserGetResponse = messageType('etcdserverpb.AuthUserGetResponse', {
  header,
  roles: repeated(string(2)),
});
export const AuthUserListRequest = messageType('etcdserverpb.AuthUserListRequest', {});
export const AuthUserListResponse = messageType('etcdserverpb.AuthUserListResponse', {
  header,
  users: repeated(string(2)),
});
export const AuthUserDeleteRequest = messageType('etcdserverpb.AuthUserDeleteRequest', { name: string(1) });
export const AuthUserDeleteResponse = messageType('etcdserverpb.AuthUserDeleteResponse', { header });
export const AuthUserChangePasswordRequest = messageType('etcdserverpb.AuthUserChangePasswordRequest', {
  name: string(1),
  password: string(2),
  hashedPassword: string(3),
});
export const AuthUserChangePasswordResponse = messageType('etcdserverpb.AuthUserChangePasswordResponse', {
  header,
});
export const AuthUserGrantRoleRequest = messageType('etcdserverpb.AuthUserGrantRoleRequest', {
  user: string(1),
  role: string(2),
});
export const AuthUserGrantRoleResponse = messageType('etcdserverpb.AuthUserGrantRoleResponse', { header });
export const AuthUserRevokeRoleRequest = messageType('etcdserverpb.AuthUserRevokeRoleRequest', {
  name: string(1),
  role: string(2),
});
export const AuthUserRevokeRoleResponse = messageType('etcdserverpb.AuthUserRevokeRoleResponse', { header });
export const AuthRoleAddRequest = messageType('etcdserverpb.AuthRoleAddRequest', { name: string(1) });
export const AuthRoleAddResponse = messageType('etcdserverpb.AuthRoleAddResponse', { header });
export const AuthRoleGetRequest = messageType('etcdserverpb.AuthRoleGetRequest', { role: string(1) });
export const AuthRoleGetResponse = messageType('etcdserverpb.AuthRoleGetResponse', {
  header,
  perm: repeated(message(2, () => Permission)),
});
export const AuthRoleListRequest = messageType('etcdserverpb.AuthRoleListRequest', {});
export const AuthRoleListResponse = messageType('etcdserverpb.AuthRoleListResponse', {
  header,
  roles: repeated(string(2)),
});
export const AuthRoleDeleteRequest = messageType('etcdserverpb.AuthRoleDeleteRequest', { role: string(1) });
export const AuthRoleDeleteResponse = messageType('etcdserverpb.AuthRoleDeleteResponse', { header });
export const AuthRoleGrantPermissionRequest = messageType('etcdserverpb.AuthRoleGrantPermissionRequest', {
  name: string(1),
  perm: message(2, () => Permission),
});
export const AuthRoleGrantPermissionResponse = messageType('etcdserverpb.AuthRoleGrantPermissionResponse', {
  header,
});
export const AuthRoleRevokePermissionRequest = messageType('etcdserverpb.AuthRoleRevokePermissionRequest', {
  role: string(1),
  key: bytes(2),
  range_end: bytes(3),
});
export const AuthRoleRevokePermissionResponse = messageType('etcdserverpb.AuthRoleRevokePermissionResponse', {
  header,
});
