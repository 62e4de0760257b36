/**
 * What the store needs from below: implemented over TCP (tcp_channel.ts) and, in the embedded store, straight over the service.
 */
import type { Command, CommandResult } from '../kv/command.ts';
import type { Alarm, AlarmCommand } from '../kv/upkeep_command.ts';
import type { MaybePromise } from '../storage/record.ts';
import type { AuthRequest, AuthStatus, RoleInfo, UserInfo } from '../wire/auth_messages.ts';
import type {
  LeaseKeepAliveResponse,
  LeasesResponse,
  LeaseTimeToLiveResponse,
} from '../wire/lease_messages.ts';
import type {
  GetRequest,
  GetResponse,
  RangeRequest,
  RangeResponse,
  ScanPageRequest,
  ScanPageResponse,
  WatchBatch,
  WatchRequest,
} from '../wire/messages.ts';
import type {
  AlarmsResponse,
  ClusterHash,
  CompactRequest,
  HashRequest,
  KeyHash,
  QuotaRequest,
  QuotasResponse,
} from '../wire/upkeep_messages.ts';
import type { StoreSnapshot } from './snapshot_types.ts';

export interface ChannelOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export const NOT_AT_ONCE: unique symbol = Symbol('not at once');

/** What it is asked of: a service in this process, or a cluster. */
export interface AuthCalls {
  change(request: AuthRequest, options: ChannelOptions): Promise<void>;
  status(options: ChannelOptions): Promise<AuthStatus>;
  user(name: string, options: ChannelOptions): Promise<UserInfo>;
  users(options: ChannelOptions): Promise<string[]>;
  role(name: string, options: ChannelOptions): Promise<RoleInfo>;
  roles(options: ChannelOptions): Promise<string[]>;
}

/** Keep-alives of leases and looks at them, of a service in this process or of a cluster; they are granted and revoked by commands. */
export interface LeaseCalls {
  keepAlive(lease: bigint, options: ChannelOptions): Promise<LeaseKeepAliveResponse>;
  timeToLive(lease: bigint, withKeys: boolean, options: ChannelOptions): Promise<LeaseTimeToLiveResponse>;
  list(options: ChannelOptions): Promise<LeasesResponse>;
}

/** What looks after the store, of a service in this process or of a cluster. Prefixes are stored keys. */
export interface UpkeepCalls {
  compact(request: CompactRequest, options: ChannelOptions): Promise<number>;
  hash(request: HashRequest, options: ChannelOptions): Promise<KeyHash>;
  clusterHash(options: ChannelOptions): Promise<ClusterHash>;
  alarms(options: ChannelOptions): Promise<AlarmsResponse>;
  changeAlarm(action: AlarmCommand['action'], alarm: Alarm, options: ChannelOptions): Promise<AlarmsResponse>;
  quotas(options: ChannelOptions): Promise<QuotasResponse>;
  changeQuota(request: QuotaRequest, options: ChannelOptions): Promise<number>;
}

export interface Channel {
  /** True when writes need a session and sequence numbers, because a retry may happen below. */
  readonly needsSession: boolean;
  /** Where users and rights can be asked for. */
  readonly auth?: AuthCalls | undefined;
  /** Where leases can be kept alive. */
  readonly leases?: LeaseCalls | undefined;
  /** Where the store can be looked after. */
  readonly upkeep?: UpkeepCalls | undefined;
  /**
   * `decoded`: what `command` says, for a channel in this process; valid during the call. The bytes are the caller's again as soon as there is a result, and not a
   * promise. A session that the nodes have forgotten is thrown (SESSION_EXPIRED, with `maybeApplied` where an attempt before may have been applied); other refusals are
   * results.
   */
  write(command: Uint8Array, options: ChannelOptions, decoded?: Command): MaybePromise<CommandResult>;
  /** A put without a session, straight to a store in this process; checked by the caller. undefined: `write` will do. @throws KvError */
  putAtOnce?(
    key: Uint8Array | string,
    value: Uint8Array | string,
    ttlMs: number,
    options: ChannelOptions,
  ): MaybePromise<CommandResult> | undefined;
  /** A linearizable read of a store in this process: a value of the caller's own; undefined: no such key; NOT_AT_ONCE: `get` will do. @throws KvError */
  valueAtOnce?(storedKey: Uint8Array): Uint8Array | undefined | typeof NOT_AT_ONCE;
  /** Records are copies or private to the caller. */
  get(request: GetRequest, options: ChannelOptions): MaybePromise<GetResponse>;
  scan(request: ScanPageRequest, options: ChannelOptions): MaybePromise<ScanPageResponse>;
  /** A whole range in one answer. */
  range(request: RangeRequest, options: ChannelOptions): Promise<RangeResponse>;
  /** Delivers batches until the signal aborts; reconnects inside, without gaps or duplicates; ends only by throwing. */
  watch(request: WatchRequest, options: ChannelOptions): AsyncIterable<WatchBatch>;
  /** Where the whole store can be had. */
  snapshot?(options: ChannelOptions): Promise<StoreSnapshot>;
  close(): Promise<void>;
}
