/** Byte streams over TCP (node:net). */
import { connect, createServer, Socket } from 'node:net';
import type { ByteStream, ListenEvents, StreamListener } from './byte_stream.ts';
import { KvError } from './errors.ts';

export function dialTcp(address: string): ByteStream {
  const { host, port } = partsOf(address);
  return connect({ host, port, noDelay: true });
}

export function listenTcp(address: string, events: ListenEvents): Promise<StreamListener> {
  const { host, port } = partsOf(address);
  const server = createServer({ noDelay: true }, (socket) => events.accept(socket));
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new KvError('UNAVAILABLE', `cannot listen on ${address}: ${cause.message}`, { cause }));
    });
    server.listen(port, host, () => {
      server.removeAllListeners('error');
      server.on('error', (error) => events.failed(error));
      resolve({
        address: addressOf(server.address()),
        close: () => new Promise((closed) => server.close(() => closed())),
      });
    });
  });
}

/**
 * Looks at the first bytes of a connection that nobody has read from yet, and puts them back: at least `count`, or what there is when the other side sends no more. A stream that is no
 * socket can't be looked at: `then` gets nothing, at once. Never calls back when the connection is lost before.
 */
export function peek(stream: ByteStream, count: number, then: (head: Uint8Array) => void): void {
  if (!(stream instanceof Socket)) {
    then(new Uint8Array(0));
    return;
  }
  const socket = stream;
  let head: Buffer = Buffer.alloc(0);
  const look = (): void => {
    for (let chunk: unknown = socket.read(); Buffer.isBuffer(chunk); chunk = socket.read()) {
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
    }
    if (head.length < count && !socket.readableEnded) return;
    socket.removeListener('readable', look);
    if (head.length === 0) {
      socket.destroy();
      return;
    }
    socket.unshift(head);
    then(head);
  };
  socket.on('readable', look);
  socket.once('end', () => {
    if (head.length < count) socket.destroy();
  });
}

function partsOf(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
}

function addressOf(address: ReturnType<ReturnType<typeof createServer>['address']>): string {
  if (address === null || typeof address === 'string') {
    throw new KvError('INTERNAL', `listening on an unexpected address ${address}`);
  }
  return address.family === 'IPv6'
    ? `[${address.address}]:${address.port}`
    : `${address.address}:${address.port}`;
}
