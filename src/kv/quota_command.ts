/** Commands about quotas (quotas.ts). Byte form: wire/quota_codec.ts. */

/** 0: no limit. A quota without any limit counts what there is. */
export interface QuotaLimits {
  /** Of keys and values. */
  readonly maxBytes: number;
  readonly maxKeys: number;
  /** At each node. Not looked at in apply. */
  readonly maxRequestsPerSecond: number;
}

export interface QuotaCommand {
  readonly type: 'quota';
  /** A stored key: with its space byte. Only that: all keys of users. */
  readonly prefix: Uint8Array;
  /** undefined: the quota is removed; NOT_FOUND where there is none. */
  readonly limits: QuotaLimits | undefined;
}

/** What lay under a prefix at a revision. Proposed by the leader for a quota that was set. */
export interface QuotaCountedCommand {
  readonly type: 'quotaCounted';
  readonly prefix: Uint8Array;
  readonly revision: number;
  readonly bytes: number;
  readonly keys: number;
}
