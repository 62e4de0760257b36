/**
 * The public store over any channel: checks and encodes what callers give, decodes what comes back.
 *
 * Invariants: a call fails with a KvError only; limits are checked before anything is sent; a write over a channel that may repeat it carries a session and a
 * sequence, and after the loss of the session only a write that was certainly not applied is sent again; `sequential` reads never go behind what
 * this store has seen.
 */
import { KvError } from '../errors.ts';
import type { Command, CommandResult, Operation, WriteId } from '../kv/command.ts';
import { userKey } from '../kv/keyspace.ts';
import type { Ports } from '../ports.ts';
import type { MaybePromise, StoredRecord } from '../storage/record.ts';
import { encodeCommand, encodePut, writeCommand } from '../wire/command_codec.ts';
import type { GetRequest, GetResponse } from '../wire/messages.ts';
import { ByteWriter } from '../wire/varint.ts';
import { NO_WRITE_ID } from '../wire/write_id.ts';
import { AuthAdmin } from './auth_admin.ts';
import type { StoreAuth } from './auth_types.ts';
import { type Channel, NOT_AT_ONCE } from './channel.ts';
import { waitUntil } from './deadline.ts';
import { checkKey, storedKeyOf } from './key_range.ts';
import {
  batchOperations,
  checkRevision,
  checkTtl,
  checkValue,
  entryOf,
  type StoreLimits,
  touchOperation,
  txnCompares,
  txnOperations,
  txnResponse,
  type ValueForm,
} from './operations.ts';
import { scanEntries, watchEvents } from './store_streams.ts';
import type {
  BatchOperation,
  CallOptions,
  Codec,
  Key,
  KeyEntry,
  PutOptions,
  ReadCallOptions,
  ScanOptions,
  Store,
  TxnRequest,
  TxnResponse,
  Value,
  WatchEvent,
  WatchOptions,
} from './store_types.ts';
import { WriteSession } from './write_session.ts';

/** How long a call may take unless it says otherwise, where this layer itself waits. */
const DEFAULT_TIMEOUT_MS = 5_000;
/** A session may be lost this often during one call. */
const MAX_SESSIONS_PER_CALL = 3;
const CLOSE_SESSION_TIMEOUT_MS = 500;
/** Memory kept for the next command. */
const MAX_SPARE_BYTES = 256 * 1024;
const NO_OPTIONS: CallOptions = {};
const NONE: readonly never[] = [];
/** What a get of a missing key gives: always the same. */
const NO_VALUE: Promise<undefined> = Promise.resolve(undefined);

export interface StoreOptions {
  readonly channel: Channel;
  readonly limits: StoreLimits;
  readonly ports: Ports;
  /** Writes that may wait for their answer at once; the nodes' limits.maxSessionResults. */
  readonly maxSessionResults: number;
  readonly timeoutMs?: number | undefined;
}

/** A store of bytes over a channel. Closing it closes the channel. */
export function createStore(options: StoreOptions): Store {
  return new KvStore<Value, Uint8Array>(new StoreCore(options), {
    encode: (value) => value,
    decode: (bytes) => bytes,
  });
}

/** What a store shares with its forms for other types of values. */
export class StoreCore {
  readonly channel: Channel;
  readonly limits: StoreLimits;
  /** The largest revision that any answer showed. */
  seenRevision = 0;
  readonly closeController = new AbortController();
  readonly session: WriteSession | undefined;
  private readonly ports: Ports;
  private readonly timeoutMs: number;
  private closing: Promise<void> | undefined;
  private spareWriter: ByteWriter | undefined;

  constructor(options: StoreOptions) {
    this.channel = options.channel;
    this.limits = options.limits;
    this.ports = options.ports;
    this.timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    if (this.channel.needsSession) {
      this.session = new WriteSession(() => this.openSession(), options.maxSessionResults);
    }
  }

  /** @throws KvError CLOSED */
  checkOpen(): void {
    if (this.closing !== undefined) throw new KvError('CLOSED', 'the store was closed');
  }

  saw(revision: number): void {
    if (revision > this.seenRevision) this.seenRevision = revision;
  }

  /** Sends a write; `encode` is called with the id that it gets. */
  write(encode: (id: WriteId) => Uint8Array, options: CallOptions): MaybePromise<CommandResult> {
    const { session } = this;
    if (session === undefined) return this.channel.write(encode(NO_WRITE_ID), options);
    const id = session.tryBegin();
    if (id === undefined) return this.writeWhenReady(session, encode, options);
    return this.attempt(session, id, encode, options).catch((error: unknown) => {
      if (!sessionLost(error)) throw error;
      return this.writeWhenReady(session, encode, options);
    });
  }

  /** Sends a write as a command; `make` is called with the id that it gets. */
  run(make: (id: WriteId) => Command, options: CallOptions): MaybePromise<CommandResult> {
    if (this.session !== undefined) return this.write((id) => encodeCommand(make(id)), options);
    const command = make(NO_WRITE_ID);
    const writer = this.spareWriter ?? new ByteWriter();
    this.spareWriter = undefined;
    writeCommand(writer.reset(), command);
    const result = this.channel.write(writer.view(), options, command);
    // With a promise the bytes may still be needed.
    if (!(result instanceof Promise) && writer.sizeBytes <= MAX_SPARE_BYTES) this.spareWriter = writer;
    return result;
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    this.closeController.abort();
    const session = this.session?.id ?? 0;
    if (session !== 0) {
      try {
        const command = encodeCommand({ type: 'closeSession', session });
        await this.channel.write(command, { timeoutMs: CLOSE_SESSION_TIMEOUT_MS });
      } catch (error) {
        // A session that could not be closed is forgotten when it has been idle for long enough.
        if (!(error instanceof KvError)) throw error;
      }
    }
    await this.channel.close();
  }

  private async openSession(): Promise<number> {
    const result = await this.channel.write(encodeCommand({ type: 'openSession' }), {
      timeoutMs: this.timeoutMs,
    });
    if (result.type !== 'session') throw unexpected(result);
    return result.session;
  }

  private async attempt(
    session: WriteSession,
    id: WriteId,
    encode: (id: WriteId) => Uint8Array,
    options: CallOptions,
  ): Promise<CommandResult> {
    try {
      return await this.channel.write(encode(id), options);
    } catch (error) {
      if (error instanceof KvError && error.code === 'SESSION_EXPIRED') session.expired(id.session);
      throw error;
    } finally {
      session.end(id);
    }
  }

  /** Waits for a session and for a place in it. */
  private async writeWhenReady(
    session: WriteSession,
    encode: (id: WriteId) => Uint8Array,
    options: CallOptions,
  ): Promise<CommandResult> {
    const { clock } = this.ports;
    const deadlineMs = clock.monotonicMs() + (options.timeoutMs ?? this.timeoutMs);
    for (let lost = 0; ; ) {
      const id = session.tryBegin();
      if (id === undefined) {
        await waitUntil(session.ready(), deadlineMs, options.signal, this.ports);
        continue;
      }
      try {
        const timeoutMs = Math.max(1, deadlineMs - clock.monotonicMs());
        return await this.attempt(session, id, encode, { timeoutMs, signal: options.signal });
      } catch (error) {
        if (!sessionLost(error) || ++lost >= MAX_SESSIONS_PER_CALL) throw error;
      }
    }
  }
}

/** The session was gone before the write could be applied: it may be sent again under a new one. */
function sessionLost(error: unknown): boolean {
  return error instanceof KvError && error.code === 'SESSION_EXPIRED' && !error.maybeApplied;
}

function unexpected(result: CommandResult): KvError {
  if (result.type === 'failed') return new KvError(result.code, result.message);
  return new KvError('PROTOCOL', `unexpected result '${result.type}'`, { maybeApplied: true });
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
    const compares = txnCompares(request.compare ?? [], form, core.limits);
    const success = txnOperations(request.then, form, core.limits);
    const failure = txnOperations(request.else ?? [], form, core.limits);
    const result = await core.run((id) => ({ type: 'txn', id, compares, success, failure }), options);
    if (result.type !== 'txn') throw unexpected(result);
    core.saw(result.revision);
    return txnResponse(result, form);
  }

  scan(options: ScanOptions = {}): AsyncIterable<KeyEntry<Out>> {
    return scanEntries(this.core, options, (record) => entryOf(record, this.form));
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

  get auth(): StoreAuth {
    const { channel, limits } = this.core;
    if (channel.auth === undefined)
      throw new KvError('UNSUPPORTED', 'users and rights are not for threads that read');
    return new AuthAdmin(channel.auth, limits.maxKeyBytes);
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

  private getRequest(key: Key, options: ReadCallOptions): GetRequest {
    const { core } = this;
    core.checkOpen();
    const level = options.level ?? 'linearizable';
    return {
      key: storedKeyOf(key, core.limits.maxKeyBytes),
      level,
      minRevision: level === 'sequential' ? core.seenRevision : 0,
      revision: checkRevision(options.revision, 'revision'),
    };
  }
}

function previousEntry<Out>(
  previous: StoredRecord | undefined,
  form: ValueForm<never, Out>,
): KeyEntry<Out> | undefined {
  return previous === undefined ? undefined : entryOf(previous, form);
}
