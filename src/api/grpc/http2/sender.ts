/**
 * What one connection of HTTP/2 has to say: frames of one turn of the event loop in one write, and data that waits for flow control.
 *
 * Invariants: a stream's bytes leave in the order written; streams that wait take turns, a frame each; nothing is sent beyond either window; at most `AHEAD_BYTES` of waiting data
 * are handed to a socket that does not take them.
 */
import type { ByteStream } from '../../../byte_stream.ts';
import { ByteOutput } from '../byte_output.ts';
import { beginFrame, DEFAULT_WINDOW, endFrame, FLAG, FRAME, MAX_FRAME_BYTES } from './frames.ts';
import { HeaderEncoder } from './hpack/encoder.ts';

/** An output buffer that a burst made larger than this is not kept. */
const KEPT_BUFFER_BYTES = 1024 * 1024;
const AHEAD_BYTES = 1024 * 1024;
/** Handed to the socket before the end of the turn when this much is waiting. */
const EAGER_FLUSH_BYTES = 256 * 1024;

/** What the sender needs of a stream that waits for flow control. */
export interface WaitingStream {
  /** Bytes of data that the client lets the stream send. */
  readonly sendWindow: number;
  readonly queuedBytes: number;
  /** Sends at most `allowed` bytes of what waits; gives how many. */
  sendQueued(out: ByteOutput, allowed: number): number;
  /** All that waited has been sent: what ends the stream follows. */
  queueSent(): void;
}

export class Sender {
  readonly out = new ByteOutput(16 * 1024);
  readonly encoder = new HeaderEncoder();
  /** Bytes of data that the client lets the connection send. */
  window = DEFAULT_WINDOW;
  /** The window that new streams begin with. */
  initialStreamWindow = DEFAULT_WINDOW;
  /** Bytes of a frame that the client takes. */
  maxFrameBytes = MAX_FRAME_BYTES;
  /** Some stream was told that there is no room. */
  someHeld = false;
  readonly #socket: ByteStream;
  readonly #waiting = new Set<WaitingStream>();
  #waitingBytes = 0;

  constructor(socket: ByteStream) {
    this.#socket = socket;
  }

  /** Bytes that the operating system has not taken yet, and those that wait for the client to allow them. */
  get queuedBytes(): number {
    return this.out.length + this.#socket.writableLength + this.#waitingBytes;
  }

  /** Without what waits for flow control: this drains by itself as long as the client reads. */
  get socketBytes(): number {
    return this.out.length + this.#socket.writableLength;
  }

  get isFull(): boolean {
    return this.out.length >= EAGER_FLUSH_BYTES;
  }

  /** Remembers that a stream has data to send. */
  wait(stream: WaitingStream, addedBytes: number): void {
    this.#waiting.add(stream);
    this.#waitingBytes += addedBytes;
  }

  /** A stream is over: what it had to say is not sent any more. */
  forget(stream: WaitingStream): void {
    if (this.#waiting.delete(stream)) this.#waitingBytes -= stream.queuedBytes;
  }

  /** Sends what waits, as far as windows and the socket allow. */
  pump(): void {
    let progress = this.#waiting.size > 0;
    while (progress && this.socketBytes < AHEAD_BYTES) {
      progress = false;
      for (const stream of this.#waiting) {
        const allowed = Math.min(this.window, stream.sendWindow, this.maxFrameBytes);
        const sent = stream.sendQueued(this.out, allowed);
        this.window -= sent;
        this.#waitingBytes -= sent;
        if (sent > 0) progress = true;
        if (stream.queuedBytes === 0) {
          this.#waiting.delete(stream);
          stream.queueSent();
        }
        if (this.socketBytes >= AHEAD_BYTES) break;
      }
    }
  }

  flush(): void {
    const { out } = this;
    const sizeBytes = out.length;
    if (sizeBytes === 0 || this.#socket.destroyed) return;
    this.#socket.write(out.view());
    // Once the operating system has taken everything the buffer is ours again; otherwise it belongs to the socket.
    if (this.#socket.writableLength === 0 && sizeBytes <= KEPT_BUFFER_BYTES) out.reset();
    else out.renew();
  }

  /** Writes a HEADERS frame whose block `write` writes. */
  headers(streamId: number, end: boolean, write: (out: ByteOutput, encoder: HeaderEncoder) => void): void {
    const flags = FLAG.END_HEADERS | (end ? FLAG.END_STREAM : 0);
    const start = beginFrame(this.out, FRAME.HEADERS, flags, streamId);
    write(this.out, this.encoder);
    endFrame(this.out, start);
  }
}
