/**
 * Whether who asks may have what is asked for, by the users and rights that this node has applied.
 *
 * What this finds for a read holds for the state that the read is served from, in the same turn; what it finds for a write is checked again when the write is applied.
 *
 * Invariant: where rights are enforced, nothing is allowed to somebody without a name, or with a name that no longer holds.
 */
import { KvError } from '../errors.ts';
import type { AuthTable } from '../kv/auth.ts';
import { refuseCommand, refuseNotRoot, refuseRead } from '../kv/auth_check.ts';
import type { PlainCommand } from '../kv/command.ts';
import { USER_SPACE_END } from '../kv/keyspace.ts';
import type { Clock } from '../ports.ts';
import type { Identity } from '../security/identity.ts';

export class AuthGate {
  readonly auth: AuthTable;
  readonly #clock: Clock;

  constructor(auth: AuthTable, clock: Clock) {
    this.auth = auth;
    this.#clock = clock;
  }

  /**
   * The user who asks; empty: the cluster itself. REQUIRES: rights are enforced.
   * @throws KvError USER_EMPTY (nobody was named), UNAUTHENTICATED (the name does not hold any more: authenticate again)
   */
  userOf(identity: Identity | undefined): string {
    if (identity === undefined) throw new KvError('USER_EMPTY', 'nobody is named, and rights are enforced');
    const { user, generation, expiresAtMs } = identity;
    if (user === '') return user;
    if (this.auth.user(user)?.generation !== generation)
      throw new KvError('UNAUTHENTICATED', 'the user or the password has changed: authenticate again');
    if (expiresAtMs !== 0 && expiresAtMs <= this.#clock.wallMs())
      throw new KvError('UNAUTHENTICATED', 'the token has expired: authenticate again');
    return user;
  }

  /** A read of [key, end), or of the one key. @throws KvError PERMISSION_DENIED, and as userOf */
  checkKeys(identity: Identity | undefined, key: Uint8Array, end: Uint8Array | undefined): void {
    if (!this.auth.enabled) return;
    const user = this.userOf(identity);
    if (user === '') return;
    allow(refuseRead(this.auth.rightsOf(user), { key, end }));
  }

  /** A read from `start` on. @throws as checkKeys */
  checkScan(identity: Identity | undefined, start: Uint8Array, end: Uint8Array | undefined): void {
    this.checkKeys(identity, start, end ?? USER_SPACE_END);
  }

  /** @throws as checkKeys */
  checkRoot(identity: Identity | undefined): void {
    if (!this.auth.enabled) return;
    const user = this.userOf(identity);
    if (user !== '') allow(refuseNotRoot(this.auth.rightsOf(user)));
  }

  /** What a command needs, but for the keys of leases, which only apply looks at. REQUIRES: rights are enforced. @throws as checkKeys, SESSION_EXPIRED */
  checkCommand(user: string, command: PlainCommand): void {
    if (user !== '') allow(refuseCommand(this.auth, user, command, noKeys));
  }
}

const noKeys = (): readonly Uint8Array[] => [];

function allow(refusal: ReturnType<typeof refuseRead>): void {
  if (refusal !== undefined) throw new KvError(refusal.code, refusal.message);
}
