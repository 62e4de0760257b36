/**
 * The store's channel straight over a service in this process.
 *
 * Invariant: what a read gives is a copy, since the engine's memory moves on.
 */
import type { CallOptions, LocalService } from './api/service.ts';
import { BatchQueue, watchBatches } from './api/watch_batches.ts';
import {
  type AuthCalls,
  type Channel,
  type ChannelOptions,
  type LeaseCalls,
  NOT_AT_ONCE,
  type UpkeepCalls,
} from './client/channel.ts';
import type { StoreSnapshot } from './client/snapshot_types.ts';
import { KvError } from './errors.ts';
import type { Command, CommandResult } from './kv/command.ts';
import { THE_CLUSTER } from './security/identity.ts';
import { copyRecord, isLent, type MaybePromise, ownedRecord, type StoredRecord } from './storage/record.ts';
import type {
  GetRequest,
  GetResponse,
  RangeRequest,
  RangeResponse,
  ScanPageRequest,
  ScanPageResponse,
  WatchBatch,
  WatchRequest,
} from './wire/messages.ts';

export class EmbeddedChannel implements Channel {
  readonly needsSession = false;
  readonly auth: AuthCalls;
  readonly leases: LeaseCalls;
  readonly upkeep: UpkeepCalls;
  readonly #service: LocalService;
  readonly #stop: () => Promise<void>;
  readonly #copies = new Copies();
  readonly #watches = new Set<BatchQueue>();

  constructor(service: LocalService, stop: () => Promise<void>) {
    this.#service = service;
    const { auth, leases, quotas } = service;
    this.auth = {
      change: (request, options) => auth.change(request, trusted(options)),
      status: (options) => auth.status(trusted(options)),
      user: (name, options) => auth.user(name, trusted(options)),
      users: (options) => auth.users(trusted(options)),
      role: (name, options) => auth.role(name, trusted(options)),
      roles: (options) => auth.roles(trusted(options)),
    };
    this.leases = {
      keepAlive: (lease, options) => leases.keepAlive(lease, trusted(options)),
      timeToLive: (lease, withKeys, options) => leases.timeToLive(lease, withKeys, trusted(options)),
      list: (options) => leases.list(trusted(options)),
    };
    this.upkeep = {
      compact: (request, options) => service.compact(request, trusted(options)),
      hash: (request, options) => service.hash(request, trusted(options)),
      clusterHash: (options) => service.clusterHash(trusted(options)),
      alarms: (options) => service.alarms(trusted(options)),
      changeAlarm: (action, alarm, options) => service.changeAlarm(action, alarm, trusted(options)),
      quotas: (options) => quotas.list(trusted(options)),
      changeQuota: ({ prefix, limits }, options) =>
        limits === undefined
          ? quotas.remove(prefix, trusted(options))
          : quotas.set(prefix, limits, trusted(options)),
    };
    this.#stop = stop;
  }

  write(command: Uint8Array, options: ChannelOptions, decoded?: Command): MaybePromise<CommandResult> {
    return this.#service.writeAtOnce(command, options, decoded);
  }

  putAtOnce(
    key: Uint8Array | string,
    value: Uint8Array | string,
    ttlMs: number,
    options: ChannelOptions,
  ): MaybePromise<CommandResult> | undefined {
    return this.#service.putAtOnce(key, value, ttlMs, options);
  }

  valueAtOnce(storedKey: Uint8Array): Uint8Array | undefined | typeof NOT_AT_ONCE {
    if (!this.#service.readsAtOnce()) return NOT_AT_ONCE;
    const record = this.#service.latest(storedKey);
    if (record instanceof Promise) {
      // Asked for again the ordinary way, which also tells what may have gone wrong.
      record.catch(() => undefined);
      return NOT_AT_ONCE;
    }
    if (record === undefined) return undefined;
    return isLent(record.value) ? this.#copies.copy(record.value) : record.value;
  }

  get(request: GetRequest, options: ChannelOptions): MaybePromise<GetResponse> {
    const response = this.#service.get(request, trusted(options));
    return response instanceof Promise ? response.then(ownedGet) : ownedGet(response);
  }

  scan(request: ScanPageRequest, options: ChannelOptions): MaybePromise<ScanPageResponse> {
    const response = this.#service.scan(request, trusted(options));
    return response instanceof Promise ? response.then(ownedScan) : ownedScan(response);
  }

  range(request: RangeRequest, options: ChannelOptions): Promise<RangeResponse> {
    return this.#service.range(request, trusted(options));
  }

  async snapshot(options: ChannelOptions): Promise<StoreSnapshot> {
    const snapshot = await this.#service.snapshot(trusted(options));
    return { revision: snapshot.revision, ...snapshot.withTrailer() };
  }

  async *watch(request: WatchRequest, options: ChannelOptions): AsyncGenerator<WatchBatch> {
    const queue = new BatchQueue();
    this.#watches.add(queue);
    try {
      yield* watchBatches(this.#service, request, TRUSTED, options.signal, queue);
    } finally {
      this.#watches.delete(queue);
    }
  }

  async close(): Promise<void> {
    for (const queue of this.#watches) queue.fail(new KvError('CLOSED', 'the store was closed'));
    await this.#stop();
  }
}

/** Copies of values. Small ones share memory, a slab at a time: an ArrayBuffer of its own costs more than the copy. A copy kept for long keeps its slab. */
class Copies {
  static readonly SLAB_BYTES = 16 * 1024;
  static readonly MAX_SHARED_BYTES = 2 * 1024;
  #slab = new Uint8Array(0);
  #used = 0;

  copy(value: Uint8Array): Uint8Array {
    const { length } = value;
    if (length > Copies.MAX_SHARED_BYTES) return new Uint8Array(value);
    if (this.#used + length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(Copies.SLAB_BYTES);
      this.#used = 0;
    }
    const at = this.#used;
    // Each on a word of its own, for whoever wants to see numbers in it.
    this.#used = (at + length + 7) & ~7;
    this.#slab.set(value, at);
    return new Uint8Array(this.#slab.buffer, at, length);
  }
}

const TRUSTED: CallOptions = Object.freeze({ identity: THE_CLUSTER });

/** Whoever has the store open in this process may do everything. */
function trusted(options: ChannelOptions): CallOptions {
  return options.timeoutMs === undefined ? TRUSTED : { timeoutMs: options.timeoutMs, identity: THE_CLUSTER };
}

function ownedGet({ revision, record }: GetResponse): GetResponse {
  return { revision, record: record === undefined ? undefined : ownedAnswer(record) };
}

function ownedScan({ revision, records, more }: ScanPageResponse): ScanPageResponse {
  return { revision, records: records.map(ownedRecord), more };
}

/** The key of an answer is the caller's, who may use its bytes again. */
function ownedAnswer(record: StoredRecord): StoredRecord {
  return isLent(record.value) ? copyRecord(record) : { ...record, key: new Uint8Array(record.key) };
}
