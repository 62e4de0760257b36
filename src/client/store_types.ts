/**
 * The public store: one interface for the embedded store (`open`) and for a cluster (`connect`).
 *
 * Keys and values given as strings are UTF-8. Values come back as bytes unless the store was given a codec. Every call takes
 * `signal` and `timeoutMs` and fails with a KvError only.
 */

import type { ReadLevel } from '../wire/messages.ts';
import type { StoreAuth } from './auth_types.ts';
import type { StoreLeases } from './lease_types.ts';
import type { ContendOptions, Election, Lock } from './lock_types.ts';
import type { StoreSnapshot } from './snapshot_types.ts';
import type { StoreUpkeep } from './upkeep_types.ts';

export type Key = string | Uint8Array;
export type Value = string | Uint8Array;

/** Turns values into bytes and back. */
export interface Codec<V> {
  encode(value: V): Uint8Array;
  decode(bytes: Uint8Array): V;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}
export interface ReadCallOptions extends CallOptions {
  /** Default: linearizable. */
  readonly level?: ReadLevel | undefined;
  /** Read the store as of a revision that is still kept. */
  readonly revision?: number | undefined;
  /**
   * Read the store as of a wall-clock time in milliseconds that is still kept, by the store's clock (docs/data_model.md): waits for one that is up to a second ahead; FUTURE_REVISION for one further ahead. Not
   * with `revision`.
   */
  readonly atTimeMs?: number | undefined;
}
export interface PutOptions extends CallOptions {
  /** The key expires so many milliseconds after the write. */
  readonly ttlMs?: number | undefined;
  /** The key goes when this lease ends. */
  readonly lease?: bigint | undefined;
}
export interface ScanOptions extends ReadCallOptions {
  /** First key, included. With `prefix`: the scan starts at the greater of both. */
  readonly start?: Key | undefined;
  /** First key that is not included. */
  readonly end?: Key | undefined;
  readonly prefix?: Key | undefined;
  readonly reverse?: boolean | undefined;
  readonly limit?: number | undefined;
  /** Entries come without their values. */
  readonly keysOnly?: boolean | undefined;
}
/** Which keys: one, or those of a range. `start`, `end` and `prefix` as in ScanOptions; nothing: all keys. */
export interface KeySelection {
  /** Only this key; not with the others. */
  readonly key?: Key | undefined;
  readonly start?: Key | undefined;
  readonly end?: Key | undefined;
  readonly prefix?: Key | undefined;
}
/** What is shown of a range. Filters come before the sort, the sort before the limit. */
export interface RangeView {
  /** At most so many entries, from 1. */
  readonly limit?: number | undefined;
  /** Default: by key. Ties stand in the order of their keys. */
  readonly sortTarget?: 'key' | 'version' | 'createRevision' | 'modRevision' | 'value' | undefined;
  /** Default: ascend. */
  readonly sortOrder?: 'ascend' | 'descend' | undefined;
  /** Entries come without their values. */
  readonly keysOnly?: boolean | undefined;
  /** Count all keys of the range, those beyond the limit and those that are filtered out as well. Without it `count` is the number of entries. */
  readonly counted?: boolean | undefined;
  /** The same, and no entries. */
  readonly countOnly?: boolean | undefined;
  readonly minModRevision?: number | undefined;
  readonly maxModRevision?: number | undefined;
  readonly minCreateRevision?: number | undefined;
  readonly maxCreateRevision?: number | undefined;
}
export interface RangeOptions extends ReadCallOptions, KeySelection, RangeView {}
export interface CountOptions extends ReadCallOptions, KeySelection {}
/** All of it as of one revision. */
export interface RangeAnswer<V = Uint8Array> {
  /** The store's; of a read of the newest it is the one that is shown, so that a watch from the next one misses nothing. */
  readonly revision: number;
  readonly entries: readonly KeyEntry<V>[];
  /** There are entries beyond the limit, or beyond what an answer may hold where there is a limit. */
  readonly more: boolean;
  readonly count: number;
}
/** What stands for the value where `O` are the options of the read: undefined with `keysOnly`, and perhaps where that is only known when they are used. */
export type ShownValue<O, Out> = O extends { readonly keysOnly: true }
  ? undefined
  : 'keysOnly' extends keyof O
    ? O['keysOnly'] extends false | undefined
      ? Out
      : Out | undefined
    : Out;
export interface WatchOptions extends CallOptions {
  readonly key?: Key | undefined;
  readonly start?: Key | undefined;
  readonly end?: Key | undefined;
  readonly prefix?: Key | undefined;
  /** First revision wanted; from now on when left out. */
  readonly fromRevision?: number | undefined;
  readonly prevKv?: boolean | undefined;
}

export interface KeyEntry<V = Uint8Array> {
  readonly key: Uint8Array;
  readonly value: V;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  /** Wall-clock milliseconds; undefined when the key does not expire. */
  readonly expiresAtMs: number | undefined;
  /** The lease that the key is attached to. */
  readonly lease: bigint | undefined;
}
export interface WatchEvent<V = Uint8Array> {
  readonly type: 'put' | 'delete';
  readonly key: Uint8Array;
  /** undefined for a delete. */
  readonly value: V | undefined;
  readonly revision: number;
  readonly createRevision: number;
  readonly version: number;
  readonly previous: KeyEntry<V> | undefined;
}

export type BatchOperation<V = Value> =
  | {
      readonly type: 'put';
      readonly key: Key;
      readonly value: V;
      readonly ttlMs?: number | undefined;
      readonly lease?: bigint | undefined;
    }
  | { readonly type: 'delete'; readonly key: Key };
/** A put that changes only what it says: with `ignoreValue` and `ignoreLease` the key must be there (KEY_NOT_FOUND). */
interface TxnPut {
  readonly type: 'put';
  readonly key: Key;
  readonly ttlMs?: number | undefined;
  /** The key goes when this lease ends; not with ignoreLease. */
  readonly lease?: bigint | undefined;
  /** Keep the lease that the key is attached to. */
  readonly ignoreLease?: boolean | undefined;
  /** Tell the entry that is replaced. */
  readonly prevKv?: boolean | undefined;
}
export type TxnOperation<V = Value> =
  | (TxnPut & { readonly value: V; readonly ignoreValue?: false | undefined })
  /** Keeps the value. */
  | (TxnPut & { readonly ignoreValue: true; readonly value?: undefined })
  | { readonly type: 'delete'; readonly key: Key; readonly prevKv?: boolean | undefined }
  | { readonly type: 'get'; readonly key: Key; readonly revision?: number | undefined }
  | { readonly type: 'touch'; readonly key: Key; readonly ttlMs: number }
  | ({ readonly type: 'deleteRange'; readonly prevKv?: boolean | undefined } & Omit<KeySelection, 'key'>)
  | ({ readonly type: 'range'; readonly revision?: number | undefined } & KeySelection & RangeView)
  | ({ readonly type: 'txn' } & TxnRequest<V>);
type Relation = '=' | '!=' | '>' | '<';
/** One key, or all keys of [key, end), or all that begin with `prefix`: each of them must compare so. A range without keys compares as a key that is not there. */
type Compared =
  | { readonly key: Key; readonly end?: Key | undefined; readonly prefix?: undefined }
  | { readonly prefix: Key; readonly key?: undefined; readonly end?: undefined };
/** A key that is not there has version, revisions and lease 0, and no value: every comparison of that is false. */
export type TxnCompare<V = Value> = Compared &
  (
    | { readonly value: V; readonly is?: Relation | undefined }
    | { readonly version: number; readonly is?: Relation | undefined }
    | { readonly modRevision: number; readonly is?: Relation | undefined }
    | { readonly createRevision: number; readonly is?: Relation | undefined }
    /** 0n: attached to none. */
    | { readonly lease: bigint; readonly is?: Relation | undefined }
    /** Of a range: whether it holds any key. */
    | { readonly exists: boolean }
  );
export interface TxnRequest<V = Value> {
  /** All must hold; none: always true. Those of nested transactions, too, see the store as it was before the whole. */
  readonly compare?: readonly TxnCompare<V>[] | undefined;
  readonly then: readonly TxnOperation<V>[];
  readonly else?: readonly TxnOperation<V>[] | undefined;
}
export type TxnOperationResult<V = Uint8Array> =
  /** `previous`: with prevKv, where there was one. */
  | { readonly type: 'put'; readonly previous?: KeyEntry<V> }
  /** `previous`: with prevKv. */
  | { readonly type: 'delete'; readonly deleted: number; readonly previous?: readonly KeyEntry<V>[] }
  | { readonly type: 'touch'; readonly found: boolean }
  | { readonly type: 'get'; readonly entry: KeyEntry<V> | undefined }
  /** Values are missing with keysOnly. */
  | {
      readonly type: 'range';
      readonly entries: readonly KeyEntry<V | undefined>[];
      readonly more: boolean;
      readonly count: number;
    }
  | { readonly type: 'txn'; readonly succeeded: boolean; readonly results: readonly TxnOperationResult<V>[] };
export interface TxnResponse<V = Uint8Array> {
  readonly succeeded: boolean;
  readonly revision: number;
  /** One for each operation of the branch that was taken. */
  readonly results: readonly TxnOperationResult<V>[];
}

/** `In` is what is put, `Out` what is read: strings or bytes and bytes, or a codec's type on both sides. */
export interface Store<In = Value, Out = Uint8Array> extends AsyncDisposable {
  /** The value, or undefined when there is no such key. */
  get(key: Key, options?: ReadCallOptions): Promise<Out | undefined>;
  getEntry(key: Key, options?: ReadCallOptions): Promise<KeyEntry<Out> | undefined>;
  put(key: Key, value: In, options?: PutOptions): Promise<{ readonly revision: number }>;
  delete(key: Key, options?: CallOptions): Promise<{ readonly revision: number; readonly deleted: boolean }>;
  /** Keys in order, as of one revision, fetched in pages as they are consumed. */
  scan<const O extends ScanOptions = object>(options?: O): AsyncIterable<KeyEntry<ShownValue<O, Out>>>;
  /** A range in one answer, filtered, sorted, limited and counted where it lies. @throws KvError REQUEST_TOO_LARGE: give a limit, or scan it */
  range<const O extends RangeOptions = object>(options?: O): Promise<RangeAnswer<ShownValue<O, Out>>>;
  /** How many keys a range holds. */
  count(options?: CountOptions): Promise<number>;
  /** All of it at one revision, or none. A key may stand in it once (DUPLICATE_KEY). */
  batch(
    operations: readonly BatchOperation<In>[],
    options?: CallOptions,
  ): Promise<{ readonly revision: number }>;
  txn(request: TxnRequest<In>, options?: CallOptions): Promise<TxnResponse<Out>>;
  /** Events in order, without gaps or duplicates, across reconnects. Ends only with the signal, the store's close or an error. */
  watch(options?: WatchOptions): AsyncIterable<WatchEvent<Out>>;
  /** Sets a key's time to live anew (0: never expires). False when there is no such key. */
  touch(key: Key, options: { readonly ttlMs: number } & CallOptions): Promise<boolean>;
  /** The whole store as the leader has it, where it can be reached, else as another node has it. Not for threads that read. @throws KvError UNAVAILABLE, NO_SPACE */
  snapshot(options?: CallOptions): Promise<StoreSnapshot>;
  /** Leases: keys that go together, when whoever put them is gone. */
  readonly leases: StoreLeases;
  /** Waits until nobody has the lock, and has it: until it is released or lost. @throws KvError TIMEOUT, CANCELLED, LEASE_EXPIRED */
  lock(name: Key, options?: ContendOptions): Promise<Lock>;
  /** One leader at a time, and what it says. */
  election(name: Key): Election<In, Out>;
  /** Users, roles and rights. */
  readonly auth: StoreAuth;
  /** Compaction, hashes, alarms, quotas. */
  readonly upkeep: StoreUpkeep;
  /** The same store with values of another type. Closing either closes both. */
  withCodec<V>(codec: Codec<V>): Store<V, V>;
  close(): Promise<void>;
}
