/**
 * Frames of HTTP/2 (RFC 9113, section 4): cutting what arrives into frames, and writing them.
 *
 *     frame := length:u24 type:u8 flags:u8 streamId:u32 payload          the first bit of the stream id is reserved
 *
 * Invariant: no more than one frame of the allowed size is ever held back for bytes that are missing.
 */
import type { ByteOutput } from '../byte_output.ts';
import { Http2Error, REASON } from './http2_error.ts';

export const FRAME_HEADER_BYTES = 9;
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
/** What we take and, until the client says that it takes more, what we send. The protocol's smallest value; larger frames only hold others up. */
export const MAX_FRAME_BYTES = 16_384;
export const MAX_WINDOW = 2 ** 31 - 1;
export const DEFAULT_WINDOW = 65_535;

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const FLAG = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 0x20 } as const;

export const SETTING = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const;

/** Takes chunks as they arrive; `next` makes the following frame the current one. */
export class FrameReader {
  type = 0;
  flags = 0;
  streamId = 0;
  /** A view of the current frame's payload: it owns its bytes as far as the chunk it came in does. */
  payload: Buffer = Buffer.alloc(0);
  #chunk: Buffer = Buffer.alloc(0);
  #at = 0;

  push(chunk: Uint8Array): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    this.#chunk =
      this.#at >= this.#chunk.length ? bytes : Buffer.concat([this.#chunk.subarray(this.#at), bytes]);
    this.#at = 0;
  }

  /** False when no whole frame is there. @throws Http2Error FRAME_SIZE_ERROR */
  next(): boolean {
    const chunk = this.#chunk;
    const at = this.#at;
    if (chunk.length - at < FRAME_HEADER_BYTES) return false;
    const length = (chunk[at]! << 16) | (chunk[at + 1]! << 8) | chunk[at + 2]!;
    if (length > MAX_FRAME_BYTES) {
      throw new Http2Error(
        REASON.FRAME_SIZE_ERROR,
        `a frame of ${length} bytes, allowed: ${MAX_FRAME_BYTES}`,
      );
    }
    const end = at + FRAME_HEADER_BYTES + length;
    if (chunk.length < end) return false;
    this.type = chunk[at + 3]!;
    this.flags = chunk[at + 4]!;
    this.streamId = readU32(chunk, at + 5) & 0x7fff_ffff;
    this.payload = chunk.subarray(at + FRAME_HEADER_BYTES, end);
    this.#at = end;
    return true;
  }

  /** Lets go of the bytes of frames that were handled. */
  release(): void {
    if (this.#at < this.#chunk.length) return;
    this.#chunk = this.payload = Buffer.alloc(0);
    this.#at = 0;
  }
}

export function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

/** Writes a frame's header; gives where it begins, for `endFrame`. */
export function beginFrame(out: ByteOutput, type: number, flags: number, streamId: number): number {
  out.ensure(FRAME_HEADER_BYTES);
  const start = out.length;
  const { buffer } = out;
  buffer[start] = 0;
  buffer[start + 1] = 0;
  buffer[start + 2] = 0;
  buffer[start + 3] = type;
  buffer[start + 4] = flags;
  out.length = start + 5;
  out.u32(streamId);
  return start;
}

/** Everything written since `beginFrame` is the payload. REQUIRES: not more than the other side takes in a frame. */
export function endFrame(out: ByteOutput, start: number): void {
  const length = out.length - start - FRAME_HEADER_BYTES;
  out.buffer[start] = length >>> 16;
  out.buffer[start + 1] = length >>> 8;
  out.buffer[start + 2] = length;
}

export function writeSettings(out: ByteOutput, settings: readonly (readonly [id: number, value: number])[]) {
  const start = beginFrame(out, FRAME.SETTINGS, 0, 0);
  for (const [id, value] of settings) {
    out.u16(id);
    out.u32(value);
  }
  endFrame(out, start);
}

export function writeSettingsAck(out: ByteOutput): void {
  beginFrame(out, FRAME.SETTINGS, FLAG.ACK, 0);
}

export function writeWindowUpdate(out: ByteOutput, streamId: number, increment: number): void {
  const start = beginFrame(out, FRAME.WINDOW_UPDATE, 0, streamId);
  out.u32(increment);
  endFrame(out, start);
}

export function writeReset(out: ByteOutput, streamId: number, reason: number): void {
  const start = beginFrame(out, FRAME.RST_STREAM, 0, streamId);
  out.u32(reason);
  endFrame(out, start);
}

/** `opaque`: 8 bytes. */
export function writePing(out: ByteOutput, flags: number, opaque: Uint8Array): void {
  const start = beginFrame(out, FRAME.PING, flags, 0);
  out.bytes(opaque);
  endFrame(out, start);
}

export function writeGoAway(out: ByteOutput, lastStreamId: number, reason: number, text: string): void {
  const start = beginFrame(out, FRAME.GOAWAY, 0, 0);
  out.u32(lastStreamId);
  out.u32(reason);
  out.latin1(text);
  endFrame(out, start);
}
