/** Leases as callers of the public store see them. Ids are signed numbers of 64 bits, never 0. */
import type { ChannelOptions as CallOptions } from './channel.ts';

export interface Lease {
  readonly id: bigint;
  /** The store may raise what was asked for to its least. */
  readonly ttlMs: number;
}

/** A lease that this process keeps alive until it is closed. */
export interface KeptLease extends Lease, Disposable {
  /**
   * Aborts when the lease has ended, or may have by this process's own clock because no renewal came through: never later than the store ends it. The reason is a KvError
   * (LEASE_EXPIRED, or CLOSED with the store). Closing does not abort it.
   */
  readonly signal: AbortSignal;
  /** Renews no longer. The lease lives until its time is over, or until it is revoked. */
  close(): void;
}

export interface LeaseTimes extends Lease {
  /** What is left of its time; 0: it ends any moment. */
  readonly remainingMs: number;
  /** The keys that are attached, in order; none unless they were asked for. */
  readonly keys: readonly Uint8Array[];
}

export interface GrantOptions extends CallOptions {
  readonly ttlMs: number;
  /** The store chooses one where it is left out. */
  readonly id?: bigint | undefined;
}

export interface StoreLeases {
  /** @throws KvError LEASE_EXISTS, LEASE_TTL_TOO_LARGE, OVERLOADED when there are too many */
  grant(options: GrantOptions): Promise<Lease>;
  /** Ends a lease and deletes its keys, at one revision. @throws KvError LEASE_NOT_FOUND */
  revoke(id: bigint, options?: CallOptions): Promise<void>;
  /** Gives the lease its whole time anew, now and again and again until it is closed. @throws KvError LEASE_NOT_FOUND */
  keepAlive(id: bigint, options?: CallOptions): Promise<KeptLease>;
  /** undefined: there is no such lease. */
  timeToLive(
    id: bigint,
    options?: { readonly keys?: boolean | undefined } & CallOptions,
  ): Promise<LeaseTimes | undefined>;
  /** In the order of granting. */
  list(options?: CallOptions): Promise<bigint[]>;
}
