/**
 * Users, roles and rights as they are replicated: the words that the state machine, the codecs and the service share.
 *
 * The model is etcd's: a user has roles, a role has grants, a grant gives a right on a key or a range of keys; nothing is allowed that no grant gives.
 * The role `root` gives everything. Names are Unicode text; keys are stored keys (keyspace.ts).
 */

/** The user who must exist, with the role of the same name, before rights can be enforced; and the role that gives every right. */
export const ROOT = 'root';

export const MAX_NAME_BYTES = 256;
/** A password's hash with the parameters that it was made with (security/passwords.ts). */
export const MAX_HASH_BYTES = 256;
export const SECRET_BYTES = 32;

export type PermissionKind = 'read' | 'write' | 'readwrite';

export interface Grant {
  readonly kind: PermissionKind;
  readonly key: Uint8Array;
  /** [key, end) when present. */
  readonly end: Uint8Array | undefined;
}

export interface UserState {
  readonly name: string;
  /** undefined: the user cannot authenticate with a password. */
  readonly passwordHash: Uint8Array | undefined;
  /** Never the same for two users, nor for one user before and after another password: what was issued for an earlier one ends with it. */
  readonly generation: number;
  /** In order. */
  readonly roles: readonly string[];
}

export interface RoleState {
  readonly name: string;
  /** Ordered by key, then end; no two of the same key and end. */
  readonly grants: readonly Grant[];
}

/** All that is replicated about users and rights. */
export interface AuthState {
  readonly enabled: boolean;
  /** One more with every change; 1 before the first. */
  readonly revision: number;
  readonly lastGeneration: number;
  /** What tokens are signed with; empty until rights are enforced for the first time. */
  readonly secret: Uint8Array;
  /** By name. */
  readonly users: readonly UserState[];
  /** By name. */
  readonly roles: readonly RoleState[];
  /** Who opened the open sessions of clients; by session. */
  readonly sessions: readonly { readonly session: number; readonly user: string }[];
}

/** What an administrator may change. Hashes and secrets are made before it is proposed: passwords never reach the log. */
export type AuthChange =
  | { readonly type: 'enable'; readonly secret: Uint8Array }
  | { readonly type: 'disable' }
  | { readonly type: 'userAdd'; readonly user: string; readonly passwordHash: Uint8Array | undefined }
  | { readonly type: 'userDelete'; readonly user: string }
  | {
      readonly type: 'userChangePassword';
      readonly user: string;
      readonly passwordHash: Uint8Array | undefined;
    }
  | { readonly type: 'userGrantRole'; readonly user: string; readonly role: string }
  | { readonly type: 'userRevokeRole'; readonly user: string; readonly role: string }
  | { readonly type: 'roleAdd'; readonly role: string }
  | { readonly type: 'roleDelete'; readonly role: string }
  | { readonly type: 'roleGrant'; readonly role: string; readonly grant: Grant }
  | {
      readonly type: 'roleRevoke';
      readonly role: string;
      readonly key: Uint8Array;
      readonly end: Uint8Array | undefined;
    };

export interface AuthLimits {
  readonly maxUsers: number;
  readonly maxRoles: number;
  readonly maxRolesPerUser: number;
  readonly maxGrantsPerRole: number;
  /** Bytes of all names, hashes and keys together. */
  readonly maxAuthBytes: number;
}
