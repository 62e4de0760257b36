/**
 * One connection of HTTP/2 (RFC 9113), the server's side, without TLS and with prior knowledge as gRPC uses it.
 *
 * What costs memory or work is bounded: streams, header blocks and lists, frames, CONTINUATIONs, bytes queued for a client that does not read, and by an allowance (allowance.ts) all frames that
 * move nothing on. Priorities are ignored; nothing is pushed.
 *
 * Invariants: requests are begun in the order of their streams; a mistake that concerns one stream costs that stream, any other the connection, with GOAWAY and a reason;
 * everything written in one turn of the event loop leaves in one write.
 */
import type { ByteStream } from '../../../byte_stream.ts';
import type { Ports } from '../../../ports.ts';
import { Allowance } from './allowance.ts';
import { FrameReader, PREFACE, writeGoAway, writePing, writeReset } from './frames.ts';
import { Http2Error, REASON } from './http2_error.ts';
import { type FrameHost, IncomingFrames } from './incoming_frames.ts';
import type { RequestHead } from './request_head.ts';
import { Sender } from './sender.ts';
import type { Http2Stream, StreamReceiver } from './stream.ts';

export interface Http2Limits {
  readonly maxStreams: number;
  /** Bytes that wait for a client before no more of its bytes are read. */
  readonly maxQueuedBytes: number;
  /** A client that is silent for so long is gone; it is pinged at half of it. */
  readonly idleTimeoutMs: number;
  /** How long it may take until the client's first settings are there. */
  readonly handshakeTimeoutMs: number;
  /** How long a request may take to arrive whole, where its receiver wants it whole (`awaitsRequest`). */
  readonly requestTimeoutMs: number;
}

export interface Http2Options {
  readonly limits: Http2Limits;
  readonly ports: Ports;
  /** A request begins. What it gives takes the request's data; undefined: the answer has been given already. */
  request(stream: Http2Stream, head: RequestHead, end: boolean): StreamReceiver | undefined;
  /** A receiver has thrown: a mistake of ours, which cost the connection. */
  failed(error: unknown): void;
  /** Once, when the connection is over. */
  closed(connection: Http2Connection, reason: string): void;
}

/** Beside as many streams as a client may have open: they may all pass their deadlines at once. */
const RESET_BURST = 1_000;
const RESETS_PER_SECOND = 100;
const IDLE_FRAME_BURST = 20_000;
const IDLE_FRAMES_PER_SECOND = 10_000;
const LAST_WORDS_MS = 1_000;
const PING_BYTES = Buffer.from('kvorum?!', 'latin1');

export class Http2Connection implements FrameHost {
  readonly options: Http2Options;
  readonly sender: Sender;
  readonly streams = new Map<number, Http2Stream>();
  /** The client's newest stream. */
  lastStreamId = 0;
  /** No new streams: we are closing. */
  leaving = false;
  readonly #socket: ByteStream;
  readonly #frames = new FrameReader();
  readonly #incoming: IncomingFrames;
  readonly #resets: Allowance;
  readonly #idleFrames: Allowance;
  readonly #now: () => number;
  readonly #endTurnLater = () => this.#endTurn();
  #preface = 0;
  #reading = false;
  #paused = false;
  #turnOwed = false;
  #ending = false;
  #gone = false;
  #lastReceivedMs: number;
  #pinged = false;

  constructor(socket: ByteStream, options: Http2Options) {
    const { clock } = options.ports;
    this.options = options;
    this.#socket = socket;
    this.sender = new Sender(socket);
    this.#now = () => clock.monotonicMs();
    this.#lastReceivedMs = this.#now();
    this.#resets = new Allowance(
      RESET_BURST + options.limits.maxStreams,
      RESETS_PER_SECOND,
      this.#lastReceivedMs,
    );
    this.#idleFrames = new Allowance(IDLE_FRAME_BURST, IDLE_FRAMES_PER_SECOND, this.#lastReceivedMs);
    this.#incoming = new IncomingFrames(this);
    this.#incoming.begin();
    this.#endTurnSoon();
  }

  get maxQueuedBytes(): number {
    return this.options.limits.maxQueuedBytes;
  }

  get maxStreams(): number {
    return this.options.limits.maxStreams;
  }

  request(stream: Http2Stream, head: RequestHead, end: boolean): StreamReceiver | undefined {
    return this.options.request(stream, head, end);
  }

  nowMs(): number {
    return this.#now();
  }

  /** Takes bytes of the socket; the first ones are the preface. */
  receive(chunk: Uint8Array): void {
    if (this.#gone || this.#ending) return;
    this.#lastReceivedMs = this.#now();
    this.#pinged = false;
    this.#frames.push(this.#withoutPreface(chunk));
    this.#readFrames();
  }

  /** The socket has passed on what was written. */
  drained(): void {
    // Whoever takes our answers is alive.
    this.#lastReceivedMs = this.#now();
    this.#endTurn();
  }

  /** Called now and then: pings a silent client and gives up on one that stays silent. */
  checkLiveness(nowMs: number): void {
    const { idleTimeoutMs, handshakeTimeoutMs, requestTimeoutMs } = this.options.limits;
    const silentMs = nowMs - this.#lastReceivedMs;
    if (!this.#incoming.greeted) {
      if (silentMs >= handshakeTimeoutMs) this.destroy('no settings in time');
      return;
    }
    for (const stream of [...this.streams.values()]) {
      if (stream.awaitsRequest && nowMs - stream.openedMs >= requestTimeoutMs) stream.fail(REASON.CANCEL);
    }
    if (silentMs >= idleTimeoutMs) {
      // A client whose bytes we do not read on purpose is alive as far as we can know.
      if (!this.#paused) this.destroy('nothing was heard from the client');
    } else if (silentMs >= idleTimeoutMs / 2 && !this.#pinged) {
      this.#pinged = true;
      writePing(this.sender.out, 0, PING_BYTES);
      this.#endTurn();
    }
  }

  /** Takes no more streams and closes when the open ones have been answered. */
  goAway(): void {
    if (this.#gone || this.leaving) return;
    this.leaving = true;
    writeGoAway(this.sender.out, this.lastStreamId, REASON.NO_ERROR, 'the node is closing');
    for (const stream of [...this.streams.values()]) stream.receiver?.goingAway();
    this.#endTurn();
  }

  destroy(reason: string): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#abortStreams();
    this.#socket.destroy();
    this.options.closed(this, reason);
  }

  flushSoon(): void {
    if (!this.#turnOwed && !this.#reading) this.#endTurnSoon();
  }

  finished(stream: Http2Stream, byUs: boolean): void {
    this.streams.delete(stream.id);
    if (byUs) this.#incoming.resetByUs(stream.id);
  }

  /** The client has reset a stream, or made us do it. @throws Http2Error ENHANCE_YOUR_CALM */
  chargeReset(): void {
    if (!this.#resets.take(1, this.#now)) throw calm('too many streams were reset');
  }

  /** The client has sent something that moves nothing on. @throws Http2Error ENHANCE_YOUR_CALM */
  chargeIdle(cost: number): void {
    if (!this.#idleFrames.take(cost, this.#now)) throw calm('too many frames that ask for nothing');
  }

  #withoutPreface(chunk: Uint8Array): Uint8Array {
    let at = 0;
    while (this.#preface < PREFACE.length && at < chunk.length) {
      if (chunk[at++] === PREFACE[this.#preface]) {
        this.#preface++;
        continue;
      }
      this.#fail(new Http2Error(REASON.PROTOCOL_ERROR, 'this is no HTTP/2'));
      return new Uint8Array(0);
    }
    return at === 0 ? chunk : chunk.subarray(at);
  }

  #readFrames(): void {
    if (this.#reading || this.#gone || this.#ending) return;
    this.#reading = true;
    let blocked = false;
    try {
      for (;;) {
        blocked = this.sender.socketBytes >= this.maxQueuedBytes;
        if (blocked || this.#gone || !this.#frames.next()) break;
        this.#handleFrame();
        if (this.sender.isFull) this.sender.flush();
      }
      if (!blocked) this.#frames.release();
    } catch (error) {
      this.#fail(error);
    }
    this.#reading = false;
    if (this.#gone || this.#ending) return;
    if (blocked !== this.#paused) {
      this.#paused = blocked;
      if (blocked) this.#socket.pause();
      else this.#socket.resume();
    }
    this.#endTurn();
  }

  #handleFrame(): void {
    try {
      this.#incoming.handle(this.#frames);
    } catch (error) {
      if (!(error instanceof Http2Error) || error.streamId === 0) throw error;
      this.chargeReset();
      const stream = this.streams.get(error.streamId);
      if (stream === undefined) {
        writeReset(this.sender.out, error.streamId, error.reason);
        this.#incoming.resetByUs(error.streamId);
      } else {
        stream.fail(error.reason);
      }
    }
  }

  #endTurnSoon(): void {
    this.#turnOwed = true;
    this.options.ports.timers.soon(this.#endTurnLater);
  }

  #endTurn(): void {
    this.#turnOwed = false;
    if (this.#gone) return;
    this.sender.pump();
    this.sender.flush();
    if (this.#paused && this.sender.socketBytes < this.maxQueuedBytes) this.#readFrames();
    if (this.sender.someHeld && this.sender.queuedBytes < this.maxQueuedBytes) {
      this.sender.someHeld = false;
      for (const stream of this.streams.values()) stream.checkRoom();
      this.sender.flush();
    }
    if (this.leaving && this.streams.size === 0) this.#end('the node is closing', false);
  }

  /** The connection can't go on. */
  #fail(error: unknown): void {
    if (this.#gone) return;
    const { reason, message } =
      error instanceof Http2Error ? error : new Http2Error(REASON.INTERNAL_ERROR, 'internal error');
    writeGoAway(this.sender.out, this.lastStreamId, reason, message);
    this.sender.flush();
    this.#abortStreams();
    this.#end(message, true);
    if (!(error instanceof Http2Error)) this.options.failed(error);
  }

  /**
   * Ends after what was written; a client that does not read it is cut off.
   * @param linger what the client still sends is passed over for a moment: closing while bytes of it wait to be read would take our last words back.
   */
  #end(reason: string, linger: boolean): void {
    if (this.#ending || this.#gone) return;
    this.#ending = true;
    this.sender.flush();
    const timer = this.options.ports.timers.after(LAST_WORDS_MS, () => this.destroy(reason));
    this.#socket.on('close', () => timer.cancel());
    this.#socket.resume();
    this.#socket.end(() => {
      if (!linger) this.destroy(reason);
    });
  }

  #abortStreams(): void {
    for (const stream of [...this.streams.values()]) stream.abort();
    this.streams.clear();
  }
}

function calm(what: string): Http2Error {
  return new Http2Error(REASON.ENHANCE_YOUR_CALM, what);
}
