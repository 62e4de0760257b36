/**
 * Requests and answers as clients and doors exchange them, apart from their byte form (client_codec.ts). Writes are not here: a write is an encoded
 * command (kv/command.ts, command_codec.ts) that travels as it is.
 *
 * Keys are stored keys (kv/keyspace.ts) everywhere.
 */
import type { KvEvent, RangeSelection } from '../kv/command.ts';
import type { Alarm } from '../kv/upkeep_command.ts';
import type { WatchFilters } from '../kv/watch_hub.ts';
import type { Role } from '../raft/types.ts';
import type { StoredRecord } from '../storage/record.ts';

/**
 * linearizable: sees every write that was acknowledged before the read began. sequential: local; never behind `minRevision`; refused by a node that has heard of no
 * quorum for longer than an election timeout. eventual: local, at once.
 */
export type ReadLevel = 'linearizable' | 'sequential' | 'eventual';

export interface ReadOptions {
  readonly level: ReadLevel;
  /** Sequential reads wait until the node has applied this revision. */
  readonly minRevision: number;
  /** Read as of this revision; 0 for the newest. */
  readonly revision: number;
  /** Read as of this wall-clock time in milliseconds instead: the newest revision known to be no newer. REQUIRES: revision is 0. */
  readonly atTimeMs?: number | undefined;
}
export interface GetRequest extends ReadOptions {
  readonly key: Uint8Array;
}
export interface GetResponse {
  /** The store's revision at the node that answered. */
  readonly revision: number;
  readonly record: StoredRecord | undefined;
}
export interface ScanPageRequest extends ReadOptions {
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
  readonly reverse: boolean;
  readonly limit: number;
  readonly maxBytes: number;
  readonly keysOnly: boolean;
}
export interface ScanPageResponse {
  /** The revision that the page shows: ask for the next page at this one. */
  readonly revision: number;
  readonly records: readonly StoredRecord[];
  readonly more: boolean;
}
/** All that etcd's ranges can. */
export interface RangeRequest extends ReadOptions, RangeSelection {
  readonly key: Uint8Array;
  /** Of [key, end); undefined: the one key. */
  readonly end: Uint8Array | undefined;
  /** What the records may weigh (key, value and 64 each); 0: as much as the node allows. With a limit the answer is cut off there, else refused. */
  readonly maxBytes: number;
}
export interface RangeResponse {
  /** The store's revision at the node that answered; of a read of the newest revision it is the one that is shown. */
  readonly revision: number;
  readonly records: readonly StoredRecord[];
  /** Records beyond the limit, or beyond what the answer may hold. */
  readonly more: boolean;
  /** Every key of the range where that was asked for (counted, countOnly); else the number of records. */
  readonly count: number;
}
export interface WatchRequest {
  readonly start: Uint8Array;
  /** The first key not watched; undefined: only the key `start`. */
  readonly end: Uint8Array | undefined;
  /** The first revision wanted; 0: from now on. Below the compacted revision: COMPACTED. */
  readonly fromRevision: number;
  readonly prevKv: boolean;
  /** Events that are left out. */
  readonly filters?: WatchFilters | undefined;
}
/** Events of whole revisions, in order. No events: progress, everything up to `revision` has been delivered. */
export interface WatchBatch {
  readonly revision: number;
  readonly events: readonly KvEvent[];
}

export interface NodeStatus {
  readonly id: number;
  /** Decimal, 64 bits. */
  readonly clusterId: string;
  readonly role: Role | 'learner';
  readonly pid: number;
  readonly term: number;
  /** 0 when unknown. */
  readonly leader: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly revision: number;
  readonly compactRevision: number;
  readonly version: string;
  readonly uptimeMs: number;
  readonly rssBytes: number;
  readonly dataBytes: number;
  /** 'ok' or why the node takes no writes, e.g. 'NO_SPACE'. */
  readonly health: string;
  /** Those of the cluster, as far as this node has heard. */
  readonly alarms: readonly Alarm[];
  readonly endpoints: readonly string[];
  /** What the node's storage counts, by name: `storage_write_amplification`, `storage_space_amplification`, `storage_level0_runs`, ... */
  readonly metrics: Readonly<Record<string, number>>;
}
export interface MemberInfo {
  readonly id: number;
  readonly peerAddress: string;
  readonly clientAddress: string;
  readonly role: 'voter' | 'learner';
  readonly leader: boolean;
  /** The leader's knowledge of the member's log; undefined where the answering node is not the leader. */
  readonly matchIndex: number | undefined;
}
export interface MembersResponse {
  readonly clusterId: string;
  readonly leader: number;
  readonly members: readonly MemberInfo[];
}
export interface MemberAddRequest {
  readonly peerAddress: string;
  readonly clientAddress: string;
}
export interface MemberAddResponse {
  readonly id: number;
  readonly clusterId: string;
  readonly members: readonly MemberInfo[];
}
