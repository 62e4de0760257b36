/** Where sockets come from: the seam for TLS. */
import { createServer, connect as netConnect, type Server, type Socket } from 'node:net';
import type { HostPort } from './address.ts';

/** How sockets come into being: where TLS goes in. */
export interface SocketLayer {
  /** Opens a connection; calls `ready` once, when bytes can be sent (after a TLS handshake, say). */
  dial(address: HostPort, ready: () => void): Socket;
  /** A server, not yet listening, that calls `accept` with each connection that is ready. */
  createServer(accept: (socket: Socket) => void): Server;
}

export const plainSockets: SocketLayer = {
  dial(address, ready) {
    return netConnect({ host: address.host, port: address.port, noDelay: true }, ready);
  },
  createServer(accept) {
    return createServer({ noDelay: true }, accept);
  },
};
