/** Locks and elections as callers of the public store see them. Clients of etcd (`etcdctl lock`, `etcdctl elect`) contend for the same ones: the layout of the keys is theirs. */
import type { ChannelOptions as CallOptions } from './channel.ts';
import type { KeptLease } from './lease_types.ts';

export interface ContendOptions {
  /** How long the place outlives this process. Default one minute. With `lease`: that lease's. */
  readonly ttlMs?: number | undefined;
  /** Stand on this lease, which several locks may share, and which outlives them, rather than on one of its own. A name can be had once with a lease. */
  readonly lease?: KeptLease | undefined;
  /** How long to wait for it altogether (TIMEOUT). Default: as long as it takes. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What somebody has until it is given up or lost. */
export interface Held extends AsyncDisposable {
  /** The key that stands for it: `NAME/LEASE`, the lease in hexadecimal. */
  readonly key: Uint8Array;
  /** The fencing token: greater than that of every holder before. */
  readonly fence: number;
  readonly lease: bigint;
  /**
   * Aborts when it is lost: the lease has ended or may have (never later than the store ends it), or somebody has deleted the key. The reason is a KvError. Giving it up does not
   * abort it.
   */
  readonly signal: AbortSignal;
  /** For `compare` of a transaction: holds only as long as this holder has it. */
  readonly held: { readonly key: Uint8Array; readonly createRevision: number };
}

export interface Lock extends Held {
  /** Gives it up; whoever waits longest has it next. Once it is lost, or released, there is nothing left to do. */
  release(options?: CallOptions): Promise<void>;
}

/** Somebody's office, until it resigns or loses it. */
export interface Leadership<In> extends Held {
  /** Says something else to those who observe. @throws KvError NOT_ELECTED when the office is lost */
  proclaim(value: In, options?: CallOptions): Promise<void>;
  /** As `release` of a lock. */
  resign(options?: CallOptions): Promise<void>;
}

export interface ElectionLeader<Out> {
  readonly key: Uint8Array;
  /** What it said last. */
  readonly value: Out;
  /** Its fencing token. */
  readonly fence: number;
  /** When it said so. */
  readonly revision: number;
  readonly lease: bigint;
}

export interface Election<In, Out> {
  /** Resolves once this candidate leads. @throws KvError LEASE_EXPIRED, TIMEOUT, CANCELLED */
  campaign(value: In, options?: ContendOptions): Promise<Leadership<In>>;
  /** undefined: nobody leads. */
  leader(options?: CallOptions): Promise<ElectionLeader<Out> | undefined>;
  /** Who leads, now and whenever that or what it says changes. Ends with the signal or the store's close. Who leads for a moment only may be left out. */
  observe(options?: { readonly signal?: AbortSignal | undefined }): AsyncIterable<ElectionLeader<Out>>;
}
