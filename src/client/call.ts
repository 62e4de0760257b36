/**
 * One call of a client, across its attempts.
 *
 * Invariants: settles once; an attempt never has more time than the call has left, nor more than ATTEMPT_TIMEOUT_MS, so that a stuck node does not use up the time
 * in which another could answer.
 */
import { KvError } from '../errors.ts';
import { asKvError } from '../wire/error_codec.ts';
import type { ByteReader, ByteWriter } from '../wire/varint.ts';
import type { Renaming } from './credentials.ts';
import { cancelled } from './deadline.ts';
import type { ConnectionCall, TcpConnection } from './tcp_connection.ts';

const ATTEMPT_TIMEOUT_MS = 2_000;

/** What is asked, the same in every attempt. */
export interface CallRequest<T> {
  readonly opcode: number;
  /** Bytes that it holds in memory, as far as they count. */
  readonly sizeBytes: number;
  readonly preferLeader: boolean;
  /** It changes something: an attempt without an answer may have taken effect. */
  readonly changes: boolean;
  /** Sending it twice does no harm. */
  readonly repeatable: boolean;
  /** A node that has not come to the revision asked for is not the only one to ask. */
  readonly retryWhenBehind: boolean;
  /** What an answer may take that is known to take long; otherwise ATTEMPT_TIMEOUT_MS. */
  readonly attemptTimeoutMs?: number;
  write(writer: ByteWriter, timeoutMs: number): void;
  read(reader: ByteReader): T;
  /** The error that an answer stands for when it says that this attempt was refused, and nothing of what became of attempts before. */
  refusal?(value: T): KvError | undefined;
}

/** What the next attempt of a call or a stream has to know of those before. */
export interface Attempts {
  /** Where the last one failed: another node is better, where there is one. */
  avoid: TcpConnection | undefined;
  /** The last one was refused for want of a name: its node is told anew, and asked again once it knows; others would have to be told first. */
  renaming: Renaming | undefined;
  /** How many were refused for want of a name. */
  nameless: number;
}

/** A call of any type, as the owner deals with it. */
export interface PendingCall extends Attempts {
  readonly request: Omit<CallRequest<unknown>, 'read' | 'refusal'>;
  readonly deadlineMs: number;
  readonly settled: boolean;
  /** Some attempt may have taken effect. */
  outcomeUnknown: boolean;
  readonly attempts: number;
  /** Not to be sent again before, unless a renaming is over. */
  notBeforeMs: number;
  lastError: KvError | undefined;
  /** Begins an attempt. */
  sendOn(connection: TcpConnection, nowMs: number): void;
  /** Gives the caller the error, with what is known about the outcome. */
  fail(error: KvError): void;
}

export interface CallOwner {
  attemptFailed(call: PendingCall, error: KvError, connection: TcpConnection): void;
  answered(call: PendingCall): void;
  abandoned(call: PendingCall, connection: TcpConnection, requestId: number): void;
}

export class Call<T> implements ConnectionCall, PendingCall {
  readonly request: CallRequest<T>;
  readonly opcode: number;
  readonly changes: boolean;
  readonly deadlineMs: number;
  attemptDeadlineMs = 0;
  settled = false;
  outcomeUnknown = false;
  attempts = 0;
  nameless = 0;
  notBeforeMs = 0;
  lastError: KvError | undefined;
  avoid: TcpConnection | undefined;
  renaming: Renaming | undefined;
  private readonly owner: CallOwner;
  private readonly resolve: (value: T) => void;
  private readonly reject: (error: KvError) => void;
  private signal: AbortSignal | undefined;
  private onAbort: (() => void) | undefined;
  private connection: TcpConnection | undefined;
  private requestId = 0;
  private attemptTimeoutMs = 0;

  constructor(
    request: CallRequest<T>,
    owner: CallOwner,
    resolve: (value: T) => void,
    reject: (error: KvError) => void,
    deadlineMs: number,
  ) {
    this.request = request;
    this.opcode = request.opcode;
    this.changes = request.changes;
    this.owner = owner;
    this.resolve = resolve;
    this.reject = reject;
    this.deadlineMs = deadlineMs;
  }

  watchSignal(signal: AbortSignal): void {
    this.signal = signal;
    this.onAbort = () => this.abort();
    signal.addEventListener('abort', this.onAbort, { once: true });
  }

  sendOn(connection: TcpConnection, nowMs: number): void {
    this.attempts++;
    this.attemptTimeoutMs = Math.min(
      this.request.attemptTimeoutMs ?? ATTEMPT_TIMEOUT_MS,
      this.deadlineMs - nowMs,
    );
    this.attemptDeadlineMs = nowMs + this.attemptTimeoutMs;
    this.connection = connection;
    try {
      this.requestId = connection.send(this);
    } catch (error) {
      // Nothing was sent: the request itself is at fault.
      this.connection = undefined;
      this.owner.answered(this);
      this.fail(asKvError(error));
    }
  }

  write(writer: ByteWriter): void {
    this.request.write(writer, this.attemptTimeoutMs);
  }

  answered(reader: ByteReader): void {
    const value = this.request.read(reader);
    const refusal = this.request.refusal?.(value);
    const { connection } = this;
    this.connection = undefined;
    if (refusal !== undefined && connection !== undefined) {
      this.owner.attemptFailed(this, refusal, connection);
      return;
    }
    this.owner.answered(this);
    if (this.settle()) this.resolve(value);
  }

  failed(error: KvError, connection: TcpConnection): void {
    this.connection = undefined;
    this.owner.attemptFailed(this, error, connection);
  }

  fail(error: KvError): void {
    if (!this.settle()) return;
    if (this.outcomeUnknown && !error.maybeApplied) {
      const { details, cause } = error;
      this.reject(new KvError(error.code, error.message, { maybeApplied: true, details, cause }));
    } else {
      this.reject(error);
    }
  }

  private abort(): void {
    if (this.settled) return;
    const { connection } = this;
    if (connection !== undefined) {
      this.connection = undefined;
      this.outcomeUnknown ||= this.request.changes;
      this.owner.abandoned(this, connection, this.requestId);
    }
    this.fail(cancelled(false));
  }

  private settle(): boolean {
    if (this.settled) return false;
    this.settled = true;
    if (this.onAbort !== undefined) this.signal?.removeEventListener('abort', this.onAbort);
    return true;
  }
}
