/**
 * The way to one peer: at most one connection, dialed by this node, dialed again when it is lost.
 *
 * Invariants: at most one of connection and retry timer exists; while there is no established connection frames are refused, never queued (Raft sends
 * them again, and stale ones help nobody); failures are retried with growing, jittered pauses, a refusal at a slow pace; after `close` nothing happens.
 */
import type { Socket } from 'node:net';
import { KvError } from '../src/errors.ts';
import type { TimerHandle } from '../src/ports.ts';
import type { NodeId } from '../src/raft/types.ts';
import { type HostPort, parseAddress } from './address.ts';
import { Backoff } from './backoff.ts';
import { PeerConnection, type PeerConnectionSettings } from './peer_connection.ts';
import { decodeWelcome, encodeHello } from './peer_handshake.ts';

export interface OutgoingPeerSettings extends PeerConnectionSettings {
  readonly id: NodeId;
  readonly clusterId: bigint;
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
  readonly refusedRetryMs: number;
  /** Opens a connection and calls `ready` when bytes can be sent on it. */
  readonly dial: (address: HostPort, ready: () => void) => Socket;
}

export interface OutgoingPeerEvents {
  connected(): void;
  /** An established connection was lost. */
  disconnected(reason: string): void;
  /** An attempt failed, and the next one comes after `retryMs`. */
  failed(error: KvError, retryMs: number): void;
  /** A connection exists from now on; `gone` resolves when its socket has closed. */
  opened(connection: PeerConnection): void;
}

export class OutgoingPeer {
  readonly id: NodeId;
  #address: string;
  readonly #settings: OutgoingPeerSettings;
  readonly #events: OutgoingPeerEvents;
  readonly #backoff: Backoff;
  #connection: PeerConnection | undefined;
  #retry: TimerHandle | undefined;
  #establishedMs = 0;
  #closed = false;
  /** Why the attempt under way was turned down. */
  #refusal: KvError | undefined;

  constructor(id: NodeId, address: string, settings: OutgoingPeerSettings, events: OutgoingPeerEvents) {
    this.id = id;
    this.#address = address;
    this.#settings = settings;
    this.#events = events;
    this.#backoff = new Backoff(settings.reconnectMinMs, settings.reconnectMaxMs, settings.ports.random);
  }

  /** Where the next attempt goes. */
  get address(): string {
    return this.#address;
  }

  get connected(): boolean {
    return this.#connection?.established === true;
  }

  get queuedBytes(): number {
    return this.#connection?.queuedBytes ?? 0;
  }

  /** False when there is no connection or its queue is full. */
  send(parts: readonly Uint8Array[]): boolean {
    const connection = this.#connection;
    return connection?.established === true && connection.send(parts);
  }

  flush(): void {
    this.#connection?.flush();
  }

  /** Begins an attempt. */
  connect(): void {
    this.#retry = undefined;
    if (this.#closed) return;
    let address: HostPort;
    try {
      address = parseAddress(this.address);
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      this.#retryLater(error);
      return;
    }
    this.#refusal = undefined;
    const settings = this.#settings;
    const socket = settings.dial(address, () =>
      connection.sendHandshake(encodeHello(settings.clusterId, settings.id, this.id)),
    );
    const connection = new PeerConnection(socket, settings, {
      handshake: (payload) => this.#answered(connection, payload),
      data: () => {
        throw new KvError('PROTOCOL', 'data from the accepting end');
      },
      closed: (reason) => this.#lost(connection, reason),
    });
    this.#connection = connection;
    this.#events.opened(connection);
  }

  /**
   * The peer is, or will be, at another address. A connection that stands goes on until it breaks: the peer may move only when it is started anew, and until then its answers, and with
   * them the votes for its commits if it leads, need this way.
   */
  moveTo(address: string): void {
    if (this.#address === address) return;
    this.#address = address;
    if (this.connected) return;
    this.#backoff.reset();
    if (this.#retry === undefined) {
      // Under way to the old address, or not begun.
      this.#connection?.destroy('the address changed');
      return;
    }
    this.#retry.cancel();
    this.connect();
  }

  close(reason: string): void {
    this.#closed = true;
    this.#retry?.cancel();
    this.#connection?.destroy(reason);
  }

  #answered(connection: PeerConnection, payload: Uint8Array): void {
    const answer = decodeWelcome(payload);
    if ('code' in answer) {
      this.#refusal = new KvError(answer.code, `refused by ${this.address}: ${answer.message}`);
      connection.close('refused');
      return;
    }
    if (answer.clusterId !== this.#settings.clusterId || answer.id !== this.id) {
      this.#refusal = new KvError(
        'CLUSTER_MISMATCH',
        `${this.address} is node ${answer.id} of cluster ${answer.clusterId}`,
      );
      connection.close('another node answered');
      return;
    }
    this.#establishedMs = this.#settings.ports.clock.monotonicMs();
    connection.establish();
    this.#events.connected();
  }

  #lost(connection: PeerConnection, reason: string): void {
    this.#connection = undefined;
    if (connection.established) {
      const livedMs = this.#settings.ports.clock.monotonicMs() - this.#establishedMs;
      // A connection that breaks again and again right after its handshake must not be dialed at full speed.
      if (livedMs >= this.#settings.reconnectMaxMs) this.#backoff.reset();
      this.#events.disconnected(reason);
    }
    this.#retryLater(this.#refusal ?? new KvError('UNAVAILABLE', `${this.address}: ${reason}`));
  }

  #retryLater(error: KvError): void {
    if (this.#closed) return;
    const waitMs = this.#backoff.nextMs();
    const retryMs = error.code === 'UNAVAILABLE' ? waitMs : Math.max(waitMs, this.#settings.refusedRetryMs);
    this.#retry = this.#settings.ports.timers.after(retryMs, () => this.connect());
    this.#events.failed(error, retryMs);
  }
}
