/** The upkeep of a store as callers of the public API see it: compaction, hashes, alarms, quotas. What each does: docs/upkeep.md. */
import type { AlarmType } from '../kv/upkeep_command.ts';

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}
type Key = string | Uint8Array;

/** Limits; 0 or missing: no such limit. */
export interface QuotaSettings {
  /** Of keys and values. */
  readonly maxBytes?: number | undefined;
  readonly maxKeys?: number | undefined;
  /** At each node, of those who reach it through a door. */
  readonly maxRequestsPerSecond?: number | undefined;
}
/** A quota and what there is under its prefix. 0: no such limit. */
export interface Quota {
  /** Empty: all keys. */
  readonly prefix: Uint8Array;
  readonly maxBytes: number;
  readonly maxKeys: number;
  readonly maxRequestsPerSecond: number;
  /** False: what lies there is still being counted, and the limits do not hold yet. */
  readonly counted: boolean;
  readonly bytes: number;
  readonly keys: number;
}

export interface AlarmOf {
  readonly type: AlarmType;
  /** Whom it concerns; 0: nobody in particular. */
  readonly member: number;
}
export interface StoreAlarm extends AlarmOf {
  /** A node raised it, and takes it back when the cause is gone; otherwise it stays until it is cleared. */
  readonly byNode: boolean;
}

/** What one node holds, as one number. */
export interface NodeHash {
  readonly revision: number;
  readonly compactRevision: number;
  /** SHA-256 in hexadecimal. */
  readonly hash: string;
  /** What went into it. */
  readonly versions: number;
}

/** What the members hold, at one revision. */
export interface HashComparison {
  readonly revision: number;
  /** History below it does not count. */
  readonly compactRevision: number;
  readonly members: readonly {
    readonly id: number;
    /** undefined: the member gave none. */
    readonly hash: NodeHash | undefined;
    /** Why it gave none. */
    readonly problem: string;
  }[];
  /** Those whose hash is not that of most; where none is, all of them. */
  readonly differing: readonly number[];
}

/** Once rights are enforced, all but a look at the alarms needs the role root. */
export interface StoreUpkeep {
  /**
   * Drops history up to a revision, which stays readable; gives the store's. `physical`: only when the node asked has flushed what there was.
   * @throws KvError COMPACTED, FUTURE_REVISION
   */
  compact(
    revision: number,
    options?: CallOptions & { readonly physical?: boolean | undefined },
  ): Promise<number>;
  /** Compares what all members hold; for those that differ the alarm corrupt is raised. May take two minutes. */
  hash(options?: CallOptions): Promise<HashComparison>;
  /** Of one node: any of the endpoints, or the one in this process. `compactRevision`: history below it does not count. */
  nodeHash(
    options?: CallOptions & {
      readonly revision?: number | undefined;
      readonly compactRevision?: number | undefined;
    },
  ): Promise<NodeHash>;
  /** The active ones. */
  alarms(options?: CallOptions): Promise<readonly StoreAlarm[]>;
  /** Gives the alarm concerned; undefined when there was none to clear. */
  changeAlarm(
    action: 'raise' | 'clear',
    alarm: AlarmOf,
    options?: CallOptions,
  ): Promise<StoreAlarm | undefined>;
  /** By prefix. */
  quotas(options?: CallOptions): Promise<readonly Quota[]>;
  /**
   * Sets the quota of a prefix, the empty one for all keys, in place of what it had; gives the store's revision. What lies under it is counted first, then the limits hold.
   * @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE, OVERLOADED
   */
  setQuota(prefix: Key, settings: QuotaSettings, options?: CallOptions): Promise<number>;
  /** @throws KvError NOT_FOUND */
  removeQuota(prefix: Key, options?: CallOptions): Promise<number>;
}
