/**
 * The transport over TCP (node:net). docs/formats/peer_protocol.md describes the bytes.
 *
 * Invariants: each node dials its own way to each peer and sends data on that connection only, so a pair of nodes has two connections, one a direction; a
 * peer's newer connection ends its older one before a frame of the newer is delivered; connections without a finished handshake are bounded in number and in time,
 * and the oldest makes room for a new one, so that strangers cannot keep peers out; what arrives on a bad connection ends that connection alone.
 */
import type { Server, Socket } from 'node:net';
import { KvError } from '../src/errors.ts';
import type { NodeId } from '../src/raft/types.ts';
import { formatAddress } from './address.ts';
import { OutgoingPeer } from './outgoing_peer.ts';
import { PeerConnection } from './peer_connection.ts';
import { decodeHello, encodeRefusal, encodeWelcome, type Hello, objectionTo } from './peer_handshake.ts';
import { resolveTcpOptions, type TcpSettings, type TcpTransportOptions } from './tcp_options.ts';
import type { Transport, TransportEvents, TransportStats } from './transport.ts';

export class TcpTransport implements Transport {
  readonly #settings: TcpSettings;
  readonly #server: Server;
  readonly #outgoing = new Map<NodeId, OutgoingPeer>();
  /** The established connection that each peer dialed. */
  readonly #incoming = new Map<NodeId, PeerConnection>();
  /** Accepted connections that have not shaken hands, or were refused and are not gone yet; oldest first. */
  readonly #strangers = new Set<PeerConnection>();
  /** Everything whose socket still exists. */
  readonly #open = new Set<PeerConnection>();
  #events: TransportEvents | undefined;
  #listening = false;
  #closing: Promise<void> | undefined;
  #framesSent = 0;
  #framesReceived = 0;
  #framesDropped = 0;
  #bytesSent = 0;
  #bytesReceived = 0;

  /** @throws KvError CONFIG_INVALID */
  constructor(options: TcpTransportOptions) {
    this.#settings = resolveTcpOptions(options);
    this.#server = this.#settings.sockets.createServer((socket) => this.#accept(socket));
  }

  /**
   * Resolves to the address for peers: `advertise` (its port 0 replaced by the real one), or where it listens.
   * @throws KvError UNAVAILABLE when the address cannot be listened on, CLOSED after `close`.
   */
  async start(events: TransportEvents): Promise<string> {
    if (this.#closing !== undefined) throw new KvError('CLOSED', 'the transport is closed');
    if (this.#events !== undefined) throw new KvError('INTERNAL', 'the transport was started before');
    this.#events = events;
    const { listen } = this.#settings;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (cause) =>
        reject(
          new KvError(
            'UNAVAILABLE',
            `cannot listen on ${formatAddress(listen.host, listen.port)}: ${cause.message}`,
            {
              cause,
            },
          ),
        ),
      );
      this.#server.once('close', () => reject(new KvError('CLOSED', 'the transport is closed')));
      this.#server.listen(listen.port, listen.host, () => {
        this.#server.removeAllListeners('error');
        // An accept that fails (no descriptors left) is that connection's loss alone.
        this.#server.on('error', (error) =>
          this.#settings.onEvent({ type: 'acceptFailed', reason: error.message }),
        );
        resolve();
      });
    });
    this.#listening = true;
    for (const peer of this.#outgoing.values()) peer.connect();
    return this.#ownAddress();
  }

  setPeer(id: NodeId, address: string): void {
    if (this.#closing !== undefined || id === this.#settings.id) return;
    const known = this.#outgoing.get(id);
    if (known !== undefined) {
      known.moveTo(address);
      return;
    }
    const peer = new OutgoingPeer(id, address, this.#settings, {
      connected: () => this.#events?.connected?.(id),
      disconnected: (reason) => this.#events?.disconnected?.(id, reason),
      failed: (error, retryMs) => {
        this.#settings.onEvent({ type: 'connectFailed', peer: id, address: peer.address, error, retryMs });
        if (error.code === 'REMOVED') this.#events?.removed?.(id);
      },
      opened: (connection) => this.#track(connection),
    });
    this.#outgoing.set(id, peer);
    if (this.#listening) peer.connect();
  }

  removePeer(id: NodeId): void {
    const peer = this.#outgoing.get(id);
    this.#outgoing.delete(id);
    peer?.close('the peer was removed');
    this.#incoming.get(id)?.close('the peer was removed');
  }

  send(to: NodeId, parts: readonly Uint8Array[]): boolean {
    let length = 0;
    for (let i = 0; i < parts.length; i++) length += parts[i]!.length;
    if (length > this.#settings.maxFrameBytes) {
      this.#framesDropped++;
      this.#settings.onEvent({ type: 'frameTooLarge', peer: to, sizeBytes: length });
      return false;
    }
    if (this.#outgoing.get(to)?.send(parts) !== true) {
      this.#framesDropped++;
      return false;
    }
    this.#framesSent++;
    this.#bytesSent += length;
    return true;
  }

  flush(): void {
    for (const peer of this.#outgoing.values()) peer.flush();
  }

  stats(): TransportStats & { readonly connections: number; readonly connectedPeers: number } {
    let queuedBytes = 0;
    let connectedPeers = 0;
    for (const peer of this.#outgoing.values()) {
      queuedBytes += peer.queuedBytes;
      if (peer.connected) connectedPeers++;
    }
    return {
      framesSent: this.#framesSent,
      framesReceived: this.#framesReceived,
      framesDropped: this.#framesDropped,
      bytesSent: this.#bytesSent,
      bytesReceived: this.#bytesReceived,
      queuedBytes,
      connections: this.#open.size,
      connectedPeers,
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    for (const peer of this.#outgoing.values()) peer.close('the transport was closed');
    this.#outgoing.clear();
    const serverGone = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    const connections = [...this.#open];
    for (const connection of connections) connection.destroy('the transport was closed');
    await Promise.all([serverGone, ...connections.map((connection) => connection.gone)]);
  }

  #ownAddress(): string {
    const { advertise, listen } = this.#settings;
    const bound = this.#server.address();
    if (bound === null || typeof bound === 'string')
      throw new KvError('INTERNAL', 'a TCP server without an address');
    const shown = advertise ?? listen;
    return formatAddress(shown.host, shown.port === 0 ? bound.port : shown.port);
  }

  #track(connection: PeerConnection): void {
    this.#open.add(connection);
    void connection.gone.then(() => {
      this.#open.delete(connection);
      this.#strangers.delete(connection);
    });
  }

  #accept(socket: Socket): void {
    const settings = this.#settings;
    if (this.#closing !== undefined) {
      socket.destroy();
      return;
    }
    let from: NodeId = 0;
    const remote = `${socket.remoteAddress}:${socket.remotePort}`;
    const connection = new PeerConnection(socket, settings, {
      handshake: (payload) => {
        from = this.#greet(connection, payload, remote);
      },
      data: (payload) => {
        this.#framesReceived++;
        this.#bytesReceived += payload.length;
        this.#events?.frame({ from, payload });
      },
      closed: (reason) => {
        if (this.#incoming.get(from) === connection) this.#incoming.delete(from);
        settings.onEvent({ type: 'incomingClosed', peer: from, remote, reason });
      },
    });
    this.#track(connection);
    this.#strangers.add(connection);
    if (this.#strangers.size <= settings.maxConnections) return;
    for (const oldest of this.#strangers) {
      this.#strangers.delete(oldest);
      oldest.destroy('made room for a newer connection');
      break;
    }
  }

  /** Answers a hello; gives the peer's id, 0 when it was refused. */
  #greet(connection: PeerConnection, payload: Uint8Array, remote: string): NodeId {
    const { clusterId, id, maxConnections, onEvent } = this.#settings;
    let hello: Hello;
    try {
      hello = decodeHello(payload);
    } catch (error) {
      if (!(error instanceof KvError) || error.code !== 'UNSUPPORTED_VERSION') throw error;
      connection.refuse(encodeRefusal(error.code, error.message), error.code);
      return 0;
    }
    let objection = objectionTo(hello, clusterId, id);
    if (this.#events?.wasRemoved?.(hello.from) === true)
      objection ??= { code: 'REMOVED', message: `node ${hello.from} was removed from the cluster` };
    if (!this.#incoming.has(hello.from) && this.#incoming.size >= maxConnections)
      objection ??= { code: 'OVERLOADED', message: 'too many connections' };
    if (objection !== undefined) {
      onEvent({ type: 'incomingRefused', peer: hello.from, remote, code: objection.code });
      connection.refuse(encodeRefusal(objection.code, objection.message), objection.code);
      return 0;
    }
    this.#incoming.get(hello.from)?.close('replaced by a newer connection');
    this.#incoming.set(hello.from, connection);
    this.#strangers.delete(connection);
    connection.establish();
    connection.sendHandshake(encodeWelcome(clusterId, id));
    return hello.from;
  }
}
