/**
 * Protobuf messages (proto3) described by tables: one table a message, from which come its TypeScript type, its bytes, its JSON (json.ts) and its descriptor (descriptor.ts).
 *
 * 64-bit numbers: identities (of clusters, members, leases) are bigints, because all 64 bits of them count; revisions, counts and sizes are numbers, because Kvorum never gives one above 2^53 - 1. What
 * a client sends beyond that is taken as the nearest safe integer (wire_reader.ts).
 *
 * Invariants: decoding gives an object with every field, absent ones with their default; fields of a `oneof` and messages are undefined when absent, and setting one of a oneof clears the
 * others; unknown fields are passed over, unknown values of enumerations kept as numbers; nesting is bounded.
 */
import type { ByteOutput } from '../byte_output.ts';
import {
  malformedMessage,
  WIRE_BYTES,
  WIRE_FIXED32,
  WIRE_FIXED64,
  WIRE_VARINT,
  WireReader,
} from './wire_reader.ts';

/** Messages within messages. A transaction within a transaction is two levels. */
export const MAX_NESTING = 64;

export type ScalarKind =
  | 'bytes'
  | 'string'
  | 'bool'
  | 'int32'
  | 'uint32'
  | 'int64'
  | 'uint64'
  | 'bigInt64'
  | 'bigUint64'
  | 'enum';
export type FieldKind = ScalarKind | 'message';

export interface EnumType {
  readonly name: string;
  /** Name -> number; 0 is the default. */
  readonly values: Readonly<Record<string, number>>;
}

/** A field whose value in TypeScript is a T. */
export interface Field<T> {
  readonly number: number;
  readonly kind: FieldKind;
  readonly repeated: boolean;
  /** The oneof it belongs to. */
  readonly oneof: string | undefined;
  readonly enumType: EnumType | undefined;
  /** A function, as messages may contain themselves. */
  readonly message: (() => AnyMessageType) | undefined;
  /** Absent in the bytes. */
  readonly absent: T;
}

export type Fields = Readonly<Record<string, Field<unknown>>>;
export type MessageOf<F extends Fields> = { [K in keyof F]: F[K] extends Field<infer T> ? T : never };

/** The table that describes a T. */
export type TableOf<T> = { readonly [K in keyof T]-?: Field<T[K]> };

/** A message of any type, as generic code sees it. */
export type GenericMessage = Record<string, unknown>;

interface NamedField extends Field<unknown> {
  readonly name: string;
  readonly tag: number;
  /** Names of the other fields of its oneof. */
  readonly rivals: readonly string[];
}

/** What generic code (JSON, descriptors, nesting) needs of a message type. */
export interface AnyMessageType {
  readonly name: string;
  readonly fields: readonly NamedField[];
  readonly defaults: GenericMessage;
  decodeFrom(reader: WireReader, depth: number): GenericMessage;
  /** @throws TypeError for what is no message of this type */
  encodeGeneric(out: ByteOutput, message: object): void;
}

const NO_BYTES = new Uint8Array(0);

export class MessageType<T extends object> implements AnyMessageType {
  /** With its package. */
  readonly name: string;
  readonly fields: readonly NamedField[];
  readonly defaults: GenericMessage;
  readonly #byNumber: (NamedField | undefined)[] = [];
  readonly #lists: readonly string[];

  constructor(name: string, fields: TableOf<T>) {
    this.name = name;
    const entries = Object.entries<Field<unknown>>(fields);
    this.fields = entries.map(([fieldName, field]) => ({
      ...field,
      name: fieldName,
      tag: (field.number << 3) | wireTypeOf(field),
      rivals: entries
        .filter(([other, { oneof }]) => oneof !== undefined && oneof === field.oneof && other !== fieldName)
        .map(([other]) => other),
    }));
    for (const field of this.fields) this.#byNumber[field.number] = field;
    this.defaults = Object.fromEntries(this.fields.map((field) => [field.name, field.absent]));
    this.#lists = this.fields.filter(({ repeated }) => repeated).map((field) => field.name);
  }

  /** A message with all fields; those that are not given are absent. */
  create(given: Partial<T> = {}): T {
    return this.#typed({ ...this.#empty(), ...given });
  }

  /** @throws KvError PROTOCOL */
  decode(bytes: Uint8Array): T {
    return this.#typed(this.decodeFrom(new WireReader(bytes), 0));
  }

  encode(out: ByteOutput, message: T): void {
    this.encodeGeneric(out, message);
  }

  /** A generic message made by this type's own tables. */
  typed(message: GenericMessage): T {
    return this.#typed(message);
  }

  decodeFrom(reader: WireReader, depth: number): GenericMessage {
    if (depth > MAX_NESTING) throw malformedMessage(`nested more than ${MAX_NESTING} deep`);
    const message = this.#empty();
    while (reader.at < reader.end) {
      const tag = reader.small();
      const field = this.#byNumber[tag >>> 3];
      if (tag >>> 3 === 0) throw malformedMessage('field 0');
      if (field === undefined) reader.skip(tag & 7);
      else if (tag === field.tag) {
        if (field.rivals.length > 0) for (const rival of field.rivals) message[rival] = undefined;
        const value = readValue(reader, field, depth);
        if (field.repeated) listOf(message, field.name).push(value);
        else message[field.name] = value;
      } else readOddly(reader, field, tag & 7, message);
    }
    return message;
  }

  encodeGeneric(out: ByteOutput, message: object): void {
    const generic = genericOf(message);
    for (const field of this.fields) {
      const value = generic[field.name];
      if (value === undefined || value === field.absent) continue;
      if (field.repeated) writeList(out, field, value);
      else if (!isDefault(field, value)) writeValue(out, field, value);
    }
  }

  #empty(): GenericMessage {
    const message = { ...this.defaults };
    for (const name of this.#lists) message[name] = [];
    return message;
  }

  /** The table is checked against T where it is written down: what was made by it is a T. */
  #typed(message: GenericMessage): T {
    return message as T;
  }
}

function wireTypeOf(field: Field<unknown>): number {
  const { kind } = field;
  return kind === 'bytes' || kind === 'string' || kind === 'message' ? WIRE_BYTES : WIRE_VARINT;
}

function listOf(message: GenericMessage, name: string): unknown[] {
  const list = message[name];
  if (!Array.isArray(list)) throw new TypeError(`${name} is no list`);
  return list;
}

function readValue(reader: WireReader, field: NamedField, depth: number): unknown {
  if (field.message === undefined) return readScalar(reader, field.kind);
  const outer = reader.enter();
  const value = field.message().decodeFrom(reader, depth + 1);
  reader.leave(outer);
  return value;
}

function readScalar(reader: WireReader, kind: FieldKind): unknown {
  switch (kind) {
    case 'bytes':
      return reader.bytes();
    case 'string':
      return reader.text();
    case 'bool':
      return reader.bool();
    case 'int64':
    case 'uint64':
      return reader.int64();
    case 'bigInt64':
      return reader.bigInt64();
    case 'bigUint64':
      return reader.bigUint64();
    case 'uint32':
      return reader.uint32();
    default:
      return reader.int32();
  }
}

/** A known field with another wire type: numbers of a list may come packed, anything else is refused. */
function readOddly(reader: WireReader, field: NamedField, type: number, message: GenericMessage): void {
  if (!field.repeated || type !== WIRE_BYTES || wireTypeOf(field) !== WIRE_VARINT) {
    if (type === WIRE_FIXED64 || type === WIRE_FIXED32 || type === WIRE_VARINT || type === WIRE_BYTES) {
      throw malformedMessage(`field ${field.name} has wire type ${type}`);
    }
    throw malformedMessage(`wire type ${type}`);
  }
  const list = listOf(message, field.name);
  const outer = reader.enter();
  while (reader.at < reader.end) list.push(readScalar(reader, field.kind));
  reader.leave(outer);
}

/** Fields of a oneof are written even where they have their default: being there says which one it is. */
function isDefault(field: NamedField, value: unknown): boolean {
  if (field.oneof !== undefined || field.kind === 'message') return false;
  return isZero(value);
}

/** The default of its kind. */
export function isZero(value: unknown): boolean {
  if (value instanceof Uint8Array) return value.length === 0;
  return value === 0 || value === 0n || value === '' || value === false;
}

function writeList(out: ByteOutput, field: NamedField, value: unknown): void {
  if (!Array.isArray(value)) throw new TypeError(`${field.name} is no list`);
  if (wireTypeOf(field) === WIRE_BYTES) {
    for (const item of value) writeValue(out, field, item);
    return;
  }
  if (value.length === 0) return;
  out.varint((field.number << 3) | WIRE_BYTES);
  const start = beginNested(out);
  for (const item of value) writeScalar(out, field, item);
  endNested(out, start);
}

function writeValue(out: ByteOutput, field: NamedField, value: unknown): void {
  out.varint(field.tag);
  if (field.message === undefined) {
    writeScalar(out, field, value);
    return;
  }
  const start = beginNested(out);
  if (typeof value !== 'object' || value === null) throw new TypeError(`${field.name} is no message`);
  field.message().encodeGeneric(out, value);
  endNested(out, start);
}

/** Any object can be looked at by name. */
export function genericOf(value: object): GenericMessage {
  return value as GenericMessage;
}

/** Leaves one byte for the length; gives where the content begins. */
function beginNested(out: ByteOutput): number {
  out.u8(0);
  return out.length;
}

/** Writes the length of what was written since; longer than 127 bytes moves it up. */
function endNested(out: ByteOutput, start: number): void {
  const size = out.length - start;
  if (size < 128) {
    out.buffer[start - 1] = size;
    return;
  }
  let more = 0;
  for (let rest = size; rest >= 128; rest = Math.floor(rest / 128)) more++;
  out.ensure(more);
  out.buffer.copyWithin(start + more, start, start + size);
  out.length = start - 1;
  out.varint(size);
  out.length = start + more + size;
}

function writeScalar(out: ByteOutput, field: NamedField, value: unknown): void {
  switch (typeof value) {
    case 'number':
      out.varint64(value);
      return;
    case 'bigint':
      out.bigVarint(value);
      return;
    case 'boolean':
      out.u8(value ? 1 : 0);
      return;
    case 'string':
      out.text(value);
      return;
    default:
      if (!(value instanceof Uint8Array)) throw new TypeError(`${field.name} has no value of its kind`);
      out.varint(value.length);
      out.bytes(value);
  }
}

function scalar<T>(kind: ScalarKind, number: number, absent: T): Field<T> {
  return {
    number,
    kind,
    absent,
    repeated: false,
    oneof: undefined,
    enumType: undefined,
    message: undefined,
  };
}

export const bytes = (number: number): Field<Uint8Array> => scalar('bytes', number, NO_BYTES);
export const string = (number: number): Field<string> => scalar('string', number, '');
export const bool = (number: number): Field<boolean> => scalar('bool', number, false);
export const int32 = (number: number): Field<number> => scalar('int32', number, 0);
export const uint32 = (number: number): Field<number> => scalar('uint32', number, 0);
/** A revision, count or size. */
export const int64 = (number: number): Field<number> => scalar('int64', number, 0);
export const uint64 = (number: number): Field<number> => scalar('uint64', number, 0);
/** An identity. */
export const bigInt64 = (number: number): Field<bigint> => scalar('bigInt64', number, 0n);
export const bigUint64 = (number: number): Field<bigint> => scalar('bigUint64', number, 0n);

export function enumeration(number: number, enumType: EnumType): Field<number> {
  return { ...scalar('enum', number, 0), enumType };
}

export function message<T extends object>(number: number, type: () => MessageType<T>): Field<T | undefined> {
  return {
    number,
    kind: 'message',
    absent: undefined,
    repeated: false,
    oneof: undefined,
    enumType: undefined,
    message: type,
  };
}

export function repeated<T>(field: Field<T>): Field<Exclude<T, undefined>[]> {
  const { number, kind, enumType, message: type } = field;
  return { number, kind, enumType, message: type, repeated: true, oneof: undefined, absent: [] };
}

/** One of several fields of which at most one is there. */
export function oneof<T>(group: string, field: Field<T>): Field<T | undefined> {
  return { ...field, oneof: group, absent: undefined };
}

/** A message type from its table; its TypeScript type follows. */
export function messageType<F extends Fields>(name: string, fields: F): MessageType<MessageOf<F>> {
  // What MessageOf makes of F is what the constructor wants back: the compiler can't see that through the inference.
  const table: unknown = fields;
  return new MessageType<MessageOf<F>>(name, table as TableOf<MessageOf<F>>);
}
