/** The upkeep of a store as callers of the public API ask for it: the same for the embedded store and for a cluster. */
import { KvError } from '../errors.ts';
import { userKey } from '../kv/keyspace.ts';
import type { ChannelOptions, UpkeepCalls } from './channel.ts';
import { storedPrefixOf } from './key_range.ts';
import { checkRevision } from './operations.ts';
import type { Key } from './store_types.ts';
import type {
  AlarmOf,
  HashComparison,
  NodeHash,
  Quota,
  QuotaSettings,
  StoreAlarm,
  StoreUpkeep,
} from './upkeep_types.ts';

const NO_OPTIONS: ChannelOptions = {};

export class UpkeepAdmin implements StoreUpkeep {
  readonly #calls: UpkeepCalls;

  constructor(calls: UpkeepCalls) {
    this.#calls = calls;
  }

  async compact(
    revision: number,
    options: ChannelOptions & { readonly physical?: boolean | undefined } = NO_OPTIONS,
  ): Promise<number> {
    wholeNumber('revision', revision);
    return this.#calls.compact({ revision, physical: options.physical ?? false }, options);
  }

  hash(options: ChannelOptions = NO_OPTIONS): Promise<HashComparison> {
    return this.#calls.clusterHash(options);
  }

  nodeHash(
    options: ChannelOptions & {
      readonly revision?: number | undefined;
      readonly compactRevision?: number | undefined;
    } = NO_OPTIONS,
  ): Promise<NodeHash> {
    const revision = checkRevision(options.revision, 'revision');
    const compactRevision = checkRevision(options.compactRevision, 'compactRevision');
    return this.#calls.hash({ revision, compactRevision }, options);
  }

  async alarms(options: ChannelOptions = NO_OPTIONS): Promise<readonly StoreAlarm[]> {
    return (await this.#calls.alarms(options)).alarms;
  }

  async changeAlarm(
    action: 'raise' | 'clear',
    { type, member }: AlarmOf,
    options: ChannelOptions = NO_OPTIONS,
  ): Promise<StoreAlarm | undefined> {
    if (type !== 'nospace' && type !== 'corrupt')
      throw new KvError('INVALID_ARGUMENT', `the alarm is ${String(type)}, allowed: nospace, corrupt`);
    wholeNumber('member', member);
    // What is raised by hand stays until somebody clears it.
    const { alarms } = await this.#calls.changeAlarm(action, { type, member, byNode: false }, options);
    return alarms[0];
  }

  async quotas(options: ChannelOptions = NO_OPTIONS): Promise<Quota[]> {
    const { quotas } = await this.#calls.quotas(options);
    return quotas.map((quota) => ({ ...quota, prefix: new Uint8Array(userKey(quota.prefix)) }));
  }

  async setQuota(
    prefix: Key,
    settings: QuotaSettings,
    options: ChannelOptions = NO_OPTIONS,
  ): Promise<number> {
    const { maxBytes = 0, maxKeys = 0, maxRequestsPerSecond = 0 } = settings;
    const limits = { maxBytes, maxKeys, maxRequestsPerSecond };
    for (const [name, limit] of Object.entries(limits)) wholeNumber(name, limit);
    return this.#calls.changeQuota({ prefix: storedPrefixOf(prefix), limits }, options);
  }

  async removeQuota(prefix: Key, options: ChannelOptions = NO_OPTIONS): Promise<number> {
    return this.#calls.changeQuota({ prefix: storedPrefixOf(prefix), limits: undefined }, options);
  }
}

function wholeNumber(name: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 0) return;
  throw new KvError('INVALID_ARGUMENT', `${name} is ${value}, allowed: whole numbers from 0`);
}
