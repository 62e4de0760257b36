/** A TCP proxy that can go silent: connections stay open in both directions, and nothing passes any more. */
import { connect, createServer, type Server, type Socket } from 'node:net';

export class TcpProxy {
  /** Where connections go; may change. */
  target: string;
  frozen = false;
  accepted = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(target: string) {
    this.target = target;
    this.#server = createServer((near) => this.#accept(near));
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('no address');
    return `127.0.0.1:${address.port}`;
  }

  /** From now on nothing passes, and nobody is told. */
  freeze(): void {
    this.frozen = true;
    for (const socket of this.#sockets) socket.pause();
  }

  thaw(): void {
    this.frozen = false;
    for (const socket of this.#sockets) socket.resume();
  }

  /** Breaks every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #accept(near: Socket): void {
    this.accepted++;
    const port = Number(this.target.slice(this.target.lastIndexOf(':') + 1));
    const far = connect({ host: '127.0.0.1', port, noDelay: true });
    this.#join(near, far);
    this.#join(far, near);
  }

  #join(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    from.on('data', (chunk) => {
      if (!to.write(chunk)) from.pause();
    });
    to.on('drain', () => {
      if (!this.frozen) from.resume();
    });
    from.on('error', () => to.destroy());
    from.on('close', () => {
      this.#sockets.delete(from);
      to.destroy();
    });
    if (this.frozen) from.pause();
  }
}
