/** etcd's Auth: users, roles, and the tokens that calls carry in their metadata. */
import type { Grant, PermissionKind } from '../../../kv/auth_types.ts';
import { storedKey, userKey } from '../../../kv/keyspace.ts';
import type { AuthRequest } from '../../../wire/auth_messages.ts';
import { etcdError } from '../etcd_errors.ts';
import * as messages from '../messages/auth.ts';
import type { ResponseHeader } from '../messages/kv.ts';
import { type CallContext, type ServiceTable, type UnaryMethod, unary } from '../method.ts';
import type { MessageType } from '../protobuf/message_type.ts';
import { CODE, GrpcError } from '../status.ts';
import { callOptionsOf, type EtcdContext, Headers, shownEndOf, storedEndOf } from './etcd_context.ts';

/** By number. */
const KINDS: readonly PermissionKind[] = ['read', 'write', 'readwrite'];

export function authService(context: EtcdContext): ServiceTable {
  return {
    name: 'etcdserverpb.Auth',
    methods: [...switchMethods(context), ...userMethods(context), ...roleMethods(context)],
  };
}

type Answer = { header: ResponseHeader | undefined };

/** A method that changes something and answers with a header alone. */
function changing({ service }: EtcdContext) {
  const headers = new Headers(service);
  return <Request extends object>(
    name: string,
    request: MessageType<Request>,
    response: MessageType<Answer>,
    changeOf: (request: Request) => AuthRequest,
  ): UnaryMethod =>
    unary(name, request, response, async (message, call: CallContext) => {
      await service.auth.change(changeOf(message), callOptionsOf(service, call));
      return { header: headers.header() };
    });
}

function switchMethods(context: EtcdContext): UnaryMethod[] {
  const { service } = context;
  const headers = new Headers(service);
  const change = changing(context);
  return [
    change('AuthEnable', messages.AuthEnableRequest, messages.AuthEnableResponse, () => ({ type: 'enable' })),
    change('AuthDisable', messages.AuthDisableRequest, messages.AuthDisableResponse, () => ({
      type: 'disable',
    })),
    unary('AuthStatus', messages.AuthStatusRequest, messages.AuthStatusResponse, async (_request, call) => {
      const { enabled, authRevision } = await service.auth.status(callOptionsOf(service, call));
      return { header: headers.header(), enabled, authRevision };
    }),
    unary(
      'Authenticate',
      messages.AuthenticateRequest,
      messages.AuthenticateResponse,
      async ({ name, password }, { timeoutMs }) => {
        // Whoever asks for a token has none that counts.
        const { token } = await service.auth.authenticate(name, password, { timeoutMs });
        return { header: headers.header(), token };
      },
    ),
  ];
}

function userMethods(context: EtcdContext): UnaryMethod[] {
  const { service } = context;
  const headers = new Headers(service);
  const change = changing(context);
  return [
    change('UserAdd', messages.AuthUserAddRequest, messages.AuthUserAddResponse, (request) => {
      refuseHash(request.hashedPassword);
      const password = request.options?.no_password === true ? undefined : request.password;
      return { type: 'userAdd', user: request.name, password };
    }),
    unary('UserGet', messages.AuthUserGetRequest, messages.AuthUserGetResponse, async ({ name }, call) => {
      const { roles } = await service.auth.user(name, callOptionsOf(service, call));
      return { header: headers.header(), roles: [...roles] };
    }),
    unary(
      'UserList',
      messages.AuthUserListRequest,
      messages.AuthUserListResponse,
      async (_request, call) => ({
        users: await service.auth.users(callOptionsOf(service, call)),
        header: headers.header(),
      }),
    ),
    change('UserDelete', messages.AuthUserDeleteRequest, messages.AuthUserDeleteResponse, ({ name }) => ({
      type: 'userDelete',
      user: name,
    })),
    change(
      'UserChangePassword',
      messages.AuthUserChangePasswordRequest,
      messages.AuthUserChangePasswordResponse,
      ({ name, password, hashedPassword }) => {
        refuseHash(hashedPassword);
        return { type: 'userChangePassword', user: name, password };
      },
    ),
    change(
      'UserGrantRole',
      messages.AuthUserGrantRoleRequest,
      messages.AuthUserGrantRoleResponse,
      ({ user, role }) => ({ type: 'userGrantRole', user, role }),
    ),
    change(
      'UserRevokeRole',
      messages.AuthUserRevokeRoleRequest,
      messages.AuthUserRevokeRoleResponse,
      ({ name, role }) => ({ type: 'userRevokeRole', user: name, role }),
    ),
  ];
}

function roleMethods(context: EtcdContext): UnaryMethod[] {
  const { service } = context;
  const headers = new Headers(service);
  const change = changing(context);
  return [
    change('RoleAdd', messages.AuthRoleAddRequest, messages.AuthRoleAddResponse, ({ name }) => ({
      type: 'roleAdd',
      role: name,
    })),
    unary('RoleGet', messages.AuthRoleGetRequest, messages.AuthRoleGetResponse, async ({ role }, call) => {
      const { grants } = await service.auth.role(role, callOptionsOf(service, call));
      return { header: headers.header(), perm: grants.map(permissionOf) };
    }),
    unary(
      'RoleList',
      messages.AuthRoleListRequest,
      messages.AuthRoleListResponse,
      async (_request, call) => ({
        roles: await service.auth.roles(callOptionsOf(service, call)),
        header: headers.header(),
      }),
    ),
    change('RoleDelete', messages.AuthRoleDeleteRequest, messages.AuthRoleDeleteResponse, ({ role }) => ({
      type: 'roleDelete',
      role,
    })),
    change(
      'RoleGrantPermission',
      messages.AuthRoleGrantPermissionRequest,
      messages.AuthRoleGrantPermissionResponse,
      ({ name, perm }) => {
        if (perm === undefined) throw etcdError('PermissionNotGiven');
        if (perm.key.length === 0) throw etcdError('InvalidAuthMgmt');
        const kind = KINDS[perm.permType];
        if (kind === undefined) throw new GrpcError(CODE.INVALID_ARGUMENT, 'etcdserver: unknown permission');
        const grant: Grant = { kind, key: storedKey(perm.key), end: storedEndOf(perm.range_end) };
        return { type: 'roleGrant', role: name, grant };
      },
    ),
    change(
      'RoleRevokePermission',
      messages.AuthRoleRevokePermissionRequest,
      messages.AuthRoleRevokePermissionResponse,
      ({ role, key, range_end: end }) => ({
        type: 'roleRevoke',
        role,
        key: storedKey(key),
        end: storedEndOf(end),
      }),
    ),
  ];
}

function permissionOf({ kind, key, end }: Grant): ReturnType<typeof messages.Permission.create> {
  return { permType: KINDS.indexOf(kind), key: userKey(key), range_end: shownEndOf(end) };
}

/** Hashes of others are made otherwise than ours. @throws GrpcError */
function refuseHash(hashedPassword: string): void {
  if (hashedPassword !== '') {
    throw new GrpcError(CODE.UNIMPLEMENTED, 'etcdserver: passwords are hashed here, not by clients');
  }
}
