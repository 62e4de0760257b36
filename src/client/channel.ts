/**
 * What the store needs from below: implemented over TCP (tcp_channel.ts) and, in the embedded store, straight over the service.
 */
import type { CommandResult } from '../kv/command.ts';
import type { MaybePromise } from '../storage/record.ts';
import type {
  GetRequest,
  GetResponse,
  ScanPageRequest,
  ScanPageResponse,
  WatchBatch,
  WatchRequest,
} from '../wire/messages.ts';

export interface ChannelOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Channel {
  /** True when writes need a session and sequence numbers, because a retry may happen below. */
  readonly needsSession: boolean;
  write(command: Uint8Array, options: ChannelOptions): Promise<CommandResult>;
  /** Records are copies or private to the caller. */
  get(request: GetRequest, options: ChannelOptions): MaybePromise<GetResponse>;
  scan(request: ScanPageRequest, options: ChannelOptions): MaybePromise<ScanPageResponse>;
  /** Delivers batches until the signal aborts; reconnects inside, without gaps or duplicates; ends only by throwing. */
  watch(request: WatchRequest, options: ChannelOptions): AsyncIterable<WatchBatch>;
  close(): Promise<void>;
}
