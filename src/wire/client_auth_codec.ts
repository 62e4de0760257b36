/**
 * Byte form of what clients say and ask about users and rights (docs/formats/tcp_protocol.md).
 *
 *     authenticate  := timeoutMs:varint (0 user:string password:string | 1 token:string)
 *     authenticated := token:string expiresAtMs:varint
 *     authChange    := timeoutMs:varint request
 *     request       := subKind:u8(1 enable)
 *                    | subKind:u8(3 userAdd, 5 userChangePassword) user:string (0 | 1 password:string)
 *                    | change                                       (auth_codec.ts: all other changes)
 *     authStatus    := enabled:u8 authRevision:varint
 *     user          := name:string count*role:string
 *     role          := name:string count*grant
 *     names         := count*name:string
 *
 * Invariant: reading throws KvError PROTOCOL for anything but the grammar; no message repeats a password.
 */
import type { Grant } from '../kv/auth_types.ts';
import { readAuthChange, readGrant, writeAuthChange, writeGrant } from './auth_codec.ts';
import type { AuthRequest, AuthStatus, RoleInfo, UserInfo } from './auth_messages.ts';
import { type ByteReader, type ByteWriter, malformed } from './varint.ts';

const ENABLE = 1;
const USER_ADD = 3;
const USER_CHANGE_PASSWORD = 5;
const WITH_PASSWORD = 0;
const WITH_TOKEN = 1;
const MIN_GRANT_BYTES = 3;

export type Credentials = { readonly user: string; readonly password: string } | { readonly token: string };

export function writeCredentials(writer: ByteWriter, credentials: Credentials): void {
  if ('token' in credentials) writer.u8(WITH_TOKEN).string(credentials.token);
  else writer.u8(WITH_PASSWORD).string(credentials.user).string(credentials.password);
}

export function readCredentials(reader: ByteReader): Credentials {
  const kind = reader.u8();
  if (kind === WITH_TOKEN) return { token: reader.string() };
  if (kind !== WITH_PASSWORD) throw malformed(`credentials of kind ${kind}`);
  return { user: reader.string(), password: reader.string() };
}

export function writeAuthRequest(writer: ByteWriter, request: AuthRequest): void {
  switch (request.type) {
    case 'enable':
      writer.u8(ENABLE);
      return;
    case 'userAdd':
    case 'userChangePassword':
      writer.u8(request.type === 'userAdd' ? USER_ADD : USER_CHANGE_PASSWORD).string(request.user);
      writer.bool(request.password !== undefined);
      if (request.password !== undefined) writer.string(request.password);
      return;
    default:
      writeAuthChange(writer, request);
  }
}

/** Keys are views. */
export function readAuthRequest(reader: ByteReader): AuthRequest {
  const from = reader.offset;
  const kind = reader.u8();
  if (kind === ENABLE) return { type: 'enable' };
  if (kind === USER_ADD || kind === USER_CHANGE_PASSWORD) {
    const user = reader.string();
    const password = reader.bool() ? reader.string() : undefined;
    return { type: kind === USER_ADD ? 'userAdd' : 'userChangePassword', user, password };
  }
  reader.offset = from;
  const change = readAuthChange(reader);
  if (change.type === 'enable' || change.type === 'userAdd' || change.type === 'userChangePassword')
    throw malformed(`change ${kind} of users and rights`);
  return change;
}

export function writeAuthStatus(writer: ByteWriter, status: AuthStatus): void {
  writer.bool(status.enabled).varint(status.authRevision);
}
export function readAuthStatus(reader: ByteReader): AuthStatus {
  return { enabled: reader.bool(), authRevision: reader.varint() };
}

export function writeNames(writer: ByteWriter, names: readonly string[]): void {
  writer.varint(names.length);
  for (const name of names) writer.string(name);
}
export function readNames(reader: ByteReader): string[] {
  const names: string[] = [];
  for (let left = reader.count(1); left > 0; left--) names.push(reader.string());
  return names;
}

export function writeUser(writer: ByteWriter, user: UserInfo): void {
  writer.string(user.name);
  writeNames(writer, user.roles);
}
export function readUser(reader: ByteReader): UserInfo {
  return { name: reader.string(), roles: readNames(reader) };
}

export function writeRole(writer: ByteWriter, role: RoleInfo): void {
  writer.string(role.name).varint(role.grants.length);
  for (const grant of role.grants) writeGrant(writer, grant);
}
/** Keys are copies. */
export function readRole(reader: ByteReader): RoleInfo {
  const name = reader.string();
  const grants: Grant[] = [];
  for (let left = reader.count(MIN_GRANT_BYTES); left > 0; left--) {
    const { kind, key, end } = readGrant(reader);
    grants.push({ kind, key: new Uint8Array(key), end: end === undefined ? undefined : new Uint8Array(end) });
  }
  return { name, grants };
}
