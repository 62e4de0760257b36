/** Requests and answers of what looks after the store (docs/operations.md). Byte forms: upkeep_codec.ts, client_upkeep_codec.ts. */
import type { QuotaLimits } from '../kv/quota_command.ts';
import type { Alarm } from '../kv/upkeep_command.ts';

export interface CompactRequest {
  readonly revision: number;
  /** Answer only when the node asked has flushed what there was, so that its tree drops what may go. */
  readonly physical: boolean;
}

export interface HashRequest {
  /** 0: the newest. */
  readonly revision: number;
  /** History below it does not count; 0: as far as the node has compacted. */
  readonly compactRevision: number;
}
/** What is to be read between two revisions, as one number: equal wherever the two and the history are, however much of what may go has gone. */
export interface KeyHash {
  readonly revision: number;
  readonly compactRevision: number;
  /** SHA-256 in hexadecimal. */
  readonly hash: string;
  /** What went into it. */
  readonly versions: number;
}
export interface MemberHash {
  readonly id: number;
  /** undefined: the member gave none. */
  readonly hash: KeyHash | undefined;
  /** Why it gave none. */
  readonly problem: string;
}
/** All at one revision. */
export interface ClusterHash {
  readonly revision: number;
  readonly compactRevision: number;
  readonly members: readonly MemberHash[];
  /** Those whose hash is not that of most; where none is, all of them. The alarm CORRUPT is raised for each. */
  readonly differing: readonly number[];
}

export interface AlarmsResponse {
  readonly revision: number;
  readonly alarms: readonly Alarm[];
}

/** A quota and what lies under its prefix. */
export interface QuotaUsage extends QuotaLimits {
  /** A stored key. */
  readonly prefix: Uint8Array;
  /** False: what lies there is still being counted; the quota is not enforced yet, and the numbers are 0. */
  readonly counted: boolean;
  readonly bytes: number;
  readonly keys: number;
}
/** By prefix. */
export interface QuotasResponse {
  readonly revision: number;
  readonly quotas: readonly QuotaUsage[];
}
/** Sets a quota; without limits it is removed. */
export interface QuotaRequest {
  readonly prefix: Uint8Array;
  readonly limits: QuotaLimits | undefined;
}

/** What comes before the bytes of a snapshot. */
export interface SnapshotHead {
  /** What it shows. */
  readonly revision: number;
  /** Of all that follows. */
  readonly sizeBytes: number;
}
