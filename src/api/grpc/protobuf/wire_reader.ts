/**
 * Reads Protobuf's wire format from untrusted bytes.
 *
 *     message := field*       field := tag:varint value       tag := number << 3 | type
 *     type 0: varint, 1: 8 bytes, 2: length:varint bytes, 5: 4 bytes; 3 and 4 (groups) are refused
 *
 * Invariants: never reads behind the end of the message at hand; byte strings are views of the bytes given.
 */
import { KvError } from '../../../errors.ts';

export const WIRE_VARINT = 0;
export const WIRE_FIXED64 = 1;
export const WIRE_BYTES = 2;
export const WIRE_FIXED32 = 5;

const TWO_32 = 2 ** 32;
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function malformedMessage(what: string): KvError {
  return new KvError('PROTOCOL', `malformed message: ${what}`);
}

export class WireReader {
  at: number;
  end: number;
  readonly #bytes: Uint8Array;
  /** The halves of the varint that was read last. */
  #low = 0;
  #high = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.at = 0;
    this.end = bytes.length;
  }

  /** A varint that is a tag or a length: at most 32 bits. */
  small(): number {
    const first = this.#bytes[this.at];
    if (first !== undefined && first < 128 && this.at < this.end) {
      this.at++;
      return first;
    }
    this.#varint();
    if (this.#high !== 0) throw malformedMessage('a length above 32 bits');
    return this.#low;
  }

  bool(): boolean {
    this.#varint();
    return this.#low !== 0 || this.#high !== 0;
  }

  /** The lower 32 bits, signed: int32 and enumerations. */
  int32(): number {
    this.#varint();
    return this.#low | 0;
  }

  uint32(): number {
    this.#varint();
    return this.#low;
  }

  /** An int64; one that a number can't hold becomes the nearest that it can: it stands for a revision or a count that nothing ever reaches. */
  int64(): number {
    this.#varint();
    const value = (this.#high | 0) * TWO_32 + this.#low;
    return Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, value));
  }

  bigInt64(): bigint {
    this.#varint();
    return (BigInt(this.#high | 0) << 32n) | BigInt(this.#low);
  }

  bigUint64(): bigint {
    this.#varint();
    return (BigInt(this.#high) << 32n) | BigInt(this.#low);
  }

  bytes(): Uint8Array {
    const length = this.#length();
    const start = this.at;
    this.at = start + length;
    const { buffer, byteOffset } = this.#bytes;
    // Not subarray: of a Buffer that is much slower.
    return new Uint8Array(buffer, byteOffset + start, length);
  }

  text(): string {
    const bytes = this.bytes();
    try {
      return strictUtf8.decode(bytes);
    } catch (cause) {
      throw new KvError('PROTOCOL', 'malformed message: text that is not UTF-8', { cause });
    }
  }

  /** Steps into a message of the given length; gives the end to come back to. */
  enter(): number {
    const length = this.#length();
    const outer = this.end;
    this.end = this.at + length;
    return outer;
  }

  leave(outer: number): void {
    this.at = this.end;
    this.end = outer;
  }

  /** Passes over a field that nobody knows. */
  skip(type: number): void {
    if (type === WIRE_VARINT) this.#varint();
    else if (type === WIRE_BYTES) {
      // Two steps: the length has to be read first.
      const length = this.#length();
      this.at += length;
    } else if (type === WIRE_FIXED64) this.#move(8);
    else if (type === WIRE_FIXED32) this.#move(4);
    else throw malformedMessage(`wire type ${type}`);
  }

  #length(): number {
    const length = this.small();
    if (length > this.end - this.at) throw malformedMessage('cut off');
    return length;
  }

  #move(size: number): void {
    if (size > this.end - this.at) throw malformedMessage('cut off');
    this.at += size;
  }

  #varint(): void {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.at >= this.end) throw malformedMessage('cut off');
      const byte = this.#bytes[this.at++]!;
      const bits = byte & 127;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 128) {
        this.#low = low >>> 0;
        this.#high = high >>> 0;
        return;
      }
    }
    throw malformedMessage('a number of more than ten bytes');
  }
}
