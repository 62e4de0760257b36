/**
 * How a client names itself to the nodes: with its password once, with the token that it got for it from then on, until that is refused.
 *
 * Invariants: a connection is told who the client is before any call is sent on it; a node where rights are not enforced is taken as it is; a refused password is
 * remembered, so that a call fails instead of being repeated.
 */
import { KvError } from '../errors.ts';
import { type Credentials, writeCredentials } from '../wire/client_auth_codec.ts';
import { wireTimeoutMs } from '../wire/client_codec.ts';
import { OPCODE } from '../wire/client_frames.ts';
import type { TcpConnection } from './tcp_connection.ts';

export interface UserAndPassword {
  readonly user: string;
  readonly password: string;
}

/** Refusals after which the client has to name itself anew. */
const UNNAMED: ReadonlySet<string> = new Set(['UNAUTHENTICATED', 'USER_EMPTY']);

export class ClientCredentials {
  /** Why the password was refused. */
  refused: KvError | undefined;
  readonly #given: UserAndPassword;
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;
  readonly #renewing = new WeakMap<TcpConnection, Promise<void>>();
  #token: string | undefined;

  constructor(given: UserAndPassword, timeoutMs: number, nowMs: () => number) {
    this.#given = given;
    this.#timeoutMs = timeoutMs;
    this.#nowMs = nowMs;
  }

  /** Whether another attempt may succeed once the connection has been named anew; sees to that. */
  mends(error: KvError, connection: TcpConnection): boolean {
    if (!UNNAMED.has(error.code) || this.refused !== undefined) return false;
    if (connection.usable && !this.#renewing.has(connection)) {
      const done = this.name(connection)
        // What came of it, the next attempt finds out.
        .catch(() => undefined)
        .finally(() => this.#renewing.delete(connection));
      this.#renewing.set(connection, done);
    }
    return true;
  }

  renaming(connection: TcpConnection): Promise<void> | undefined {
    return this.#renewing.get(connection);
  }

  /** Tells a node who this client is. @throws KvError AUTH_FAILED, and whatever cuts a call short */
  async name(connection: TcpConnection): Promise<void> {
    const token = this.#token;
    if (token !== undefined) {
      try {
        await this.#say(connection, { token });
        return;
      } catch (error) {
        if (isCode(error, 'AUTH_NOT_ENABLED')) return;
        if (!isCode(error, 'UNAUTHENTICATED')) throw error;
        if (this.#token === token) this.#token = undefined;
      }
    }
    try {
      this.#token = await this.#say(connection, this.#given);
      this.refused = undefined;
    } catch (error) {
      if (isCode(error, 'AUTH_NOT_ENABLED')) return;
      if (error instanceof KvError && error.code === 'AUTH_FAILED') this.refused = error;
      throw error;
    }
  }

  #say(connection: TcpConnection, credentials: Credentials): Promise<string> {
    return new Promise((resolve, reject) => {
      connection.send({
        opcode: OPCODE.AUTHENTICATE,
        changes: false,
        attemptDeadlineMs: this.#nowMs() + this.#timeoutMs,
        write: (writer) => {
          writer.varint(wireTimeoutMs(this.#timeoutMs));
          writeCredentials(writer, credentials);
        },
        answered: (reader) => resolve(reader.string()),
        failed: (error) => reject(error),
      });
    });
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof KvError && error.code === code;
}
