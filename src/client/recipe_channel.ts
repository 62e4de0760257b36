/**
 * A store's channel as recipes use it.
 *
 * Invariant: a wait outlasts whatever passes, as long as its signal lets it: a leader that is gone, nodes that cannot be reached.
 */
import { KvError } from '../errors.ts';
import type { TxnBody, TxnResult } from '../kv/command.ts';
import type { RecipeStore } from '../recipes/recipe_store.ts';
import type { RangeRequest, RangeResponse, WatchBatch, WatchRequest } from '../wire/messages.ts';
import { unexpected } from './store_core.ts';
import type { LeaseSource } from './store_leases.ts';
import type { CallOptions } from './store_types.ts';

const MIN_PAUSE_MS = 50;
const MAX_PAUSE_MS = 500;

/** @param options for each of the calls */
export function recipeStore(source: LeaseSource, options: CallOptions): RecipeStore {
  return {
    async txn(body: TxnBody): Promise<TxnResult> {
      source.checkOpen();
      const result = await source.run((id) => ({ type: 'txn', id, ...body }), options);
      if (result.type !== 'txn') throw unexpected(result);
      source.saw(result.revision);
      return result;
    },
    async range(request: RangeRequest): Promise<RangeResponse> {
      source.checkOpen();
      const answer = await source.channel.range(request, options);
      source.saw(answer.revision);
      return answer;
    },
    watch(request: WatchRequest, signal: AbortSignal): AsyncIterable<WatchBatch> {
      source.checkOpen();
      return source.channel.watch(request, { signal });
    },
    async goOn(error: unknown, signal: AbortSignal): Promise<void> {
      if (!(error instanceof KvError && error.retryable)) throw error;
      const { random, timers } = source.ports;
      await new Promise<void>((resolve) => {
        const delayMs = MIN_PAUSE_MS + (MAX_PAUSE_MS - MIN_PAUSE_MS) * random.next();
        const timer = timers.after(delayMs, () => {
          signal.removeEventListener('abort', stop);
          resolve();
        });
        const stop = (): void => {
          timer.cancel();
          resolve();
        };
        signal.addEventListener('abort', stop, { once: true });
        if (signal.aborted) stop();
      });
    },
  };
}
