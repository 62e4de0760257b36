/** What the services Lock and Election of etcd share: the store as recipes use it, leases, and waiting as long as the client does. */
import { KvError } from '../../../errors.ts';
import type { Ports } from '../../../ports.ts';
import { Contention } from '../../../recipes/contention.ts';
import { lineOf, type Place } from '../../../recipes/line.ts';
import { Patience, pauseAfter } from '../../../recipes/patience.ts';
import type { RecipeStore } from '../../../recipes/recipe_store.ts';
import { encodeCommand } from '../../../wire/command_codec.ts';
import { NO_WRITE_ID } from '../../../wire/write_id.ts';
import type { CallOptions, Service } from '../../service.ts';
import { watchBatches } from '../../watch_batches.ts';
import type { CallContext } from '../method.ts';
import { CODE, GrpcError } from '../status.ts';
import { callOptionsOf, succeeded } from './etcd_context.ts';

/** Of a lease that the server takes for a client that names none, as in etcd. Nobody keeps it alive. */
const OWN_LEASE_TTL_MS = 60_000;

/** One client's calls. */
export class Contender {
  readonly store: RecipeStore;
  readonly #service: Service;
  readonly #ports: Ports;
  readonly #call: CallContext;
  readonly #options: CallOptions;

  constructor(service: Service, ports: Ports, call: CallContext) {
    this.#service = service;
    this.#ports = ports;
    this.#call = call;
    this.#options = callOptionsOf(service, call);
    this.store = recipeStoreOf(service, ports, this.#options);
  }

  /**
   * Waits in line until it is first, as long as the client waits.
   * @param lease 0n: one of the server's
   * @throws what grpcErrorOf knows; the place is given up then
   */
  async win(name: Uint8Array, lease: bigint, value: Uint8Array): Promise<Place> {
    const own = lease === 0n ? await this.#grant() : lease;
    const contention = new Contention(lineOf(name), own);
    const patience = new Patience(this.#ports, this.#call.timeoutMs, this.#call.signal);
    try {
      return (await contention.reachFront(this.store, value, patience.signal)).place;
    } catch (error) {
      await this.#undo((options) =>
        lease === 0n
          ? this.#revoke(own, options)
          : contention.leave(recipeStoreOf(this.#service, this.#ports, options)),
      );
      throw error;
    } finally {
      patience.end();
    }
  }

  async #grant(): Promise<bigint> {
    const command = encodeCommand({
      type: 'leaseGrant',
      id: NO_WRITE_ID,
      lease: 0n,
      ttlMs: OWN_LEASE_TTL_MS,
    });
    const result = succeeded(await this.#service.write(command, this.#options));
    if (result.type !== 'lease') throw new TypeError(`a lease was answered with '${result.type}'`);
    return result.lease;
  }

  #revoke(lease: bigint, options: CallOptions): Promise<unknown> {
    return this.#service.write(encodeCommand({ type: 'leaseRevoke', id: NO_WRITE_ID, lease }), options);
  }

  /** Whoever has given up waiting leaves time for this. What cannot be undone ends with its lease. */
  async #undo(run: (options: CallOptions) => Promise<unknown>): Promise<void> {
    try {
      await run({ identity: this.#options.identity });
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
    }
  }
}

/** @param options for each of its calls */
export function recipeStoreOf(service: Service, ports: Ports, options: CallOptions): RecipeStore {
  const { identity } = options;
  return {
    async txn(body) {
      const command = encodeCommand({ type: 'txn', id: NO_WRITE_ID, ...body });
      const result = succeeded(await service.write(command, options));
      if (result.type !== 'txn') throw new TypeError(`a transaction was answered with '${result.type}'`);
      return result;
    },
    range: (request) => service.range(request, options),
    watch: (request, signal) => watchBatches(service, request, { identity }, signal),
    goOn: (error, signal) => pauseAfter(error, signal, ports),
  };
}

/** The loss of a place in etcd's words, which are no status of gRPC there. Any other error as it is. */
export function recipeError(error: unknown, words: string): unknown {
  if (error instanceof KvError && error.code === 'LEASE_EXPIRED') return new GrpcError(CODE.UNKNOWN, words);
  return error;
}
