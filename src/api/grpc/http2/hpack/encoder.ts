/**
 * Header fields to header blocks (RFC 7541), one encoder a connection.
 *
 * Literals without Huffman coding, and nothing is added to the other side's table but the two fields that nearly every answer has: each is added where it is first
 * written, and is one byte from then on. A client that changes its table's size (SETTINGS_HEADER_TABLE_SIZE) gets literals only.
 *
 * REQUIRES: names in lower case and values in Latin-1 without line ends.
 */
import type { ByteOutput } from '../../byte_output.ts';
import { INDEX_STATUS_200, STATIC_ENTRIES, STATIC_NAMES, STATIC_VALUES } from './static_table.ts';

const DEFAULT_TABLE_BYTES = 4096;

const CONTENT_TYPE = ['content-type', 'application/grpc'] as const;
const STATUS_OK = ['grpc-status', '0'] as const;
type FrequentField = typeof CONTENT_TYPE | typeof STATUS_OK;

const staticNames = new Map<string, number>();
const staticFields = new Map<string, number>();
for (let index = STATIC_ENTRIES; index > 0; index--) {
  staticNames.set(STATIC_NAMES[index]!, index);
  staticFields.set(`${STATIC_NAMES[index]}\n${STATIC_VALUES[index]}`, index);
}

export class HeaderEncoder {
  /** What the other side's table has, the oldest first. */
  #added: FrequentField[] = [];
  #mayAdd = true;
  #emptyFirst = false;

  /** The other side's SETTINGS_HEADER_TABLE_SIZE. */
  tableSize(bytes: number): void {
    if (bytes === DEFAULT_TABLE_BYTES || !this.#mayAdd) return;
    this.#mayAdd = false;
    this.#added = [];
    // Whatever it was: the next block says that the table is empty, and it stays so (section 4.2).
    this.#emptyFirst = true;
  }

  /** The header block of a gRPC answer: `:status 200` and its content type. */
  grpcHeaders(out: ByteOutput): void {
    this.#begin(out);
    out.u8(0x80 | INDEX_STATUS_200);
    this.#frequent(out, CONTENT_TYPE);
  }

  /** The trailers of a gRPC answer that went well. */
  grpcOk(out: ByteOutput): void {
    this.#begin(out);
    this.#frequent(out, STATUS_OK);
  }

  /** Any block; names and values in turn. `status` 0: trailers. */
  block(out: ByteOutput, status: number, fields: readonly string[]): void {
    this.#begin(out);
    if (status !== 0) {
      const index = staticFields.get(`:status\n${status}`);
      if (index !== undefined) out.u8(0x80 | index);
      else literal(out, INDEX_STATUS_200, ':status', String(status));
    }
    for (let i = 0; i + 1 < fields.length; i += 2) {
      const name = fields[i]!;
      literal(out, staticNames.get(name) ?? 0, name, fields[i + 1]!);
    }
  }

  #begin(out: ByteOutput): void {
    if (!this.#emptyFirst) return;
    this.#emptyFirst = false;
    out.u8(0x20);
  }

  #frequent(out: ByteOutput, field: FrequentField): void {
    const position = this.#added.indexOf(field);
    if (position >= 0) {
      out.u8(0x80 | (STATIC_ENTRIES + this.#added.length - position));
      return;
    }
    const [name, value] = field;
    const index = staticNames.get(name) ?? 0;
    if (!this.#mayAdd) {
      literal(out, index, name, value);
      return;
    }
    this.#added.push(field);
    number(out, 0x40, 6, index);
    if (index === 0) string(out, name);
    string(out, value);
  }
}

function literal(out: ByteOutput, index: number, name: string, value: string): void {
  number(out, 0, 4, index);
  if (index === 0) string(out, name);
  string(out, value);
}

function string(out: ByteOutput, text: string): void {
  number(out, 0, 7, text.length);
  out.latin1(text);
}

/** A number after `first`, whose lowest `bits` bits are free (section 5.1). */
function number(out: ByteOutput, first: number, bits: number, value: number): void {
  const mask = (1 << bits) - 1;
  if (value < mask) {
    out.u8(first | value);
    return;
  }
  out.u8(first | mask);
  out.varint(value - mask);
}
