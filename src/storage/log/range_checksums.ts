/**
 * Checksums of any ranges of a file at a price that does not grow with their length.
 *
 * Behind a damaged place every multiple of 8 may be the beginning of a record, and what lies there may be a client's value that is made to look like headers of
 * long records: checksumming each of them would take the square of the file's length. With the CRC-32 of the file's beginnings, one every STRIDE_BYTES, that of a
 * range is F(end) xor F(start) * x^(8 * length) (as in zlib's crc32_combine), for which at most two strides are read.
 *
 * Invariant: the file does not change meanwhile.
 */
import { crc32 } from '../crc32.ts';
import type { DiskFile } from '../disk.ts';

const STRIDE_BYTES = 4096;
const READ_BYTES = 1024 * 1024;
/** The polynomial of CRC-32, bits reflected; x^0 is the highest bit. */
const POLYNOMIAL = 0xedb8_8320;
const X_0 = 0x8000_0000;
/** x^(2^n) modulo the polynomial. */
const POWERS = powers();

/** a * b modulo the polynomial. */
function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let bits = a; bits !== 0; bits <<= 1) {
    if (bits < 0) product ^= shifted;
    shifted = (shifted & 1) === 0 ? shifted >>> 1 : (shifted >>> 1) ^ POLYNOMIAL;
  }
  return product;
}

function powers(): Int32Array {
  const table = new Int32Array(32);
  table[0] = X_0 >>> 1;
  for (let n = 1; n < table.length; n++) table[n] = multiply(table[n - 1]!, table[n - 1]!);
  return table;
}

/** crc * x^(8 * bytes): what a checksum becomes when so many zero bytes are fed to its register. REQUIRES: below 2^31 bytes. */
function shift(crc: number, bytes: number): number {
  let factor = X_0 | 0;
  for (let left = bytes, n = 3; left > 0; left >>>= 1, n++)
    if ((left & 1) !== 0) factor = multiply(POWERS[n & 31]!, factor);
  return multiply(crc | 0, factor);
}

export class RangeChecksums {
  readonly #file: DiskFile;
  /** At i: the checksum of the first i * STRIDE_BYTES. */
  readonly #beginnings: Uint32Array;
  readonly #buffer = new Uint8Array(STRIDE_BYTES);

  private constructor(file: DiskFile, beginnings: Uint32Array) {
    this.#file = file;
    this.#beginnings = beginnings;
  }

  /** Reads the file once. @throws DiskError */
  static async read(file: DiskFile): Promise<RangeChecksums> {
    const sizeBytes = file.sizeBytes();
    const beginnings = new Uint32Array(Math.floor(sizeBytes / STRIDE_BYTES) + 1);
    const window = new Uint8Array(Math.min(READ_BYTES, sizeBytes));
    let crc = 0;
    for (let at = 0; at < sizeBytes; at += READ_BYTES) {
      const count = await file.read(window, at);
      for (let from = 0; from < count; from += STRIDE_BYTES) {
        beginnings[(at + from) / STRIDE_BYTES] = crc;
        crc = crc32(window.subarray(from, Math.min(from + STRIDE_BYTES, count)), crc);
      }
    }
    if (sizeBytes % STRIDE_BYTES === 0) beginnings[sizeBytes / STRIDE_BYTES] = crc;
    return new RangeChecksums(file, beginnings);
  }

  /** The CRC-32 of [start, end), begun with `seed`. REQUIRES: 0 <= start <= end <= the file's size. @throws DiskError */
  of(start: number, end: number, seed: number): number {
    return (this.#beginning(end) ^ shift(this.#beginning(start) ^ seed, end - start)) >>> 0;
  }

  #beginning(end: number): number {
    const stride = Math.floor(end / STRIDE_BYTES);
    const known = this.#beginnings[stride]!;
    const rest = end - stride * STRIDE_BYTES;
    if (rest === 0) return known;
    const bytes = this.#buffer.subarray(0, rest);
    const count = this.#file.readSync(bytes, stride * STRIDE_BYTES);
    return crc32(bytes.subarray(0, count), known);
  }
}
