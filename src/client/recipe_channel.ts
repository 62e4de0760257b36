/**
 * A store's channel as recipes use it.
 *
 * Invariant: a wait outlasts whatever passes, as long as its signal lets it: a leader that is gone, nodes that cannot be reached.
 */
import type { TxnBody, TxnResult } from '../kv/command.ts';
import { pauseAfter } from '../recipes/patience.ts';
import type { RecipeStore } from '../recipes/recipe_store.ts';
import type { RangeRequest, RangeResponse, WatchBatch, WatchRequest } from '../wire/messages.ts';
import { unexpected } from './store_core.ts';
import type { LeaseSource } from './store_leases.ts';
import type { CallOptions } from './store_types.ts';

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
    goOn: (error, signal) => pauseAfter(error, signal, source.ports),
  };
}
