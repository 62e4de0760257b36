/**
 * Frames over a byte stream, as both the peer and the client protocol use them.
 *
 *   stream := frame*
 *   frame  := length u32le, payload byte[length]
 *
 * Invariants: a length is checked against the limit before memory is taken for it; a frame that lies whole in one chunk is handed out as a view of
 * that chunk; any other frame is assembled in one allocation of its exact size; after an error the stream has no frame boundary any more, so the
 * decoder refuses everything that follows.
 */
import { KvError } from '../errors.ts';

export const FRAME_HEADER_BYTES = 4;

/** Parts up to this size are copied together before they are written: below it a copy is no dearer than one more piece of a gathered write (measured). */
export const GATHER_COPY_BYTES = 4 * 1024;

/** Queued bytes at which a writer no longer waits for the end of the turn: the network should be busy while more is being queued. */
export const EAGER_WRITE_BYTES = 256 * 1024;

const EMPTY = new Uint8Array(0);

export class FrameDecoder {
  #maxFrameBytes: number;
  #stopped = false;
  /** Bytes of a length that was cut by the end of a chunk, lowest first. */
  #lengthSoFar = 0;
  #lengthBytes = 0;
  /** The frame being assembled, and how much of it is there. */
  #frame: Uint8Array | undefined;
  #filled = 0;

  /** @param maxFrameBytes largest payload accepted. */
  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Changes the limit for the frames that follow (a handshake needs little, the traffic after it more). May be called from `onFrame`. */
  setMaxFrameBytes(maxFrameBytes: number): void {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Ignores everything from now on; also stops a `push` that is under way when called from `onFrame`. */
  stop(): void {
    this.#stopped = true;
    this.#frame = undefined;
  }

  /** True when the stream may end here: no frame has begun. */
  get atBoundary(): boolean {
    return this.#frame === undefined && this.#lengthBytes === 0;
  }

  /**
   * Takes the next bytes of the stream and calls `onFrame` with each payload that is now complete, in order. A payload may be a view of `chunk`, which
   * must not be changed afterwards. What `onFrame` throws ends the decoder and is passed on.
   * @throws KvError FRAME_TOO_LARGE when a length is above the limit; the decoder then ignores all further bytes.
   */
  push(chunk: Uint8Array, onFrame: (payload: Uint8Array) => void): void {
    const end = chunk.length;
    let at = 0;
    try {
      while (at < end && !this.#stopped) {
        if (this.#frame !== undefined) {
          at = this.#fill(this.#frame, chunk, at, onFrame);
          continue;
        }
        let length: number;
        if (this.#lengthBytes === 0 && end - at >= FRAME_HEADER_BYTES) {
          length = (chunk[at]! | (chunk[at + 1]! << 8) | (chunk[at + 2]! << 16)) + chunk[at + 3]! * 0x1000000;
          at += FRAME_HEADER_BYTES;
        } else {
          this.#lengthSoFar += chunk[at]! * 2 ** (8 * this.#lengthBytes);
          at++;
          if (++this.#lengthBytes < FRAME_HEADER_BYTES) continue;
          length = this.#lengthSoFar;
          this.#lengthSoFar = 0;
          this.#lengthBytes = 0;
        }
        if (length > this.#maxFrameBytes) throw frameTooLarge(length, this.#maxFrameBytes);
        if (end - at >= length) {
          at += length;
          onFrame(chunk.subarray(at - length, at));
        } else {
          // Uninitialised: pages that are announced but never sent are never touched either.
          this.#frame = Buffer.allocUnsafe(length);
          this.#filled = 0;
        }
      }
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  /** To be called when the stream has ended. @throws KvError PROTOCOL when it ended inside a frame. */
  end(): void {
    if (this.#stopped || this.atBoundary) return;
    const have = this.#frame === undefined ? this.#lengthBytes : FRAME_HEADER_BYTES + this.#filled;
    this.stop();
    throw new KvError('PROTOCOL', `the stream ended inside a frame, after ${have} bytes of it`);
  }

  #fill(frame: Uint8Array, chunk: Uint8Array, at: number, onFrame: (payload: Uint8Array) => void): number {
    const take = Math.min(frame.length - this.#filled, chunk.length - at);
    frame.set(take === chunk.length ? chunk : chunk.subarray(at, at + take), this.#filled);
    this.#filled += take;
    if (this.#filled === frame.length) {
      this.#frame = undefined;
      onFrame(frame);
    }
    return at + take;
  }
}

function frameTooLarge(length: number, limit: number): KvError {
  return new KvError('FRAME_TOO_LARGE', `a frame of ${length} bytes is above the limit of ${limit} bytes`, {
    details: { sizeBytes: length, limitBytes: limit },
  });
}

/** What the writer needs of a socket (net.Socket and tls.TLSSocket have it). */
export interface WritableSocket {
  write(chunk: Uint8Array): boolean;
  cork(): void;
  uncork(): void;
  readonly writableLength: number;
  readonly destroyed: boolean;
  on(event: 'drain', listener: () => void): unknown;
}

export interface FrameWriterOptions {
  readonly maxFrameBytes: number;
  /** Past this `writeFrame` says no. */
  readonly maxQueuedBytes: number;
  /** Runs the flush at the end of the turn: `timers.afterIo` gathers everything that one poll of the event loop brought, `timers.soon` only the current call. */
  readonly schedule: (run: () => void) => void;
  /** The socket took everything after it had fallen behind. */
  readonly onDrain?: () => void;
}

/** Queues frames during a turn of the event loop and hands them to the socket in one gathered write. */
export class FrameWriter {
  readonly #socket: WritableSocket;
  readonly #options: FrameWriterOptions;
  /** The parts queued, and for each the payload length of the frame that begins with it, or -1 when it continues one. */
  #parts: Uint8Array[] = [];
  #starts: number[] = [];
  #pendingBytes = 0;
  /** Bytes of frame headers and of parts small enough to be copied together. */
  #copyBytes = 0;
  #scheduled = false;
  readonly #scheduledFlush = () => {
    this.#scheduled = false;
    this.flush();
  };

  constructor(socket: WritableSocket, options: FrameWriterOptions) {
    this.#socket = socket;
    this.#options = options;
    const onDrain = options.onDrain;
    if (onDrain !== undefined) socket.on('drain', onDrain);
  }

  /** Bytes that have been queued and that the operating system has not taken yet. */
  get queuedBytes(): number {
    return this.#pendingBytes + this.#socket.writableLength;
  }

  /**
   * Queues one frame whose payload is the parts joined. The parts must not be changed until they are written: treat them as given away.
   * @returns false when the queue is full or the socket is gone; the frame was not taken. An empty queue takes any frame up to maxFrameBytes.
   * @throws KvError FRAME_TOO_LARGE
   */
  writeFrame(parts: readonly Uint8Array[]): boolean {
    let length = 0;
    for (let i = 0; i < parts.length; i++) length += parts[i]!.length;
    if (length > this.#options.maxFrameBytes) throw frameTooLarge(length, this.#options.maxFrameBytes);
    if (!this.#admit(length)) return false;
    let start = length;
    for (let i = 0; i < parts.length; i++) {
      this.#queue(parts[i]!, start);
      start = -1;
    }
    if (start >= 0) this.#queue(EMPTY, start);
    this.#queued();
    return true;
  }

  /** `writeFrame` for a payload in one piece; spares the array. */
  writePayload(payload: Uint8Array): boolean {
    if (payload.length > this.#options.maxFrameBytes)
      throw frameTooLarge(payload.length, this.#options.maxFrameBytes);
    if (!this.#admit(payload.length)) return false;
    this.#queue(payload, payload.length);
    this.#queued();
    return true;
  }

  /** Hands everything queued to the socket now. */
  flush(): void {
    const parts = this.#parts;
    if (parts.length === 0) return;
    const starts = this.#starts;
    const copyBytes = this.#copyBytes;
    this.#parts = [];
    this.#starts = [];
    this.#pendingBytes = 0;
    this.#copyBytes = 0;
    if (this.#socket.destroyed) return;
    const block = Buffer.allocUnsafe(copyBytes);
    let at = 0;
    let from = 0;
    let corked = false;
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i]!;
      const start = starts[i]!;
      if (start >= 0) at = block.writeUInt32LE(start, at);
      if (part.length <= GATHER_COPY_BYTES) {
        block.set(part, at);
        at += part.length;
        continue;
      }
      if (!corked) this.#socket.cork();
      corked = true;
      if (at > from) this.#socket.write(block.subarray(from, at));
      from = at;
      this.#socket.write(part);
    }
    if (at > from) this.#socket.write(from === 0 ? block : block.subarray(from, at));
    if (corked) this.#socket.uncork();
  }

  #admit(length: number): boolean {
    if (this.#socket.destroyed) return false;
    const queued = this.queuedBytes;
    return queued === 0 || queued + FRAME_HEADER_BYTES + length <= this.#options.maxQueuedBytes;
  }

  #queue(part: Uint8Array, start: number): void {
    if (part.length === 0 && start < 0) return;
    const headerBytes = start >= 0 ? FRAME_HEADER_BYTES : 0;
    this.#parts.push(part);
    this.#starts.push(start);
    this.#pendingBytes += headerBytes + part.length;
    this.#copyBytes += part.length <= GATHER_COPY_BYTES ? headerBytes + part.length : headerBytes;
  }

  #queued(): void {
    if (this.#pendingBytes >= EAGER_WRITE_BYTES) {
      this.flush();
    } else if (!this.#scheduled) {
      this.#scheduled = true;
      this.#options.schedule(this.#scheduledFlush);
    }
  }
}
