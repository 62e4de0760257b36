/**
 * A ring of frames in shared memory: one thread puts in, one takes out, nobody waits.
 *
 *     frame   payloadBytes:u32 kind:u32 id:u32 payload, padded to four bytes      payloadBytes 0xffffffff: the rest of the ring up to its end is skipped
 *     head    bytes ever put in, tail: bytes ever taken out (32 bits, they go round); on cache lines of their own
 *
 * Invariants: only the putting thread stores `head`, after the frame is written; only the taking thread stores `tail`, when it is done with the frame's bytes. A
 * frame never crosses the end of the ring. What the taking thread reads was written by this process, but lengths are checked against the ring all the same.
 */
import { KvError } from '../errors.ts';

/** Two cache lines: head and tail. */
export const RING_WORDS_BYTES = 128;
const FRAME_HEADER_BYTES = 12;
const SKIP = -1;

export class ByteRing {
  /** The largest payload that always finds room once the ring is empty. */
  readonly maxPayloadBytes: number;
  /** Of the frame that `next` found. */
  kind = 0;
  id = 0;
  /** Valid until `release`. */
  payload: Uint8Array;
  readonly #head: Int32Array;
  readonly #tail: Int32Array;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #mask: number;
  #frameBytes = 0;

  /** `sizeBytes`, a power of two, at `dataAt`; the counters at `wordsAt`. */
  constructor(buffer: SharedArrayBuffer, wordsAt: number, dataAt: number, sizeBytes: number) {
    this.#head = new Int32Array(buffer, wordsAt, 1);
    this.#tail = new Int32Array(buffer, wordsAt + RING_WORDS_BYTES / 2, 1);
    this.#words = new Int32Array(buffer, dataAt, sizeBytes >>> 2);
    this.#bytes = new Uint8Array(buffer, dataAt, sizeBytes);
    this.#mask = sizeBytes - 1;
    // Half: wherever the ring's end is, an empty ring has so much in one piece.
    this.maxPayloadBytes = (sizeBytes >>> 1) - 2 * FRAME_HEADER_BYTES;
    this.payload = this.#bytes.subarray(0, 0);
  }

  get empty(): boolean {
    return Atomics.load(this.#head, 0) === Atomics.load(this.#tail, 0);
  }

  /** Whether a push of so many bytes would find room now, and so until this thread pushes something else. */
  hasRoom(payloadBytes: number): boolean {
    const frameBytes = FRAME_HEADER_BYTES + ((payloadBytes + 3) & ~3);
    const sizeBytes = this.#mask + 1;
    const head = Atomics.load(this.#head, 0);
    const at = head & this.#mask;
    const skipped = at + frameBytes > sizeBytes ? sizeBytes - at : 0;
    return ((head - Atomics.load(this.#tail, 0)) >>> 0) + skipped + frameBytes <= sizeBytes;
  }

  /** False: no room now. */
  push(kind: number, id: number, payload: Uint8Array): boolean {
    const frameBytes = FRAME_HEADER_BYTES + ((payload.length + 3) & ~3);
    const sizeBytes = this.#mask + 1;
    let head = Atomics.load(this.#head, 0);
    if (!this.hasRoom(payload.length)) return false;
    let at = head & this.#mask;
    const skipped = at + frameBytes > sizeBytes ? sizeBytes - at : 0;
    if (skipped > 0) {
      this.#words[at >>> 2] = SKIP;
      head = (head + skipped) | 0;
      at = 0;
    }
    const word = at >>> 2;
    this.#words[word] = payload.length;
    this.#words[word + 1] = kind;
    this.#words[word + 2] = id;
    this.#bytes.set(payload, at + FRAME_HEADER_BYTES);
    Atomics.store(this.#head, 0, (head + frameBytes) | 0);
    return true;
  }

  /** Looks at the oldest frame: true when there is one, which `kind`, `id` and `payload` then show until `release`. */
  next(): boolean {
    const head = Atomics.load(this.#head, 0);
    let tail = Atomics.load(this.#tail, 0);
    if (head === tail) return false;
    let at = tail & this.#mask;
    if (this.#words[at >>> 2] === SKIP) {
      tail = (tail + this.#mask + 1 - at) | 0;
      Atomics.store(this.#tail, 0, tail);
      if (head === tail) return false;
      at = 0;
    }
    const word = at >>> 2;
    const length = this.#words[word]!;
    const from = at + FRAME_HEADER_BYTES;
    if (length < 0 || from + length > this.#bytes.length) {
      throw new KvError('INTERNAL', `a frame of ${length} bytes at ${at} of a ring of ${this.#bytes.length}`);
    }
    this.kind = this.#words[word + 1]!;
    this.id = this.#words[word + 2]!;
    this.payload = this.#bytes.subarray(from, from + length);
    this.#frameBytes = FRAME_HEADER_BYTES + ((length + 3) & ~3);
    return true;
  }

  /** Done with the frame that `next` showed. */
  release(): void {
    Atomics.store(this.#tail, 0, (Atomics.load(this.#tail, 0) + this.#frameBytes) | 0);
  }
}
