/** What the recipes need of a store: the public client has it over its channel, the gRPC door over the service. */
import type { TxnBody, TxnResult } from '../kv/command.ts';
import type { RangeRequest, RangeResponse, WatchBatch, WatchRequest } from '../wire/messages.ts';

export interface RecipeStore {
  /** @throws KvError, for what is refused when it is applied as well */
  txn(body: TxnBody): Promise<TxnResult>;
  range(request: RangeRequest): Promise<RangeResponse>;
  /** Ends, or throws, once the signal aborts; otherwise only by throwing. */
  watch(request: WatchRequest, signal: AbortSignal): AsyncIterable<WatchBatch>;
  /** Asked when a wait has failed: resolves when it is to go on. @throws the error, to end it */
  goOn(error: unknown, signal: AbortSignal): Promise<void>;
}
