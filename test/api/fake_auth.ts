/** A stand-in for the part of a service that knows users: passwords in plain text, tokens that say whose they are. */
import type { AuthService } from '../../src/api/service.ts';
import { KvError } from '../../src/errors.ts';
import type { Identity } from '../../src/security/identity.ts';
import type { AuthRequest, AuthStatus, RoleInfo, UserInfo } from '../../src/wire/auth_messages.ts';

export class FakeAuth implements AuthService {
  readonly passwords = new Map<string, string>();
  readonly requests: AuthRequest[] = [];
  enabled = false;
  /** Tokens of an earlier one are refused. */
  generation = 1;
  authenticated = 0;

  async authenticate(name: string, password: string): Promise<{ token: string; identity: Identity }> {
    if (!this.enabled) throw new KvError('AUTH_NOT_ENABLED', 'authentication is not enabled');
    if (this.passwords.get(name) !== password) throw new KvError('AUTH_FAILED', 'authentication failed');
    this.authenticated++;
    const token = `${name}.${this.generation}`;
    return { token, identity: { user: name, generation: this.generation, expiresAtMs: 0 } };
  }

  identify(token: string): Identity | undefined {
    if (!this.enabled) return undefined;
    const [user = '', generation] = token.split('.');
    if (Number(generation) !== this.generation)
      throw new KvError('UNAUTHENTICATED', 'the token is not valid');
    return { user, generation: this.generation, expiresAtMs: 0 };
  }

  /** What a service does with every call. */
  check(identity: Identity | undefined): void {
    if (!this.enabled) return;
    if (identity === undefined) throw new KvError('USER_EMPTY', 'nobody is named');
    if (identity.generation !== this.generation) throw new KvError('UNAUTHENTICATED', 'authenticate again');
  }

  async change(request: AuthRequest): Promise<void> {
    this.requests.push(request);
    if (request.type === 'userAdd') this.passwords.set(request.user, request.password ?? '');
    if (request.type === 'enable') this.enabled = true;
    if (request.type === 'disable') this.enabled = false;
  }

  async status(): Promise<AuthStatus> {
    return { enabled: this.enabled, authRevision: this.requests.length + 1 };
  }

  async user(name: string): Promise<UserInfo> {
    if (!this.passwords.has(name)) throw new KvError('USER_NOT_FOUND', 'there is no such user');
    return { name, roles: ['app', 'root'] };
  }

  async users(): Promise<string[]> {
    return [...this.passwords.keys()];
  }

  async role(name: string): Promise<RoleInfo> {
    const key = Uint8Array.of(1, 0x61);
    return {
      name,
      grants: [
        { kind: 'read', key, end: undefined },
        { kind: 'readwrite', key, end: Uint8Array.of(2) },
      ],
    };
  }

  async roles(): Promise<string[]> {
    return ['app', 'root'];
  }
}
