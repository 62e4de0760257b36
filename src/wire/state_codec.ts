/**
 * The byte form of the state machine's own state: goes to disk with every flush and travels in snapshots.
 *
 *     state   := version:u8(2) revision:varint compactRevision:varint timeMs:varint lastSessionId:varint count*session count*section
 *     session := id:varint acknowledgedBelow:varint lastActiveMs:varint count*(sequence:varint result)
 *     section := tag:u8 body:byteString                  one for each part of the model that is not empty (SECTIONS), by ascending tag
 *
 * Version 1 ends before the sections.
 *
 * Results as in result_codec.ts. Invariants: sessions by ascending id, results by ascending sequence, so that equal states have equal bytes; decoding
 * refuses what no state machine can have captured.
 */
import { KvError } from '../errors.ts';
import type { CommandResult } from '../kv/command.ts';
import type { SessionState } from '../kv/sessions.ts';
import type { KvState } from '../kv/state_machine.ts';
import { decodeAuthState, encodeAuthState } from './auth_codec.ts';
import { decodeLeases, encodeLeases } from './lease_codec.ts';
import { decodeQuotasSection, encodeQuotasSection } from './quota_codec.ts';
import { decodeResult, encodeResult, MIN_RESULT_BYTES } from './result_codec.ts';
import {
  decodeAlarmsSection,
  decodeTimesSection,
  encodeAlarmsSection,
  encodeTimesSection,
} from './upkeep_codec.ts';
import { ByteReader, ByteWriter, malformed } from './varint.ts';

export const STATE_VERSION = 2;
const OLDEST_VERSION = 1;
const MIN_SESSION_BYTES = 4;
const MIN_SECTION_BYTES = 2;
const LEASES_SECTION = 1;
const AUTH_SECTION = 2;
const ALARMS_SECTION = 3;
const QUOTAS_SECTION = 4;
const TIMES_SECTION = 5;

/** A part of the model that has state of its own. */
interface Section {
  readonly tag: number;
  /** No bytes: empty, and left out. */
  readonly encode: (state: KvState) => Uint8Array;
}
/** By ascending tag. Tags: 1 leases, 2 users and roles, 3 alarms, 4 quotas, 5 times of revisions; never reused. */
const SECTIONS: readonly Section[] = [
  { tag: LEASES_SECTION, encode: (state) => encodeLeases(state.leases) },
  { tag: AUTH_SECTION, encode: (state) => encodeAuthState(state.auth) },
  { tag: ALARMS_SECTION, encode: ({ alarms }) => encodeAlarmsSection(alarms) },
  { tag: QUOTAS_SECTION, encode: ({ quotas }) => encodeQuotasSection(quotas) },
  { tag: TIMES_SECTION, encode: ({ times }) => encodeTimesSection(times) },
];
const NO_SECTIONS: ReadonlyMap<number, Uint8Array> = new Map();

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
  writeSections(writer, state);
  return writer.finish();
}

function writeSections(writer: ByteWriter, state: KvState): void {
  const bodies = SECTIONS.map(({ tag, encode }) => ({ tag, body: encode(state) }));
  const present = bodies.filter(({ body }) => body.length > 0);
  writer.varint(present.length);
  for (const { tag, body } of present) writer.u8(tag).byteString(body);
}

/** The bodies by their tags. */
function readSections(reader: ByteReader): Map<number, Uint8Array> {
  const bodies = new Map<number, Uint8Array>();
  let before = 0;
  for (let left = reader.count(MIN_SECTION_BYTES); left > 0; left--) {
    const tag = reader.u8();
    if (!SECTIONS.some((section) => section.tag === tag))
      throw new KvError('UNSUPPORTED', `section ${tag} of the state is unknown to this node`);
    if (tag <= before) throw malformed(`section ${tag} out of order`);
    before = tag;
    const body = reader.byteString();
    if (body.length === 0) throw malformed(`section ${tag} is empty`);
    bodies.set(tag, body);
  }
  return bodies;
}

/** Records in kept results are copies. @throws KvError UNSUPPORTED_VERSION, UNSUPPORTED, PROTOCOL. */
export function decodeState(bytes: Uint8Array): KvState {
  // Kept results live as long as their session: they must not hold on to the caller's buffer.
  const reader = new ByteReader(new Uint8Array(bytes));
  const version = reader.u8();
  if (version < OLDEST_VERSION || version > STATE_VERSION) {
    throw new KvError(
      'UNSUPPORTED_VERSION',
      `state of version ${version}; this node reads up to ${STATE_VERSION}`,
    );
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
  const sections = version > OLDEST_VERSION ? readSections(reader) : NO_SECTIONS;
  reader.expectEnd();
  const auth = sections.get(AUTH_SECTION);
  const alarms = sections.get(ALARMS_SECTION);
  const quotas = sections.get(QUOTAS_SECTION);
  const times = sections.get(TIMES_SECTION);
  return {
    revision,
    compactRevision,
    timeMs,
    lastSessionId,
    sessions,
    leases: decodeLeases(sections.get(LEASES_SECTION)),
    auth: auth === undefined ? undefined : decodeAuthState(auth),
    ...(alarms !== undefined && { alarms: decodeAlarmsSection(alarms) }),
    ...(quotas !== undefined && { quotas: decodeQuotasSection(quotas, compactRevision, revision) }),
    ...(times !== undefined && { times: decodeTimesSection(times, revision, timeMs) }),
  };
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
