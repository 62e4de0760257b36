/**
 * The byte form of changes to users and rights, and of their state.
 *
 *     change    := subKind:u8 body
 *       1 enable              secret:32 bytes
 *       2 disable             -
 *       3 userAdd             user:string hash             4 userDelete          user:string
 *       5 userChangePassword  user:string hash
 *       6 userGrantRole       user:string role:string      7 userRevokeRole      user:string role:string
 *       8 roleAdd             role:string                  9 roleDelete          role:string
 *       10 roleGrant          role:string grant           11 roleRevoke          role:string keys
 *     hash      := byteString                              empty: no password
 *     keys      := 0 key:byteString | 1 key:byteString end:byteString
 *     grant     := kind:u8(0 read, 1 write, 2 readwrite) keys
 *     authState := enabled:u8 revision:varint lastGeneration:varint secret:byteString count*user count*role count*session
 *     user      := name:string hash generation:varint count*role:string
 *     role      := name:string count*grant
 *     session   := session:varint user:string
 *
 * Invariants: equal states have equal bytes (everything in order, nothing twice); decoding refuses what no store can have captured and allocates nothing before
 * a count was checked against the bytes left. What decodeAuthState gives are views.
 */
import type { AuthChange, AuthState, Grant, PermissionKind, RoleState, UserState } from '../kv/auth_types.ts';
import { MAX_HASH_BYTES, MAX_NAME_BYTES, SECRET_BYTES } from '../kv/auth_types.ts';
import { compareKeys } from '../storage/record.ts';
import { ByteReader, ByteWriter, malformed } from './varint.ts';

const CHANGES = [
  'enable',
  'disable',
  'userAdd',
  'userDelete',
  'userChangePassword',
  'userGrantRole',
  'userRevokeRole',
  'roleAdd',
  'roleDelete',
  'roleGrant',
  'roleRevoke',
] as const satisfies readonly AuthChange['type'][];
const KINDS: readonly PermissionKind[] = ['read', 'write', 'readwrite'];
const MIN_USER_BYTES = 5;
const MIN_ROLE_BYTES = 3;
const MIN_GRANT_BYTES = 3;
const MIN_SESSION_BYTES = 2;
const NOTHING = new Uint8Array(0);

export function writeAuthChange(writer: ByteWriter, change: AuthChange): void {
  writer.u8(CHANGES.indexOf(change.type) + 1);
  switch (change.type) {
    case 'enable':
      writer.byteString(change.secret);
      return;
    case 'disable':
      return;
    case 'userAdd':
    case 'userChangePassword':
      writer.string(change.user).byteString(change.passwordHash ?? NOTHING);
      return;
    case 'userDelete':
      writer.string(change.user);
      return;
    case 'userGrantRole':
    case 'userRevokeRole':
      writer.string(change.user).string(change.role);
      return;
    case 'roleAdd':
    case 'roleDelete':
      writer.string(change.role);
      return;
    case 'roleGrant':
      writer.string(change.role);
      writeGrant(writer, change.grant);
      return;
    case 'roleRevoke':
      writer.string(change.role);
      writeKeys(writer, change.key, change.end);
  }
}

/** Keys, hashes and the secret are views. @throws KvError PROTOCOL */
export function readAuthChange(reader: ByteReader): AuthChange {
  const number = reader.u8();
  const type = CHANGES[number - 1];
  switch (type) {
    case 'enable':
      return { type, secret: reader.byteString() };
    case 'disable':
      return { type };
    case 'userAdd':
    case 'userChangePassword':
      return { type, user: reader.string(), passwordHash: readHash(reader) };
    case 'userDelete':
      return { type, user: reader.string() };
    case 'userGrantRole':
    case 'userRevokeRole':
      return { type, user: reader.string(), role: reader.string() };
    case 'roleAdd':
    case 'roleDelete':
      return { type, role: reader.string() };
    case 'roleGrant':
      return { type, role: reader.string(), grant: readGrant(reader) };
    case 'roleRevoke':
      return { type, role: reader.string(), ...readKeys(reader) };
    default:
      throw malformed(`change ${number} of users and rights`);
  }
}

/** No bytes for a store in which nothing was ever changed. */
export function encodeAuthState(state: AuthState | undefined): Uint8Array {
  if (state === undefined) return NOTHING;
  const writer = new ByteWriter(256);
  writer.bool(state.enabled).varint(state.revision).varint(state.lastGeneration).byteString(state.secret);
  writer.varint(state.users.length);
  for (const { name, passwordHash, generation, roles } of state.users) {
    writer.string(name).byteString(passwordHash ?? NOTHING);
    writer.varint(generation).varint(roles.length);
    for (const role of roles) writer.string(role);
  }
  writer.varint(state.roles.length);
  for (const { name, grants } of state.roles) {
    writer.string(name).varint(grants.length);
    for (const grant of grants) writeGrant(writer, grant);
  }
  writer.varint(state.sessions.length);
  for (const { session, user } of state.sessions) writer.varint(session).string(user);
  return writer.finish();
}

/** @throws KvError PROTOCOL */
export function decodeAuthState(bytes: Uint8Array): AuthState {
  const reader = new ByteReader(bytes);
  const enabled = reader.bool();
  const revision = reader.varint();
  if (revision < 1) throw malformed('revision 0 of users and rights');
  const lastGeneration = reader.varint();
  const secret = reader.byteString();
  if (secret.length !== SECRET_BYTES && (enabled || secret.length > 0))
    throw malformed(`a secret of ${secret.length} bytes`);
  const users = readInOrder(reader, MIN_USER_BYTES, (one) => readUser(one, lastGeneration));
  const roles = readInOrder(reader, MIN_ROLE_BYTES, readRole);
  const sessions: { session: number; user: string }[] = [];
  let before = 0;
  for (let left = reader.count(MIN_SESSION_BYTES); left > 0; left--) {
    const session = reader.varint();
    if (session <= before) throw malformed(`session ${session} out of order`);
    before = session;
    sessions.push({ session, user: readName(reader) });
  }
  reader.expectEnd();
  return { enabled, revision, lastGeneration, secret, users, roles, sessions };
}

function readInOrder<T extends { readonly name: string }>(
  reader: ByteReader,
  minBytes: number,
  read: (reader: ByteReader) => T,
): T[] {
  const items: T[] = [];
  let before = '';
  for (let left = reader.count(minBytes); left > 0; left--) {
    const item = read(reader);
    if (item.name <= before) throw malformed('a name out of order');
    before = item.name;
    items.push(item);
  }
  return items;
}

function readUser(reader: ByteReader, lastGeneration: number): UserState {
  const name = readName(reader);
  const passwordHash = readHash(reader);
  if (passwordHash !== undefined && passwordHash.length > MAX_HASH_BYTES) throw malformed('a long hash');
  const generation = reader.varintUpTo(lastGeneration, 'the generation');
  const roles: string[] = [];
  let before = '';
  for (let left = reader.count(1); left > 0; left--) {
    const role = readName(reader);
    if (role <= before) throw malformed('a role out of order');
    before = role;
    roles.push(role);
  }
  return { name, passwordHash, generation, roles };
}

function readRole(reader: ByteReader): RoleState {
  const name = readName(reader);
  const grants: Grant[] = [];
  for (let left = reader.count(MIN_GRANT_BYTES); left > 0; left--) {
    const grant = readGrant(reader);
    const before = grants.at(-1);
    if (before !== undefined && !inOrder(before, grant)) throw malformed('a grant out of order');
    grants.push(grant);
  }
  return { name, grants };
}

function inOrder(a: Grant, b: Grant): boolean {
  const order = compareKeys(a.key, b.key);
  return order < 0 || (order === 0 && compareKeys(a.end ?? NOTHING, b.end ?? NOTHING) < 0);
}

function readName(reader: ByteReader): string {
  const from = reader.offset;
  const name = reader.string();
  // The length of its length is at most two bytes.
  if (name === '' || reader.offset - from > MAX_NAME_BYTES + 2) throw malformed('a name of a wrong length');
  return name;
}

function readHash(reader: ByteReader): Uint8Array | undefined {
  const hash = reader.byteString();
  return hash.length === 0 ? undefined : hash;
}

export function writeGrant(writer: ByteWriter, grant: Grant): void {
  writer.u8(KINDS.indexOf(grant.kind));
  writeKeys(writer, grant.key, grant.end);
}

/** Keys are views. */
export function readGrant(reader: ByteReader): Grant {
  const number = reader.u8();
  const kind = KINDS[number];
  if (kind === undefined) throw malformed(`kind ${number} of a grant`);
  return { kind, ...readKeys(reader) };
}

function writeKeys(writer: ByteWriter, key: Uint8Array, end: Uint8Array | undefined): void {
  writer.bool(end !== undefined).byteString(key);
  if (end !== undefined) writer.byteString(end);
}

function readKeys(reader: ByteReader): { key: Uint8Array; end: Uint8Array | undefined } {
  const ranged = reader.bool();
  const key = reader.byteString();
  return { key, end: ranged ? reader.byteString() : undefined };
}
