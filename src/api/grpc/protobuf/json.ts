/**
 * Protobuf messages as JSON, the way etcd's gateway writes and reads them.
 *
 * Written: fields under their own names (snake_case where etcd has it), defaults left out, 64-bit numbers as strings, bytes as base64, enumerations by name. Read: the same, and camelCase names,
 * numbers as numbers, enumerations as numbers, base64 with or without padding and in its URL form; null is absent. Names that nobody knows are refused, as etcd does.
 *
 * Invariants: nesting is bounded; what is not of its field's kind is refused with a KvError that names the field.
 */
import { KvError } from '../../../errors.ts';
import {
  type AnyMessageType,
  type FieldKind,
  type GenericMessage,
  genericOf,
  isZero,
  MAX_NESTING,
} from './message_type.ts';

type NamedField = AnyMessageType['fields'][number];

const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;
const INTEGER = /^-?\d{1,20}$/;
const LIMITS: Partial<Record<FieldKind, readonly [bigint, bigint]>> = {
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
  bigInt64: [-(2n ** 63n), 2n ** 63n - 1n],
  bigUint64: [0n, 2n ** 64n - 1n],
};

/** A value for JSON.stringify. */
export function toJson(type: AnyMessageType, message: object): Record<string, unknown> {
  const generic = genericOf(message);
  const json: Record<string, unknown> = {};
  for (const field of type.fields) {
    const value = generic[field.name];
    if (value === undefined) continue;
    if (field.repeated) {
      if (Array.isArray(value) && value.length > 0) {
        json[field.name] = value.map((item) => valueToJson(field, item));
      }
    } else if (field.oneof !== undefined || field.message !== undefined || !isZero(value)) {
      json[field.name] = valueToJson(field, value);
    }
  }
  return json;
}

function valueToJson(field: NamedField, value: unknown): unknown {
  if (field.message !== undefined) {
    return typeof value === 'object' && value !== null ? toJson(field.message(), value) : {};
  }
  if (value instanceof Uint8Array) {
    return Buffer.from(value.buffer, value.byteOffset, value.length).toString('base64');
  }
  if (typeof value === 'bigint') return String(value);
  if (field.kind === 'int64' || field.kind === 'uint64') return String(value);
  if (field.enumType !== undefined) {
    const name = Object.entries(field.enumType.values).find(([, number]) => number === value)?.[0];
    return name ?? value;
  }
  return value;
}

/** A message from a parsed JSON value. @throws KvError INVALID_ARGUMENT */
export function fromJson(type: AnyMessageType, json: unknown, depth = 0): GenericMessage {
  if (depth > MAX_NESTING) throw invalid(type.name, `nested more than ${MAX_NESTING} deep`);
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw invalid(type.name, 'not an object');
  const message: GenericMessage = { ...type.defaults };
  for (const { name, repeated } of type.fields) if (repeated) message[name] = [];
  for (const [name, value] of Object.entries(json)) {
    const field = type.fields.find((one) => one.name === name || camelCase(one.name) === name);
    if (field === undefined) throw invalid(type.name, `unknown field "${name.slice(0, 64)}"`);
    if (value === null) continue;
    for (const rival of field.rivals) message[rival] = undefined;
    message[field.name] = fieldFromJson(field, value, depth);
  }
  return message;
}

function camelCase(name: string): string {
  return name.replace(/_([a-zA-Z])/g, (_, letter: string) => letter.toUpperCase());
}

function fieldFromJson(field: NamedField, value: unknown, depth: number): unknown {
  if (!field.repeated) return valueFromJson(field, value, depth);
  if (!Array.isArray(value)) throw invalid(field.name, 'not a list');
  return value.map((item) => valueFromJson(field, item, depth));
}

function valueFromJson(field: NamedField, value: unknown, depth: number): unknown {
  if (field.message !== undefined) return fromJson(field.message(), value, depth + 1);
  switch (field.kind) {
    case 'bytes':
      if (typeof value !== 'string' || !BASE64.test(value)) throw invalid(field.name, 'not base64');
      return new Uint8Array(Buffer.from(value, 'base64'));
    case 'string':
      if (typeof value !== 'string') throw invalid(field.name, 'not a string');
      return value;
    case 'bool':
      if (typeof value !== 'boolean') throw invalid(field.name, 'not a truth value');
      return value;
    case 'enum':
      return enumFromJson(field, value);
    default:
      return integerFromJson(field, value);
  }
}

function enumFromJson(field: NamedField, value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && Math.abs(value) < 2 ** 31) return value;
  const values = field.enumType?.values ?? {};
  if (typeof value !== 'string' || !Object.hasOwn(values, value)) {
    throw invalid(field.name, 'not one of its values');
  }
  return values[value]!;
}

function integerFromJson(field: NamedField, value: unknown): number | bigint {
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string' || !INTEGER.test(text)) throw invalid(field.name, 'not a whole number');
  const big = BigInt(text);
  const [least, most] = LIMITS[field.kind] ?? [0n, 0n];
  if (big < least || big > most) throw invalid(field.name, 'out of its range');
  if (field.kind === 'bigInt64' || field.kind === 'bigUint64') return big;
  // As decoding does: a revision that nothing ever reaches.
  return Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Number(big)));
}

function invalid(where: string, what: string): KvError {
  return new KvError('INVALID_ARGUMENT', `${where}: ${what}`);
}
