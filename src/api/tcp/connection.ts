/**
 * One client connection of the TCP door: frames in, calls of the service, answers out.
 *
 * Invariants: requests are begun in the order received, at most `maxRequestsPerConnection` at once; reading stops past that and past
 * `maxQueuedBytesPerConnection` of answers that the client does not take, and what still completes then is answered with OVERLOADED where it is a
 * read; answers of one turn of the event loop leave in one write; values are copied once, into the output; every request is answered exactly
 * once, or the connection is closed.
 */
import type { ByteStream } from '../../byte_stream.ts';
import type { DoorConfig, Limits } from '../../config.ts';
import { KvError } from '../../errors.ts';
import type { CommandResult } from '../../kv/command.ts';
import type { Ports } from '../../ports.ts';
import type { Identity } from '../../security/identity.ts';
import { readGet, writeGot, writeWelcome } from '../../wire/client_codec.ts';
import {
  beginFrame,
  endFrame,
  FRAME_HEADER_BYTES,
  FrameReader,
  MAX_HELLO_BYTES,
  OPCODE,
} from '../../wire/client_frames.ts';
import { asKvError, encodeError } from '../../wire/error_codec.ts';
import type { GetResponse } from '../../wire/messages.ts';
import { encodeResult } from '../../wire/result_codec.ts';
import { ByteReader, ByteWriter } from '../../wire/varint.ts';
import type { Service } from '../service.ts';
import { acceptHello, maxRunning, welcomeOf } from './greeting.ts';
import { answerAdmin, callOptionsOf, checkUserKey } from './requests.ts';
import type { DoorStream, StreamOutput } from './stream_output.ts';
import { streamOf } from './streams.ts';

/** Answers are handed to the socket before the end of the turn when this much is waiting. */
const EAGER_FLUSH_BYTES = 256 * 1024;
/** An output buffer that a burst made larger than this is not kept. */
const KEPT_BUFFER_BYTES = 1024 * 1024;

export interface ConnectionContext {
  readonly service: Service;
  readonly config: DoorConfig;
  readonly limits: Limits;
  readonly ports: Ports;
  readonly handshakeTimeoutMs: number;
  closed(connection: DoorConnection, reason: string): void;
}

export class DoorConnection implements StreamOutput {
  readonly context: ConnectionContext;
  /** Who the client has shown itself to be. */
  identity: Identity | undefined = undefined;
  /** Answers of this turn. */
  readonly out = new ByteWriter(16 * 1024);
  private readonly socket: ByteStream;
  private readonly frames = new FrameReader(MAX_HELLO_BYTES);
  private readonly reader = new ByteReader(new Uint8Array(0));
  private readonly streams = new Map<number, DoorStream>();
  private readonly flushLater = () => this.endTurn();
  private clientMaxFrameBytes = MAX_HELLO_BYTES;
  private greeted = false;
  private running = 0;
  private flushScheduled = false;
  private reading = false;
  private paused = false;
  private leaving = false;
  /** Some stream was told that there is no room. */
  private streamsHeld = false;
  private ending = false;
  private gone = false;
  private lastReceivedMs: number;
  private pinged = false;
  /** The members as the client can have asked for them last. */
  private toldMembers: unknown;

  constructor(socket: ByteStream, context: ConnectionContext) {
    this.socket = socket;
    this.context = context;
    this.lastReceivedMs = context.ports.clock.monotonicMs();
    socket.on('data', (chunk) => this.received(chunk));
    socket.on('drain', () => {
      // Whoever takes our answers is alive.
      this.lastReceivedMs = context.ports.clock.monotonicMs();
      this.endTurn();
    });
    socket.on('error', (error) => this.destroy(error.message));
    socket.on('end', () => this.destroy('the client closed the connection'));
    socket.on('close', () => this.destroy('the connection was lost'));
  }

  /** Bytes of answers that the operating system has not taken yet. */
  get queuedBytes(): number {
    return this.out.sizeBytes + this.socket.writableLength;
  }

  /** True while streams may add to the output. */
  get hasRoom(): boolean {
    if (this.gone) return false;
    const room = this.queuedBytes < this.context.config.maxQueuedBytesPerConnection;
    if (!room) this.streamsHeld = true;
    return room;
  }

  get closed(): boolean {
    return this.gone;
  }

  /** Called now and then: says that the members have changed, pings a silent client and gives up on one that stays silent. */
  check(nowMs: number, members: unknown): void {
    if (this.greeted && members !== this.toldMembers && this.hasRoom) {
      this.toldMembers = members;
      this.writePong(0);
      this.flush();
    }
    const silentMs = nowMs - this.lastReceivedMs;
    const idleMs = this.context.config.idleTimeoutMs;
    if (!this.greeted) {
      if (silentMs >= this.context.handshakeTimeoutMs) this.fail(new KvError('TIMEOUT', 'no HELLO in time'));
    } else if (silentMs >= idleMs) {
      // A client whose bytes we do not read on purpose is alive as far as we can know; its requests have their own bounds.
      if (!this.paused || this.running === 0) this.destroy('nothing was heard from the client');
    } else if (silentMs >= idleMs / 2 && !this.pinged) {
      this.pinged = true;
      endFrame(this.out, beginFrame(this.out, OPCODE.PING, 0));
      this.flush();
    }
  }

  /** Tells the client to move on, ends streams, and closes once running requests are answered. */
  goAway(): void {
    if (this.gone || this.leaving) return;
    this.leaving = true;
    const error = new KvError('UNAVAILABLE', 'the node is closing');
    for (const stream of [...this.streams.values()]) stream.end(error);
    const start = beginFrame(this.out, OPCODE.GOAWAY, 0);
    encodeError(this.out, error);
    endFrame(this.out, start);
    this.endTurn();
  }

  destroy(reason: string): void {
    if (this.gone) return;
    this.gone = true;
    for (const stream of this.streams.values()) stream.abandon();
    this.streams.clear();
    this.socket.destroy();
    this.context.closed(this, reason);
  }

  /** Answers with an error and closes: the byte stream cannot be followed any longer. */
  private fail(error: KvError): void {
    if (this.gone) return;
    this.writeError(OPCODE.ERROR, 0, error);
    this.flush();
    this.gone = true;
    for (const stream of this.streams.values()) stream.abandon();
    this.streams.clear();
    // Ends after what was written; a client that does not read it is cut off by the next sweep of its timer.
    this.socket.end();
    const timer = this.context.ports.timers.after(1_000, () => this.socket.destroy());
    this.socket.on('close', () => timer.cancel());
    this.socket.resume();
    this.context.closed(this, error.message);
  }

  private received(chunk: Uint8Array): void {
    if (this.gone) return;
    this.lastReceivedMs = this.context.ports.clock.monotonicMs();
    this.pinged = false;
    this.frames.push(chunk);
    this.readFrames();
  }

  /** Begins the requests that have arrived, as far as the bounds allow. */
  private readFrames(): void {
    if (this.reading) return;
    this.reading = true;
    const { maxQueuedBytesPerConnection } = this.context.config;
    const maxRequests = maxRunning(this.context.config);
    let blocked = false;
    try {
      for (;;) {
        blocked = this.running >= maxRequests || this.queuedBytes >= maxQueuedBytesPerConnection;
        if (blocked || this.gone || !this.frames.next()) break;
        this.handleFrame(this.frames.opcode, this.frames.requestId);
        if (this.out.sizeBytes >= EAGER_FLUSH_BYTES) this.flush();
      }
    } catch (error) {
      this.fail(asKvError(error));
    }
    this.reading = false;
    if (this.gone) return;
    if (blocked !== this.paused) {
      this.paused = blocked;
      if (blocked) this.socket.pause();
      else this.socket.resume();
    }
    this.flush();
  }

  /** What this throws ends the connection; errors of a single request are answered inside. */
  private handleFrame(opcode: number, requestId: number): void {
    const reader = this.frames.payload(this.reader);
    if (!this.greeted) {
      if (opcode !== OPCODE.HELLO) throw new KvError('PROTOCOL', 'the first frame must be HELLO');
      this.greet(reader);
      return;
    }
    switch (opcode) {
      case OPCODE.GET:
        return this.get(requestId, reader);
      case OPCODE.WRITE:
        return this.write(requestId, reader);
      case OPCODE.PING:
        return this.writePong(requestId);
      case OPCODE.PONG:
        return;
      case OPCODE.CANCEL:
        this.streams.get(requestId)?.end(undefined);
        return;
      case OPCODE.CREDIT:
        this.streams.get(requestId)?.grant(reader.varint());
        return;
      case OPCODE.HELLO:
        throw new KvError('PROTOCOL', 'HELLO was said before');
      default:
        this.other(opcode, requestId, reader);
    }
  }

  private greet(reader: ByteReader): void {
    const hello = acceptHello(reader);
    this.greeted = true;
    this.toldMembers = this.context.service.knownMembers();
    this.clientMaxFrameBytes = hello.maxFrameBytes;
    this.frames.setLimit(this.context.config.maxFrameBytes);
    const start = beginFrame(this.out, OPCODE.WELCOME, 0);
    writeWelcome(this.out, welcomeOf(this.context));
    endFrame(this.out, start);
  }

  /** Answers a PING; unasked, it says that the members have changed. */
  private writePong(requestId: number): void {
    const start = beginFrame(this.out, OPCODE.PONG, requestId);
    this.out.varint(this.context.service.status().leader);
    endFrame(this.out, start);
  }

  private get(requestId: number, reader: ByteReader): void {
    try {
      if (this.leaving) throw closing();
      const timeoutMs = reader.varint();
      const request = readGet(reader);
      checkUserKey(request.key);
      const response = this.context.service.get(request, callOptionsOf(timeoutMs, this.identity));
      if (response instanceof Promise) {
        this.running++;
        response.then(
          (late) => {
            this.running--;
            this.answerGet(requestId, late);
          },
          (error) => this.refused(requestId, error),
        );
      } else {
        this.answerGet(requestId, response);
      }
    } catch (error) {
      this.writeError(OPCODE.ERROR, requestId, asKvError(error));
    }
  }

  private answerGet(requestId: number, response: GetResponse): void {
    if (this.gone) return;
    if (this.queuedBytes >= 2 * this.context.config.maxQueuedBytesPerConnection) {
      this.writeError(OPCODE.ERROR, requestId, slowReader());
    } else {
      const start = beginFrame(this.out, OPCODE.RESULT, requestId);
      try {
        writeGot(this.out, response);
        this.endAnswer(start, requestId, false);
      } catch (error) {
        this.takeBack(start, requestId, asKvError(error));
      }
    }
    this.flushSoon();
  }

  private write(requestId: number, reader: ByteReader): void {
    try {
      if (this.leaving) throw closing();
      const timeoutMs = reader.varint();
      const result = this.context.service.write(reader.rest(), callOptionsOf(timeoutMs, this.identity));
      this.running++;
      result.then(
        (done) => this.answerWrite(requestId, done),
        (error) => this.refused(requestId, error),
      );
    } catch (error) {
      this.writeError(OPCODE.ERROR, requestId, asKvError(error));
    }
  }

  private answerWrite(requestId: number, result: CommandResult): void {
    this.running--;
    if (this.gone) return;
    const start = beginFrame(this.out, OPCODE.RESULT, requestId);
    try {
      encodeResult(result, this.out);
      this.endAnswer(start, requestId, true);
    } catch (error) {
      this.takeBack(
        start,
        requestId,
        new KvError('INTERNAL', asKvError(error).message, { maybeApplied: true }),
      );
    }
    this.flushSoon();
  }

  private other(opcode: number, requestId: number, reader: ByteReader): void {
    try {
      if (this.leaving) throw closing();
      const openStream = streamOf(opcode);
      if (openStream !== undefined) {
        if (this.streams.has(requestId)) {
          throw new KvError('PROTOCOL', `request ${requestId} is a stream that has not ended`);
        }
        const limit = this.context.config.maxRequestsPerConnection;
        if (this.streams.size >= limit) {
          throw new KvError('OVERLOADED', `all ${limit} streams of this connection are in use`);
        }
        const stream = openStream(this, requestId, reader);
        this.streams.set(requestId, stream);
        stream.start();
        return;
      }
      const answer = answerAdmin(this.context.service, opcode, reader, this);
      this.running++;
      answer.then(
        (write) => {
          this.running--;
          if (this.gone) return;
          const start = beginFrame(this.out, OPCODE.RESULT, requestId);
          try {
            write(this.out);
            this.endAnswer(start, requestId, false);
          } catch (error) {
            this.takeBack(start, requestId, asKvError(error));
          }
          this.flushSoon();
        },
        (error) => this.refused(requestId, error),
      );
    } catch (error) {
      this.writeError(OPCODE.ERROR, requestId, asKvError(error));
    }
  }

  private refused(requestId: number, error: unknown): void {
    this.running--;
    if (this.gone) return;
    this.writeError(OPCODE.ERROR, requestId, asKvError(error));
    this.flushSoon();
  }

  /** Longest frame that the client takes. */
  get maxFrameBytes(): number {
    return this.clientMaxFrameBytes;
  }

  endStreamFrame(start: number): number | undefined {
    const sizeBytes = endFrame(this.out, start);
    if (sizeBytes + FRAME_HEADER_BYTES <= this.clientMaxFrameBytes) return sizeBytes;
    this.out.truncate(start);
    return undefined;
  }

  /** Closes an answer; one that is longer than the client takes becomes an error. */
  private endAnswer(start: number, requestId: number, maybeApplied: boolean): void {
    if (this.endStreamFrame(start) !== undefined) return;
    const limitBytes = this.clientMaxFrameBytes;
    const message = 'the answer is longer than the client takes';
    const details = { limitBytes };
    this.writeError(
      OPCODE.ERROR,
      requestId,
      new KvError('FRAME_TOO_LARGE', message, { maybeApplied, details }),
    );
  }

  /** Replaces an answer that could not be encoded by an error. */
  private takeBack(start: number, requestId: number, error: KvError): void {
    this.out.truncate(start);
    this.writeError(OPCODE.ERROR, requestId, error);
  }

  writeError(opcode: number, requestId: number, error: KvError): void {
    const start = beginFrame(this.out, opcode, requestId);
    encodeError(this.out, error);
    endFrame(this.out, start);
  }

  /** A stream has written its STREAM_END. */
  streamEnded(requestId: number): void {
    this.streams.delete(requestId);
    this.flushSoon();
  }

  /** The output leaves at the end of this turn. */
  flushSoon(): void {
    if (this.flushScheduled || this.reading) return;
    this.flushScheduled = true;
    this.context.ports.timers.soon(this.flushLater);
  }

  private endTurn(): void {
    this.flushScheduled = false;
    if (this.gone) return;
    this.flush();
    if (this.paused) this.readFrames();
    if (this.streamsHeld && this.hasRoom) {
      this.streamsHeld = false;
      for (const stream of this.streams.values()) stream.roomAgain();
    }
    if (this.leaving && this.running === 0 && !this.ending && !this.gone) {
      this.ending = true;
      this.flush();
      this.socket.end(() => this.destroy('the node is closing'));
    }
  }

  private flush(): void {
    const sizeBytes = this.out.sizeBytes;
    if (sizeBytes === 0 || this.socket.destroyed) return;
    this.socket.write(this.out.view());
    // Once the operating system has taken everything the buffer is ours again; otherwise it belongs to the socket.
    if (this.socket.writableLength === 0 && sizeBytes <= KEPT_BUFFER_BYTES) this.out.reset();
    else this.out.finish();
  }
}

function closing(): KvError {
  return new KvError('UNAVAILABLE', 'the node is closing');
}

function slowReader(): KvError {
  return new KvError('OVERLOADED', 'too many answers wait to be read by this client');
}
