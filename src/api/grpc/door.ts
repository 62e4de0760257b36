/**
 * The door for clients of etcd: gRPC and its JSON gateway over HTTP/2 and HTTP/1.1, on one port.
 *
 * What a connection speaks is known by its first bytes: HTTP/2 begins with `PRI `, which no method of HTTP/1.1 does.
 *
 * Invariants: connections, of all and of each address, and what all of them hold of unfinished requests, are bounded; one timer looks after all; close() stops to accept, tells
 * clients to move on, lets running requests finish within a bound, and leaves no socket open.
 */
import type { ByteStream, Listen, StreamListener } from '../../byte_stream.ts';
import type { DoorConfig, Limits } from '../../config.ts';
import { listenTcp, peek } from '../../net_streams.ts';
import type { Ports, TimerHandle } from '../../ports.ts';
import { ConnectionCounts } from '../connection_counts.ts';
import type { Service } from '../service.ts';
import type { Http1, Http1Options } from './gateway/exchange.ts';
import { gateway } from './gateway/gateway.ts';
import { beginExchange } from './gateway/http2.ts';
import { beginCall, isGrpc, RunningCalls } from './grpc_call.ts';
import { Http2Connection, type Http2Limits } from './http2/connection.ts';
import { fieldOf } from './http2/request_head.ts';
import { ByteBudget } from './message_assembler.ts';
import { etcdMethods } from './services/methods.ts';

/** A client that has not said anything by then is closed. */
const HANDSHAKE_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 60_000;
const MAX_SWEEP_MS = 1_000;
const CLOSE_TIMEOUT_MS = 5_000;
/** What the fields of a message take beside keys and values. */
const MESSAGE_OVERHEAD_BYTES = 512 * 1024;
/** Unfinished requests of all connections together may hold so many of the largest ones. */
const UNFINISHED_MESSAGES = 8;
/** "PRI ", the beginning of HTTP/2's preface. */
const HTTP2_BEGINS = Buffer.from('PRI ', 'latin1');

export interface EtcdDoorOptions {
  readonly service: Service;
  readonly config: DoorConfig;
  readonly limits: Limits;
  readonly ports: Ports;
  /** Serves HTTP/1.1; without it only HTTP/2 is spoken. */
  readonly http1?: ((options: Http1Options) => Http1) | undefined;
  /** More for `/metrics`, in the text form of Prometheus. */
  readonly metrics?: (() => string) | undefined;
  /** Default: over TCP. */
  readonly listen?: Listen | undefined;
  readonly log?: ((message: string, details?: Readonly<Record<string, unknown>>) => void) | undefined;
  /** Connections by address, shared with other doors. Default: this door counts its own. */
  readonly addresses?: ConnectionCounts | undefined;
  readonly handshakeTimeoutMs?: number | undefined;
  readonly closeTimeoutMs?: number | undefined;
}

export class EtcdDoor {
  readonly #options: EtcdDoorOptions;
  readonly #methods: ReturnType<typeof etcdMethods>;
  readonly #budget: ByteBudget;
  readonly #http2Limits: Http2Limits;
  readonly #maxMessageBytes: number;
  readonly #addresses: ConnectionCounts;
  readonly #http1: Http1 | undefined;
  readonly #handler: ReturnType<typeof gateway>;
  readonly #http2 = new Set<Http2Connection>();
  /** Not known yet what they speak, or HTTP/1.1. */
  readonly #sockets = new Set<ByteStream>();
  readonly #listeners: StreamListener[] = [];
  readonly #sweeper: TimerHandle;
  #closing: Promise<void> | undefined;
  #whenEmpty: (() => void) | undefined;

  constructor(options: EtcdDoorOptions) {
    const { service, config, limits, ports, handshakeTimeoutMs = HANDSHAKE_TIMEOUT_MS } = options;
    this.#options = options;
    this.#addresses = options.addresses ?? new ConnectionCounts(config.maxConnectionsPerAddress);
    this.#methods = etcdMethods({ service, limits }, ports);
    this.#maxMessageBytes = limits.maxCommandBytes + MESSAGE_OVERHEAD_BYTES;
    this.#budget = new ByteBudget(UNFINISHED_MESSAGES * this.#maxMessageBytes);
    this.#http2Limits = {
      maxStreams: config.maxRequestsPerConnection,
      maxQueuedBytes: config.maxQueuedBytesPerConnection,
      idleTimeoutMs: config.idleTimeoutMs,
      handshakeTimeoutMs,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
    };
    this.#handler = gateway({
      service,
      metrics: options.metrics,
      methods: this.#methods,
      failed: (error) => this.#failed(error),
    });
    this.#http1 = options.http1?.({ handler: this.#handler, maxBodyBytes: 2 * this.#maxMessageBytes });
    const sweepMs = Math.min(MAX_SWEEP_MS, config.idleTimeoutMs / 4, handshakeTimeoutMs / 2);
    this.#sweeper = ports.timers.every(Math.max(1, sweepMs), () => this.#sweep());
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#http2.size + this.#sockets.size;
  }

  /** Listens on an address; gives it with the real port. @throws KvError UNAVAILABLE when it can't. */
  async listen(address: string): Promise<string> {
    const { listen = listenTcp, log } = this.#options;
    const listener = await listen(address, {
      accept: (stream) => this.accept(stream),
      failed: (error) => log?.('listener for clients of etcd failed', { error }),
    });
    this.#listeners.push(listener);
    return listener.address;
  }

  /** Takes a connection whose bytes nobody has read yet. */
  accept(stream: ByteStream): void {
    const full = this.connections >= this.#options.config.maxConnections;
    if (this.#closing !== undefined || full || this.#addresses.take(stream) === undefined) {
      // There is no way to say why that every kind of client understands.
      stream.on('error', () => undefined);
      stream.destroy();
      return;
    }
    this.#sockets.add(stream);
    stream.on('error', () => stream.destroy());
    stream.on('close', () => this.#gone(stream));
    const timer = this.#options.ports.timers.after(
      this.#options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS,
      () => stream.destroy(),
    );
    stream.on('close', () => timer.cancel());
    peek(stream, HTTP2_BEGINS.length, (head) => {
      timer.cancel();
      if (this.#closing !== undefined) stream.destroy();
      else if (head.length === 0 || HTTP2_BEGINS.equals(head.subarray(0, HTTP2_BEGINS.length))) {
        this.#takeHttp2(stream);
      } else if (this.#http1 !== undefined) this.#http1.take(stream);
      else stream.destroy();
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#shutDown();
    return this.#closing;
  }

  #takeHttp2(stream: ByteStream): void {
    const running = new RunningCalls(this.#http2Limits.maxStreams);
    const host = {
      methods: this.#methods,
      maxMessageBytes: this.#maxMessageBytes,
      budget: this.#budget,
      running,
      failed: (error: unknown) => this.#failed(error),
    };
    const exchanges = {
      handler: this.#handler,
      maxBodyBytes: 2 * this.#maxMessageBytes,
      budget: this.#budget,
    };
    const connection = new Http2Connection(stream, {
      limits: this.#http2Limits,
      ports: this.#options.ports,
      request: (one, head, end) =>
        isGrpc(fieldOf(head.fields, 'content-type'))
          ? beginCall(host, one, head)
          : beginExchange(exchanges, one, head, end),
      failed: (error) => this.#failed(error),
      closed: (gone) => {
        this.#http2.delete(gone);
        this.#checkEmpty();
      },
    });
    this.#sockets.delete(stream);
    this.#http2.add(connection);
    stream.on('data', (chunk) => connection.receive(chunk));
    stream.on('drain', () => connection.drained());
    stream.on('error', (error) => connection.destroy(error.message));
    stream.on('end', () => connection.destroy('the client closed the connection'));
    stream.on('close', () => connection.destroy('the connection was lost'));
  }

  async #shutDown(): Promise<void> {
    const { ports, closeTimeoutMs = CLOSE_TIMEOUT_MS } = this.#options;
    const stopped = Promise.all(this.#listeners.map((listener) => listener.close()));
    const empty = new Promise<void>((resolve) => {
      this.#whenEmpty = resolve;
    });
    this.#http1?.goAway();
    for (const connection of [...this.#http2]) connection.goAway();
    this.#checkEmpty();
    const bound = ports.timers.after(closeTimeoutMs, () => {
      this.#http1?.destroy();
      for (const stream of this.#sockets) stream.destroy();
      for (const connection of [...this.#http2]) connection.destroy('the node is closing');
    });
    await empty;
    bound.cancel();
    this.#sweeper.cancel();
    await stopped;
  }

  #gone(stream: ByteStream): void {
    this.#sockets.delete(stream);
    this.#checkEmpty();
  }

  #checkEmpty(): void {
    if (this.connections === 0) this.#whenEmpty?.();
  }

  #sweep(): void {
    const now = this.#options.ports.clock.monotonicMs();
    for (const connection of [...this.#http2]) connection.checkLiveness(now);
  }

  #failed(error: unknown): void {
    this.#options.log?.('a call of a client of etcd failed', { error });
  }
}
