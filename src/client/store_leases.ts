/** Leases of the public store: the same for the embedded store and for a cluster. */
import { KvError } from '../errors.ts';
import type { Command, CommandResult, WriteId } from '../kv/command.ts';
import { userKey } from '../kv/keyspace.ts';
import type { Ports } from '../ports.ts';
import type { MaybePromise } from '../storage/record.ts';
import { checkLeaseId } from '../wire/lease_codec.ts';
import type { Channel, LeaseCalls } from './channel.ts';
import { LeaseKeeper } from './lease_keeper.ts';
import type { GrantOptions, KeptLease, Lease, LeaseTimes, StoreLeases } from './lease_types.ts';
import { checkedLease, checkTtl } from './operations.ts';
import { unexpected } from './store_core.ts';
import type { CallOptions } from './store_types.ts';

const NO_OPTIONS: CallOptions = {};

/** What leases need of their store. */
export interface LeaseSource {
  readonly channel: Channel;
  readonly ports: Ports;
  readonly closeController: AbortController;
  checkOpen(): void;
  saw(revision: number): void;
  run(make: (id: WriteId) => Command, options: CallOptions): MaybePromise<CommandResult>;
}

export class LeaseClient implements StoreLeases {
  readonly #source: LeaseSource;

  constructor(source: LeaseSource) {
    this.#source = source;
  }

  async grant(options: GrantOptions): Promise<Lease> {
    const lease = checkedLease(options.id);
    const ttlMs = checkTtl(options.ttlMs);
    if (ttlMs === 0) throw new KvError('INVALID_ARGUMENT', 'ttlMs is missing or 0, allowed: at least 1');
    const result = await this.#run((id) => ({ type: 'leaseGrant', id, lease, ttlMs }), options);
    if (result.type !== 'lease') throw unexpected(result);
    return { id: result.lease, ttlMs: result.ttlMs };
  }

  /** A lease of one's own, kept alive from the start. */
  async grantKept(options: GrantOptions): Promise<KeptLease> {
    const sentAtMs = this.#source.ports.clock.monotonicMs();
    return this.#keeper(await this.grant(options), sentAtMs);
  }

  async revoke(id: bigint, options: CallOptions = NO_OPTIONS): Promise<void> {
    checkLeaseId(id);
    const result = await this.#run((write) => ({ type: 'leaseRevoke', id: write, lease: id }), options);
    if (result.type !== 'done') throw unexpected(result);
  }

  async keepAlive(id: bigint, options: CallOptions = NO_OPTIONS): Promise<KeptLease> {
    checkLeaseId(id);
    const sentAtMs = this.#source.ports.clock.monotonicMs();
    const { ttlMs } = await this.#calls().keepAlive(id, options);
    if (ttlMs === 0) throw new KvError('LEASE_NOT_FOUND', `there is no lease ${id}`);
    return this.#keeper({ id, ttlMs }, sentAtMs);
  }

  async timeToLive(
    id: bigint,
    options: { readonly keys?: boolean | undefined } & CallOptions = NO_OPTIONS,
  ): Promise<LeaseTimes | undefined> {
    checkLeaseId(id);
    const found = await this.#calls().timeToLive(id, options.keys ?? false, options);
    this.#source.saw(found.revision);
    const { ttlMs, remainingMs, keys } = found;
    return remainingMs < 0 ? undefined : { id, ttlMs, remainingMs, keys: keys.map(userKey) };
  }

  async list(options: CallOptions = NO_OPTIONS): Promise<bigint[]> {
    const { revision, leases } = await this.#calls().list(options);
    this.#source.saw(revision);
    return [...leases];
  }

  async #run(make: (id: WriteId) => Command, options: CallOptions): Promise<CommandResult> {
    this.#source.checkOpen();
    const result = await this.#source.run(make, options);
    this.#source.saw(result.revision);
    return result;
  }

  #calls(): LeaseCalls {
    this.#source.checkOpen();
    const { leases } = this.#source.channel;
    if (leases !== undefined) return leases;
    const message = 'leases are not for threads that read: ask in the thread that opened the store';
    throw new KvError('UNSUPPORTED', message);
  }

  #keeper({ id, ttlMs }: Lease, sentAtMs: number): LeaseKeeper {
    const { ports, closeController } = this.#source;
    return new LeaseKeeper({
      calls: this.#calls(),
      ports,
      // One of its own: many leases that listen to the same one look like a leak.
      closed: AbortSignal.any([closeController.signal]),
      id,
      ttlMs,
      sentAtMs,
    });
  }
}
