/**
 * One connection of a client to a node: greeting, pipelined calls, streams, keep-alive. It knows nothing of other nodes and never repeats anything.
 *
 * Invariants: every call and stream that was sent is told its outcome exactly once: an answer, an error, or the loss of the connection; calls of one turn
 * of the event loop leave in one write; there is no timer per call: the owner calls `sweep` now and then; a connection that stays silent although
 * an answer is due is given up after PING_AFTER_MS + PING_TIMEOUT_MS.
 */
import type { ByteStream, Dial } from '../byte_stream.ts';
import { KvError } from '../errors.ts';
import { dialTcp } from '../net_streams.ts';
import type { Ports } from '../ports.ts';
import { PROTOCOL_VERSION, readWelcome, type Welcome, writeHello } from '../wire/client_codec.ts';
import { beginFrame, endFrame, FRAME_HEADER_BYTES, FrameReader, OPCODE } from '../wire/client_frames.ts';
import { asKvError, decodeError } from '../wire/error_codec.ts';
import { ByteReader, ByteWriter } from '../wire/varint.ts';

/** Silence, while an answer is due, after which the node is asked whether it lives. */
const PING_AFTER_MS = 500;
/** The same while only streams are open. */
const PING_STREAMS_AFTER_MS = 2_000;
const PING_IDLE_AFTER_MS = 10_000;
const PING_TIMEOUT_MS = 1_500;
const EAGER_FLUSH_BYTES = 256 * 1024;
const KEPT_BUFFER_BYTES = 1024 * 1024;
/** A node that takes less is of no use. */
const MIN_FRAME_BYTES = 1024;
/** Longest frame that this client takes. */
export const CLIENT_MAX_FRAME_BYTES = 128 * 1024 * 1024;

/** A request with one answer. */
export interface ConnectionCall {
  readonly opcode: number;
  /** Without an answer it may have taken effect all the same. */
  readonly changes: boolean;
  /** On the owner's monotonic clock. */
  attemptDeadlineMs: number;
  write(writer: ByteWriter): void;
  /** The payload of the RESULT. What it throws ends the connection. */
  answered(reader: ByteReader): void;
  failed(error: KvError, connection: TcpConnection): void;
}

/** A request with a stream of answers. */
export interface ConnectionStream {
  readonly opcode: number;
  write(writer: ByteWriter): void;
  data(reader: ByteReader, sizeBytes: number): void;
  /** Nothing follows. undefined: ended in good order. */
  ended(error: KvError | undefined): void;
}

export interface ConnectionOptions {
  readonly ports: Ports;
  /** Default: over TCP. */
  readonly dial?: Dial | undefined;
  readonly timeoutMs: number;
  /** Who connects, for the node's log. */
  readonly name: string;
  /** After the greeting: the connection is lost or leaving; no new calls are taken. Called once. */
  closed(connection: TcpConnection, error: KvError): void;
  /** The node said who leads; 0 when it does not know. Unasked: because the members have changed. */
  leader(connection: TcpConnection, leader: number, unasked: boolean): void;
  /** Answers came: there may be room for more calls. */
  progressed(connection: TcpConnection): void;
}

/**
 * Connects and greets.
 * @throws KvError UNAVAILABLE, TIMEOUT, PROTOCOL, UNSUPPORTED_VERSION, or what the node refuses with (OVERLOADED).
 */
export function openConnection(address: string, options: ConnectionOptions): Promise<TcpConnection> {
  return new Promise((resolve, reject) => {
    new TcpConnection(address, options, resolve, reject);
  });
}

export class TcpConnection {
  readonly address: string;
  /** Calls sent and not answered. */
  private readonly calls = new Map<number, ConnectionCall>();
  private readonly streams = new Map<number, ConnectionStream>();
  private readonly options: ConnectionOptions;
  private readonly socket: ByteStream;
  private readonly frames = new FrameReader(CLIENT_MAX_FRAME_BYTES);
  private readonly reader = new ByteReader(new Uint8Array(0));
  private readonly flushNow = () => this.flush();
  private out = new ByteWriter(16 * 1024);
  private flushScheduled = false;
  private greeting: Welcome | undefined;
  private greeted: ((connection: TcpConnection) => void) | undefined;
  private refused: ((error: KvError) => void) | undefined;
  private lastId = 0;
  private gone = false;
  private leavingBecause: KvError | undefined;
  private lastReceivedMs: number;
  private pingSentMs: number | undefined;
  /** Pings without a pong so far. */
  private pongsDue = 0;
  private lastSweepMs: number;

  /** Use `openConnection`. */
  constructor(
    address: string,
    options: ConnectionOptions,
    greeted: (connection: TcpConnection) => void,
    refused: (error: KvError) => void,
  ) {
    this.address = address;
    this.options = options;
    this.greeted = greeted;
    this.refused = refused;
    const { clock, timers } = options.ports;
    this.lastReceivedMs = this.lastSweepMs = clock.monotonicMs();
    const socket = (options.dial ?? dialTcp)(address);
    this.socket = socket;
    const timer = timers.after(options.timeoutMs, () => {
      if (this.greeting === undefined) {
        this.lose(new KvError('TIMEOUT', `no greeting within ${options.timeoutMs} ms`));
      }
    });
    socket.on('data', (chunk) => this.received(chunk));
    socket.on('error', (cause) => this.lose(new KvError('UNAVAILABLE', cause.message, { cause })));
    socket.on('end', () => this.lose(new KvError('UNAVAILABLE', 'the node closed the connection')));
    socket.on('close', () => {
      timer.cancel();
      this.lose(new KvError('UNAVAILABLE', 'the connection was lost'));
    });
    const start = beginFrame(this.out, OPCODE.HELLO, 0);
    writeHello(this.out, {
      minVersion: PROTOCOL_VERSION,
      maxVersion: PROTOCOL_VERSION,
      maxFrameBytes: CLIENT_MAX_FRAME_BYTES,
      name: options.name,
    });
    endFrame(this.out, start);
    this.flush();
  }

  /** What the node said of itself. REQUIRES: the connection was greeted. */
  get welcome(): Welcome {
    if (this.greeting === undefined) throw new KvError('INTERNAL', 'the connection was not greeted yet');
    return this.greeting;
  }

  /** Takes calls and streams. */
  get usable(): boolean {
    return !this.gone && this.leavingBecause === undefined;
  }

  /** Lost or closed: every call and stream was told. */
  get ended(): boolean {
    return this.gone;
  }

  /** May take one more call now. */
  get hasRoom(): boolean {
    return this.usable && this.calls.size < this.welcome.limits.maxRequests;
  }

  get pendingCalls(): number {
    return this.calls.size;
  }

  /**
   * Sends a call; gives its number for `forget`. REQUIRES: usable.
   * @throws KvError REQUEST_TOO_LARGE when it is longer than the node takes; nothing was sent.
   */
  send(call: ConnectionCall): number {
    const requestId = this.nextId();
    this.writeRequest(call, requestId);
    this.calls.set(requestId, call);
    return requestId;
  }

  /** Opens a stream; gives its number for `grant` and `cancel`. REQUIRES: usable. */
  open(stream: ConnectionStream): number {
    const requestId = this.nextId();
    this.writeRequest(stream, requestId);
    this.streams.set(requestId, stream);
    return requestId;
  }

  /** The outcome of a call is of no interest any longer. */
  forget(requestId: number): void {
    this.calls.delete(requestId);
    this.leaveWhenDone();
  }

  /** Lets a stream send so many bytes more. */
  grant(requestId: number, creditBytes: number): void {
    if (this.gone || !this.streams.has(requestId)) return;
    const start = beginFrame(this.out, OPCODE.CREDIT, requestId);
    this.out.varint(creditBytes);
    endFrame(this.out, start);
    this.flushLater();
  }

  /** Ends a stream from this side; it hears nothing more. */
  cancel(requestId: number): void {
    if (this.gone || !this.streams.delete(requestId)) return;
    endFrame(this.out, beginFrame(this.out, OPCODE.CANCEL, requestId));
    this.flushLater();
  }

  /** Times calls out and sees to it that a dead connection is noticed. */
  sweep(nowMs: number): void {
    if (this.gone || this.greeting === undefined) return;
    // After a pause of this very process the node's answers may wait unread: give them a turn first.
    const overslept = nowMs - this.lastSweepMs > PING_AFTER_MS;
    this.lastSweepMs = nowMs;
    if (overslept) {
      this.lastReceivedMs = nowMs;
      if (this.pingSentMs !== undefined) this.pingSentMs = nowMs;
      return;
    }
    for (const [requestId, call] of this.calls) {
      if (call.attemptDeadlineMs > nowMs) continue;
      this.calls.delete(requestId);
      const maybeApplied = call.changes;
      call.failed(new KvError('TIMEOUT', `no answer from ${this.address} in time`, { maybeApplied }), this);
    }
    this.leaveWhenDone();
    const silentMs = nowMs - this.lastReceivedMs;
    if (this.pingSentMs !== undefined) {
      if (nowMs - this.pingSentMs >= PING_TIMEOUT_MS) {
        this.lose(
          new KvError('UNAVAILABLE', `nothing was heard from the node for ${Math.round(silentMs)} ms`),
        );
      }
      return;
    }
    const idlePingMs = Math.min(PING_IDLE_AFTER_MS, this.greeting.limits.idleTimeoutMs / 3);
    const pingAfterMs =
      this.calls.size > 0 ? PING_AFTER_MS : this.streams.size > 0 ? PING_STREAMS_AFTER_MS : idlePingMs;
    if (silentMs < Math.min(pingAfterMs, idlePingMs)) return;
    this.pingSentMs = nowMs;
    this.pongsDue++;
    endFrame(this.out, beginFrame(this.out, OPCODE.PING, 0));
    this.flushLater();
  }

  close(): void {
    this.lose(new KvError('CLOSED', 'the client was closed'));
  }

  private nextId(): number {
    do {
      this.lastId = this.lastId === 0xffff_ffff ? 1 : this.lastId + 1;
    } while (this.streams.has(this.lastId) || this.calls.has(this.lastId));
    return this.lastId;
  }

  private writeRequest(request: ConnectionCall | ConnectionStream, requestId: number): void {
    const start = beginFrame(this.out, request.opcode, requestId);
    request.write(this.out);
    const sizeBytes = endFrame(this.out, start) + FRAME_HEADER_BYTES;
    const limitBytes = this.welcome.limits.maxFrameBytes;
    if (sizeBytes > limitBytes) {
      this.out.truncate(start);
      throw new KvError(
        'REQUEST_TOO_LARGE',
        `request of ${sizeBytes} bytes, allowed: at most ${limitBytes}`,
        {
          details: { sizeBytes, limitBytes },
        },
      );
    }
    if (this.out.sizeBytes >= EAGER_FLUSH_BYTES) this.flush();
    else this.flushLater();
  }

  private flushLater(): void {
    if (this.flushScheduled) return;
    this.flushScheduled = true;
    this.options.ports.timers.afterIo(this.flushNow);
  }

  private flush(): void {
    this.flushScheduled = false;
    const sizeBytes = this.out.sizeBytes;
    if (sizeBytes === 0 || this.gone) return;
    this.socket.write(this.out.view());
    // Once the operating system has taken everything the buffer is ours again; otherwise it belongs to the socket.
    if (this.socket.writableLength === 0 && sizeBytes <= KEPT_BUFFER_BYTES) this.out.reset();
    else this.out = new ByteWriter(16 * 1024);
  }

  private received(chunk: Uint8Array): void {
    if (this.gone) return;
    this.lastReceivedMs = this.options.ports.clock.monotonicMs();
    this.pingSentMs = undefined;
    this.frames.push(chunk);
    try {
      while (!this.gone && this.frames.next()) this.handleFrame(this.frames.opcode, this.frames.requestId);
    } catch (error) {
      const cause = asKvError(error);
      this.lose(new KvError('UNAVAILABLE', `the node sent what cannot be read: ${cause.message}`, { cause }));
    }
    if (this.gone) return;
    if (this.greeting !== undefined) this.options.progressed(this);
    this.leaveWhenDone();
  }

  private handleFrame(opcode: number, requestId: number): void {
    const reader = this.frames.payload(this.reader);
    if (this.greeting === undefined) {
      this.readGreeting(opcode, reader);
      return;
    }
    switch (opcode) {
      case OPCODE.RESULT: {
        const call = this.calls.get(requestId);
        if (call === undefined) return;
        // Read before it is removed: an unreadable answer is the loss of the connection, and the call must hear of it.
        call.answered(reader);
        this.calls.delete(requestId);
        return;
      }
      case OPCODE.ERROR:
        this.readError(requestId, decodeError(reader));
        return;
      case OPCODE.STREAM_DATA:
        this.streams.get(requestId)?.data(reader, reader.remaining);
        return;
      case OPCODE.STREAM_END: {
        const stream = this.streams.get(requestId);
        const error = reader.remaining === 0 ? undefined : decodeError(reader);
        this.streams.delete(requestId);
        stream?.ended(error);
        return;
      }
      case OPCODE.PING:
        endFrame(this.out, beginFrame(this.out, OPCODE.PONG, requestId));
        this.flushLater();
        return;
      case OPCODE.PONG:
        if (reader.remaining > 0) this.options.leader(this, reader.varint(), this.pongsDue === 0);
        this.pongsDue = Math.max(0, this.pongsDue - 1);
        return;
      case OPCODE.GOAWAY:
        this.leavingBecause = decodeError(reader);
        this.options.closed(this, this.leavingBecause);
        return;
      default:
        throw new KvError('PROTOCOL', `unknown frame 0x${opcode.toString(16)}`);
    }
  }

  private readGreeting(opcode: number, reader: ByteReader): void {
    if (opcode === OPCODE.ERROR) {
      this.lose(decodeError(reader));
      return;
    }
    if (opcode !== OPCODE.WELCOME) throw new KvError('PROTOCOL', 'the node did not greet');
    const welcome = readWelcome(reader);
    if (welcome.version !== PROTOCOL_VERSION) {
      this.lose(new KvError('UNSUPPORTED_VERSION', `the node speaks version ${welcome.version}`));
      return;
    }
    const { maxFrameBytes, maxRequests } = welcome.limits;
    // Nothing could be asked of such a node, not even who leads.
    if (maxFrameBytes < MIN_FRAME_BYTES || maxRequests < 1) {
      throw new KvError(
        'PROTOCOL',
        `the node takes frames of ${maxFrameBytes} bytes and ${maxRequests} requests at once`,
      );
    }
    this.greeting = welcome;
    this.lastSweepMs = this.lastReceivedMs;
    const greeted = this.greeted;
    this.greeted = this.refused = undefined;
    greeted?.(this);
  }

  private readError(requestId: number, error: KvError): void {
    const call = this.calls.get(requestId);
    if (call !== undefined) {
      this.calls.delete(requestId);
      call.failed(error, this);
      return;
    }
    const stream = this.streams.get(requestId);
    if (stream !== undefined) {
      this.streams.delete(requestId);
      stream.ended(error);
    } else if (requestId === 0) {
      this.lose(
        new KvError('UNAVAILABLE', `the node closes the connection: ${error.message}`, { cause: error }),
      );
    }
  }

  /** A node that says goodbye answers what it has begun; then the connection is of no use. */
  private leaveWhenDone(): void {
    if (this.leavingBecause !== undefined && !this.gone && this.calls.size === 0)
      this.lose(this.leavingBecause);
  }

  private lose(error: KvError): void {
    if (this.gone) return;
    this.gone = true;
    this.socket.destroy();
    const { refused } = this;
    this.greeted = this.refused = undefined;
    refused?.(error);
    if (this.greeting !== undefined && this.leavingBecause === undefined) this.options.closed(this, error);
    const calls = [...this.calls.values()];
    const streams = [...this.streams.values()];
    this.calls.clear();
    this.streams.clear();
    const unknown = new KvError(error.code, error.message, { maybeApplied: true, cause: error });
    for (const call of calls) call.failed(call.changes ? unknown : error, this);
    for (const stream of streams) stream.ended(error);
  }
}
