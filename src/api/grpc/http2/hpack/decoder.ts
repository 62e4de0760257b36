/**
 * Header blocks to header fields (RFC 7541). One decoder a connection: the dynamic table is the state that both sides share.
 *
 *     field := 1 index:7                                          both from a table
 *            | 01 index:6 [name] value                            literal, added to the dynamic table
 *            | 0000 index:4 [name] value | 0001 index:4 [name] value   literal, not added
 *            | 001 size:5                                         the dynamic table's size, at the beginning of a block only
 *     string := huffman:1 length:7 bytes                          numbers continue in further bytes when their bits are all ones
 *
 * Invariants: the dynamic table never takes more than `maxTableBytes` (the value of our SETTINGS_HEADER_TABLE_SIZE); a list that is longer than `maxListBytes` is decoded to its
 * end, so that the table stays what the other side thinks it is, but not kept; strings are bytes read as Latin-1.
 */
import { Http2Error, REASON } from '../http2_error.ts';
import { decodedBytesAtMost, decodeHuffman } from './huffman.ts';
import { STATIC_ENTRIES, STATIC_NAMES, STATIC_VALUES } from './static_table.ts';

/** What an entry costs beside its bytes (section 4.1). */
const ENTRY_OVERHEAD = 32;
/** Numbers above this are of no use to anyone here. */
const MAX_NUMBER = 2 ** 28;

export interface HeaderDecoderLimits {
  readonly maxTableBytes: number;
  readonly maxListBytes: number;
}

/** Names and values in turn. */
export type HeaderList = readonly string[];

export class HeaderDecoder {
  readonly #limits: HeaderDecoderLimits;
  /** Entries, the oldest first: names and values in turn. `#first` counts those that were evicted and not yet cut off. */
  #entries: string[] = [];
  #first = 0;
  #tableBytes = 0;
  #tableLimit: number;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  #scratch = Buffer.alloc(256);

  constructor(limits: HeaderDecoderLimits) {
    this.#limits = limits;
    this.#tableLimit = limits.maxTableBytes;
  }

  /** Bytes that the dynamic table counts for. */
  get tableBytes(): number {
    return this.#tableBytes;
  }

  /**
   * Decodes a whole block; undefined when the list is longer than allowed.
   * @throws Http2Error COMPRESSION_ERROR: the connection can't go on, its table is not the other side's any more.
   */
  decode(block: Uint8Array): HeaderList | undefined {
    this.#bytes = block;
    this.#at = 0;
    this.#end = block.length;
    const list: string[] = [];
    let listBytes = 0;
    let fields = 0;
    while (this.#at < this.#end) {
      const first = block[this.#at]!;
      if ((first & 0xe0) === 0x20) {
        if (fields > 0) throw broken('a table size that does not begin its block');
        this.#resize(this.#number(5));
        continue;
      }
      fields++;
      let name: string;
      let value: string;
      if (first >= 0x80) {
        const index = this.#number(7);
        name = this.#nameAt(index);
        value = this.#valueAt(index);
      } else {
        const added = first >= 0x40;
        const index = this.#number(added ? 6 : 4);
        name = index === 0 ? this.#string() : this.#nameAt(index);
        value = this.#string();
        if (added) this.#add(name, value);
      }
      listBytes += name.length + value.length + ENTRY_OVERHEAD;
      if (listBytes <= this.#limits.maxListBytes) list.push(name, value);
    }
    this.#bytes = new Uint8Array(0);
    return listBytes <= this.#limits.maxListBytes ? list : undefined;
  }

  #nameAt(index: number): string {
    if (index > STATIC_ENTRIES) return this.#entries[this.#slot(index)]!;
    if (index === 0) throw broken('index 0');
    return STATIC_NAMES[index]!;
  }

  #valueAt(index: number): string {
    return index > STATIC_ENTRIES ? this.#entries[this.#slot(index) + 1]! : STATIC_VALUES[index]!;
  }

  /** Where a dynamic entry's name stands: the newest entry has the smallest index. */
  #slot(index: number): number {
    const slot = this.#entries.length - 2 * (index - STATIC_ENTRIES);
    if (slot < 2 * this.#first) throw broken(`index ${index} of an entry that is not there`);
    return slot;
  }

  #add(name: string, value: string): void {
    const size = name.length + value.length + ENTRY_OVERHEAD;
    this.#evictTo(this.#tableLimit - size);
    // An entry larger than the table empties it, and is not added.
    if (size > this.#tableLimit) return;
    this.#entries.push(name, value);
    this.#tableBytes += size;
  }

  #resize(limit: number): void {
    if (limit > this.#limits.maxTableBytes) throw broken(`a table of ${limit} bytes`);
    this.#tableLimit = limit;
    this.#evictTo(limit);
  }

  #evictTo(bytes: number): void {
    const entries = this.#entries;
    while (this.#tableBytes > bytes && 2 * this.#first < entries.length) {
      const at = 2 * this.#first++;
      this.#tableBytes -= entries[at]!.length + entries[at + 1]!.length + ENTRY_OVERHEAD;
    }
    // Not with every eviction, which would cost a copy of the table each.
    if (4 * this.#first > entries.length) {
      this.#entries = entries.slice(2 * this.#first);
      this.#first = 0;
    }
  }

  /** A number whose first `bits` bits end the byte at hand (section 5.1). */
  #number(bits: number): number {
    const mask = (1 << bits) - 1;
    let value = this.#byte() & mask;
    if (value < mask) return value;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 127) * scale;
      if (value > MAX_NUMBER || scale > MAX_NUMBER) throw broken('a number that is too large');
      if (byte < 128) return value;
    }
  }

  #string(): string {
    if (this.#at >= this.#end) throw broken('a block that is cut off');
    const huffman = this.#bytes[this.#at]! >= 128;
    const length = this.#number(7);
    const start = this.#at;
    if (length > this.#end - start) throw broken('a block that is cut off');
    this.#at = start + length;
    if (!huffman) return latin1(this.#bytes, start, this.#at);
    const room = decodedBytesAtMost(length);
    if (this.#scratch.length < room) this.#scratch = Buffer.alloc(room);
    return this.#scratch.latin1Slice(0, decodeHuffman(this.#bytes, start, this.#at, this.#scratch));
  }

  #byte(): number {
    if (this.#at >= this.#end) throw broken('a block that is cut off');
    return this.#bytes[this.#at++]!;
  }
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).latin1Slice();
}

function broken(what: string): Http2Error {
  return new Http2Error(REASON.COMPRESSION_ERROR, `header block: ${what}`);
}

declare global {
  /** Node's own reader without argument handling: not part of its typed surface, there since Node 0.x. */
  interface Buffer {
    latin1Slice(start?: number, end?: number): string;
  }
}
