/** What is asked of a cluster about its upkeep. Changes are sent again only when they were certainly refused. */
import type { Alarm, AlarmCommand } from '../kv/upkeep_command.ts';
import { OPCODE } from '../wire/client_frames.ts';
import {
  readAlarmsAnswer,
  readClusterHash,
  readKeyHash,
  readQuotasAnswer,
  writeCompact,
  writeHashRequest,
  writeQuotaRequest,
} from '../wire/client_upkeep_codec.ts';
import { writeAlarm } from '../wire/upkeep_codec.ts';
import type {
  AlarmsResponse,
  ClusterHash,
  CompactRequest,
  HashRequest,
  KeyHash,
  QuotaRequest,
  QuotasResponse,
} from '../wire/upkeep_messages.ts';
import type { ByteReader, ByteWriter } from '../wire/varint.ts';
import type { ChannelOptions, UpkeepCalls } from './channel.ts';
import type { ClusterClient } from './cluster_client.ts';
import { type PlainCall, plainCall } from './plain_call.ts';

/** A hash, or a flush, takes as long as the store is large. */
const LONG_TIMEOUT_MS = 120_000;

export class ClusterUpkeep implements UpkeepCalls {
  readonly #cluster: ClusterClient;

  constructor(cluster: ClusterClient) {
    this.#cluster = cluster;
  }

  compact(request: CompactRequest, options: ChannelOptions): Promise<number> {
    const write = (writer: ByteWriter): void => writeCompact(writer, request);
    return this.#long({ opcode: OPCODE.COMPACT, changes: true, write, read: readNumber }, options);
  }
  hash(request: HashRequest, options: ChannelOptions): Promise<KeyHash> {
    const write = (writer: ByteWriter): void => writeHashRequest(writer, request);
    return this.#long({ opcode: OPCODE.HASH, write, read: readKeyHash }, options);
  }
  clusterHash(options: ChannelOptions): Promise<ClusterHash> {
    return this.#long({ opcode: OPCODE.CLUSTER_HASH, read: readClusterHash }, options);
  }
  alarms(options: ChannelOptions): Promise<AlarmsResponse> {
    return this.#cluster.call(plainCall({ opcode: OPCODE.ALARMS, read: readAlarmsAnswer }), options);
  }
  changeAlarm(
    action: AlarmCommand['action'],
    alarm: Alarm,
    options: ChannelOptions,
  ): Promise<AlarmsResponse> {
    const write = (writer: ByteWriter): void => writeAlarm(writer.bool(action === 'clear'), alarm);
    const call = { opcode: OPCODE.ALARM, changes: true, write, read: readAlarmsAnswer };
    return this.#cluster.call(plainCall(call), options);
  }
  quotas(options: ChannelOptions): Promise<QuotasResponse> {
    return this.#cluster.call(plainCall({ opcode: OPCODE.QUOTAS, read: readQuotasAnswer }), options);
  }
  changeQuota(request: QuotaRequest, options: ChannelOptions): Promise<number> {
    const write = (writer: ByteWriter): void => writeQuotaRequest(writer, request);
    const call = { opcode: OPCODE.QUOTA, changes: true, write, read: readNumber };
    return this.#cluster.call(plainCall(call), options);
  }

  #long<T>(call: PlainCall<T>, options: ChannelOptions): Promise<T> {
    const patient = { ...options, timeoutMs: options.timeoutMs ?? LONG_TIMEOUT_MS };
    return this.#cluster.call(plainCall({ ...call, attemptTimeoutMs: LONG_TIMEOUT_MS }), patient);
  }
}

function readNumber(reader: ByteReader): number {
  return reader.varint();
}
