/**
 * The byte form of a KvError: shared by the client protocol and by requests between nodes.
 *
 *     error := code:u16 flags:u8 message:string detailCount:varint { name:string value:string }
 *     flags    1 retryable (informative: the code implies it), 2 maybeApplied
 *
 * A detail's value is its JSON text, so that numbers and truth values come back as such.
 */
import { errorCodeOf, errorNumber, KvError } from '../errors.ts';
import { type ByteReader, type ByteWriter, malformed } from './varint.ts';

const FLAG_RETRYABLE = 1;
const FLAG_MAYBE_APPLIED = 2;
const MAX_DETAILS = 64;

export function encodeError(writer: ByteWriter, error: KvError): void {
  const details = Object.entries(error.details).slice(0, MAX_DETAILS);
  writer.u16(errorNumber(error.code));
  writer.u8((error.retryable ? FLAG_RETRYABLE : 0) | (error.maybeApplied ? FLAG_MAYBE_APPLIED : 0));
  writer.string(error.message).varint(details.length);
  for (const [name, value] of details) writer.string(name).string(JSON.stringify(sayable(value)));
}

/** JSON has no word for a number that is not finite: the other side would refuse the whole error. */
function sayable(value: string | number | boolean): string | number | boolean {
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}

/** @throws KvError PROTOCOL when the bytes are not an error. */
export function decodeError(reader: ByteReader): KvError {
  const code = errorCodeOf(reader.u16());
  const flags = reader.u8();
  const message = reader.string();
  const count = reader.varintUpTo(MAX_DETAILS, 'number of details');
  const details: Record<string, string | number | boolean> = {};
  for (let i = 0; i < count; i++) {
    const name = reader.string();
    details[name] = detailValue(reader.string());
  }
  return new KvError(code, message, { maybeApplied: (flags & FLAG_MAYBE_APPLIED) !== 0, details });
}

function detailValue(text: string): string | number | boolean {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new KvError('PROTOCOL', 'malformed bytes: an error detail is not JSON', { cause });
  }
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  throw malformed('an error detail is not a string, number or truth value');
}

/** Anything that was thrown, as a KvError: unforeseen errors become INTERNAL. */
export function asKvError(error: unknown): KvError {
  if (error instanceof KvError) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new KvError('INTERNAL', text, { cause: error });
}
