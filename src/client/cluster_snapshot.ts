/**
 * A snapshot of a cluster's store: from the leader where it can be reached, else from any node.
 *
 * Invariants: what arrives and is not consumed is bounded by the credit; another node is asked only before anything has come, since no two snapshots are of the same bytes; a stream
 * that does not come to its end fails, and never ends quietly.
 */
import { KvError } from '../errors.ts';
import { wireTimeoutMs } from '../wire/client_codec.ts';
import { OPCODE } from '../wire/client_frames.ts';
import { readSnapshotHead } from '../wire/client_upkeep_codec.ts';
import type { SnapshotHead } from '../wire/upkeep_messages.ts';
import type { ByteReader, ByteWriter } from '../wire/varint.ts';
import type { Attempts } from './call.ts';
import type { ChannelOptions } from './channel.ts';
import type { ClusterClient } from './cluster_client.ts';
import { cancelled } from './deadline.ts';
import type { StoreSnapshot } from './snapshot_types.ts';
import type { ConnectionStream } from './tcp_connection.ts';

/** Bytes that may be on their way or wait here. */
const WINDOW_BYTES = 4 * 1024 * 1024;
const GRANT_BYTES = WINDOW_BYTES / 4;
/** A node writes its snapshot before it sends it. */
const OPEN_TIMEOUT_MS = 120_000;
const PAUSE_MS = 200;
/** Refusals after which another node, or the same a little later, may give one. */
const PASSING: ReadonlySet<string> = new Set(['UNAVAILABLE', 'CLOSED', 'OVERLOADED', 'AUTH_STALE']);

/**
 * Resolves when a node has made one. The time-out is for that; the signal is for all of it.
 * @throws KvError UNAVAILABLE, TIMEOUT, CANCELLED, NO_SPACE, PERMISSION_DENIED
 */
export async function snapshotOfCluster(
  cluster: ClusterClient,
  options: ChannelOptions,
): Promise<StoreSnapshot> {
  const { clock, timers } = cluster.ports;
  const { signal } = options;
  const deadlineMs = clock.monotonicMs() + (options.timeoutMs ?? OPEN_TIMEOUT_MS);
  const attempts: Attempts = { avoid: undefined, renaming: undefined, nameless: 0 };
  for (;;) {
    const connection = await cluster.connectionForStream(attempts, deadlineMs, signal, true);
    const flow = new SnapshotFlow(Math.max(1, deadlineMs - clock.monotonicMs()));
    const requestId = connection.open(flow);
    const timer = timers.after(Math.max(0, deadlineMs - clock.monotonicMs()), () =>
      flow.ended(new KvError('TIMEOUT', 'no node has made a snapshot in time')),
    );
    const stop = (): void => flow.ended(cancelled(false));
    signal?.addEventListener('abort', stop, { once: true });
    if (signal?.aborted) stop();
    const release = (): void => {
      signal?.removeEventListener('abort', stop);
      connection.cancel(requestId);
    };
    const head = await flow.opened();
    timer.cancel();
    if (head !== undefined) {
      const grant = (bytes: number): void => connection.grant(requestId, bytes);
      return { ...head, chunks: chunksOf(flow, head, grant, release) };
    }
    release();
    const error = flow.error ?? new KvError('UNAVAILABLE', 'the node gave no snapshot');
    const again = cluster.again(error, connection, attempts, PASSING);
    if (!again || cluster.isClosed || clock.monotonicMs() + PAUSE_MS >= deadlineMs) throw error;
    await cluster.pause(attempts, PAUSE_MS);
  }
}

async function* chunksOf(
  flow: SnapshotFlow,
  { sizeBytes }: SnapshotHead,
  grant: (bytes: number) => void,
  release: () => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  let owedBytes = 0;
  let taken = 0;
  try {
    for (;;) {
      const chunk = await flow.next();
      if (chunk === undefined) break;
      taken += chunk.length;
      owedBytes += chunk.length;
      if (owedBytes >= GRANT_BYTES) {
        grant(owedBytes);
        owedBytes = 0;
      }
      yield chunk;
    }
    const { error } = flow;
    if (taken === sizeBytes && error === undefined) return;
    if (error?.code === 'CANCELLED') throw error;
    const why = error === undefined ? 'the node ended it' : `${error.code}: ${error.message}`;
    const message = `the snapshot broke off after ${taken} of ${sizeBytes} bytes (${why}); begin anew`;
    throw new KvError('UNAVAILABLE', message, { cause: error });
  } finally {
    release();
  }
}

/** What arrives, until it is asked for. */
class SnapshotFlow implements ConnectionStream {
  readonly opcode = OPCODE.SNAPSHOT;
  error: KvError | undefined;
  private readonly timeoutMs: number;
  private head: SnapshotHead | undefined;
  private arrivedBytes = 0;
  private arrived: Uint8Array[] = [];
  private over = false;
  private waiter: (() => void) | undefined;

  constructor(timeoutMs: number) {
    this.timeoutMs = timeoutMs;
  }

  write(writer: ByteWriter): void {
    writer.varint(wireTimeoutMs(this.timeoutMs)).varint(WINDOW_BYTES);
  }

  data(reader: ByteReader): void {
    if (this.head === undefined) {
      this.head = readSnapshotHead(reader);
    } else {
      const chunk = reader.rest();
      this.arrivedBytes += chunk.length;
      if (this.arrivedBytes > this.head.sizeBytes)
        throw new KvError('PROTOCOL', 'a snapshot is longer than the node has said');
      this.arrived.push(chunk);
    }
    this.wake();
  }

  ended(error: KvError | undefined): void {
    if (this.over) return;
    this.over = true;
    this.error = error;
    this.wake();
  }

  /** undefined: it has ended before it began. */
  async opened(): Promise<SnapshotHead | undefined> {
    while (this.head === undefined && !this.over) await this.news();
    return this.over && this.error !== undefined ? undefined : this.head;
  }

  /** undefined: nothing more comes. */
  async next(): Promise<Uint8Array | undefined> {
    while (this.arrived.length === 0 && !this.over) await this.news();
    return this.arrived.shift();
  }

  private news(): Promise<void> {
    return new Promise((resolve) => {
      this.waiter = resolve;
    });
  }

  private wake(): void {
    const { waiter } = this;
    this.waiter = undefined;
    waiter?.();
  }
}
