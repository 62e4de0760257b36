/**
 * The data of a command entry of the log: commands batched under one index.
 *
 *     entry := version:u8(1) timeMs:u64 count:u32 count*(length:varint command)
 *
 * Invariants: the header has a fixed size; commands are carried untouched (command_codec.ts is their grammar); an entry has at least one.
 */
import { KvError } from '../errors.ts';
import { ByteReader, MAX_VARINT_BYTES, malformed, putVarint, varintBytes } from './varint.ts';

export const ENTRY_VERSION = 1;
const HEADER_BYTES = 13;
/** Entries are kept, and let go, in the order of their making: a slab does not outlive its entries by much. */
const SLAB_BYTES = 256 * 1024;
const MAX_SHARED_BYTES = 8 * 1024;
const TWO_32 = 0x1_0000_0000;

/**
 * Gathers commands into the data of one entry; may be used again after `finish`. The commands are copied by `finish`, once and into memory of its own:
 * until then they must not change.
 */
export class EntryBuilder {
  private commands: Uint8Array[] = [];
  private size = HEADER_BYTES;
  private slab: Buffer = Buffer.alloc(0);
  private slabUsed = 0;

  get count(): number {
    return this.commands.length;
  }

  /** Length of what `finish` would give now. */
  get sizeBytes(): number {
    return this.size;
  }

  add(command: Uint8Array): void {
    this.commands.push(command);
    this.size += varintBytes(command.length) + command.length;
  }

  /** The entry's data, in memory of its own. REQUIRES: at least one command; `timeMs` a safe integer >= 0. */
  finish(timeMs: number): Uint8Array {
    const bytes = this.take(this.size);
    bytes[0] = ENTRY_VERSION;
    bytes.writeUInt32LE(timeMs % TWO_32, 1);
    bytes.writeUInt32LE(Math.floor(timeMs / TWO_32), 5);
    bytes.writeUInt32LE(this.commands.length, 9);
    let at = HEADER_BYTES;
    for (const command of this.commands) {
      at = putVarint(bytes, at, command.length);
      bytes.set(command, at);
      at += command.length;
    }
    this.commands = [];
    this.size = HEADER_BYTES;
    return bytes;
  }

  /** Small entries share a slab: an ArrayBuffer of its own costs more than filling it. */
  private take(size: number): Buffer {
    if (size > MAX_SHARED_BYTES) return Buffer.allocUnsafeSlow(size);
    if (size > this.slab.length - this.slabUsed) {
      this.slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.slabUsed = 0;
    }
    const bytes = this.slab.subarray(this.slabUsed, this.slabUsed + size);
    this.slabUsed += size;
    return bytes;
  }
}

/**
 * The data of an entry of one command, always in the same memory: for who is done with an entry before the next one is made. A command is either copied in,
 * or written in place between `begin` and `end`.
 */
export class SingleEntry {
  /** Where a command that is written in place goes. */
  readonly bytes: Buffer;
  /** Views that were given last: entries of one size, one after the other, are the usual case. */
  private view: Uint8Array;

  /** Entries have at most `capacityBytes`. */
  constructor(capacityBytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(capacityBytes);
    this.view = this.bytes.subarray(0, 0);
  }

  /** Begins an entry whose command will have `commandBytes`; gives the offset in `bytes` that it goes to, 0 when it is too large. */
  begin(commandBytes: number, timeMs: number): number {
    const { bytes } = this;
    if (HEADER_BYTES + MAX_VARINT_BYTES + commandBytes > bytes.length) return 0;
    bytes[0] = ENTRY_VERSION;
    putU32(bytes, 1, timeMs % TWO_32);
    putU32(bytes, 5, Math.floor(timeMs / TWO_32));
    putU32(bytes, 9, 1);
    return putVarint(bytes, HEADER_BYTES, commandBytes);
  }

  /** The entry's data, up to the offset where its command ends: a view, valid until the next `begin`. */
  end(offset: number): Uint8Array {
    if (this.view.length !== offset) this.view = new Uint8Array(this.bytes.buffer, 0, offset);
    return this.view;
  }

  /** A view of some of the bytes. */
  viewOf(offset: number, length: number): Uint8Array {
    return new Uint8Array(this.bytes.buffer, offset, length);
  }
}

function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

/** Steps through the commands of an entry without building views of them. */
export class EntryReader {
  readonly bytes: Uint8Array;
  /** The proposing leader's clock. */
  readonly timeMs: number;
  readonly count: number;
  /** [start, end) of the present command: hand them to decodeCommand(bytes, start, end). */
  start = 0;
  end = 0;
  private readonly reader: ByteReader;
  private left: number;

  /** @throws KvError UNSUPPORTED_VERSION, PROTOCOL. */
  constructor(data: Uint8Array) {
    const reader = new ByteReader(data);
    const version = reader.u8();
    if (version !== ENTRY_VERSION) {
      throw new KvError(
        'UNSUPPORTED_VERSION',
        `log entry of version ${version}; this node reads ${ENTRY_VERSION}`,
      );
    }
    this.bytes = data;
    this.timeMs = reader.u64();
    this.count = reader.u32();
    // A command has at least its length, its version and its kind.
    if (this.count === 0 || this.count * 3 > reader.remaining)
      throw malformed(`entry of ${this.count} commands`);
    this.reader = reader;
    this.left = this.count;
  }

  /** Moves to the next command; false after the last one. @throws KvError PROTOCOL. */
  next(): boolean {
    const reader = this.reader;
    if (this.left === 0) {
      reader.expectEnd();
      return false;
    }
    this.left--;
    const size = reader.varint();
    this.start = reader.offset;
    reader.skip(size);
    this.end = reader.offset;
    return true;
  }

  /** A view of the present command. */
  command(): Uint8Array {
    return this.bytes.subarray(this.start, this.end);
  }
}

/** Calls `visit` with a view of each command in turn; gives the entry's time. @throws KvError UNSUPPORTED_VERSION, PROTOCOL. */
export function decodeEntry(data: Uint8Array, visit: (command: Uint8Array, timeMs: number) => void): number {
  const reader = new EntryReader(data);
  while (reader.next()) visit(reader.command(), reader.timeMs);
  return reader.timeMs;
}
