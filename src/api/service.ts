/**
 * The one use-case surface: every door, the embedded store and the command line come through here, and limits, routing and
 * time-outs live behind it once. node/ implements it (node/kv_service.ts).
 *
 * Every call may fail with a KvError. Promises settle within `timeoutMs` (the node's requestTimeoutMs unless given).
 */
import type { Command, CommandResult } from '../kv/command.ts';
import type { QuotaLimits } from '../kv/quota_command.ts';
import type { QuotaState } from '../kv/quotas.ts';
import type { Alarm, AlarmCommand } from '../kv/upkeep_command.ts';
import type { Identity } from '../security/identity.ts';
import type { MaybePromise, StoredRecord } from '../storage/record.ts';
import type { AuthRequest, AuthStatus, RoleInfo, UserInfo } from '../wire/auth_messages.ts';
import type {
  LeaseKeepAliveResponse,
  LeasesResponse,
  LeaseTimeToLiveResponse,
} from '../wire/lease_messages.ts';
import type {
  GetRequest,
  GetResponse,
  MemberAddRequest,
  MemberAddResponse,
  MembersResponse,
  NodeStatus,
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
  QuotasResponse,
} from '../wire/upkeep_messages.ts';

export interface CallOptions {
  readonly timeoutMs?: number | undefined;
  /** Who asks. Missing: nobody, who may do nothing once rights are enforced. */
  readonly identity?: Identity | undefined;
}

/** Keep-alives of leases, and looks at them; they are granted and revoked by commands. */
export interface LeaseService {
  /** Gives a lease its whole time anew. Many keep-alives are one write. */
  keepAlive(lease: bigint, options?: CallOptions): Promise<LeaseKeepAliveResponse>;
  /** As of now. With its keys: who asks may read all of them. */
  timeToLive(lease: bigint, withKeys: boolean, options?: CallOptions): Promise<LeaseTimeToLiveResponse>;
  /** As of now. */
  list(options?: CallOptions): Promise<LeasesResponse>;
}

/** Users, roles and rights. What changes or shows them needs the role root once rights are enforced; users may look at themselves and their roles. */
export interface AuthService {
  /** @throws KvError AUTH_FAILED, AUTH_NOT_ENABLED, OVERLOADED */
  authenticate(
    name: string,
    password: string,
    options?: CallOptions,
  ): Promise<{ token: string; identity: Identity }>;
  /** Who a token was given to; undefined while rights are not enforced. @throws KvError UNAUTHENTICATED: authenticate again */
  identify(token: string): Identity | undefined;
  change(request: AuthRequest, options?: CallOptions): Promise<void>;
  status(options?: CallOptions): Promise<AuthStatus>;
  user(name: string, options?: CallOptions): Promise<UserInfo>;
  users(options?: CallOptions): Promise<string[]>;
  role(name: string, options?: CallOptions): Promise<RoleInfo>;
  roles(options?: CallOptions): Promise<string[]>;
}

/** What may lie under prefixes, and how often it may be asked for. Prefixes are stored keys; only the space byte: all keys of users. */
export interface QuotaService {
  /** Sets the limits of a prefix; gives the store's revision. What lies under it is counted first, then the limits hold. @throws KvError OVERLOADED */
  set(prefix: Uint8Array, limits: QuotaLimits, options?: CallOptions): Promise<number>;
  /** @throws KvError NOT_FOUND */
  remove(prefix: Uint8Array, options?: CallOptions): Promise<number>;
  /** With what there is, read like linearizable keys. */
  list(options?: CallOptions): Promise<QuotasResponse>;
  /** As this node knows them at the moment: another array whenever one is set or removed. Nothing of it may be kept. */
  inForce(): readonly QuotaState[];
}

/** What a node knows of itself and its cluster, at no cost. */
export interface Standing {
  readonly nodeId: number;
  /** Decimal, 64 bits. */
  readonly clusterId: string;
  readonly term: number;
  /** 0 when unknown. */
  readonly leader: number;
  /** The store's revision at this node. */
  readonly revision: number;
}

/** Where a watch delivers to. */
export interface WatchSink {
  /** Takes a batch. False: full, send nothing more until `resume` of the handle is called (the batch itself was taken). */
  deliver(batch: WatchBatch): boolean;
  /** The watch has ended with an error (COMPACTED, UNAVAILABLE, CLOSED); nothing follows. */
  end(error: Error): void;
}
export interface WatchHandle {
  /** The revision from which events are delivered. */
  readonly fromRevision: number;
  resume(): void;
  cancel(): void;
  /** Has a batch without events delivered now if everything up to the store's revision has been, and the watch is not held; false: not so. */
  progress(): boolean;
}

/** What a service in the same process answers without a promise, where it can. Whoever calls these has the store open: without an identity they are the cluster's own. */
export interface LocalService extends Service {
  /**
   * A put of a user's key (without its space byte) that was checked against the limits; strings are UTF-8. undefined: not now, `write` will do.
   * @throws KvError
   */
  putAtOnce(
    key: Uint8Array | string,
    value: Uint8Array | string,
    ttlMs: number,
    options?: CallOptions,
  ): MaybePromise<CommandResult> | undefined;
  /**
   * As `write`; the command need not be kept once there is a result, and not a promise. `decoded`: what the command says, where the caller knows; needed during
   * the call only. @throws KvError
   */
  writeAtOnce(command: Uint8Array, options?: CallOptions, decoded?: Command): MaybePromise<CommandResult>;
  /** Whether a linearizable read may be served now: then, in the same turn, `latest` is one. @throws KvError */
  readsAtOnce(): boolean;
  /** The newest live version of a stored key here. Views are valid for this turn only. */
  latest(key: Uint8Array): MaybePromise<StoredRecord | undefined>;
}

/** A snapshot on its way (docs/formats/snapshot.md). */
export interface SnapshotStream {
  /** What it shows. */
  readonly revision: number;
  readonly sizeBytes: number;
  /** To be taken once. @throws KvError UNAVAILABLE when newer snapshots have replaced it before its end */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** The same with the checksum behind it that clients of etcd look for; in place of `chunks`. */
  withTrailer(): { readonly sizeBytes: number; readonly chunks: AsyncIterable<Uint8Array> };
}

export interface Service {
  readonly auth: AuthService;
  /** Takes an encoded command from a client (checkClientCommand says which) and gives its result once it is applied: a FailedResult for what was refused in apply. */
  write(command: Uint8Array, options?: CallOptions): Promise<CommandResult>;
  /** The record's views are valid for this turn of the event loop only. */
  get(request: GetRequest, options?: CallOptions): MaybePromise<GetResponse>;
  scan(request: ScanPageRequest, options?: CallOptions): MaybePromise<ScanPageResponse>;
  /** A whole range in one answer, at one revision. Records are copies. @throws KvError REQUEST_TOO_LARGE */
  range(request: RangeRequest, options?: CallOptions): Promise<RangeResponse>;
  watch(request: WatchRequest, sink: WatchSink, options?: CallOptions): Promise<WatchHandle>;
  readonly leases: LeaseService;
  readonly quotas: QuotaService;
  status(): NodeStatus;
  /** The members as this node knows them at the moment, perhaps behind the others: the same array until they or their addresses change. */
  knownMembers(): readonly { readonly clientAddress: string }[];
  standing(): Standing;
  /** Statuses of all members as far as they can be reached from here; an unreachable one is left out. */
  clusterStatus(options?: CallOptions): Promise<NodeStatus[]>;
  members(options?: CallOptions): Promise<MembersResponse>;
  memberAdd(request: MemberAddRequest, options?: CallOptions): Promise<MemberAddResponse>;
  memberPromote(id: number, options?: CallOptions): Promise<MembersResponse>;
  /** Has the other members reach one at another address; it has to listen there itself. @throws KvError MEMBER_NOT_FOUND, MEMBER_EXISTS */
  memberUpdate(id: number, peerAddress: string, options?: CallOptions): Promise<MembersResponse>;
  memberRemove(id: number, options?: CallOptions): Promise<MembersResponse>;
  /** Hands leadership over; gives the new leader's id. 0 lets the leader choose. */
  moveLeader(to: number, options?: CallOptions): Promise<number>;
  /** Drops history up to a revision, which stays readable. Gives the store's revision. */
  compact(request: CompactRequest, options?: CallOptions): Promise<number>;
  /** Of the key space at this node. Unless `timeoutMs` says otherwise it may take two minutes, as may clusterHash. */
  hash(request: HashRequest, options?: CallOptions): Promise<KeyHash>;
  /** The hashes of all members at one revision. Members that differ raise the alarm CORRUPT. */
  clusterHash(options?: CallOptions): Promise<ClusterHash>;
  /** The whole store as of now, as this node has it. @throws KvError UNAVAILABLE, NO_SPACE, CORRUPT */
  snapshot(options?: CallOptions): Promise<SnapshotStream>;
  /** The active alarms, read like linearizable keys. */
  alarms(options?: CallOptions): Promise<AlarmsResponse>;
  /** Gives the alarm concerned: raised or there before, or cleared; none when there was none to clear. */
  changeAlarm(action: AlarmCommand['action'], alarm: Alarm, options?: CallOptions): Promise<AlarmsResponse>;
}
