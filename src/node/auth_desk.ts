/**
 * Where clients authenticate, and administrators change and look at users and rights.
 *
 * Invariants: a password is hashed here, before anything is proposed, and goes no further; who may not change users does not get hashes computed; what is answered of
 * users and rights is as new as the cluster's; a token is given only for what the password was checked against.
 */
import type { AuthService, CallOptions } from '../api/service.ts';
import { KvError } from '../errors.ts';
import { type AuthChange, SECRET_BYTES } from '../kv/auth_types.ts';
import type { CommandResult } from '../kv/command.ts';
import type { Clock, Random } from '../ports.ts';
import type { Identity } from '../security/identity.ts';
import { type Passwords, SALT_BYTES } from '../security/passwords.ts';
import { readToken, signToken } from '../security/tokens.ts';
import { checkAuthChange } from '../wire/as_user.ts';
import type { AuthRequest, AuthStatus, RoleInfo, UserInfo } from '../wire/auth_messages.ts';
import { type ClientCommandLimits, encodeCommand } from '../wire/command_codec.ts';
import type { AuthGate } from './auth_gate.ts';

export interface AuthDeskOptions {
  readonly gate: AuthGate;
  readonly passwords: Passwords;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: ClientCommandLimits;
  readonly tokenTtlMs: number;
  /** Resolves when this node has applied what the cluster had committed. */
  readonly barrier: (options: CallOptions | undefined) => Promise<void>;
  readonly write: (command: Uint8Array, change: AuthChange, options: CallOptions) => Promise<CommandResult>;
}

export class AuthDesk implements AuthService {
  readonly #options: AuthDeskOptions;

  constructor(options: AuthDeskOptions) {
    this.#options = options;
  }

  async authenticate(
    name: string,
    password: string,
    options?: CallOptions,
  ): Promise<{ token: string; identity: Identity }> {
    const { gate, passwords, clock, barrier, tokenTtlMs } = this.#options;
    const { auth } = gate;
    await barrier(options);
    if (!auth.enabled) throw notEnabled();
    const user = auth.user(name);
    const right = await passwords.verify(password, user?.passwordHash);
    if (!auth.enabled) throw notEnabled();
    if (!right || user === undefined || auth.user(name)?.generation !== user.generation)
      throw new KvError('AUTH_FAILED', 'authentication failed: wrong user or password');
    const expiresAtMs = Math.floor(clock.wallMs()) + tokenTtlMs;
    const identity: Identity = { user: name, generation: user.generation, expiresAtMs };
    return { token: signToken(auth.secret, identity), identity };
  }

  identify(token: string): Identity | undefined {
    const { gate, clock } = this.#options;
    if (!gate.auth.enabled) return undefined;
    const identity = readToken(gate.auth.secret, token, clock.wallMs());
    if (identity === undefined) throw new KvError('UNAUTHENTICATED', 'the token is not valid here');
    gate.userOf(identity);
    return identity;
  }

  async change(request: AuthRequest, options: CallOptions = {}): Promise<void> {
    await this.#asRoot(options);
    const change = await this.#prepared(request);
    checkAuthChange(change, this.#options.limits);
    const result = await this.#options.write(encodeCommand({ type: 'authChange', change }), change, options);
    if (result.type === 'failed') throw new KvError(result.code, result.message);
  }

  async status(options?: CallOptions): Promise<AuthStatus> {
    const { gate, barrier } = this.#options;
    await barrier(options);
    return { enabled: gate.auth.enabled, authRevision: gate.auth.revision };
  }

  async user(name: string, options?: CallOptions): Promise<UserInfo> {
    const { gate, barrier } = this.#options;
    await barrier(options);
    // Everybody may know what they are.
    if (gate.auth.enabled && gate.userOf(options?.identity) !== name) gate.checkRoot(options?.identity);
    const found = gate.auth.user(name);
    if (found === undefined) throw new KvError('USER_NOT_FOUND', 'there is no such user');
    return { name, roles: found.roles };
  }

  async users(options?: CallOptions): Promise<string[]> {
    await this.#asRoot(options);
    return this.#options.gate.auth.userNames();
  }

  async role(name: string, options?: CallOptions): Promise<RoleInfo> {
    const { gate, barrier } = this.#options;
    await barrier(options);
    const asks = gate.auth.enabled ? gate.userOf(options?.identity) : '';
    const own = gate.auth.user(asks)?.roles.includes(name) === true;
    if (!own) gate.checkRoot(options?.identity);
    const found = gate.auth.role(name);
    if (found === undefined) throw new KvError('ROLE_NOT_FOUND', 'there is no such role');
    return { name, grants: found.grants };
  }

  async roles(options?: CallOptions): Promise<string[]> {
    await this.#asRoot(options);
    return this.#options.gate.auth.roleNames();
  }

  async #asRoot(options: CallOptions | undefined): Promise<void> {
    await this.#options.barrier(options);
    this.#options.gate.checkRoot(options?.identity);
  }

  async #prepared(request: AuthRequest): Promise<AuthChange> {
    const { passwords, random } = this.#options;
    if (request.type === 'enable') return { type: 'enable', secret: random.bytes(SECRET_BYTES) };
    if (request.type !== 'userAdd' && request.type !== 'userChangePassword') return request;
    const { type, user, password } = request;
    const hashed =
      password === undefined ? undefined : await passwords.hash(password, random.bytes(SALT_BYTES));
    return { type, user, passwordHash: hashed };
  }
}

function notEnabled(): KvError {
  return new KvError('AUTH_NOT_ENABLED', 'authentication is not enabled');
}
