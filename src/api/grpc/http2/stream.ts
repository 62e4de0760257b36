/**
 * One stream of HTTP/2 as the server sees it: a request that comes in and an answer that goes out.
 *
 * The answer is `headers`, any number of messages (`beginData`/`endData`), and `trailers` (or headers that end it). What flow control does not allow yet waits here.
 *
 * Invariants: nothing is written after END_STREAM or RST_STREAM; an answer that ends before its request resets the stream with NO_ERROR behind it
 * (RFC 9113, section 8.1); `receiver.aborted` is called once at most, and never after both sides have ended.
 */
import type { ByteOutput } from '../byte_output.ts';
import { beginFrame, endFrame, FLAG, FRAME, FRAME_HEADER_BYTES, writeReset } from './frames.ts';
import type { HeaderEncoder } from './hpack/encoder.ts';
import { REASON } from './http2_error.ts';
import type { Sender } from './sender.ts';

/** Who takes what a request brings. What these throw ends the connection. */
export interface StreamReceiver {
  /** `bytes` are the receiver's to keep. `end`: the request is complete. */
  data(bytes: Buffer, end: boolean): void;
  /** The client has given up, or the connection is gone: nothing that is written any more arrives. */
  aborted(): void;
  /** After `hasRoom` was false: there is room again. */
  roomAgain(): void;
  /** The connection is about to close: an answer that would go on and on should end. */
  goingAway(): void;
}

export interface StreamHost {
  readonly sender: Sender;
  readonly maxQueuedBytes: number;
  /** Something was written: it leaves at the end of the turn. */
  flushSoon(): void;
  /** Both sides have ended, or the stream was reset. */
  finished(stream: Http2Stream, byUs: boolean): void;
}

const STREAM_QUEUE_BYTES = 1024 * 1024;

const grpcHeaders = (out: ByteOutput, encoder: HeaderEncoder): void => encoder.grpcHeaders(out);
const grpcOk = (out: ByteOutput, encoder: HeaderEncoder): void => encoder.grpcOk(out);

export class Http2Stream {
  readonly id: number;
  readonly openedMs: number;
  receiver: StreamReceiver | undefined;
  /** Bytes of data that the client lets this stream send. May be negative after a change of settings. */
  sendWindow: number;
  /** Bytes of data that the client may still send here. */
  receiveWindow: number;
  /** The receiver can do nothing until the request is whole: it may not take for ever. */
  awaitsRequest = false;
  remoteEnded = false;
  localEnded = false;
  /** What the request said that its data are, in bytes; -1: nothing. */
  contentLength = -1;
  receivedBytes = 0;
  /** Bytes of data that wait. */
  queuedBytes = 0;
  readonly #host: StreamHost;
  #queue: Buffer[] = [];
  #headOffset = 0;
  /** Trailers that wait behind the data; null: those of a gRPC call that went well. */
  #trailers: readonly string[] | null | undefined;
  #trailersWait = false;
  #endWaits = false;
  #toldFull = false;
  #over = false;

  constructor(id: number, host: StreamHost, receiveWindow: number, openedMs: number) {
    this.id = id;
    this.#host = host;
    this.sendWindow = host.sender.initialStreamWindow;
    this.receiveWindow = receiveWindow;
    this.openedMs = openedMs;
  }

  /** Where data is written, between `beginData` and `endData`. */
  get out(): ByteOutput {
    return this.#host.sender.out;
  }

  /** Nothing more can be written. */
  get isOver(): boolean {
    return this.#over || this.localEnded;
  }

  get hasQueued(): boolean {
    return this.queuedBytes > 0 || this.#trailersWait || this.#endWaits;
  }

  /** False: write no more until `roomAgain`. */
  get hasRoom(): boolean {
    if (this.isOver) return false;
    const { sender, maxQueuedBytes } = this.#host;
    const room = this.queuedBytes < STREAM_QUEUE_BYTES && sender.queuedBytes < maxQueuedBytes;
    if (!room) {
      this.#toldFull = true;
      sender.someHeld = true;
    }
    return room;
  }

  /** So much waits for this client that an answer that can be asked for again should be refused. */
  get isOverloaded(): boolean {
    return this.#host.sender.queuedBytes >= 2 * this.#host.maxQueuedBytes;
  }

  /** Tells a receiver that was held back when there is room again. */
  checkRoom(): void {
    if (!this.#toldFull || !this.hasRoom) return;
    this.#toldFull = false;
    this.receiver?.roomAgain();
  }

  /** The beginning of a gRPC answer. */
  grpcHeaders(): void {
    if (!this.isOver) this.#host.sender.headers(this.id, false, grpcHeaders);
  }

  /** The beginning of any answer, or all of it. REQUIRES: fits a frame. */
  headers(status: number, fields: readonly string[], end: boolean): void {
    if (this.isOver) return;
    this.#host.sender.headers(this.id, end, (out, encoder) => encoder.block(out, status, fields));
    if (end) this.#ended();
    this.#host.flushSoon();
  }

  /** Where data is to be written next: straight into the connection's output. Nothing else may be written before `endData`. REQUIRES: not over. */
  beginData(): number {
    return beginFrame(this.#host.sender.out, FRAME.DATA, 0, this.id);
  }

  /** Ends what `beginData` began; sends it now or queues it. */
  endData(start: number, end = false): void {
    const { sender } = this.#host;
    const { out } = sender;
    const size = out.length - start - FRAME_HEADER_BYTES;
    const allowed = Math.min(sender.window, this.sendWindow, sender.maxFrameBytes);
    if (!this.hasQueued && (size <= allowed || size === 0)) {
      sender.window -= size;
      this.sendWindow -= size;
      if (end) out.buffer[start + 4] = FLAG.END_STREAM;
      endFrame(out, start);
      if (end) this.#ended();
    } else {
      this.#queue.push(out.copyFrom(start + FRAME_HEADER_BYTES));
      out.truncate(start);
      this.queuedBytes += size;
      this.#endWaits ||= end;
      sender.wait(this, size);
    }
    this.#host.flushSoon();
  }

  /** Ends the answer. undefined: those of a gRPC call that went well. REQUIRES: fits a frame. */
  trailers(fields: readonly string[] | undefined): void {
    if (this.isOver) return;
    if (this.hasQueued) {
      this.#trailers = fields ?? null;
      this.#trailersWait = true;
      return;
    }
    this.#writeTrailers(fields);
    this.#host.flushSoon();
  }

  /** Gives the stream up. */
  reset(reason: number): void {
    if (this.#over) return;
    writeReset(this.#host.sender.out, this.id, reason);
    this.#finish(true);
    this.#host.flushSoon();
  }

  /** Gives the stream up because of what the client did, and tells the receiver. */
  fail(reason: number): void {
    if (this.#over) return;
    this.reset(reason);
    this.receiver?.aborted();
  }

  /** Sends at most `allowed` bytes of what waits; gives how many. For the sender. */
  sendQueued(out: ByteOutput, allowed: number): number {
    let sent = 0;
    if (this.queuedBytes > 0) {
      sent = Math.min(allowed, this.queuedBytes);
      if (sent <= 0) return 0;
      const last = this.#endWaits && sent === this.queuedBytes;
      const start = beginFrame(out, FRAME.DATA, last ? FLAG.END_STREAM : 0, this.id);
      for (let left = sent; left > 0; ) {
        const head = this.#queue[0]!;
        const part = head.subarray(this.#headOffset, this.#headOffset + left);
        out.bytes(part);
        left -= part.length;
        this.#headOffset += part.length;
        if (this.#headOffset < head.length) continue;
        this.#queue.shift();
        this.#headOffset = 0;
      }
      endFrame(out, start);
      this.queuedBytes -= sent;
      this.sendWindow -= sent;
    }
    return sent;
  }

  /** All that waited has been sent: what ends the stream follows. For the sender. */
  queueSent(): void {
    if (this.#trailersWait) {
      this.#trailersWait = false;
      this.#writeTrailers(this.#trailers ?? undefined);
    } else if (this.#endWaits) {
      this.#ended();
    }
  }

  /** The request is complete. For the connection. */
  remoteEnd(): void {
    this.remoteEnded = true;
    this.awaitsRequest = false;
    if (this.localEnded) this.#finish(false);
  }

  /** The client has reset the stream, or the connection is gone. For the connection. */
  abort(): void {
    if (this.#over) return;
    this.#finish(false);
    this.receiver?.aborted();
  }

  #writeTrailers(fields: readonly string[] | undefined): void {
    const { sender } = this.#host;
    if (fields === undefined) sender.headers(this.id, true, grpcOk);
    else sender.headers(this.id, true, (out, encoder) => encoder.block(out, 0, fields));
    this.#ended();
  }

  #ended(): void {
    this.localEnded = true;
    if (!this.remoteEnded) {
      // The rest of the request is of no use to anyone.
      writeReset(this.#host.sender.out, this.id, REASON.NO_ERROR);
      this.#finish(true);
    } else {
      this.#finish(false);
    }
  }

  #finish(byUs: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.#host.sender.forget(this);
    this.queuedBytes = 0;
    this.#queue = [];
    this.#trailersWait = false;
    this.#endWaits = false;
    this.#host.finished(this, byUs);
  }
}
