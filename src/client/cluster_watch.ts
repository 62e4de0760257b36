/**
 * A watch on a cluster: one stream after another, joined without a seam.
 *
 * Invariants: every batch that is given out continues where the one before ended: after a reconnect the watch asks for the revision after the last whole
 * batch, parts of a batch that was cut off are dropped, and what was given out before is never given out again; what arrives and is not consumed is bounded by the
 * credit.
 */
import { KvError } from '../errors.ts';
import type { KvEvent } from '../kv/command.ts';
import { readBatch, wireTimeoutMs, writeWatch } from '../wire/client_codec.ts';
import { OPCODE } from '../wire/client_frames.ts';
import type { WatchBatch, WatchRequest } from '../wire/messages.ts';
import type { ByteReader, ByteWriter } from '../wire/varint.ts';
import type { Attempts } from './call.ts';
import type { ChannelOptions } from './channel.ts';
import type { ClusterClient } from './cluster_client.ts';
import type { ConnectionStream } from './tcp_connection.ts';

/** This share of the window is consumed before it is granted: a node goes on while any credit is left, so the rest never runs out for want of a grant. */
const GRANT_SHARE = 1 / 4;
const FIRST_PAUSE_MS = 25;
const MAX_PAUSE_MS = 1_000;
/** A stream that lasted so long had a name: who has none is refused at once. */
const NAMED_MS = 100;
/** Ends of a stream after which another node may go on. */
const PASSING: ReadonlySet<string> = new Set([
  'UNAVAILABLE',
  'CLOSED',
  'TIMEOUT',
  'NOT_LEADER',
  'NO_LEADER',
  'OVERLOADED',
  'FUTURE_REVISION',
  'AUTH_STALE',
]);

/**
 * Delivers until the signal aborts. Opening it takes no longer than the time-out; once it is open it outlasts any outage, unless the caller named a time-out, which
 * then bounds each outage.
 * @throws KvError COMPACTED, INVALID_ARGUMENT, CLOSED, UNAVAILABLE or TIMEOUT.
 */
export async function* watchCluster(
  cluster: ClusterClient,
  request: WatchRequest,
  options: ChannelOptions,
): AsyncGenerator<WatchBatch, void, undefined> {
  const { clock, random } = cluster.ports;
  const { signal } = options;
  let fromRevision = request.fromRevision;
  const grantBytes = cluster.watchWindowBytes * GRANT_SHARE;
  const attempts: Attempts = { avoid: undefined, renaming: undefined, nameless: 0 };
  let failures = 0;
  let opened = false;
  let deadlineMs = clock.monotonicMs() + (options.timeoutMs ?? cluster.timeoutMs);
  while (!signal?.aborted) {
    const connection = await cluster.connectionForStream(attempts, deadlineMs, signal);
    const stream = new WatchFlow({ ...request, fromRevision }, cluster.watchWindowBytes);
    const requestId = connection.open(stream);
    const openedMs = clock.monotonicMs();
    const stop = () => {
      connection.cancel(requestId);
      stream.wake();
    };
    signal?.addEventListener('abort', stop, { once: true });
    let owedBytes = 0;
    try {
      for (;;) {
        const next = await stream.next(signal);
        if (next === undefined) break;
        owedBytes += next.sizeBytes;
        if (owedBytes >= grantBytes) {
          connection.grant(requestId, owedBytes);
          owedBytes = 0;
        }
        opened = true;
        // Progress that says nothing new, as after a reconnect, is not news to the consumer.
        const news = next.batch.events.length > 0 || next.batch.revision >= fromRevision;
        fromRevision = Math.max(fromRevision, next.batch.revision + 1);
        if (news) {
          failures = 0;
          yield next.batch;
        }
        if (signal?.aborted) return;
      }
    } finally {
      signal?.removeEventListener('abort', stop);
      connection.cancel(requestId);
    }
    if (signal?.aborted) return;
    const error = stream.error ?? new KvError('UNAVAILABLE', 'the node ended the watch');
    if (clock.monotonicMs() - openedMs >= NAMED_MS) attempts.nameless = 0;
    if (!cluster.again(error, connection, attempts, PASSING) || cluster.isClosed) throw error;
    failures++;
    if (opened && failures === 1)
      deadlineMs = clock.monotonicMs() + (options.timeoutMs ?? Number.POSITIVE_INFINITY);
    if (clock.monotonicMs() >= deadlineMs) throw error;
    const pauseMs = Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 10)) * random.next();
    await cluster.pause(attempts, pauseMs);
  }
}

interface Arrived {
  readonly batch: WatchBatch;
  readonly sizeBytes: number;
}

/** What arrives on one stream, until it is asked for. */
class WatchFlow implements ConnectionStream {
  readonly opcode = OPCODE.WATCH;
  error: KvError | undefined;
  private readonly request: WatchRequest;
  private arrived: Arrived[] = [];
  private readAt = 0;
  private ending = false;
  private waiter: (() => void) | undefined;
  private partEvents: KvEvent[] = [];
  private partBytes = 0;
  private readonly windowBytes: number;

  constructor(request: WatchRequest, windowBytes: number) {
    this.request = request;
    this.windowBytes = windowBytes;
  }

  write(writer: ByteWriter): void {
    writer.varint(wireTimeoutMs(undefined)).varint(this.windowBytes);
    writeWatch(writer, this.request);
  }

  data(reader: ByteReader, sizeBytes: number): void {
    const part = readBatch(reader);
    this.partBytes += sizeBytes;
    if (part.partial || this.partEvents.length > 0) {
      for (const event of part.events) this.partEvents.push(event);
    }
    if (part.partial) return;
    const events = this.partEvents.length > 0 ? this.partEvents : part.events;
    this.arrived.push({ batch: { revision: part.revision, events }, sizeBytes: this.partBytes });
    this.partEvents = [];
    this.partBytes = 0;
    this.wake();
  }

  ended(error: KvError | undefined): void {
    this.ending = true;
    this.error = error;
    this.wake();
  }

  wake(): void {
    const { waiter } = this;
    this.waiter = undefined;
    waiter?.();
  }

  /** The next whole batch; undefined when the stream has ended or the signal aborted. */
  async next(signal: AbortSignal | undefined): Promise<Arrived | undefined> {
    for (;;) {
      if (signal?.aborted) return undefined;
      if (this.readAt < this.arrived.length) {
        const next = this.arrived[this.readAt++]!;
        if (this.readAt === this.arrived.length) {
          this.arrived = [];
          this.readAt = 0;
        }
        return next;
      }
      if (this.ending) return undefined;
      await new Promise<void>((resolve) => {
        this.waiter = resolve;
      });
    }
  }
}
