/** What is asked about leases, and answered. Ids are signed numbers of 64 bits; keys are stored keys. */
export interface LeaseKeepAliveResponse {
  readonly revision: number;
  /** The whole time to live, which begins anew; 0: there is no such lease (any more). */
  readonly ttlMs: number;
}

export interface LeaseTimeToLiveResponse {
  readonly revision: number;
  readonly lease: bigint;
  /** Granted; 0: there is no such lease. */
  readonly ttlMs: number;
  /** Left; 0: it ends any moment; -1: there is no such lease. */
  readonly remainingMs: number;
  /** Of the keys that are attached, where they were asked for: in order. */
  readonly keys: readonly Uint8Array[];
}

export interface LeasesResponse {
  readonly revision: number;
  /** In the order of granting. */
  readonly leases: readonly bigint[];
}
