/**
 * How a client names itself to the nodes: with its password once, with the token that it got for it from then on, until that is refused.
 *
 * Invariants: a connection is told who the client is before any call is sent on it; a node where rights are not enforced is taken as it is; a refused password is
 * remembered, so that a call fails instead of being repeated; a connection is told anew by one request at a time, for all who were refused on it.
 */
import { KvError } from '../errors.ts';
import { type Credentials, writeCredentials } from '../wire/client_auth_codec.ts';
import { wireTimeoutMs } from '../wire/client_codec.ts';
import { OPCODE } from '../wire/client_frames.ts';
import type { TcpConnection } from './tcp_connection.ts';

/** A connection that is told anew who this client is. */
export interface Renaming {
  readonly connection: TcpConnection;
  state: 'under way' | 'named' | 'failed';
  /** Resolves when it is over: true, if the connection has its name. */
  over: Promise<boolean>;
}

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
  readonly #renaming = new WeakMap<TcpConnection, Renaming>();
  readonly #renamed: () => void;
  #token: string | undefined;

  /** `renamed` is called when a connection was told anew, with or without success. */
  constructor(given: UserAndPassword, timeoutMs: number, nowMs: () => number, renamed: () => void) {
    this.#given = given;
    this.#timeoutMs = timeoutMs;
    this.#nowMs = nowMs;
    this.#renamed = renamed;
  }

  /** Tells the node anew where a refusal was for want of a name, and gives what is under way; undefined: the refusal stands. */
  rename(error: KvError, connection: TcpConnection): Renaming | undefined {
    if (!UNNAMED.has(error.code) || this.refused !== undefined) return undefined;
    const begun = this.#renaming.get(connection);
    if (begun !== undefined) return begun;
    const renaming: Renaming = { connection, state: 'failed', over: Promise.resolve(false) };
    if (connection.usable) {
      renaming.state = 'under way';
      renaming.over = this.name(connection).then(
        () => this.#ended(renaming, 'named'),
        () => this.#ended(renaming, 'failed'),
      );
      this.#renaming.set(connection, renaming);
    }
    return renaming;
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

  #ended(renaming: Renaming, state: 'named' | 'failed'): boolean {
    renaming.state = state;
    this.#renaming.delete(renaming.connection);
    this.#renamed();
    return state === 'named';
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
