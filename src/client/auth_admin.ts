/** Users, roles and rights as callers of the public API name them: the same for the embedded store and for a cluster. */
import { KvError } from '../errors.ts';
import type { PermissionKind } from '../kv/auth_types.ts';
import { userKey } from '../kv/keyspace.ts';
import type { AuthStatus, UserInfo } from '../wire/auth_messages.ts';
import type { GrantKeys, RoleGrant, StoreAuth } from './auth_types.ts';
import type { AuthCalls, ChannelOptions } from './channel.ts';
import { rangeOf, storedKeyOf } from './key_range.ts';

const NO_OPTIONS: ChannelOptions = {};

/** Once rights are enforced, all but `status` and looking at oneself needs the role root. */
export class AuthAdmin implements StoreAuth {
  readonly #calls: AuthCalls;
  readonly #maxKeyBytes: number;

  constructor(calls: AuthCalls, maxKeyBytes: number) {
    this.#calls = calls;
    this.#maxKeyBytes = maxKeyBytes;
  }

  /** From now on nobody does anything without a right to it. @throws KvError ROOT_USER_NOT_FOUND, ROOT_ROLE_NOT_GRANTED */
  enable(options: ChannelOptions = NO_OPTIONS): Promise<void> {
    return this.#calls.change({ type: 'enable' }, options);
  }
  disable(options: ChannelOptions = NO_OPTIONS): Promise<void> {
    return this.#calls.change({ type: 'disable' }, options);
  }
  status(options: ChannelOptions = NO_OPTIONS): Promise<AuthStatus> {
    return this.#calls.status(options);
  }

  /** Without a password the user exists and cannot authenticate. @throws KvError USER_EXISTS, USER_EMPTY, INVALID_ARGUMENT */
  addUser(user: string, password: string | undefined, options: ChannelOptions = NO_OPTIONS): Promise<void> {
    return this.#calls.change(
      { type: 'userAdd', user: text(user), password: optionalText(password) },
      options,
    );
  }
  /** @throws KvError USER_NOT_FOUND */
  deleteUser(user: string, options: ChannelOptions = NO_OPTIONS): Promise<void> {
    return this.#calls.change({ type: 'userDelete', user: text(user) }, options);
  }
  /** Whoever has authenticated with the password before has to do it anew. @throws KvError USER_NOT_FOUND */
  changePassword(
    user: string,
    password: string | undefined,
    options: ChannelOptions = NO_OPTIONS,
  ): Promise<void> {
    const request = { user: text(user), password: optionalText(password) };
    return this.#calls.change({ type: 'userChangePassword', ...request }, options);
  }
  /** @throws KvError USER_NOT_FOUND, ROLE_NOT_FOUND */
  grantRole(user: string, role: string, options: ChannelOptions = NO_OPTIONS): Promise<void> {
    return this.#calls.change({ type: 'userGrantRole', user: text(user), role: text(role) }, options);
  }
  /** @throws KvError USER_NOT_FOUND, ROLE_NOT_GRANTED */
  revokeRole(user: string, role: string, options: ChannelOptions = NO_OPTIONS): Promise<void> {
    return this.#calls.change({ type: 'userRevokeRole', user: text(user), role: text(role) }, options);
  }
  /** @throws KvError USER_NOT_FOUND */
  user(name: string, options: ChannelOptions = NO_OPTIONS): Promise<UserInfo> {
    return this.#calls.user(text(name), options);
  }
  users(options: ChannelOptions = NO_OPTIONS): Promise<string[]> {
    return this.#calls.users(options);
  }

  /** @throws KvError ROLE_EXISTS, ROLE_EMPTY */
  addRole(role: string, options: ChannelOptions = NO_OPTIONS): Promise<void> {
    return this.#calls.change({ type: 'roleAdd', role: text(role) }, options);
  }
  /** @throws KvError ROLE_NOT_FOUND */
  deleteRole(role: string, options: ChannelOptions = NO_OPTIONS): Promise<void> {
    return this.#calls.change({ type: 'roleDelete', role: text(role) }, options);
  }
  /** In place of what the role was granted on the very same keys. @throws KvError ROLE_NOT_FOUND, INVALID_AUTH_MANAGEMENT */
  async grant(
    role: string,
    kind: PermissionKind,
    keys: GrantKeys,
    options: ChannelOptions = NO_OPTIONS,
  ): Promise<void> {
    const grant = { kind, ...this.#stored(keys) };
    await this.#calls.change({ type: 'roleGrant', role: text(role), grant }, options);
  }
  /** @throws KvError ROLE_NOT_FOUND, PERMISSION_NOT_GRANTED */
  async revoke(role: string, keys: GrantKeys, options: ChannelOptions = NO_OPTIONS): Promise<void> {
    await this.#calls.change({ type: 'roleRevoke', role: text(role), ...this.#stored(keys) }, options);
  }
  /** @throws KvError ROLE_NOT_FOUND */
  async role(
    name: string,
    options: ChannelOptions = NO_OPTIONS,
  ): Promise<{ readonly name: string; readonly grants: readonly RoleGrant[] }> {
    const found = await this.#calls.role(text(name), options);
    const grants = found.grants.map(({ kind, key, end }) => ({
      permission: kind,
      key: userKey(key),
      end: end === undefined ? undefined : userKey(end),
    }));
    return { name: found.name, grants };
  }
  roles(options: ChannelOptions = NO_OPTIONS): Promise<string[]> {
    return this.#calls.roles(options);
  }

  #stored(keys: GrantKeys): { key: Uint8Array; end: Uint8Array | undefined } {
    if ('key' in keys) return { key: storedKeyOf(keys.key, this.#maxKeyBytes), end: undefined };
    const range = rangeOf(keys, this.#maxKeyBytes);
    if (range === undefined)
      throw new KvError('INVALID_AUTH_MANAGEMENT', 'the range of the grant holds no key');
    return { key: range.start, end: range.end };
  }
}

function text(given: string): string {
  if (typeof given === 'string') return given;
  throw new KvError('INVALID_ARGUMENT', `a name is a string, not ${typeof given}`);
}

function optionalText(given: string | undefined): string | undefined {
  if (given === undefined || typeof given === 'string') return given;
  throw new KvError('INVALID_ARGUMENT', `a password is a string, not ${typeof given}`);
}
