/**
 * The TCP door: listens, bounds the number of connections, watches over their liveness, and closes in good order. One connection is in connection.ts.
 *
 * Invariants: a connection past a bound, that of all or that of its address, gets an ERROR and is closed without being read; one timer looks after all connections, and has their clients told within MAX_SWEEP_MS when the members
 * change; close() stops to accept, tells clients to move on, lets running requests finish within a bound, and leaves no socket open.
 */
import type { ByteStream, Listen, StreamListener } from '../../byte_stream.ts';
import type { DoorConfig, Limits } from '../../config.ts';
import { KvError } from '../../errors.ts';
import { listenTcp } from '../../net_streams.ts';
import type { Ports, TimerHandle } from '../../ports.ts';
import { beginFrame, endFrame, OPCODE } from '../../wire/client_frames.ts';
import { encodeError } from '../../wire/error_codec.ts';
import { ByteWriter } from '../../wire/varint.ts';
import { ConnectionCounts } from '../connection_counts.ts';
import type { Service } from '../service.ts';
import { type ConnectionContext, DoorConnection } from './connection.ts';

/** A client that has not said HELLO by then is closed. */
const HANDSHAKE_TIMEOUT_MS = 5_000;
const MAX_SWEEP_MS = 1_000;
/** How long close() lets running requests finish. */
const CLOSE_TIMEOUT_MS = 5_000;
/** A connection that was refused may take so long to read why. */
const REFUSED_TIMEOUT_MS = 1_000;

export interface TcpDoorOptions {
  readonly service: Service;
  readonly config: DoorConfig;
  readonly limits: Limits;
  readonly ports: Ports;
  /** Default: over TCP. */
  readonly listen?: Listen | undefined;
  readonly log?: ((message: string, details?: Readonly<Record<string, unknown>>) => void) | undefined;
  /** Connections by address, shared with other doors. Default: this door counts its own. */
  readonly addresses?: ConnectionCounts | undefined;
  /** How long a client may take to say HELLO. */
  readonly handshakeTimeoutMs?: number | undefined;
  /** How long close() waits for running requests. */
  readonly closeTimeoutMs?: number | undefined;
}

export interface TcpDoor {
  /** HOST:PORT that it listens on, with the real port where 0 was asked for. */
  readonly address: string;
  connections(): number;
  close(): Promise<void>;
}

/**
 * Listens on `config.clientListen` and serves clients until closed.
 * @throws KvError UNAVAILABLE when it cannot listen there.
 */
export async function startTcpDoor(options: TcpDoorOptions): Promise<TcpDoor> {
  const door = new Door(options);
  await door.listen();
  return door;
}

class Door implements TcpDoor {
  address = '';
  private readonly options: TcpDoorOptions;
  private readonly context: ConnectionContext;
  private readonly addresses: ConnectionCounts;
  private listener: StreamListener | undefined;
  private readonly open = new Set<DoorConnection>();
  private readonly refused = new Set<ByteStream>();
  private sweeper: TimerHandle | undefined;
  private closing: Promise<void> | undefined;
  private whenEmpty: (() => void) | undefined;

  constructor(options: TcpDoorOptions) {
    this.options = options;
    this.addresses = options.addresses ?? new ConnectionCounts(options.config.maxConnectionsPerAddress);
    this.context = {
      service: options.service,
      config: options.config,
      limits: options.limits,
      ports: options.ports,
      handshakeTimeoutMs: options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS,
      closed: (connection, reason) => this.closed(connection, reason),
    };
  }

  connections(): number {
    return this.open.size;
  }

  async listen(): Promise<void> {
    const { config, ports, log, listen = listenTcp } = this.options;
    this.listener = await listen(config.clientListen, {
      accept: (stream) => this.accept(stream),
      failed: (error) => log?.('client listener failed', { error }),
    });
    this.address = this.listener.address;
    const { handshakeTimeoutMs } = this.context;
    const sweepMs = Math.min(MAX_SWEEP_MS, config.idleTimeoutMs / 4, handshakeTimeoutMs / 2);
    this.sweeper = ports.timers.every(Math.max(1, sweepMs), () => this.sweep());
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    const stopped = this.listener?.close();
    const empty = new Promise<void>((resolve) => {
      this.whenEmpty = resolve;
    });
    for (const connection of this.open) connection.goAway();
    for (const socket of this.refused) socket.destroy();
    if (this.open.size === 0) this.whenEmpty?.();
    const bound = this.options.ports.timers.after(this.options.closeTimeoutMs ?? CLOSE_TIMEOUT_MS, () => {
      for (const connection of this.open) connection.destroy('the node is closing');
    });
    await empty;
    bound.cancel();
    this.sweeper?.cancel();
    await stopped;
  }

  private accept(socket: ByteStream): void {
    if (this.closing !== undefined) {
      socket.destroy();
      return;
    }
    const { maxConnections } = this.options.config;
    if (this.open.size >= maxConnections) {
      this.refuse(socket, `all ${maxConnections} connections are in use`);
      return;
    }
    if (this.addresses.take(socket) === undefined) {
      const { maxPerAddress } = this.addresses;
      this.refuse(socket, `all ${maxPerAddress} connections that one address may have are in use`);
      return;
    }
    this.open.add(new DoorConnection(socket, this.context));
  }

  private refuse(socket: ByteStream, why: string): void {
    if (this.refused.size >= this.options.config.maxConnections) {
      socket.destroy();
      return;
    }
    const writer = new ByteWriter();
    const start = beginFrame(writer, OPCODE.ERROR, 0);
    encodeError(writer, new KvError('OVERLOADED', why));
    endFrame(writer, start);
    this.refused.add(socket);
    const timer = this.options.ports.timers.after(REFUSED_TIMEOUT_MS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      timer.cancel();
      this.refused.delete(socket);
    });
    socket.resume();
    socket.write(writer.view());
    socket.end();
    this.options.log?.('client connection refused', { why, address: socket.remoteAddress });
  }

  private closed(connection: DoorConnection, reason: string): void {
    if (!this.open.delete(connection)) return;
    this.options.log?.('client connection closed', { reason });
    if (this.open.size === 0) this.whenEmpty?.();
  }

  private sweep(): void {
    const now = this.options.ports.clock.monotonicMs();
    const members = this.options.service.knownMembers();
    for (const connection of this.open) connection.check(now, members);
  }
}
