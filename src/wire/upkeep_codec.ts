/**
 * The byte form of what looks after the store: its commands and results, and its sections of the state (state_codec.ts).
 *
 *     kind 14     alarm   action:u8 alarm             action: 0 raise, 1 clear
 *     kinds 15, 16                                    (quota_codec.ts)
 *     alarm    := type:u8 flags:u8 member:varint      type: 0 nospace, 1 corrupt; flags: 1 byNode
 *     result kind 20  alarms  count*alarm
 *
 *     section 3   alarms  count*alarm                 by type and member
 *     section 5   times   count*(ms:varint revision:varint)      each the difference to the row before
 *
 * Invariants: one value has one encoding; reading refuses what no state machine can have captured.
 */
import { compareAlarms, MAX_ALARMS } from '../kv/alarms.ts';
import { MAX_TIMES, type TimeRows } from '../kv/time_index.ts';
import type { Alarm, AlarmType, UpkeepCommand } from '../kv/upkeep_command.ts';
import { readQuotaCommand, writeQuotaCommand } from './quota_codec.ts';
import { ByteReader, ByteWriter, malformed } from './varint.ts';

export const KIND_ALARM = 14;
export const KIND_ALARMS_RESULT = 20;

const ALARM_TYPES: readonly AlarmType[] = ['nospace', 'corrupt'];
const BY_NODE = 1;
const MIN_ALARM_BYTES = 3;
const MIN_TIME_BYTES = 2;

/** Kind and body. */
export function writeUpkeepCommand(writer: ByteWriter, command: UpkeepCommand): void {
  if (command.type !== 'alarm') return writeQuotaCommand(writer, command);
  writer.u8(KIND_ALARM).bool(command.action === 'clear');
  writeAlarm(writer, command.alarm);
}

/** The body of a command of that kind; undefined: the kind is none of these. @throws KvError PROTOCOL */
export function readUpkeepCommand(reader: ByteReader, kind: number): UpkeepCommand | undefined {
  if (kind !== KIND_ALARM) return readQuotaCommand(reader, kind);
  const action = reader.bool() ? 'clear' : 'raise';
  return { type: 'alarm', action, alarm: readAlarm(reader) };
}

export function writeAlarms(writer: ByteWriter, alarms: readonly Alarm[]): void {
  writer.varint(alarms.length);
  for (const alarm of alarms) writeAlarm(writer, alarm);
}

/** Alarms in their order. @throws KvError PROTOCOL */
export function readAlarms(reader: ByteReader): Alarm[] {
  const alarms: Alarm[] = [];
  for (let left = reader.count(MIN_ALARM_BYTES); left > 0; left--) {
    const alarm = readAlarm(reader);
    const before = alarms.at(-1);
    if (before !== undefined && compareAlarms(before, alarm) >= 0) throw malformed('alarms out of order');
    alarms.push(alarm);
  }
  if (alarms.length > MAX_ALARMS) throw malformed(`${alarms.length} alarms`);
  return alarms;
}

export function writeAlarm(writer: ByteWriter, alarm: Alarm): void {
  writer
    .u8(ALARM_TYPES.indexOf(alarm.type))
    .u8(alarm.byNode ? BY_NODE : 0)
    .varint(alarm.member);
}

/** @throws KvError PROTOCOL */
export function readAlarm(reader: ByteReader): Alarm {
  const type = ALARM_TYPES[reader.u8()];
  if (type === undefined) throw malformed('unknown type of alarm');
  const byNode = reader.bool();
  return { type, member: reader.varint(), byNode };
}

export function encodeAlarmsSection(alarms: readonly Alarm[] | undefined): Uint8Array {
  const writer = new ByteWriter(16);
  if (alarms !== undefined && alarms.length > 0) writeAlarms(writer, alarms);
  return writer.finish();
}

/** @throws KvError PROTOCOL */
export function decodeAlarmsSection(body: Uint8Array): Alarm[] {
  const reader = new ByteReader(body);
  const alarms = readAlarms(reader);
  reader.expectEnd();
  if (alarms.length === 0) throw malformed('no alarms');
  return alarms;
}

export function encodeTimesSection(times: TimeRows | undefined): Uint8Array {
  const writer = new ByteWriter(16);
  if (times === undefined) return writer.finish();
  writer.varint(times.ms.length);
  let ms = 0;
  let revision = 0;
  for (let at = 0; at < times.ms.length; at++) {
    const nextMs = times.ms[at] as number;
    const nextRevision = times.revisions[at] as number;
    writer.varint(nextMs - ms).varint(nextRevision - revision);
    ms = nextMs;
    revision = nextRevision;
  }
  return writer.finish();
}

/** `newest`, `timeMs`: of the state. @throws KvError PROTOCOL */
export function decodeTimesSection(body: Uint8Array, newest: number, timeMs: number): TimeRows {
  const reader = new ByteReader(body);
  const ms: number[] = [];
  const revisions: number[] = [];
  let atMs = 0;
  let revision = 0;
  for (let left = reader.count(MIN_TIME_BYTES); left > 0; left--) {
    atMs += reader.varint();
    const step = reader.varint();
    if (step === 0) throw malformed('two times of one revision');
    revision += step;
    ms.push(atMs);
    revisions.push(revision);
  }
  reader.expectEnd();
  if (revision !== newest || atMs > timeMs) throw malformed('times that do not end at the newest revision');
  if (ms.length > MAX_TIMES || (ms.length === 1 && revision === 1)) throw malformed(`${ms.length} times`);
  return { ms, revisions };
}
