/** What the command line asks about the upkeep of the store: compaction, hashes, alarms, quotas. */
import { KvError } from '../errors.ts';
import { userKey } from '../kv/keyspace.ts';
import type { QuotaLimits } from '../kv/quota_command.ts';
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
} from '../wire/upkeep_messages.ts';
import type { ByteReader, ByteWriter } from '../wire/varint.ts';
import type { ChannelOptions } from './channel.ts';
import type { ClusterClient } from './cluster_client.ts';
import { storedPrefixOf } from './key_range.ts';
import { type PlainCall, plainCall } from './plain_call.ts';
import type { Key } from './store_types.ts';

/** A hash, or a flush, takes as long as the store is large. */
const LONG_TIMEOUT_MS = 120_000;

/** A quota as it is asked for; 0 or missing: no such limit. */
export interface QuotaSettings {
  /** Of keys and values. */
  readonly maxBytes?: number | undefined;
  readonly maxKeys?: number | undefined;
  /** At each node. */
  readonly maxRequestsPerSecond?: number | undefined;
}

/** A quota and what there is under its prefix. */
export interface Quota extends QuotaLimits {
  /** Of the keys of users. */
  readonly prefix: Uint8Array;
  /** False: what lies there is still being counted, and the limits do not hold yet. */
  readonly counted: boolean;
  readonly bytes: number;
  readonly keys: number;
}

export class UpkeepAdmin {
  private readonly cluster: ClusterClient;

  constructor(cluster: ClusterClient) {
    this.cluster = cluster;
  }

  /** Drops history up to a revision, which stays readable; gives the store's. @throws KvError COMPACTED, FUTURE_REVISION */
  compact(request: CompactRequest, options: ChannelOptions = {}): Promise<number> {
    const write = (writer: ByteWriter) => writeCompact(writer, request);
    return this.long({ opcode: OPCODE.COMPACT, changes: true, write, read: readNumber }, options);
  }

  /** Of one node: any of the endpoints. */
  hash(request: HashRequest, options: ChannelOptions = {}): Promise<KeyHash> {
    const write = (writer: ByteWriter) => writeHashRequest(writer, request);
    return this.long({ opcode: OPCODE.HASH, write, read: readKeyHash }, options);
  }

  /** Of all members, at one revision. */
  clusterHash(options: ChannelOptions = {}): Promise<ClusterHash> {
    return this.long({ opcode: OPCODE.CLUSTER_HASH, read: readClusterHash }, options);
  }

  alarms(options: ChannelOptions = {}): Promise<AlarmsResponse> {
    return this.cluster.call(plainCall({ opcode: OPCODE.ALARMS, read: readAlarmsAnswer }), options);
  }

  /** Gives the alarm concerned; none when there was none to clear. */
  changeAlarm(
    action: AlarmCommand['action'],
    alarm: Alarm,
    options: ChannelOptions = {},
  ): Promise<AlarmsResponse> {
    const write = (writer: ByteWriter) => writeAlarm(writer.bool(action === 'clear'), alarm);
    const call = { opcode: OPCODE.ALARM, changes: true, write, read: readAlarmsAnswer };
    return this.cluster.call(plainCall(call), options);
  }

  /** The quotas and what there is under them, by prefix. */
  async quotas(options: ChannelOptions = {}): Promise<Quota[]> {
    const call = plainCall({ opcode: OPCODE.QUOTAS, read: readQuotasAnswer });
    const { quotas } = await this.cluster.call(call, options);
    return quotas.map((quota) => ({ ...quota, prefix: userKey(quota.prefix) }));
  }

  /**
   * Sets the quota of a prefix, the empty one for all keys; gives the store's revision. What lies under it is counted first, then the limits hold.
   * @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE, OVERLOADED
   */
  async setQuota(prefix: Key, settings: QuotaSettings, options: ChannelOptions = {}): Promise<number> {
    const { maxBytes = 0, maxKeys = 0, maxRequestsPerSecond = 0 } = settings;
    for (const [name, limit] of Object.entries({ maxBytes, maxKeys, maxRequestsPerSecond })) {
      if (!Number.isSafeInteger(limit) || limit < 0)
        throw new KvError('INVALID_ARGUMENT', `${name} is ${limit}, allowed: whole numbers from 0`);
    }
    return this.changeQuota({ prefix, limits: { maxBytes, maxKeys, maxRequestsPerSecond } }, options);
  }

  /** @throws KvError NOT_FOUND */
  async removeQuota(prefix: Key, options: ChannelOptions = {}): Promise<number> {
    return this.changeQuota({ prefix, limits: undefined }, options);
  }

  private changeQuota(
    { prefix, limits }: { prefix: Key; limits: QuotaLimits | undefined },
    options: ChannelOptions,
  ): Promise<number> {
    const request = { prefix: storedPrefixOf(prefix), limits };
    const write = (writer: ByteWriter) => writeQuotaRequest(writer, request);
    const call = { opcode: OPCODE.QUOTA, changes: true, write, read: readNumber };
    return this.cluster.call(plainCall(call), options);
  }

  private long<T>(call: PlainCall<T>, options: ChannelOptions): Promise<T> {
    const patient = { ...options, timeoutMs: options.timeoutMs ?? LONG_TIMEOUT_MS };
    return this.cluster.call(plainCall({ ...call, attemptTimeoutMs: LONG_TIMEOUT_MS }), patient);
  }
}

function readNumber(reader: ByteReader): number {
  return reader.varint();
}
