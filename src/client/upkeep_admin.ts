/** What the command line asks about the upkeep of the store: compaction, hashes, alarms. */
import type { Alarm, AlarmCommand } from '../kv/upkeep_command.ts';
import { wireTimeoutMs } from '../wire/client_codec.ts';
import { OPCODE } from '../wire/client_frames.ts';
import {
  readAlarmsAnswer,
  readClusterHash,
  readKeyHash,
  writeCompact,
  writeHashRequest,
} from '../wire/client_upkeep_codec.ts';
import { writeAlarm } from '../wire/upkeep_codec.ts';
import type {
  AlarmsResponse,
  ClusterHash,
  CompactRequest,
  HashRequest,
  KeyHash,
} from '../wire/upkeep_messages.ts';
import type { ByteReader, ByteWriter } from '../wire/varint.ts';
import type { CallRequest } from './call.ts';
import type { ChannelOptions } from './channel.ts';
import type { ClusterClient } from './cluster_client.ts';

/** A hash, or a flush, takes as long as the store is large. */
const LONG_TIMEOUT_MS = 120_000;

export class UpkeepAdmin {
  private readonly cluster: ClusterClient;

  constructor(cluster: ClusterClient) {
    this.cluster = cluster;
  }

  /** Drops history up to a revision, which stays readable; gives the store's. @throws KvError COMPACTED, FUTURE_REVISION */
  compact(request: CompactRequest, options: ChannelOptions = {}): Promise<number> {
    const write = (writer: ByteWriter) => writeCompact(writer, request);
    const read = (reader: ByteReader) => reader.varint();
    return this.cluster.call(longRequest(OPCODE.COMPACT, true, write, read), long(options));
  }

  /** Of one node: any of the endpoints. */
  hash(request: HashRequest, options: ChannelOptions = {}): Promise<KeyHash> {
    const write = (writer: ByteWriter) => writeHashRequest(writer, request);
    return this.cluster.call(longRequest(OPCODE.HASH, false, write, readKeyHash), long(options));
  }

  /** Of all members, at one revision. */
  clusterHash(options: ChannelOptions = {}): Promise<ClusterHash> {
    const request = longRequest(OPCODE.CLUSTER_HASH, false, noFields, readClusterHash);
    return this.cluster.call(request, long(options));
  }

  alarms(options: ChannelOptions = {}): Promise<AlarmsResponse> {
    return this.cluster.call(longRequest(OPCODE.ALARMS, false, noFields, readAlarmsAnswer), options);
  }

  /** Gives the alarm concerned; none when there was none to clear. */
  changeAlarm(
    action: AlarmCommand['action'],
    alarm: Alarm,
    options: ChannelOptions = {},
  ): Promise<AlarmsResponse> {
    const write = (writer: ByteWriter) => writeAlarm(writer.bool(action === 'clear'), alarm);
    return this.cluster.call(longRequest(OPCODE.ALARM, true, write, readAlarmsAnswer), options);
  }
}

function long(options: ChannelOptions): ChannelOptions {
  return { ...options, timeoutMs: options.timeoutMs ?? LONG_TIMEOUT_MS };
}

function noFields(): void {}

function longRequest<T>(
  opcode: number,
  changes: boolean,
  writeFields: (writer: ByteWriter) => void,
  read: (reader: ByteReader) => T,
): CallRequest<T> {
  return {
    opcode,
    sizeBytes: 200,
    preferLeader: changes,
    changes,
    repeatable: !changes,
    retryWhenBehind: false,
    attemptTimeoutMs: LONG_TIMEOUT_MS,
    write(writer, timeoutMs) {
      writer.varint(wireTimeoutMs(timeoutMs));
      writeFields(writer);
    },
    read,
  };
}
