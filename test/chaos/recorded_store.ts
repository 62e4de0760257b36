/**
 * A store as `connect` makes it, over a channel that lets its owner see what a store keeps to itself: the revision that each answer carried, and the session and sequence under
 * which each write was sent.
 */
import type { Channel, ChannelOptions } from '../../src/client/channel.ts';
import { ClusterClient } from '../../src/client/cluster_client.ts';
import { createStore } from '../../src/client/store.ts';
import type { Store } from '../../src/client/store_types.ts';
import { TcpChannel } from '../../src/client/tcp_channel.ts';
import type { CommandResult } from '../../src/kv/command.ts';
import { realPorts } from '../../src/real_ports.ts';
import { decodeCommand } from '../../src/wire/command_codec.ts';
import type {
  GetRequest,
  GetResponse,
  RangeRequest,
  RangeResponse,
  ScanPageRequest,
  ScanPageResponse,
} from '../../src/wire/messages.ts';

/** What one call of the store did beneath. */
export interface Beneath {
  revision: number;
  readonly writeIds: string[];
}

const FIRST_GREETING_LIMIT_MS = 20_000;

export class RecordedStore {
  readonly store: Store;
  readonly channel: Channel;
  readonly #watched: WatchedChannel;

  private constructor(store: Store, channel: WatchedChannel) {
    this.store = store;
    this.channel = channel;
    this.#watched = channel;
  }

  static async connect(
    endpoints: readonly string[],
    name: string,
    timeoutMs: number,
  ): Promise<RecordedStore> {
    const ports = realPorts();
    const cluster = new ClusterClient({ endpoints, ports, timeoutMs, name });
    try {
      const { limits } = await cluster.firstGreeting(ports.clock.monotonicMs() + FIRST_GREETING_LIMIT_MS);
      const channel = new WatchedChannel(new TcpChannel(cluster));
      const { maxSessionResults } = limits;
      return new RecordedStore(
        createStore({ channel, limits, ports, maxSessionResults, timeoutMs }),
        channel,
      );
    } catch (error) {
      cluster.close();
      throw error;
    }
  }

  /** Makes one call; one at a time, so that what goes on beneath is this call's. */
  async call<T>(run: (store: Store, beneath: Beneath) => Promise<T>): Promise<T> {
    const beneath: Beneath = { revision: 0, writeIds: [] };
    this.#watched.beneath = beneath;
    return run(this.store, beneath);
  }
}

class WatchedChannel implements Channel {
  readonly needsSession = true;
  readonly #channel: TcpChannel;
  beneath: Beneath = { revision: 0, writeIds: [] };

  constructor(channel: TcpChannel) {
    this.#channel = channel;
  }

  async write(command: Uint8Array, options: ChannelOptions): Promise<CommandResult> {
    const { beneath } = this;
    const decoded = decodeCommand(command);
    if ('id' in decoded) beneath.writeIds.push(`${decoded.id.session}/${decoded.id.sequence}`);
    const result = await this.#channel.write(command, options);
    if ('revision' in result) beneath.revision = result.revision;
    return result;
  }

  async get(request: GetRequest, options: ChannelOptions): Promise<GetResponse> {
    const { beneath } = this;
    const response = await this.#channel.get(request, options);
    beneath.revision = response.revision;
    return response;
  }

  scan(request: ScanPageRequest, options: ChannelOptions): Promise<ScanPageResponse> {
    return this.#channel.scan(request, options);
  }

  range(request: RangeRequest, options: ChannelOptions): Promise<RangeResponse> {
    return this.#channel.range(request, options);
  }

  watch(
    request: Parameters<TcpChannel['watch']>[0],
    options: ChannelOptions,
  ): ReturnType<TcpChannel['watch']> {
    return this.#channel.watch(request, options);
  }

  close(): Promise<void> {
    return this.#channel.close();
  }
}
