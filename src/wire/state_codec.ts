/**
 * The byte form of the state machine's own state: goes to disk with every flush and travels in snapshots.
 *
 *     state   := version:u8(1) revision:varint compactRevision:varint timeMs:varint lastSessionId:varint count*session
 *     session := id:varint acknowledgedBelow:varint lastActiveMs:varint count*(sequence:varint result)
 *
 * Results as in result_codec.ts. Invariants: sessions by ascending id, results by ascending sequence, so that equal states have equal bytes; decoding
 * refuses what no state machine can have captured.
 */
import { KvError } from '../errors.ts';
import type { CommandResult } from '../kv/command.ts';
import type { SessionState } from '../kv/sessions.ts';
import type { KvState } from '../kv/state_machine.ts';
import { decodeResult, encodeResult, MIN_RESULT_BYTES } from './result_codec.ts';
import { ByteReader, ByteWriter, malformed } from './varint.ts';

export const STATE_VERSION = 1;
const MIN_SESSION_BYTES = 4;

/** The bytes of a state, in memory of their own. */
export function encodeState(state: KvState): Uint8Array {
  const writer = new ByteWriter(1024);
  writer.u8(STATE_VERSION).varint(state.revision).varint(state.compactRevision).varint(state.timeMs);
  writer.varint(state.lastSessionId).varint(state.sessions.length);
  for (const session of state.sessions) {
    writer.varint(session.id).varint(session.acknowledgedBelow).varint(session.lastActiveMs);
    writer.varint(session.results.length);
    for (const { sequence, result } of session.results) {
      writer.varint(sequence);
      encodeResult(result, writer);
    }
  }
  return writer.finish();
}

/** Records in kept results are copies. @throws KvError UNSUPPORTED_VERSION, UNSUPPORTED, PROTOCOL. */
export function decodeState(bytes: Uint8Array): KvState {
  // Kept results live as long as their session: they must not hold on to the caller's buffer.
  const reader = new ByteReader(new Uint8Array(bytes));
  const version = reader.u8();
  if (version !== STATE_VERSION) {
    throw new KvError('UNSUPPORTED_VERSION', `state of version ${version}; this node reads ${STATE_VERSION}`);
  }
  const revision = reader.varint();
  if (revision < 1) throw malformed('revision 0');
  const compactRevision = reader.varintUpTo(revision, 'the compacted revision');
  const timeMs = reader.varint();
  const lastSessionId = reader.varint();
  const sessions: SessionState[] = [];
  let before = 0;
  for (let left = reader.count(MIN_SESSION_BYTES); left > 0; left--) {
    const session = decodeSession(reader);
    if (session.id <= before || session.id > lastSessionId)
      throw malformed(`session ${session.id} out of order`);
    before = session.id;
    sessions.push(session);
  }
  reader.expectEnd();
  return { revision, compactRevision, timeMs, lastSessionId, sessions };
}

function decodeSession(reader: ByteReader): SessionState {
  const id = reader.varint();
  const acknowledgedBelow = reader.varint();
  if (acknowledgedBelow < 1) throw malformed('acknowledgedBelow 0');
  const lastActiveMs = reader.varint();
  const results: { sequence: number; result: CommandResult }[] = [];
  let before = acknowledgedBelow - 1;
  for (let left = reader.count(1 + MIN_RESULT_BYTES); left > 0; left--) {
    const sequence = reader.varint();
    if (sequence <= before || sequence - acknowledgedBelow >= MAX_WINDOW) {
      throw malformed(`result ${sequence} out of order`);
    }
    before = sequence;
    results.push({ sequence, result: decodeResult(reader) });
  }
  return { id, acknowledgedBelow, lastActiveMs, results };
}

/** The widest window of results that a configuration allows (limits.maxSessionResults): bounds what restoring allocates. */
const MAX_WINDOW = 100_000;
