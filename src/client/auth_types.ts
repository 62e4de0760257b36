/** Users, roles and rights as callers of the public API see them. */
import type { PermissionKind } from '../kv/auth_types.ts';
import type { AuthStatus, UserInfo } from '../wire/auth_messages.ts';

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}
type Key = string | Uint8Array;

/** One key, the keys with a prefix ('' for all), or those from `start` (included) to `end` (not included; left out: to the last). */
export type GrantKeys =
  | { readonly key: Key }
  | { readonly prefix: Key }
  | { readonly start: Key; readonly end?: Key | undefined };

export interface RoleGrant {
  readonly permission: PermissionKind;
  readonly key: Uint8Array;
  /** The first key that is not covered; undefined: it is about one key. Empty: to the last key. */
  readonly end: Uint8Array | undefined;
}

/** Once rights are enforced, all but `status` and looking at oneself needs the role root. */
export interface StoreAuth {
  /** From now on nobody does anything without a right to it. @throws KvError ROOT_USER_NOT_FOUND, ROOT_ROLE_NOT_GRANTED */
  enable(options?: CallOptions): Promise<void>;
  disable(options?: CallOptions): Promise<void>;
  status(options?: CallOptions): Promise<AuthStatus>;
  /** Without a password the user exists and cannot authenticate. @throws KvError USER_EXISTS, USER_EMPTY, INVALID_ARGUMENT */
  addUser(user: string, password: string | undefined, options?: CallOptions): Promise<void>;
  /** @throws KvError USER_NOT_FOUND */
  deleteUser(user: string, options?: CallOptions): Promise<void>;
  /** Whoever has authenticated with the password before has to do it anew. @throws KvError USER_NOT_FOUND */
  changePassword(user: string, password: string | undefined, options?: CallOptions): Promise<void>;
  /** @throws KvError USER_NOT_FOUND, ROLE_NOT_FOUND */
  grantRole(user: string, role: string, options?: CallOptions): Promise<void>;
  /** @throws KvError USER_NOT_FOUND, ROLE_NOT_GRANTED */
  revokeRole(user: string, role: string, options?: CallOptions): Promise<void>;
  /** @throws KvError USER_NOT_FOUND */
  user(name: string, options?: CallOptions): Promise<UserInfo>;
  users(options?: CallOptions): Promise<string[]>;
  /** @throws KvError ROLE_EXISTS, ROLE_EMPTY */
  addRole(role: string, options?: CallOptions): Promise<void>;
  /** @throws KvError ROLE_NOT_FOUND */
  deleteRole(role: string, options?: CallOptions): Promise<void>;
  /** In place of what the role was granted on the very same keys. @throws KvError ROLE_NOT_FOUND, INVALID_AUTH_MANAGEMENT */
  grant(role: string, kind: PermissionKind, keys: GrantKeys, options?: CallOptions): Promise<void>;
  /** @throws KvError ROLE_NOT_FOUND, PERMISSION_NOT_GRANTED */
  revoke(role: string, keys: GrantKeys, options?: CallOptions): Promise<void>;
  /** @throws KvError ROLE_NOT_FOUND */
  role(
    name: string,
    options?: CallOptions,
  ): Promise<{ readonly name: string; readonly grants: readonly RoleGrant[] }>;
  roles(options?: CallOptions): Promise<string[]>;
}
