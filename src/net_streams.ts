/** Byte streams over TCP (node:net). */
import { connect, createServer } from 'node:net';
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
