/**
 * The byte form of the id of a write, which protects it from being applied twice.
 *
 *     id := 0 | session:varint sequence:varint outstanding:varint     (outstanding = sequence - acknowledgedBelow)
 */
import type { WriteId } from '../kv/command.ts';
import { type ByteReader, type ByteWriter, malformed } from './varint.ts';

/** The id of writes that ask for no protection against a second application. */
export const NO_WRITE_ID: WriteId = Object.freeze({ session: 0, sequence: 0, acknowledgedBelow: 0 });

export const MAX_WRITE_ID_BYTES = 24;

/** @throws RangeError on an id that no session gives. */
export function writeWriteId(writer: ByteWriter, id: WriteId): void {
  writer.varint(id.session);
  if (id.session === 0) return;
  if (id.sequence < 1 || id.acknowledgedBelow > id.sequence) {
    throw new RangeError(`sequence ${id.sequence} with acknowledgedBelow ${id.acknowledgedBelow}`);
  }
  writer.varint(id.sequence).varint(id.sequence - id.acknowledgedBelow);
}

/** @throws KvError PROTOCOL */
export function readWriteId(reader: ByteReader): WriteId {
  const session = reader.varint();
  if (session === 0) return NO_WRITE_ID;
  const sequence = reader.varint();
  if (sequence === 0) throw malformed('sequence 0');
  const outstanding = reader.varintUpTo(sequence, 'the number of unacknowledged writes');
  return { session, sequence, acknowledgedBelow: sequence - outstanding };
}
