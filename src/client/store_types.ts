/**
 * The public store: one interface for the embedded store (`open`) and for a cluster (`connect`).
 *
 * Keys and values given as strings are UTF-8. Values come back as bytes unless the store was given a codec. Every call takes
 * `signal` and `timeoutMs` and fails with a KvError only.
 */

import type { ReadLevel } from '../wire/messages.ts';
import type { StoreAuth } from './auth_types.ts';
import type { StoreLeases } from './lease_types.ts';

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
  readonly keysOnly?: boolean | undefined;
}
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
export type TxnOperation<V = Value> =
  | BatchOperation<V>
  | { readonly type: 'get'; readonly key: Key }
  | { readonly type: 'touch'; readonly key: Key; readonly ttlMs: number }
  | { readonly type: 'deleteRange'; readonly start: Key; readonly end: Key };
type Relation = '=' | '!=' | '>' | '<';
export type TxnCompare<V = Value> =
  | { readonly key: Key; readonly value: V; readonly is?: Relation | undefined }
  | { readonly key: Key; readonly version: number; readonly is?: Relation | undefined }
  | { readonly key: Key; readonly modRevision: number; readonly is?: Relation | undefined }
  | { readonly key: Key; readonly createRevision: number; readonly is?: Relation | undefined }
  | { readonly key: Key; readonly exists: boolean };
export interface TxnRequest<V = Value> {
  /** All must hold; none: always true. */
  readonly compare?: readonly TxnCompare<V>[] | undefined;
  readonly then: readonly TxnOperation<V>[];
  readonly else?: readonly TxnOperation<V>[] | undefined;
}
export type TxnOperationResult<V = Uint8Array> =
  | { readonly type: 'put' }
  | { readonly type: 'delete'; readonly deleted: number }
  | { readonly type: 'touch'; readonly found: boolean }
  | { readonly type: 'get'; readonly entry: KeyEntry<V> | undefined };
export interface TxnResponse<V = Uint8Array> {
  readonly succeeded: boolean;
  readonly revision: number;
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
  scan(options?: ScanOptions): AsyncIterable<KeyEntry<Out>>;
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
  /** Leases: keys that go together, when whoever put them is gone. */
  readonly leases: StoreLeases;
  /** Users, roles and rights. */
  readonly auth: StoreAuth;
  /** The same store with values of another type. Closing either closes both. */
  withCodec<V>(codec: Codec<V>): Store<V, V>;
  close(): Promise<void>;
}
