/**
 * Calls to a cluster: each finds a node that answers it, within its own time, and is repeated elsewhere where that is safe.
 *
 * Invariants: a call settles once, and at the latest a sweep after its deadline; `maybeApplied` is set when any attempt that reached a node had an
 * unknown outcome and no later one cleared it up; calls that must not be repeated are only sent again when they were certainly refused; calls and bytes in
 * flight are bounded: past that they wait, and past MAX_WAITING they fail as OVERLOADED.
 */
import type { Dial } from '../byte_stream.ts';
import { KvError } from '../errors.ts';
import type { Ports, TimerHandle } from '../ports.ts';
import { readMembers } from '../wire/client_admin_codec.ts';
import { type Welcome, wireTimeoutMs } from '../wire/client_codec.ts';
import { OPCODE } from '../wire/client_frames.ts';
import type { ByteReader, ByteWriter } from '../wire/varint.ts';
import { type Attempts, Call, type CallOwner, type CallRequest, type PendingCall } from './call.ts';
import type { ChannelOptions } from './channel.ts';
import { ClientCredentials } from './credentials.ts';
import { cancelled } from './deadline.ts';
import { Endpoints } from './endpoints.ts';
import type { TcpConnection } from './tcp_connection.ts';

export const DEFAULT_TIMEOUT_MS = 5_000;
const SWEEP_MS = 50;
/** Events of a watch that may be on their way or wait here; granted anew as batches are consumed. */
const WATCH_WINDOW_BYTES = 4 * 1024 * 1024;
const MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024;
const MAX_WAITING = 20_000;
const MAX_WAITING_BYTES = 128 * 1024 * 1024;
/** Membership is asked for anew at least this often, at once when a connection comes or goes or a node says that it has changed, and no more often than MIN_REFRESH_MS. */
const REFRESH_MS = 10_000;
const MIN_REFRESH_MS = 200;
const REFRESH_TIMEOUT_MS = 1_500;
/** Without an answer for so long, former members are asked as well. */
const LOST_MS = 3_000;
const CONNECT_TIMEOUT_MS = 2_000;
/** Errors for which another attempt, perhaps with another node, is worth it. */
const PASSING: ReadonlySet<string> = new Set([
  'NOT_LEADER',
  'NO_LEADER',
  'TIMEOUT',
  'UNAVAILABLE',
  'OVERLOADED',
  'CLOSED',
  'AUTH_STALE',
]);
/** A call that is refused for want of a name so often is refused for good. */
const MAX_NAMELESS_ATTEMPTS = 10;
const FIRST_PAUSE_MS = 25;
const MAX_PAUSE_MS = 400;

export interface ClusterClientOptions {
  readonly endpoints: readonly string[];
  readonly ports: Ports;
  /** How to reach a node. Default: over TCP. */
  readonly dial?: Dial | undefined;
  readonly timeoutMs?: number | undefined;
  readonly name?: string | undefined;
  /** Who to be; a node where rights are not enforced does not ask. */
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  /** Bytes of events that a watch lets a node send ahead of what is consumed. */
  readonly watchWindowBytes?: number | undefined;
}

export class ClusterClient implements CallOwner {
  readonly ports: Ports;
  readonly timeoutMs: number;
  readonly watchWindowBytes: number;
  readonly endpoints: Endpoints;
  private readonly credentials: ClientCredentials | undefined;
  private readonly sweeper: TimerHandle;
  /** Calls that wait for a connection, for room, or for the end of their pause; oldest first. */
  private waiting: PendingCall[] = [];
  private waitingBytes = 0;
  private inFlightBytes = 0;
  private readonly streamWaiters = new Set<() => void>();
  private refreshing = false;
  private refreshWanted = true;
  private lastRefreshMs = Number.NEGATIVE_INFINITY;
  /** Since when a question for the members has had no answer. */
  private unansweredSinceMs: number | undefined;
  private draining = false;
  /** Calls wait that could not be sent: new ones line up behind them. */
  private blocked = false;
  private closed = false;

  /** @throws KvError INVALID_ARGUMENT for endpoints that are none. */
  constructor(options: ClusterClientOptions) {
    this.ports = options.ports;
    this.timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.watchWindowBytes = options.watchWindowBytes ?? WATCH_WINDOW_BYTES;
    const connectTimeoutMs = Math.min(CONNECT_TIMEOUT_MS, this.timeoutMs);
    this.credentials = credentialsOf(options, connectTimeoutMs, () => this.drain());
    this.endpoints = new Endpoints({
      credentials: this.credentials,
      addresses: options.endpoints,
      ports: options.ports,
      dial: options.dial,
      connectTimeoutMs,
      name: options.name ?? 'kvorum-js',
      changed: () => this.drain(),
      uncertain: () => this.refreshSoon(),
    });
    this.sweeper = options.ports.timers.every(SWEEP_MS, () => this.sweep());
  }

  /** Sends a request and gives what its answer reads as. */
  call<T>(request: CallRequest<T>, options: ChannelOptions): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.closed) {
        reject(new KvError('CLOSED', 'the client was closed'));
        return;
      }
      if (options.signal?.aborted) {
        reject(cancelled(false));
        return;
      }
      const nowMs = this.ports.clock.monotonicMs();
      const deadlineMs = nowMs + (options.timeoutMs ?? this.timeoutMs);
      const call = new Call(request, this, resolve, reject, deadlineMs);
      if (options.signal !== undefined) call.watchSignal(options.signal);
      if (!this.blocked && this.trySend(call, nowMs)) return;
      this.blocked = true;
      this.enqueue(call);
    });
  }

  /** A connection that takes a stream: waits for one until the deadline. @throws KvError TIMEOUT, CANCELLED, CLOSED */
  async connectionForStream(
    of: Attempts,
    deadlineMs: number,
    signal: AbortSignal | undefined,
    preferLeader = false,
  ): Promise<TcpConnection> {
    for (;;) {
      if (this.closed) throw new KvError('CLOSED', 'the client was closed');
      if (signal?.aborted) throw cancelled(false);
      const connection = this.pick(preferLeader, of);
      if (connection !== undefined) return connection;
      if (this.ports.clock.monotonicMs() >= deadlineMs) throw this.unreachable();
      await new Promise<void>((resolve) => this.streamWaiters.add(resolve));
    }
  }

  /**
   * What the first node to greet says of itself.
   * @throws KvError what every endpoint failed with when they agree, else UNAVAILABLE with the reason of each.
   */
  async firstGreeting(deadlineMs: number): Promise<Welcome> {
    for (;;) {
      const connection = this.endpoints.usable[0];
      if (connection !== undefined) return connection.welcome;
      const late = this.ports.clock.monotonicMs() >= deadlineMs;
      const hopeless = this.endpoints.allFailedForGood;
      if (late || hopeless) throw this.unreachable();
      await new Promise<void>((resolve) => this.streamWaiters.add(resolve));
    }
  }

  get isClosed(): boolean {
    return this.closed;
  }

  members(options: ChannelOptions): Promise<ReturnType<typeof readMembers>> {
    return this.call(membersRequest, options);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.sweeper.cancel();
    const { waiting } = this;
    this.waiting = [];
    this.waitingBytes = 0;
    for (const call of waiting) call.fail(new KvError('CLOSED', 'the client was closed'));
    this.endpoints.close();
    this.wakeStreams();
  }

  /** Decides what becomes of a call whose attempt failed. */
  attemptFailed(call: PendingCall, error: KvError, connection: TcpConnection): void {
    this.inFlightBytes -= call.request.sizeBytes;
    if (error.maybeApplied) call.outcomeUnknown = true;
    if (error.code === 'NOT_LEADER' || error.code === 'NO_LEADER') {
      if (error.code === 'NO_LEADER') this.endpoints.forgetLeader();
      this.endpoints.hint(error.details);
      this.refreshSoon();
    }
    const nowMs = this.ports.clock.monotonicMs();
    const behind = error.code === 'FUTURE_REVISION' && call.request.retryWhenBehind;
    const again = this.again(error, connection, call, PASSING) || behind;
    if (this.closed || !again || (call.outcomeUnknown && !call.request.repeatable)) {
      call.fail(error);
      return;
    }
    if (nowMs >= call.deadlineMs) {
      call.fail(
        new KvError(
          'TIMEOUT',
          `no answer in time; the last attempt failed with ${error.code}: ${error.message}`,
          { cause: error },
        ),
      );
      return;
    }
    call.lastError = error;
    // Who was told where the leader is goes there at once; others after a pause that grows.
    const told = error.code === 'NOT_LEADER' && this.endpoints.leaderKnown && call.attempts < 3;
    const ceilingMs = Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(call.attempts, 8));
    call.notBeforeMs = told ? nowMs : nowMs + ceilingMs * this.ports.random.next();
    if (told) call.avoid = undefined;
    this.enqueue(call);
  }

  /**
   * Whether an attempt that failed may be followed by another, and where: elsewhere after one of the `passing` errors, at the same node where it was refused for want of a name and
   * that can be mended. Refusals for want of a name are counted apart from whatever else was met: an outage before says nothing about the name.
   */
  again(error: KvError, connection: TcpConnection, of: Attempts, passing: ReadonlySet<string>): boolean {
    of.avoid = connection;
    of.renaming = undefined;
    if (passing.has(error.code)) return true;
    if (of.nameless >= MAX_NAMELESS_ATTEMPTS) return false;
    of.renaming = this.credentials?.rename(error, connection);
    if (of.renaming === undefined) return false;
    of.nameless++;
    return true;
  }

  /** The pause of a stream before its next attempt: none, if its connection is named anew, so that there is no time in which the name may change again. */
  async pause(of: Attempts, pauseMs: number): Promise<void> {
    if (of.renaming !== undefined && (await of.renaming.over)) return;
    await new Promise<void>((resolve) => this.ports.timers.after(pauseMs, resolve));
  }

  answered(call: PendingCall): void {
    this.inFlightBytes -= call.request.sizeBytes;
  }

  /** The caller gave up on a call that was sent. */
  abandoned(call: PendingCall, connection: TcpConnection, requestId: number): void {
    this.inFlightBytes -= call.request.sizeBytes;
    connection.forget(requestId);
  }

  private enqueue(call: PendingCall): void {
    const { sizeBytes } = call.request;
    if (this.waiting.length >= MAX_WAITING || this.waitingBytes + sizeBytes > MAX_WAITING_BYTES) {
      call.fail(new KvError('OVERLOADED', `${this.waiting.length} calls wait to be sent`));
      return;
    }
    this.waiting.push(call);
    this.waitingBytes += sizeBytes;
  }

  /** A connection for the next attempt; undefined: none now. */
  private pick(preferLeader: boolean, { avoid, renaming }: Attempts): TcpConnection | undefined {
    if (renaming === undefined || renaming.state === 'failed' || !renaming.connection.usable)
      return this.endpoints.pick(preferLeader, avoid);
    const { connection, state } = renaming;
    return state === 'named' && connection.hasRoom ? connection : undefined;
  }

  /** False: not now. */
  private trySend(call: PendingCall, nowMs: number): boolean {
    const { sizeBytes, preferLeader } = call.request;
    if (this.inFlightBytes > 0 && this.inFlightBytes + sizeBytes > MAX_IN_FLIGHT_BYTES) return false;
    const connection = this.pick(preferLeader, call);
    if (connection === undefined) return false;
    this.inFlightBytes += sizeBytes;
    call.sendOn(connection, nowMs);
    return true;
  }

  /** Sends what waits and may go now. */
  private drain(): void {
    if (this.streamWaiters.size > 0) this.wakeStreams();
    if (this.draining) return;
    if (this.waiting.length === 0) {
      this.blocked = false;
      return;
    }
    this.draining = true;
    const nowMs = this.ports.clock.monotonicMs();
    const { waiting } = this;
    this.waiting = [];
    this.waitingBytes = 0;
    let blocked = false;
    for (const call of waiting) {
      if (call.settled) continue;
      if (nowMs >= call.deadlineMs) call.fail(this.tooLate(call));
      else if (blocked || pauses(call, nowMs)) this.enqueue(call);
      else if (!this.trySend(call, nowMs)) {
        // What comes after would overtake it; only calls for any node may still go, and they are looked at with the next answer.
        blocked = true;
        this.enqueue(call);
      }
    }
    this.blocked = blocked;
    this.draining = false;
  }

  private tooLate(call: PendingCall): KvError {
    const { lastError } = call;
    if (lastError === undefined) return this.unreachable();
    const message = `no answer in time; the last attempt failed with ${lastError.code}: ${lastError.message}`;
    return new KvError('TIMEOUT', message, { cause: lastError });
  }

  private unreachable(): KvError {
    const code = this.endpoints.usable.length === 0 ? this.endpoints.failureCode : 'TIMEOUT';
    return new KvError(code, `no node could be asked in time (${this.endpoints.explain()})`);
  }

  private sweep(): void {
    const nowMs = this.ports.clock.monotonicMs();
    const { unansweredSinceMs } = this;
    this.endpoints.sweep(nowMs, unansweredSinceMs !== undefined && nowMs - unansweredSinceMs >= LOST_MS);
    this.drain();
    this.wakeStreams();
    const sinceMs = nowMs - this.lastRefreshMs;
    const wanted = this.refreshWanted || !this.endpoints.leaderKnown || sinceMs >= REFRESH_MS;
    if (wanted && sinceMs >= MIN_REFRESH_MS) this.refresh(nowMs);
  }

  private refreshSoon(): void {
    this.refreshWanted = true;
    const nowMs = this.ports.clock.monotonicMs();
    if (nowMs - this.lastRefreshMs >= MIN_REFRESH_MS) this.refresh(nowMs);
  }

  /** Asks for the members and the leader. One question at a time; its failure only means that it is asked again. */
  private refresh(nowMs: number): void {
    if (this.refreshing || this.closed) return;
    this.unansweredSinceMs ??= nowMs;
    const connection = this.endpoints.pick(false, undefined);
    if (connection === undefined) return;
    this.refreshing = true;
    this.refreshWanted = false;
    this.lastRefreshMs = nowMs;
    connection.send({
      opcode: OPCODE.MEMBERS,
      changes: false,
      attemptDeadlineMs: nowMs + REFRESH_TIMEOUT_MS,
      write: (writer) => writer.varint(REFRESH_TIMEOUT_MS),
      answered: (reader) => {
        this.refreshing = false;
        this.endpoints.learn(readMembers(reader));
        this.unansweredSinceMs = undefined;
      },
      failed: (error) => {
        this.refreshing = false;
        this.refreshWanted = true;
        this.endpoints.hint(error.details);
      },
    });
  }

  private wakeStreams(): void {
    const waiters = [...this.streamWaiters];
    this.streamWaiters.clear();
    for (const wake of waiters) wake();
  }
}

function credentialsOf(
  { user, password, ports }: ClusterClientOptions,
  timeoutMs: number,
  renamed: () => void,
): ClientCredentials | undefined {
  if (user === undefined && password === undefined) return undefined;
  if (typeof user !== 'string' || typeof password !== 'string' || user === '')
    throw new KvError('INVALID_ARGUMENT', 'user and password belong together, and are strings');
  return new ClientCredentials({ user, password }, timeoutMs, () => ports.clock.monotonicMs(), renamed);
}

/** Not yet to be sent again. */
function pauses({ renaming, notBeforeMs }: PendingCall, nowMs: number): boolean {
  if (renaming?.state === 'named') return false;
  if (renaming?.state === 'under way' && renaming.connection.usable) return true;
  return nowMs < notBeforeMs;
}

const membersRequest: CallRequest<ReturnType<typeof readMembers>> = {
  opcode: OPCODE.MEMBERS,
  sizeBytes: 0,
  preferLeader: true,
  changes: false,
  repeatable: true,
  retryWhenBehind: false,
  write: (writer: ByteWriter, timeoutMs: number) => writer.varint(wireTimeoutMs(timeoutMs)),
  read: (reader: ByteReader) => readMembers(reader),
};
