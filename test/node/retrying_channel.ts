/**
 * A client's channel to whatever nodes of a lab are running: repeats what may be repeated on another node, as the TCP client does, so that sessions, retries and
 * resumed watches are exercised without sockets.
 */
import type { Channel, ChannelOptions } from '../../src/client/channel.ts';
import { EmbeddedChannel } from '../../src/embedded_channel.ts';
import { KvError } from '../../src/errors.ts';
import type { CommandResult } from '../../src/kv/command.ts';
import type {
  GetRequest,
  GetResponse,
  RangeRequest,
  RangeResponse,
  ScanPageRequest,
  ScanPageResponse,
  WatchBatch,
  WatchRequest,
} from '../../src/wire/messages.ts';
import type { ClusterLab, LabNode } from './cluster_lab.ts';

const ATTEMPT_MS = 700;
const PAUSE_MS = 10;

export class RetryingChannel implements Channel {
  readonly needsSession = true;
  readonly #lab: ClusterLab;
  readonly #random: () => number;

  constructor(lab: ClusterLab, random: () => number) {
    this.#lab = lab;
    this.#random = random;
  }

  write(command: Uint8Array, options: ChannelOptions): Promise<CommandResult> {
    return this.#retry(options, true, async (channel, timeoutMs) => channel.write(command, { timeoutMs }));
  }

  get(request: GetRequest, options: ChannelOptions): Promise<GetResponse> {
    return this.#retry(options, false, async (channel, timeoutMs) => channel.get(request, { timeoutMs }));
  }

  scan(request: ScanPageRequest, options: ChannelOptions): Promise<ScanPageResponse> {
    return this.#retry(options, false, async (channel, timeoutMs) => channel.scan(request, { timeoutMs }));
  }

  range(request: RangeRequest, options: ChannelOptions): Promise<RangeResponse> {
    return this.#retry(options, false, async (channel, timeoutMs) => channel.range(request, { timeoutMs }));
  }

  async *watch(request: WatchRequest, options: ChannelOptions): AsyncGenerator<WatchBatch> {
    let { fromRevision } = request;
    if (fromRevision === 0) throw new Error('a watch of this channel begins at a revision');
    for (;;) {
      options.signal?.throwIfAborted();
      const node = this.#anyNode();
      try {
        if (node === undefined) throw new KvError('UNAVAILABLE', 'no node is running');
        // A while at one node, then at another: what is given must not show it.
        const signal = AbortSignal.any([
          AbortSignal.timeout(400),
          ...(options.signal ? [options.signal] : []),
        ]);
        for await (const batch of channelTo(node).watch({ ...request, fromRevision }, { signal })) {
          fromRevision = Math.max(fromRevision, batch.revision + 1);
          yield batch;
        }
      } catch (error) {
        if (!(error instanceof KvError && (error.retryable || error.code === 'CANCELLED'))) throw error;
        await pause();
      }
    }
  }

  async close(): Promise<void> {}

  #anyNode(): LabNode | undefined {
    const nodes = [...this.#lab.nodes.values()].filter(({ ports, ended }) => !ports.asleep && !ended.is);
    return nodes[Math.floor(this.#random() * nodes.length)];
  }

  async #retry<T>(
    options: ChannelOptions,
    writes: boolean,
    attempt: (channel: EmbeddedChannel, timeoutMs: number) => Promise<T>,
  ): Promise<T> {
    const deadline = performance.now() + (options.timeoutMs ?? 5_000);
    let maybeApplied = false;
    let last: KvError = new KvError('UNAVAILABLE', 'no node is running');
    while (performance.now() < deadline) {
      const node = this.#anyNode();
      if (node !== undefined) {
        try {
          return await within(attempt(channelTo(node), ATTEMPT_MS), ATTEMPT_MS);
        } catch (error) {
          if (!(error instanceof KvError)) throw error;
          maybeApplied ||= writes && error.maybeApplied;
          last = error;
          if (!error.retryable && error.code !== 'CANCELLED') break;
        }
      }
      await pause();
    }
    throw new KvError(last.code, last.message, { maybeApplied, cause: last });
  }
}

function channelTo({ node }: LabNode): EmbeddedChannel {
  return new EmbeddedChannel(node.service, async () => undefined);
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}

/** As a connection's: an answer that comes later finds nobody. */
function within<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new KvError('TIMEOUT', 'no answer in time', { maybeApplied: true })),
      timeoutMs + 100,
    );
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
