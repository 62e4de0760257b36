/**
 * Frames of the client protocol (docs/formats/tcp_protocol.md): their header, their numbers, and the reader that cuts a byte stream into them.
 *
 *     frame := length:u32 opcode:u8 requestId:u32 payload      length counts everything after itself; little-endian
 *
 * Invariants: a frame longer than the limit is refused as soon as its length is known, before memory is taken for it; the reader holds no more than the
 * bytes that arrived; a payload is a view of those bytes and stays valid as long as somebody holds it.
 */
import { KvError } from '../errors.ts';
import type { ByteReader, ByteWriter } from './varint.ts';

/** Numbers of the frames; never reused. Below 0x80 from the client (PING and PONG: both ways), from 0x80 the server's. */
export const OPCODE = {
  HELLO: 0x01,
  PING: 0x02,
  PONG: 0x03,
  WRITE: 0x10,
  GET: 0x11,
  SCAN: 0x12,
  WATCH: 0x13,
  CANCEL: 0x14,
  CREDIT: 0x15,
  RANGE: 0x16,
  SNAPSHOT: 0x17,
  STATUS: 0x20,
  CLUSTER_STATUS: 0x21,
  MEMBERS: 0x22,
  MEMBER_ADD: 0x23,
  MEMBER_PROMOTE: 0x24,
  MEMBER_REMOVE: 0x25,
  MOVE_LEADER: 0x26,
  LEASE_KEEP_ALIVE: 0x30,
  LEASE_TIME_TO_LIVE: 0x31,
  LEASES: 0x32,
  AUTHENTICATE: 0x38,
  AUTH_CHANGE: 0x39,
  AUTH_STATUS: 0x3a,
  USER_GET: 0x3b,
  USER_LIST: 0x3c,
  ROLE_GET: 0x3d,
  ROLE_LIST: 0x3e,
  COMPACT: 0x40,
  HASH: 0x41,
  CLUSTER_HASH: 0x42,
  ALARMS: 0x43,
  ALARM: 0x44,
  QUOTAS: 0x48,
  QUOTA: 0x49,
  WELCOME: 0x80,
  RESULT: 0x81,
  ERROR: 0x82,
  STREAM_DATA: 0x83,
  STREAM_END: 0x84,
  GOAWAY: 0x85,
} as const;

/** Bytes before the payload, the length among them. */
export const FRAME_HEADER_BYTES = 9;
const LENGTH_BYTES = 4;
const EMPTY = new Uint8Array(0);
/** Longest frame of a side that has not been greeted yet. */
export const MAX_HELLO_BYTES = 1024;

/** Opens a frame in `writer`; gives the position that `endFrame` wants. */
export function beginFrame(writer: ByteWriter, opcode: number, requestId: number): number {
  const start = writer.sizeBytes;
  writer.u32(0).u8(opcode).u32(requestId);
  return start;
}

/** Fills in the length of the frame that was opened at `start`; gives the bytes of its payload. */
export function endFrame(writer: ByteWriter, start: number): number {
  const sizeBytes = writer.sizeBytes - start;
  writer.patchU32(start, sizeBytes - LENGTH_BYTES);
  return sizeBytes - FRAME_HEADER_BYTES;
}

/** Cuts chunks of a byte stream into frames; the owner pulls them, so that it can stop in the middle of a chunk. */
export class FrameReader {
  /** Of the frame that `next` found. */
  opcode = 0;
  requestId = 0;
  private maxFrameBytes: number;
  /** Unread bytes are [at, end) of `bytes`. */
  private bytes: Uint8Array = EMPTY;
  private at = 0;
  private end = 0;
  /** `bytes` is ours to append to behind `end`; views that were given out lie before it. */
  private owned = false;
  private payloadStart = 0;
  private payloadEnd = 0;
  private payloadBytes: Uint8Array = EMPTY;

  constructor(maxFrameBytes: number) {
    this.maxFrameBytes = maxFrameBytes;
  }

  /** Bytes that arrived and were not read as frames yet. */
  get unreadBytes(): number {
    return this.end - this.at;
  }

  /** Sets the limit for the frames to come (without the length field). */
  setLimit(maxFrameBytes: number): void {
    this.maxFrameBytes = maxFrameBytes;
  }

  /** Takes bytes that arrived; they must not be changed afterwards. */
  push(chunk: Uint8Array): void {
    const unread = this.end - this.at;
    if (unread === 0) {
      this.bytes = chunk;
      this.at = 0;
      this.end = chunk.length;
      this.owned = false;
      return;
    }
    const needed = unread + chunk.length;
    if (!this.owned || this.end + chunk.length > this.bytes.length) {
      // Doubling keeps a frame that drips in byte by byte from being copied each time, without trusting its announced length.
      const larger = new Uint8Array(Math.max(needed, Math.min(this.frameTotal(), needed * 2)));
      larger.set(this.bytes.subarray(this.at, this.end));
      this.bytes = larger;
      this.at = 0;
      this.end = unread;
      this.owned = true;
    }
    this.bytes.set(chunk, this.end);
    this.end += chunk.length;
  }

  /**
   * Steps to the next whole frame; false when more bytes are needed.
   * @throws KvError FRAME_TOO_LARGE, PROTOCOL: the stream cannot be followed any longer.
   */
  next(): boolean {
    const unread = this.end - this.at;
    if (unread < LENGTH_BYTES) return false;
    const bytes = this.bytes;
    const start = this.at;
    const length = u32(bytes, start);
    if (length > this.maxFrameBytes) {
      throw new KvError(
        'FRAME_TOO_LARGE',
        `frame of ${length} bytes, allowed: at most ${this.maxFrameBytes}`,
        {
          details: { sizeBytes: length, limitBytes: this.maxFrameBytes },
        },
      );
    }
    if (length < FRAME_HEADER_BYTES - LENGTH_BYTES) {
      throw new KvError('PROTOCOL', `malformed frame: ${length} bytes are too few`);
    }
    if (unread < length + LENGTH_BYTES) return false;
    this.opcode = bytes[start + 4]!;
    this.requestId = u32(bytes, start + 5);
    this.payloadBytes = bytes;
    this.payloadStart = start + FRAME_HEADER_BYTES;
    this.payloadEnd = this.at = start + length + LENGTH_BYTES;
    return true;
  }

  /** Points `reader` at the payload of the frame that `next` found. */
  payload(reader: ByteReader): ByteReader {
    reader.bytes = this.payloadBytes;
    reader.offset = this.payloadStart;
    reader.end = this.payloadEnd;
    return reader;
  }

  /** Bytes of the frame that is arriving, as far as it says and the limit allows; 0 when its length is not there yet. */
  private frameTotal(): number {
    if (this.end - this.at < LENGTH_BYTES) return 0;
    return Math.min(u32(this.bytes, this.at), this.maxFrameBytes) + LENGTH_BYTES;
  }
}

function u32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}
