/**
 * Reading and writing bytes: shared by every codec of this folder.
 *
 * Byte grammar: u8, u16, u32 and u64 are little-endian; a varint is base-128, least significant group first, high bit set on every byte but
 * the last; a byte string is varint(length) followed by the bytes; a string is a byte string holding UTF-8.
 *
 * Invariants: a reader never looks outside of [offset, end) that it was given and throws KvError PROTOCOL instead; numbers above
 * Number.MAX_SAFE_INTEGER and varints in a longer form than needed are refused (one value has one encoding); nothing is allocated before the
 * length that asks for it was checked against the bytes that are left.
 */
import { KvError } from '../errors.ts';

const TWO_32 = 0x1_0000_0000;
/** Longest varint of a safe integer: ceil(53 / 7) bytes. */
export const MAX_VARINT_BYTES = 8;
const MAX_U64 = 0xffff_ffff_ffff_ffffn;

/** What a codec throws for bytes that do not follow its grammar. */
export function malformed(what: string): KvError {
  return new KvError('PROTOCOL', `malformed bytes: ${what}`);
}

/** Bytes that `varint(value)` takes. REQUIRES: a safe integer >= 0. */
export function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < 0x1000_0000) return 4;
  let size = 4;
  for (let rest = Math.floor(value / 0x1000_0000); rest > 0; rest = Math.floor(rest / 128)) size++;
  return size;
}

/** Writes a varint at `offset` and gives the offset after it. REQUIRES: a safe integer >= 0, room in `target`. */
export function putVarint(target: Uint8Array, offset: number, value: number): number {
  let rest = value;
  let at = offset;
  while (rest >= 0x8000_0000) {
    target[at++] = (rest & 0x7f) | 0x80;
    rest = Math.floor(rest / 128);
  }
  while (rest >= 0x80) {
    target[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[at++] = rest;
  return at;
}

/** Reads forward through [offset, end) of a byte array. Views that it gives share memory with that array. */
export class ByteReader {
  bytes: Uint8Array;
  offset: number;
  end: number;

  constructor(bytes: Uint8Array, offset = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.offset = offset;
    this.end = end;
    if (offset < 0 || offset > end || end > bytes.length) throw malformed('range outside of the bytes');
  }

  /** Starts over on other bytes: lets a hot path keep one reader. */
  reset(bytes: Uint8Array): this {
    this.bytes = bytes;
    this.offset = 0;
    this.end = bytes.length;
    return this;
  }

  get remaining(): number {
    return this.end - this.offset;
  }

  u8(): number {
    if (this.offset >= this.end) throw malformed('cut off');
    return this.bytes[this.offset++] as number;
  }

  /** 0 or 1; anything else is refused. */
  bool(): boolean {
    const value = this.u8();
    if (value > 1) throw malformed(`${value} is not a truth value`);
    return value === 1;
  }

  u16(): number {
    const at = this.take(2);
    return (this.bytes[at] as number) | ((this.bytes[at + 1] as number) << 8);
  }

  u32(): number {
    return this.u32At(this.take(4));
  }

  /** A u64 that is a safe integer. */
  u64(): number {
    const at = this.take(8);
    const value = this.u32At(at + 4) * TWO_32 + this.u32At(at);
    if (value > Number.MAX_SAFE_INTEGER) throw malformed('number above 2^53 - 1');
    return value;
  }

  /** Any u64. */
  bigU64(): bigint {
    const at = this.take(8);
    return (BigInt(this.u32At(at + 4)) << 32n) | BigInt(this.u32At(at));
  }

  /** A safe integer >= 0 in its shortest form. */
  varint(): number {
    const first = this.u8();
    if (first < 0x80) return first;
    let value = first & 0x7f;
    let scale = 128;
    for (let size = 2; size <= MAX_VARINT_BYTES; size++) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (byte === 0) throw malformed('varint in a longer form than needed');
        if (value > Number.MAX_SAFE_INTEGER) throw malformed('number above 2^53 - 1');
        return value;
      }
      scale *= 128;
    }
    throw malformed('varint too long');
  }

  /** A varint of at most `max`; `what` names it in the error. */
  varintUpTo(max: number, what: string): number {
    const value = this.varint();
    if (value > max) throw malformed(`${what} is ${value}, allowed: at most ${max}`);
    return value;
  }

  /** How many items follow, each taking at least `minItemBytes` (from 1): refused when that many cannot be there. */
  count(minItemBytes: number): number {
    const value = this.varint();
    if (value * minItemBytes > this.end - this.offset) throw malformed(`${value} items announced, cut off`);
    return value;
  }

  /** A view of the next `length` bytes. */
  view(length: number): Uint8Array {
    const at = this.take(length);
    const { bytes } = this;
    // Not subarray: of a Buffer that is much slower.
    return new Uint8Array(bytes.buffer, bytes.byteOffset + at, length);
  }

  /** A view of a byte string. */
  byteString(): Uint8Array {
    return this.view(this.varint());
  }

  /** A byte string as UTF-8; bytes that are not UTF-8 are refused. */
  string(): string {
    const view = this.byteString();
    try {
      return strictUtf8.decode(view);
    } catch (cause) {
      throw new KvError('PROTOCOL', 'malformed bytes: text that is not UTF-8', { cause });
    }
  }

  /** A view of all that is left. */
  rest(): Uint8Array {
    return this.view(this.end - this.offset);
  }

  /** Moves on over `length` bytes. */
  skip(length: number): void {
    this.take(length);
  }

  /** Refuses bytes after the end of what was read. */
  expectEnd(): void {
    if (this.offset !== this.end) throw malformed(`${this.end - this.offset} bytes too many`);
  }

  /** Moves past `length` bytes and gives the offset where they start. */
  private take(length: number): number {
    const at = this.offset;
    if (length > this.end - at) throw malformed('cut off');
    this.offset = at + length;
    return at;
  }

  private u32At(at: number): number {
    const bytes = this.bytes;
    return (
      ((bytes[at] as number) |
        ((bytes[at + 1] as number) << 8) |
        ((bytes[at + 2] as number) << 16) |
        ((bytes[at + 3] as number) << 24)) >>>
      0
    );
  }
}

declare global {
  /** Node's own writers without argument handling: not part of its typed surface, there since Node 0.x. */
  interface Buffer {
    utf8Write(text: string, offset: number, length: number): number;
    latin1Write(text: string, offset: number, length: number): number;
  }
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const MIN_CAPACITY = 256;
const NO_BUFFER = Buffer.alloc(0);

/** Writes into a buffer that grows. Every method gives the writer back. */
export class ByteWriter {
  private buffer: Buffer;
  private length = 0;

  constructor(capacity = MIN_CAPACITY) {
    this.buffer = Buffer.allocUnsafe(Math.max(16, capacity));
  }

  /** Bytes written so far. */
  get sizeBytes(): number {
    return this.length;
  }

  u8(value: number): this {
    const at = this.grow(1);
    this.buffer[at] = value;
    return this;
  }

  bool(value: boolean): this {
    return this.u8(value ? 1 : 0);
  }

  u16(value: number): this {
    const at = this.grow(2);
    this.buffer.writeUInt16LE(value, at);
    return this;
  }

  u32(value: number): this {
    const at = this.grow(4);
    this.buffer.writeUInt32LE(value, at);
    return this;
  }

  /** REQUIRES: a safe integer >= 0. */
  u64(value: number): this {
    checkSafe(value);
    const at = this.grow(8);
    this.buffer.writeUInt32LE(value % TWO_32, at);
    this.buffer.writeUInt32LE(Math.floor(value / TWO_32), at + 4);
    return this;
  }

  bigU64(value: bigint): this {
    if (value < 0n || value > MAX_U64) throw new RangeError(`not a 64-bit number: ${value}`);
    const at = this.grow(8);
    this.buffer.writeBigUInt64LE(value, at);
    return this;
  }

  /** REQUIRES: a safe integer >= 0. */
  varint(value: number): this {
    checkSafe(value);
    const at = this.grow(MAX_VARINT_BYTES);
    this.length = putVarint(this.buffer, at, value);
    return this;
  }

  /** The bytes alone, without a length. */
  raw(bytes: Uint8Array): this {
    const at = this.grow(bytes.length);
    this.buffer.set(bytes, at);
    return this;
  }

  /** The bytes after their length. */
  byteString(bytes: Uint8Array): this {
    return this.varint(bytes.length).raw(bytes);
  }

  /** UTF-8 after its length in bytes. */
  string(text: string): this {
    const size = Buffer.byteLength(text, 'utf8');
    this.varint(size);
    const at = this.grow(size);
    this.buffer.utf8Write(text, at, size);
    return this;
  }

  /** Writes a u32 over four bytes that were written before: a length that is known only now. */
  patchU32(at: number, value: number): void {
    if (at + 4 > this.length) throw new RangeError('patch outside of what was written');
    this.buffer.writeUInt32LE(value, at);
  }

  /** Forgets what was written after the first `sizeBytes`. */
  truncate(sizeBytes: number): void {
    if (sizeBytes > this.length) throw new RangeError('cannot truncate to more than was written');
    this.length = sizeBytes;
  }

  /** What was written, as a view: valid until the writer is used again after `reset`. */
  view(): Uint8Array {
    return this.buffer.subarray(0, this.length);
  }

  /** What was written, as a copy of its own. */
  copy(): Uint8Array {
    const bytes = new Uint8Array(this.length);
    bytes.set(this.buffer.subarray(0, this.length));
    return bytes;
  }

  /** Gives the buffer away without copying; the writer starts over with a new one. */
  finish(): Uint8Array {
    const bytes = this.buffer.subarray(0, this.length);
    this.buffer = NO_BUFFER;
    this.length = 0;
    return bytes;
  }

  /** Forgets what was written and keeps the buffer. */
  reset(): this {
    this.length = 0;
    return this;
  }

  /** Makes room for `size` bytes, counts them as written and gives their offset. */
  private grow(size: number): number {
    const at = this.length;
    const needed = at + size;
    if (needed > this.buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.buffer.length * 2, MIN_CAPACITY));
      this.buffer.copy(larger, 0, 0, at);
      this.buffer = larger;
    }
    this.length = needed;
    return at;
  }
}

function checkSafe(value: number): void {
  if (!(value >= 0 && value <= Number.MAX_SAFE_INTEGER) || value % 1 !== 0) {
    throw new RangeError(`not a safe integer from 0: ${value}`);
  }
}
