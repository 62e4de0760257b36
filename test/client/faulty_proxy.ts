/** A TCP proxy that a test can make misbehave: it cuts, swallows or stops what passes. */
import { connect, createServer, type Server, type Socket } from 'node:net';

export class FaultyProxy {
  address = '';
  target: string;
  /** Called with each chunk from the client before it is passed on; false swallows it. */
  toServer: (chunk: Uint8Array) => boolean = () => true;
  /** Called with each chunk from the server; false swallows it. */
  toClient: (chunk: Uint8Array) => boolean = () => true;
  connectionsMade = 0;
  private readonly sockets = new Set<Socket>();
  private readonly server: Server = createServer((client) => this.accept(client));

  private constructor(target: string) {
    this.target = target;
  }

  static async start(target: string): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(target);
    await new Promise<void>((resolve) => proxy.server.listen(0, '127.0.0.1', resolve));
    const address = proxy.server.address();
    if (address === null || typeof address === 'string') throw new Error('no address');
    proxy.address = `127.0.0.1:${address.port}`;
    return proxy;
  }

  /** Cuts every connection. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.cut();
    await closed;
  }

  private accept(client: Socket): void {
    this.connectionsMade++;
    const colon = this.target.lastIndexOf(':');
    const server = connect(Number(this.target.slice(colon + 1)), this.target.slice(0, colon));
    for (const [from, to, filter] of [
      [client, server, (chunk: Uint8Array) => this.toServer(chunk)],
      [server, client, (chunk: Uint8Array) => this.toClient(chunk)],
    ] as const) {
      this.sockets.add(from);
      from.on('data', (chunk) => {
        if (filter(chunk) && !to.destroyed) to.write(chunk);
      });
      from.on('error', () => {});
      from.on('close', () => {
        this.sockets.delete(from);
        to.destroy();
      });
    }
  }
}
