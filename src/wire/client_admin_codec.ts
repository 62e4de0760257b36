/**
 * Byte form of what the command line asks: statuses and membership (docs/formats/tcp_protocol.md).
 *
 *     status      := id:varint clusterId:u64 role:u8 pid:varint term:varint leader:varint commitIndex:varint appliedIndex:varint revision:varint
 *                    compactRevision:varint version:string uptimeMs:varint rssBytes:varint dataBytes:varint health:string count:varint endpoint:string*
 *                    count:varint (name:string value:u64, the bits of an IEEE double)* alarms (upkeep_codec.ts)
 *     statuses    := count:varint (size:varint status)*
 *     member      := id:varint peerAddress:string clientAddress:string role:u8 flags:u8 [matchIndex:varint]
 *     members     := clusterId:u64 leader:varint count:varint member*
 *     memberAdded := id:varint members
 *
 * Invariants: reading throws KvError PROTOCOL for anything but the grammar. A status of a later version may be longer: what follows is skipped.
 */
import type { Alarm } from '../kv/upkeep_command.ts';
import type { MemberInfo, MembersResponse, NodeStatus } from './messages.ts';
import { readAlarms, writeAlarms } from './upkeep_codec.ts';
import { ByteReader, ByteWriter, malformed } from './varint.ts';

const ROLES = ['follower', 'preCandidate', 'candidate', 'leader', 'learner'] as const;
const MEMBER_LEADER = 1;
const MEMBER_MATCH = 2;
const MIN_MEMBER_BYTES = 5;
const double = new DataView(new ArrayBuffer(8));

export function writeStatus(writer: ByteWriter, status: NodeStatus): void {
  writer
    .varint(status.id)
    .bigU64(BigInt(status.clusterId))
    .u8(ROLES.indexOf(status.role))
    .varint(status.pid)
    .varint(status.term)
    .varint(status.leader)
    .varint(status.commitIndex)
    .varint(status.appliedIndex)
    .varint(status.revision)
    .varint(status.compactRevision)
    .string(status.version)
    .varint(Math.max(0, Math.round(status.uptimeMs)))
    .varint(status.rssBytes)
    .varint(status.dataBytes)
    .string(status.health)
    .varint(status.endpoints.length);
  for (const endpoint of status.endpoints) writer.string(endpoint);
  const metrics = Object.entries(status.metrics);
  writer.varint(metrics.length);
  for (const [name, value] of metrics) {
    double.setFloat64(0, value, true);
    writer.string(name).bigU64(double.getBigUint64(0, true));
  }
  writeAlarms(writer, status.alarms);
}

/** Reads a status and, so that later versions may add to it, ignores what follows. */
export function readStatus(reader: ByteReader): NodeStatus {
  const id = reader.varint();
  const clusterId = reader.bigU64().toString();
  const role = ROLES[reader.u8()];
  if (role === undefined) throw malformed('unknown role');
  const status = {
    id,
    clusterId,
    role,
    pid: reader.varint(),
    term: reader.varint(),
    leader: reader.varint(),
    commitIndex: reader.varint(),
    appliedIndex: reader.varint(),
    revision: reader.varint(),
    compactRevision: reader.varint(),
    version: reader.string(),
    uptimeMs: reader.varint(),
    rssBytes: reader.varint(),
    dataBytes: reader.varint(),
    health: reader.string(),
    endpoints: [] as string[],
    metrics: {} as Record<string, number>,
    alarms: [] as readonly Alarm[],
  };
  const count = reader.count(1);
  for (let i = 0; i < count; i++) status.endpoints.push(reader.string());
  // Nodes before 0.2 end here.
  if (reader.remaining === 0) return status;
  const metrics = reader.count(9);
  for (let i = 0; i < metrics; i++) {
    const name = reader.string();
    double.setBigUint64(0, reader.bigU64(), true);
    status.metrics[name] = double.getFloat64(0, true);
  }
  if (reader.remaining > 0) status.alarms = readAlarms(reader);
  return status;
}

export function writeStatuses(writer: ByteWriter, statuses: readonly NodeStatus[]): void {
  const one = new ByteWriter();
  writer.varint(statuses.length);
  for (const status of statuses) {
    writeStatus(one.reset(), status);
    writer.byteString(one.view());
  }
}

export function readStatuses(reader: ByteReader): NodeStatus[] {
  const count = reader.count(2);
  const statuses: NodeStatus[] = [];
  for (let i = 0; i < count; i++) statuses.push(readStatus(new ByteReader(reader.byteString())));
  return statuses;
}

export function writeMembers(writer: ByteWriter, response: MembersResponse): void {
  writer.bigU64(BigInt(response.clusterId)).varint(response.leader).varint(response.members.length);
  for (const member of response.members) {
    writer
      .varint(member.id)
      .string(member.peerAddress)
      .string(member.clientAddress)
      .u8(member.role === 'voter' ? 0 : 1)
      .u8((member.leader ? MEMBER_LEADER : 0) | (member.matchIndex === undefined ? 0 : MEMBER_MATCH));
    if (member.matchIndex !== undefined) writer.varint(member.matchIndex);
  }
}

export function readMembers(reader: ByteReader): MembersResponse {
  const clusterId = reader.bigU64().toString();
  const leader = reader.varint();
  const count = reader.count(MIN_MEMBER_BYTES);
  const members: MemberInfo[] = [];
  for (let i = 0; i < count; i++) members.push(readMember(reader));
  return { clusterId, leader, members };
}

function readMember(reader: ByteReader): MemberInfo {
  const id = reader.varint();
  const peerAddress = reader.string();
  const clientAddress = reader.string();
  const role = reader.bool() ? 'learner' : 'voter';
  const flags = reader.u8();
  if (flags > (MEMBER_LEADER | MEMBER_MATCH)) throw malformed('unknown member flags');
  return {
    id,
    peerAddress,
    clientAddress,
    role,
    leader: (flags & MEMBER_LEADER) !== 0,
    matchIndex: (flags & MEMBER_MATCH) !== 0 ? reader.varint() : undefined,
  };
}
