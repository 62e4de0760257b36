/**
 * The users, roles and rights of a store, as the replicated state machine keeps them.
 *
 * Invariants: everything follows from the changes alone, in log order, so it is the same on every node; a change that is refused changes nothing; a change
 * that is not refused and not idle raises `revision`, and whoever checked a right at an earlier revision has to check again; counts and bytes are bounded;
 * nothing of what is kept is a view of the command it came with.
 */
import { compareKeys } from '../storage/record.ts';
import { RangeSet } from './auth_ranges.ts';
import {
  type AuthChange,
  type AuthLimits,
  type AuthState,
  type Grant,
  MAX_HASH_BYTES,
  MAX_NAME_BYTES,
  ROOT,
  type RoleState,
  SECRET_BYTES,
  type UserState,
} from './auth_types.ts';
import type { Refusal } from './refusal.ts';
import { SessionOwners } from './session_owners.ts';

/** What a user may do, put together from all of the user's roles. */
export interface Rights {
  /** Everything is allowed. */
  readonly root: boolean;
  readonly read: RangeSet;
  readonly write: RangeSet;
}

type Of<Type extends AuthChange['type']> = Extract<AuthChange, { type: Type }>;

const FIRST_AUTH_REVISION = 1;
const NOTHING = new Uint8Array(0);
const NO_RIGHTS: Rights = { root: false, read: new RangeSet([]), write: new RangeSet([]) };
/** Changed something; did not need to; or why not. */
type Outcome = 'changed' | 'idle' | Refusal;

export class AuthTable {
  /** Called after every change, and after a restore. Must not throw. */
  onChange: (() => void) | undefined = undefined;
  readonly sessionOwners: SessionOwners;

  private readonly limits: AuthLimits;
  private readonly users = new Map<string, UserState>();
  private readonly roles = new Map<string, RoleState>();
  /** By user, made when first asked for; forgotten with every change. */
  private readonly rights = new Map<string, Rights>();
  private isEnabled = false;
  private currentRevision = FIRST_AUTH_REVISION;
  private lastGeneration = 0;
  private signingSecret: Uint8Array = NOTHING;
  private sizeBytes = 0;

  constructor(limits: AuthLimits, sessionOpen: (session: number) => boolean) {
    this.limits = limits;
    this.sessionOwners = new SessionOwners(sessionOpen);
  }

  /** Whether rights are enforced. */
  get enabled(): boolean {
    return this.isEnabled;
  }
  get revision(): number {
    return this.currentRevision;
  }
  /** What tokens are signed with. REQUIRES: enabled. */
  get secret(): Uint8Array {
    return this.signingSecret;
  }

  user(name: string): UserState | undefined {
    return this.users.get(name);
  }
  role(name: string): RoleState | undefined {
    return this.roles.get(name);
  }
  userNames(): string[] {
    return [...this.users.keys()].sort(byText);
  }
  roleNames(): string[] {
    return [...this.roles.keys()].sort(byText);
  }

  /** Of a user who does not exist: none. */
  rightsOf(name: string): Rights {
    const known = this.rights.get(name);
    if (known !== undefined) return known;
    const user = this.users.get(name);
    if (user === undefined) return NO_RIGHTS;
    const grants = user.roles.flatMap((role) => this.roles.get(role)?.grants ?? []);
    const rights: Rights = {
      root: user.roles.includes(ROOT),
      read: new RangeSet(grants.filter(({ kind }) => kind !== 'write')),
      write: new RangeSet(grants.filter(({ kind }) => kind !== 'read')),
    };
    this.rights.set(name, rights);
    return rights;
  }

  /** Carries out a change. Gives why not, when it was refused. */
  apply(change: AuthChange): Refusal | undefined {
    const outcome = this.carryOut(change);
    if (outcome === 'idle') return undefined;
    if (outcome !== 'changed') return outcome;
    this.currentRevision++;
    this.rights.clear();
    this.onChange?.();
    return undefined;
  }

  /** undefined: as it was before the first change. */
  capture(): AuthState | undefined {
    const sessions = this.sessionOwners.capture();
    if (this.currentRevision === FIRST_AUTH_REVISION && sessions.length === 0) return undefined;
    return {
      enabled: this.isEnabled,
      revision: this.currentRevision,
      lastGeneration: this.lastGeneration,
      secret: this.signingSecret,
      users: this.userNames().map((name) => this.users.get(name) as UserState),
      roles: this.roleNames().map((name) => this.roles.get(name) as RoleState),
      sessions,
    };
  }

  restore(state: AuthState | undefined): void {
    this.isEnabled = state?.enabled ?? false;
    this.currentRevision = state?.revision ?? FIRST_AUTH_REVISION;
    this.lastGeneration = state?.lastGeneration ?? 0;
    this.signingSecret = state?.secret ?? NOTHING;
    this.users.clear();
    this.roles.clear();
    this.rights.clear();
    this.sizeBytes = 0;
    for (const user of state?.users ?? []) {
      this.users.set(user.name, user);
      this.sizeBytes += userBytes(user);
    }
    for (const role of state?.roles ?? []) {
      this.roles.set(role.name, role);
      this.sizeBytes += roleBytes(role);
    }
    this.sessionOwners.restore(state?.sessions ?? []);
    this.onChange?.();
  }

  private carryOut(change: AuthChange): Outcome {
    switch (change.type) {
      case 'enable':
        return this.enable(change.secret);
      case 'disable':
        if (!this.isEnabled) return 'idle';
        this.isEnabled = false;
        return 'changed';
      case 'userAdd':
        return this.userAdd(change);
      case 'userDelete':
        return this.userDelete(change.user);
      case 'userChangePassword':
        return this.userChangePassword(change);
      case 'userGrantRole':
        return this.userGrantRole(change);
      case 'userRevokeRole':
        return this.userRevokeRole(change);
      case 'roleAdd':
        return this.roleAdd(change.role);
      case 'roleDelete':
        return this.roleDelete(change.role);
      case 'roleGrant':
        return this.roleGrant(change);
      case 'roleRevoke':
        return this.roleRevoke(change);
    }
  }

  private enable(secret: Uint8Array): Outcome {
    if (this.isEnabled) return 'idle';
    const root = this.users.get(ROOT);
    if (root === undefined) return refusal('ROOT_USER_NOT_FOUND', 'the user root does not exist');
    if (!root.roles.includes(ROOT))
      return refusal('ROOT_ROLE_NOT_GRANTED', 'the user root does not have the role root');
    if (secret.length !== SECRET_BYTES) return refusal('INVALID_ARGUMENT', 'the secret has another length');
    this.isEnabled = true;
    this.signingSecret = new Uint8Array(secret);
    return 'changed';
  }

  private userAdd({ user: name, passwordHash }: Of<'userAdd'>): Outcome {
    if (name === '') return refusal('USER_EMPTY', 'the name of the user is empty');
    const badName = refuseName(name) ?? refuseHash(passwordHash);
    if (badName !== undefined) return badName;
    if (this.users.has(name)) return refusal('USER_EXISTS', `the user ${name} exists already`);
    if (this.users.size >= this.limits.maxUsers) return tooMany(this.limits.maxUsers, 'users');
    const generation = this.lastGeneration + 1;
    const user = { name, passwordHash: copyOf(passwordHash), generation, roles: [] };
    const outcome = this.setUser(user);
    if (outcome === 'changed') this.lastGeneration = generation;
    return outcome;
  }

  private userDelete(name: string): Outcome {
    if (this.isEnabled && name === ROOT) return notWhileEnabled('the user root');
    const user = this.users.get(name);
    if (user === undefined) return noUser(name);
    this.users.delete(name);
    this.sizeBytes -= userBytes(user);
    this.sessionOwners.forget(name);
    return 'changed';
  }

  private userChangePassword({ user: name, passwordHash }: Of<'userChangePassword'>): Outcome {
    const user = this.users.get(name);
    if (user === undefined) return noUser(name);
    const badHash = refuseHash(passwordHash);
    if (badHash !== undefined) return badHash;
    const generation = this.lastGeneration + 1;
    const outcome = this.setUser({ ...user, passwordHash: copyOf(passwordHash), generation });
    if (outcome === 'changed') this.lastGeneration = generation;
    return outcome;
  }

  private userGrantRole({ user: name, role }: Of<'userGrantRole'>): Outcome {
    const user = this.users.get(name);
    if (user === undefined) return noUser(name);
    if (role !== ROOT && !this.roles.has(role)) return noRole(role);
    if (user.roles.includes(role)) return 'idle';
    if (user.roles.length >= this.limits.maxRolesPerUser)
      return tooMany(this.limits.maxRolesPerUser, 'roles of one user');
    return this.setUser({ ...user, roles: [...user.roles, role].sort(byText) });
  }

  private userRevokeRole({ user: name, role }: Of<'userRevokeRole'>): Outcome {
    if (this.isEnabled && name === ROOT && role === ROOT) return notWhileEnabled('the role root of root');
    const user = this.users.get(name);
    if (user === undefined) return noUser(name);
    if (!user.roles.includes(role))
      return refusal('ROLE_NOT_GRANTED', `the user ${name} does not have the role ${role}`);
    return this.setUser({ ...user, roles: user.roles.filter((other) => other !== role) });
  }

  private roleAdd(name: string): Outcome {
    if (name === '') return refusal('ROLE_EMPTY', 'the name of the role is empty');
    const badName = refuseName(name);
    if (badName !== undefined) return badName;
    if (this.roles.has(name)) return refusal('ROLE_EXISTS', `the role ${name} exists already`);
    if (this.roles.size >= this.limits.maxRoles) return tooMany(this.limits.maxRoles, 'roles');
    return this.setRole({ name, grants: [] });
  }

  private roleDelete(name: string): Outcome {
    if (this.isEnabled && name === ROOT) return notWhileEnabled('the role root');
    const role = this.roles.get(name);
    if (role === undefined) return noRole(name);
    this.roles.delete(name);
    this.sizeBytes -= roleBytes(role);
    for (const user of this.users.values()) {
      if (!user.roles.includes(name)) continue;
      // Less than before: no bound can stand against it.
      this.setUser({ ...user, roles: user.roles.filter((other) => other !== name) });
    }
    return 'changed';
  }

  private roleGrant({ role: name, grant }: Of<'roleGrant'>): Outcome {
    const role = this.roles.get(name);
    if (role === undefined) return noRole(name);
    const { kind, key, end } = grant;
    if (end !== undefined && compareKeys(key, end) >= 0)
      return refusal('INVALID_AUTH_MANAGEMENT', 'the range of the grant holds no key');
    const others = role.grants.filter((other) => !sameKeys(other, key, end));
    if (others.length >= this.limits.maxGrantsPerRole)
      return tooMany(this.limits.maxGrantsPerRole, 'grants of one role');
    const added: Grant = { kind, key: new Uint8Array(key), end: copyOf(end) };
    return this.setRole({ name, grants: [...others, added].sort(byKeys) });
  }

  private roleRevoke({ role: name, key, end }: Of<'roleRevoke'>): Outcome {
    const role = this.roles.get(name);
    if (role === undefined) return noRole(name);
    const grants = role.grants.filter((grant) => !sameKeys(grant, key, end));
    if (grants.length === role.grants.length)
      return refusal('PERMISSION_NOT_GRANTED', `the role ${name} has no such grant`);
    return this.setRole({ name, grants });
  }

  private setUser(user: UserState): Outcome {
    const before = this.users.get(user.name);
    const grown = userBytes(user) - (before === undefined ? 0 : userBytes(before));
    if (this.outgrows(grown)) return tooMany(this.limits.maxAuthBytes, 'bytes of users and roles');
    this.sizeBytes += grown;
    this.users.set(user.name, user);
    return 'changed';
  }

  private setRole(role: RoleState): Outcome {
    const before = this.roles.get(role.name);
    const grown = roleBytes(role) - (before === undefined ? 0 : roleBytes(before));
    if (this.outgrows(grown)) return tooMany(this.limits.maxAuthBytes, 'bytes of users and roles');
    this.sizeBytes += grown;
    this.roles.set(role.name, role);
    return 'changed';
  }

  private outgrows(grown: number): boolean {
    return grown > 0 && this.sizeBytes + grown > this.limits.maxAuthBytes;
  }
}

function refusal(code: Refusal['code'], message: string): Refusal {
  return { code, message };
}
const noUser = (name: string): Refusal => refusal('USER_NOT_FOUND', `there is no user ${shown(name)}`);
const noRole = (name: string): Refusal => refusal('ROLE_NOT_FOUND', `there is no role ${shown(name)}`);
const notWhileEnabled = (what: string): Refusal =>
  refusal('INVALID_AUTH_MANAGEMENT', `${what} stays as long as rights are enforced`);
const tooMany = (most: number, of: string): Refusal =>
  refusal('REQUEST_TOO_LARGE', `a store has at most ${most} ${of}`);

function refuseName(name: string): Refusal | undefined {
  // A character takes three bytes at most for each of its code units.
  if (name.length * 3 <= MAX_NAME_BYTES || utf8Bytes(name) <= MAX_NAME_BYTES) return undefined;
  return refusal('INVALID_ARGUMENT', `a name may have ${MAX_NAME_BYTES} bytes`);
}

function refuseHash(hash: Uint8Array | undefined): Refusal | undefined {
  if (hash === undefined || (hash.length > 0 && hash.length <= MAX_HASH_BYTES)) return undefined;
  return refusal('INVALID_ARGUMENT', `a hash of ${hash.length} bytes`);
}

function shown(name: string): string {
  return name.length <= MAX_NAME_BYTES ? name : `${name.slice(0, MAX_NAME_BYTES)}...`;
}

function sameKeys(grant: Grant, key: Uint8Array, end: Uint8Array | undefined): boolean {
  return compareKeys(grant.key, key) === 0 && compareEnds(grant.end, end) === 0;
}

function byKeys(a: Grant, b: Grant): number {
  return compareKeys(a.key, b.key) || compareEnds(a.end, b.end);
}

function compareEnds(a: Uint8Array | undefined, b: Uint8Array | undefined): number {
  return compareKeys(a ?? NOTHING, b ?? NOTHING);
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function copyOf(bytes: Uint8Array | undefined): Uint8Array | undefined {
  return bytes === undefined ? undefined : new Uint8Array(bytes);
}

function userBytes(user: UserState): number {
  let size = RECORD_BYTES + utf8Bytes(user.name) + (user.passwordHash?.length ?? 0);
  for (const role of user.roles) size += RECORD_BYTES + utf8Bytes(role);
  return size;
}

function roleBytes(role: RoleState): number {
  let size = RECORD_BYTES + utf8Bytes(role.name);
  for (const { key, end } of role.grants) size += RECORD_BYTES + key.length + (end?.length ?? 0);
  return size;
}

/** What numbers and lengths of one item are counted as. */
const RECORD_BYTES = 16;

function utf8Bytes(text: string): number {
  let size = 0;
  for (const character of text) {
    const code = character.codePointAt(0) as number;
    size += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x1_0000 ? 3 : 4;
  }
  return size;
}
