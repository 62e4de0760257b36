/** What administrators ask about users and rights, and what they are told. Keys are stored keys (kv/keyspace.ts). */
import type { AuthChange, Grant } from '../kv/auth_types.ts';

type WithPassword<Type extends 'userAdd' | 'userChangePassword'> = {
  readonly type: Type;
  readonly user: string;
  /** undefined: the user cannot authenticate with a password. */
  readonly password: string | undefined;
};

/** A change as it is asked for: the node that takes it makes a hash of the password before anything else sees it. */
export type AuthRequest =
  | { readonly type: 'enable' }
  | WithPassword<'userAdd'>
  | WithPassword<'userChangePassword'>
  | Exclude<AuthChange, { readonly type: 'enable' | 'userAdd' | 'userChangePassword' }>;

export interface AuthStatus {
  readonly enabled: boolean;
  /** One more with every change of users or rights. */
  readonly authRevision: number;
}
export interface UserInfo {
  readonly name: string;
  readonly roles: readonly string[];
}
export interface RoleInfo {
  readonly name: string;
  readonly grants: readonly Grant[];
}
