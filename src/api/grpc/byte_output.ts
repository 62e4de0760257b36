/**
 * Bytes on their way out, shared by all that writes to one connection in one turn: HTTP/2 frames, gRPC prefixes and Protobuf messages lie behind one another in one
 * buffer, so that a turn's answers leave with one write and no value is copied twice.
 *
 * Numbers are big-endian as HTTP/2 has them; varints are Protobuf's.
 */
import { putVarint } from '../../wire/varint.ts';

const MIN_CAPACITY = 1024;
/** A uint64 takes at most so many bytes. */
const MAX_VARINT_BYTES = 10;
/** Up to here a loop is quicker than a call of a built-in. */
const SHORT_BYTES = 24;
const MASK_64 = (1n << 64n) - 1n;

export class ByteOutput {
  /** What was written is `buffer[0, length)`. Replaced when it grows. */
  buffer: Buffer;
  length = 0;

  constructor(capacity = MIN_CAPACITY) {
    this.buffer = Buffer.allocUnsafe(Math.max(capacity, MIN_CAPACITY));
  }

  /** Makes room for `size` more bytes. */
  ensure(size: number): void {
    const needed = this.length + size;
    if (needed <= this.buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.buffer.length * 2));
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }

  u8(value: number): void {
    this.ensure(1);
    this.buffer[this.length++] = value;
  }

  u16(value: number): void {
    this.ensure(2);
    this.length = this.buffer.writeUInt16BE(value, this.length);
  }

  u32(value: number): void {
    this.ensure(4);
    this.patchU32(this.length, value);
    this.length += 4;
  }

  /** Writes over four bytes that are there. */
  patchU32(at: number, value: number): void {
    const { buffer } = this;
    buffer[at] = value >>> 24;
    buffer[at + 1] = value >>> 16;
    buffer[at + 2] = value >>> 8;
    buffer[at + 3] = value;
  }

  bytes(bytes: Uint8Array): void {
    this.ensure(bytes.length);
    const { buffer, length } = this;
    if (bytes.length > SHORT_BYTES) buffer.set(bytes, length);
    else for (let i = 0; i < bytes.length; i++) buffer[length + i] = bytes[i]!;
    this.length = length + bytes.length;
  }

  /** REQUIRES: no character above 255. */
  latin1(text: string): void {
    this.ensure(text.length);
    this.buffer.latin1Write(text, this.length, text.length);
    this.length += text.length;
  }

  /** REQUIRES: a safe integer from 0. */
  varint(value: number): void {
    this.ensure(MAX_VARINT_BYTES);
    if (value < 0x80) this.buffer[this.length++] = value;
    else this.length = putVarint(this.buffer, this.length, value);
  }

  /** An int64 that is a safe integer: negative ones take ten bytes. */
  varint64(value: number): void {
    if (value >= 0) this.varint(value);
    else this.bigVarint(BigInt(value));
  }

  /** An int64 or uint64. */
  bigVarint(value: bigint): void {
    this.ensure(MAX_VARINT_BYTES);
    let rest = value & MASK_64;
    while (rest >= 0x80n) {
      this.buffer[this.length++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.buffer[this.length++] = Number(rest);
  }

  /** UTF-8 after its length in bytes. */
  text(text: string): void {
    const size = Buffer.byteLength(text);
    this.varint(size);
    this.ensure(size);
    this.buffer.utf8Write(text, this.length, size);
    this.length += size;
  }

  /** Forgets what was written after the first `length` bytes. */
  truncate(length: number): void {
    this.length = length;
  }

  /** A copy of what was written from `start` on. */
  copyFrom(start: number): Buffer {
    return Buffer.from(this.buffer.subarray(start, this.length));
  }

  view(): Buffer {
    return this.buffer.subarray(0, this.length);
  }

  /** Starts over with the same buffer. */
  reset(): void {
    this.length = 0;
  }

  /** Starts over with another buffer: the old one belongs to someone else now. */
  renew(): void {
    this.buffer = Buffer.allocUnsafe(MIN_CAPACITY * 16);
    this.length = 0;
  }
}
