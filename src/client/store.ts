/**
 * The public store over any channel: checks and encodes what callers give, decodes what comes back.
 *
 * Invariants: a call fails with a KvError only; limits are checked before anything is sent; `sequential` reads never go behind what this store has seen.
 */

import { KvError } from '../errors.ts';
import type { CommandResult, Operation } from '../kv/command.ts';
import { userKey } from '../kv/keyspace.ts';
import type { StoredRecord } from '../storage/record.ts';
import { encodePut } from '../wire/command_codec.ts';
import type { GetRequest, GetResponse } from '../wire/messages.ts';
import { AuthAdmin } from './auth_admin.ts';
import type { StoreAuth } from './auth_types.ts';
import { NOT_AT_ONCE } from './channel.ts';
import type { ContenderParts } from './contender.ts';
import { checkKey, storedKeyOf } from './key_range.ts';
import type { StoreLeases } from './lease_types.ts';
import type { ContendOptions, Election, Lock } from './lock_types.ts';
import { LineElection, lockOf } from './locks.ts';
import {
  batchOperations,
  checkTtl,
  checkValue,
  entryOf,
  keyOf,
  putOperation,
  touchOperation,
  type ValueForm,
} from './operations.ts';
import { entriesOf, rangeRequest, readOptionsOf } from './ranges.ts';
import type { StoreSnapshot } from './snapshot_types.ts';
import { StoreCore, type StoreOptions, unexpected } from './store_core.ts';
import { LeaseClient } from './store_leases.ts';
import { scanEntries, watchEvents } from './store_streams.ts';
import type {
  BatchOperation,
  CallOptions,
  Codec,
  CountOptions,
  Key,
  KeyEntry,
  PutOptions,
  RangeAnswer,
  RangeOptions,
  ReadCallOptions,
  ScanOptions,
  ShownValue,
  Store,
  TxnRequest,
  TxnResponse,
  Value,
  WatchEvent,
  WatchOptions,
} from './store_types.ts';
import { txnBody, txnResponse } from './txn_form.ts';
import { UpkeepAdmin } from './upkeep_admin.ts';
import type { StoreUpkeep } from './upkeep_types.ts';

const NO_OPTIONS: CallOptions = {};
const NONE: readonly never[] = [];
/** What a get of a missing key gives: always the same. */
const NO_VALUE: Promise<undefined> = Promise.resolve(undefined);

/** A store of bytes over a channel. Closing it closes the channel. */
export function createStore(options: StoreOptions): Store {
  return new KvStore<Value, Uint8Array>(new StoreCore(options), {
    encode: (value) => value,
    decode: (bytes) => bytes,
  });
}

class KvStore<In, Out> implements Store<In, Out> {
  private readonly core: StoreCore;
  private readonly form: ValueForm<In, Out>;
  private readonly putDone: (result: CommandResult) => { readonly revision: number };
  private readonly valueOf: (response: GetResponse) => Out | undefined;
  private readonly entryIn: (response: GetResponse) => KeyEntry<Out> | undefined;

  constructor(core: StoreCore, form: ValueForm<In, Out>) {
    this.core = core;
    this.form = form;
    this.putDone = (result) => {
      if (result.type !== 'put') throw unexpected(result);
      core.saw(result.revision);
      return { revision: result.revision };
    };
    this.valueOf = (response) => {
      core.saw(response.revision);
      return response.record === undefined ? undefined : form.decode(response.record.value);
    };
    this.entryIn = (response) => {
      core.saw(response.revision);
      return response.record === undefined ? undefined : entryOf(response.record, form);
    };
  }

  get(key: Key, options: ReadCallOptions = NO_OPTIONS): Promise<Out | undefined> {
    const { core, form } = this;
    try {
      if (options === NO_OPTIONS && core.channel.valueAtOnce !== undefined) {
        core.checkOpen();
        const value = core.channel.valueAtOnce(storedKeyOf(key, core.limits.maxKeyBytes));
        if (value !== NOT_AT_ONCE) {
          return value === undefined ? NO_VALUE : Promise.resolve(form.decode(value));
        }
      }
      const response = core.channel.get(this.getRequest(key, options), options);
      if (response instanceof Promise) return response.then(this.valueOf);
      return Promise.resolve(this.valueOf(response));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async getEntry(key: Key, options: ReadCallOptions = NO_OPTIONS): Promise<KeyEntry<Out> | undefined> {
    const response = this.core.channel.get(this.getRequest(key, options), options);
    return this.entryIn(response instanceof Promise ? await response : response);
  }

  put(key: Key, value: In, options: PutOptions = NO_OPTIONS): Promise<{ readonly revision: number }> {
    const { core } = this;
    try {
      core.checkOpen();
      checkKey(key, core.limits.maxKeyBytes);
      const encoded = this.form.encode(value);
      checkValue(encoded, core.limits.maxValueBytes);
      const ttlMs = checkTtl(options.ttlMs);
      if (options.lease !== undefined) return this.putLeased(key, value, options);
      const done = core.channel.putAtOnce?.(key, encoded, ttlMs, options);
      if (done !== undefined) {
        return done instanceof Promise ? done.then(this.putDone) : Promise.resolve(this.putDone(done));
      }
      const written =
        core.session === undefined
          ? core.channel.write(encodePut(key, encoded, ttlMs, 0, 0, 0), options)
          : core.write(
              (id) => encodePut(key, encoded, ttlMs, id.session, id.sequence, id.acknowledgedBelow),
              options,
            );
      return written instanceof Promise ? written.then(this.putDone) : Promise.resolve(this.putDone(written));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** The long way round. */
  private async putLeased(key: Key, value: In, options: PutOptions): Promise<{ readonly revision: number }> {
    const operation = putOperation({ key, value, ...options }, this.form, this.core.limits);
    return this.putDone(await this.core.run((id) => ({ type: 'write', id, operation }), options));
  }

  async delete(key: Key, options: CallOptions = NO_OPTIONS): Promise<{ revision: number; deleted: boolean }> {
    this.core.checkOpen();
    const stored = storedKeyOf(key, this.core.limits.maxKeyBytes);
    const operation: Operation = { type: 'delete', key: stored, end: undefined, prevKv: false };
    const result = await this.core.run((id) => ({ type: 'write', id, operation }), options);
    if (result.type !== 'delete') throw unexpected(result);
    this.core.saw(result.revision);
    return { revision: result.revision, deleted: result.deleted > 0 };
  }

  async touch(key: Key, options: { readonly ttlMs: number } & CallOptions): Promise<boolean> {
    this.core.checkOpen();
    const operation = touchOperation(key, options.ttlMs, this.core.limits);
    const result = await this.core.run((id) => ({ type: 'write', id, operation }), options);
    if (result.type !== 'touch') throw unexpected(result);
    this.core.saw(result.revision);
    return result.found;
  }

  async batch(
    operations: readonly BatchOperation<In>[],
    options: CallOptions = NO_OPTIONS,
  ): Promise<{ readonly revision: number }> {
    this.core.checkOpen();
    const success = batchOperations(operations, this.form, this.core.limits);
    const written = this.core.run(
      (id) => ({ type: 'txn', id, compares: NONE, success, failure: NONE }),
      options,
    );
    const result = written instanceof Promise ? await written : written;
    if (result.type !== 'txn') throw unexpected(result);
    this.core.saw(result.revision);
    return { revision: result.revision };
  }

  async txn(request: TxnRequest<In>, options: CallOptions = NO_OPTIONS): Promise<TxnResponse<Out>> {
    const { core, form } = this;
    core.checkOpen();
    const body = txnBody(request, form, core.limits);
    const result = await core.run((id) => ({ type: 'txn', id, ...body }), options);
    if (result.type !== 'txn') throw unexpected(result);
    core.saw(result.revision);
    return txnResponse(request, result, form);
  }

  scan<const O extends ScanOptions = object>(options?: O): AsyncIterable<KeyEntry<ShownValue<O, Out>>>;
  scan(options: ScanOptions = NO_OPTIONS): AsyncIterable<KeyEntry<Out | undefined>> {
    const { form } = this;
    if (options.keysOnly) return scanEntries(this.core, options, keyOf);
    return scanEntries(this.core, options, (record) => entryOf(record, form));
  }

  range<const O extends RangeOptions = object>(options?: O): Promise<RangeAnswer<ShownValue<O, Out>>>;
  async range(options: RangeOptions = NO_OPTIONS): Promise<RangeAnswer<Out | undefined>> {
    const { core } = this;
    core.checkOpen();
    const request = rangeRequest(options, core.limits.maxKeyBytes, core.seenRevision);
    const { revision, records, more, count } = await core.channel.range(request, options);
    core.saw(revision);
    return { revision, entries: entriesOf(records, request.keysOnly, this.form), more, count };
  }

  async count(options: CountOptions = NO_OPTIONS): Promise<number> {
    const { count } = await this.range({ ...options, countOnly: true });
    return count;
  }

  watch(options: WatchOptions = {}): AsyncIterable<WatchEvent<Out>> {
    const { form } = this;
    return watchEvents(this.core, options, ({ type, record, previous }) => ({
      type,
      key: userKey(record.key),
      value: type === 'put' ? form.decode(record.value) : undefined,
      revision: record.modRevision,
      createRevision: record.createRevision,
      version: record.version,
      previous: previousEntry(previous, form),
    }));
  }

  async snapshot(options: CallOptions = NO_OPTIONS): Promise<StoreSnapshot> {
    const { core } = this;
    core.checkOpen();
    if (core.channel.snapshot === undefined)
      throw new KvError('UNSUPPORTED', 'snapshots are not for threads that read');
    return core.channel.snapshot(options);
  }

  get leases(): StoreLeases {
    return new LeaseClient(this.core);
  }

  lock(name: Key, options?: ContendOptions): Promise<Lock> {
    return lockOf(this.contenderParts(), this.core.limits, name, options);
  }

  election(name: Key): Election<In, Out> {
    return new LineElection(this.contenderParts(), this.core.limits, name, this.form);
  }

  get auth(): StoreAuth {
    const { channel, limits } = this.core;
    if (channel.auth === undefined)
      throw new KvError('UNSUPPORTED', 'users and rights are not for threads that read');
    return new AuthAdmin(channel.auth, limits.maxKeyBytes);
  }

  get upkeep(): StoreUpkeep {
    const { channel } = this.core;
    if (channel.upkeep === undefined)
      throw new KvError('UNSUPPORTED', 'the upkeep of the store is not for threads that read');
    return new UpkeepAdmin(channel.upkeep);
  }

  withCodec<V>(codec: Codec<V>): Store<V, V> {
    return new KvStore<V, V>(this.core, codec);
  }

  close(): Promise<void> {
    return this.core.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.core.close();
  }

  private contenderParts(): ContenderParts {
    return { source: this.core, leases: new LeaseClient(this.core) };
  }

  private getRequest(key: Key, options: ReadCallOptions): GetRequest {
    const { core } = this;
    core.checkOpen();
    const stored = storedKeyOf(key, core.limits.maxKeyBytes);
    return { key: stored, ...readOptionsOf(options, core.seenRevision) };
  }
}

function previousEntry<Out>(
  previous: StoredRecord | undefined,
  form: ValueForm<never, Out>,
): KeyEntry<Out> | undefined {
  return previous === undefined ? undefined : entryOf(previous, form);
}
