/** The public store as a door: in this process, or over the client protocol. */
import type {
  KeyEntry,
  Store,
  TxnCompare,
  TxnOperation,
  TxnOperationResult,
} from '../../../src/client/store_types.ts';
import { type ErrorCode, KvError } from '../../../src/errors.ts';
import {
  type Answer,
  type Door,
  type DoorCompare,
  DoorError,
  type DoorOperation,
  type DoorWatch,
  type Seen,
  type SeenEntry,
  type SeenEvent,
} from './door.ts';

const decoder = new TextDecoder();
const text = (bytes: Uint8Array | undefined): string => (bytes === undefined ? '' : decoder.decode(bytes));

export class StoreDoor implements Door {
  readonly name: string;
  readonly #store: Store;

  constructor(name: string, store: Store) {
    this.name = name;
    this.#store = store;
  }

  shows(code: ErrorCode): ErrorCode {
    return code;
  }

  run(operation: DoorOperation): Promise<Answer> {
    return told(this.#run(operation));
  }

  /** By the plain call where there is one, else as the only operation of a transaction. */
  async #run(operation: DoorOperation): Promise<Answer> {
    const store = this.#store;
    switch (operation.type) {
      case 'put': {
        const { key, value, lease, prevKv, ignoreLease } = operation;
        if (value === undefined || prevKv || ignoreLease) break;
        const { revision } = await store.put(key, value, lease === undefined ? {} : { lease });
        return { revision, result: { type: 'put', previous: undefined } };
      }
      case 'delete': {
        const { key } = operation.keys;
        if (key === undefined || operation.prevKv) break;
        const { revision, deleted } = await store.delete(key);
        return { revision, result: { type: 'delete', deleted: deleted ? 1 : 0, previous: [] } };
      }
      case 'range': {
        const { keys, view, revision: at, level } = operation;
        const answer = await store.range({ ...keys, ...view, counted: true, revision: at, level });
        const { revision, entries, more, count } = answer;
        return { revision, result: { type: 'range', entries: entries.map(entryOf), more, count } };
      }
      case 'txn': {
        const { revision, ...answer } = await store.txn(requestOf(operation));
        return { revision, result: resultOf({ type: 'txn', ...answer }) };
      }
    }
    const { revision, results } = await store.txn({ then: [operationOf(operation)] });
    return { revision, result: resultOf(results[0]!) };
  }

  async compact(revision: number): Promise<void> {
    await told(this.#store.upkeep.compact(revision));
  }

  readonly quotas: NonNullable<Door['quotas']> = {
    set: async (prefix, settings) => void (await told(this.#store.upkeep.setQuota(prefix, settings))),
    remove: async (prefix) => void (await told(this.#store.upkeep.removeQuota(prefix))),
    list: async () => {
      const quotas = await told(this.#store.upkeep.quotas());
      return quotas.map((quota) => ({ ...quota, prefix: text(quota.prefix) }));
    },
  };

  async grant(id: bigint, ttlMs: number): Promise<number> {
    return (await told(this.#store.leases.grant({ id, ttlMs }))).ttlMs;
  }

  revoke(id: bigint): Promise<void> {
    return told(this.#store.leases.revoke(id));
  }

  async lease(id: bigint): Promise<{ ttlMs: number; keys: string[] } | undefined> {
    const times = await told(this.#store.leases.timeToLive(id, { keys: true }));
    return times && { ttlMs: times.ttlMs, keys: times.keys.map(text) };
  }

  leases(): Promise<readonly bigint[]> {
    return told(this.#store.leases.list());
  }

  async keepAlive(id: bigint): Promise<void> {
    const kept = await told(this.#store.leases.keepAlive(id));
    kept.close();
  }

  watch({ keys, fromRevision, prevKv, events }: DoorWatch): Promise<readonly SeenEvent[]> {
    const take = async (): Promise<SeenEvent[]> => {
      const taken: SeenEvent[] = [];
      for await (const event of this.#store.watch({ ...keys, fromRevision, prevKv })) {
        const { type, key, value, createRevision, revision, version, previous } = event;
        const entry = { key: text(key), value: text(value), createRevision, modRevision: revision, version };
        taken.push({ type, entry, previous: previous && entryOf(previous) });
        if (taken.length === events) break;
      }
      return taken;
    };
    return told(take());
  }

  async close(): Promise<void> {
    await this.#store.close();
  }
}

async function told<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof KvError) throw new DoorError(error.code, error.message);
    throw error;
  }
}

function requestOf({ compare, then, else: otherwise }: DoorOperation & { readonly type: 'txn' }) {
  return {
    compare: compare.map(compareOf),
    then: then.map(operationOf),
    else: otherwise.map(operationOf),
  };
}

function compareOf({ key, end, prefix, ...what }: DoorCompare): TxnCompare {
  return prefix === undefined ? { key: key ?? '', end, ...what } : { prefix, ...what };
}

function operationOf(operation: DoorOperation): TxnOperation {
  switch (operation.type) {
    case 'put': {
      const { type, key, value, ...more } = operation;
      return value === undefined ? { type, key, ...more, ignoreValue: true } : { type, key, value, ...more };
    }
    case 'delete': {
      const { keys, prevKv } = operation;
      const { key, ...range } = keys;
      return key === undefined ? { type: 'deleteRange', ...range, prevKv } : { type: 'delete', key, prevKv };
    }
    case 'range': {
      const { keys, view, revision } = operation;
      return { type: 'range', ...keys, ...view, counted: true, revision };
    }
    case 'txn':
      return { type: 'txn', ...requestOf(operation) };
  }
}

function resultOf(result: TxnOperationResult): Seen {
  switch (result.type) {
    case 'put':
      return { type: 'put', previous: result.previous && entryOf(result.previous) };
    case 'delete':
      return { type: 'delete', deleted: result.deleted, previous: (result.previous ?? []).map(entryOf) };
    case 'range':
      return { ...result, entries: result.entries.map(entryOf) };
    case 'txn':
      return { ...result, results: result.results.map(resultOf) };
    default:
      throw new Error(`nobody asked for a ${result.type}`);
  }
}

function entryOf(entry: KeyEntry<Uint8Array | undefined>): SeenEntry {
  const { key, value, createRevision, modRevision, version, lease } = entry;
  return { key: text(key), value: text(value), createRevision, modRevision, version, lease: lease ?? 0n };
}
