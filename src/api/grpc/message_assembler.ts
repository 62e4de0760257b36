/**
 * gRPC's messages out of a stream of bytes.
 *
 *     message := compressed:u8 length:u32be bytes
 *
 * Invariants: no message longer than the bound, before and after decompression; memory is taken as bytes arrive, not as lengths announce it; what incomplete messages hold is counted in a
 * budget that all connections of a door share.
 */
import { gunzipSync } from 'node:zlib';
import { CODE, GrpcError } from './status.ts';

const PREFIX_BYTES = 5;

/** Bytes of incomplete messages, of a whole door. */
export class ByteBudget {
  readonly #limit: number;
  #used = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  /** False: used up; nothing was taken then. */
  take(bytes: number): boolean {
    if (this.#used + bytes > this.#limit) return false;
    this.#used += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#used -= bytes;
  }
}

export class MessageAssembler {
  readonly #maxBytes: number;
  readonly #budget: ByteBudget;
  readonly #gzip: boolean;
  #parts: Buffer[] = [];
  #held = 0;

  /** @param gzip messages that are marked as compressed are so with gzip. */
  constructor(maxBytes: number, budget: ByteBudget, gzip: boolean) {
    this.#maxBytes = maxBytes;
    this.#budget = budget;
    this.#gzip = gzip;
  }

  /** Whether part of a message is held. */
  get isPartial(): boolean {
    return this.#held > 0;
  }

  /** Hands every message that is whole now to `take`, as a view of what was given or of a buffer of its own. @throws GrpcError */
  push(bytes: Buffer, take: (message: Buffer) => void): void {
    if (bytes.length === 0) return;
    if (this.#held === 0) {
      const rest = this.#whole(bytes, take);
      if (rest.length > 0) this.#hold(rest);
      return;
    }
    this.#hold(bytes);
    if (this.#held < PREFIX_BYTES) return;
    const first = this.#parts[0]!;
    if (first.length < PREFIX_BYTES) this.#join();
    if (this.#held < PREFIX_BYTES + this.#lengthOf(this.#parts[0]!)) return;
    const all = this.#join();
    this.release();
    const rest = this.#whole(all, take);
    if (rest.length > 0) this.#hold(rest);
  }

  /** Gives back what is held. */
  release(): void {
    this.#budget.give(this.#held);
    this.#held = 0;
    this.#parts = [];
  }

  /** Takes whole messages from the front; gives what is left. */
  #whole(bytes: Buffer, take: (message: Buffer) => void): Buffer {
    let at = 0;
    while (bytes.length - at >= PREFIX_BYTES) {
      const rest = at === 0 ? bytes : bytes.subarray(at);
      const length = this.#lengthOf(rest);
      if (rest.length < PREFIX_BYTES + length) break;
      at += PREFIX_BYTES + length;
      const message = rest.subarray(PREFIX_BYTES, PREFIX_BYTES + length);
      take(rest[0] === 0 ? message : this.#decompress(message));
    }
    return at === 0 ? bytes : bytes.subarray(at);
  }

  #lengthOf(prefix: Buffer): number {
    if (prefix[0]! > 1) throw new GrpcError(CODE.INTERNAL, 'grpc: malformed message prefix');
    const length = prefix.readUInt32BE(1);
    if (length > this.#maxBytes) {
      throw new GrpcError(
        CODE.RESOURCE_EXHAUSTED,
        `grpc: received message larger than max (${length} vs. ${this.#maxBytes})`,
      );
    }
    return length;
  }

  #hold(bytes: Buffer): void {
    if (!this.#budget.take(bytes.length)) {
      throw new GrpcError(CODE.RESOURCE_EXHAUSTED, 'grpc: too many requests are being received');
    }
    this.#held += bytes.length;
    // A small part must not keep the chunk alive that it came in.
    this.#parts.push(Buffer.from(bytes));
  }

  #join(): Buffer {
    const all = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
    this.#parts = [all];
    return all;
  }

  #decompress(message: Buffer): Buffer {
    if (!this.#gzip) {
      throw new GrpcError(CODE.INTERNAL, 'grpc: compressed flag set with identity or empty encoding');
    }
    try {
      return gunzipSync(message, { maxOutputLength: Math.max(1, this.#maxBytes) });
    } catch (error) {
      const tooLarge = error instanceof RangeError;
      if (tooLarge) {
        throw new GrpcError(
          CODE.RESOURCE_EXHAUSTED,
          `grpc: received message after decompression larger than max (${this.#maxBytes})`,
        );
      }
      throw new GrpcError(CODE.INTERNAL, 'grpc: failed to decompress the received message');
    }
  }
}
