/** Nodes, proxies and badly behaved strangers for the tests of the TCP transport. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { realPorts } from '../../src/real_ports.ts';
import { FrameDecoder } from '../../src/wire/frame.ts';
import { parseAddress } from '../../transports/address.ts';
import { TcpTransport } from '../../transports/tcp.ts';
import type { TcpEvent, TcpTransportOptions } from '../../transports/tcp_options.ts';
import { TestNode, until } from './conformance.ts';
import { TcpProxy } from './tcp_proxy.ts';

export const QUICK = {
  clusterId: 77n,
  listen: '127.0.0.1:0',
  reconnectMinMs: 5,
  reconnectMaxMs: 50,
  refusedRetryMs: 50,
} as const;

type AddTest = (name: string, run: () => Promise<void>) => void;
export type Scenario = (name: string, run: (lab: Lab) => Promise<void>) => void;

/** Gives a function that adds tests with a lab of their own, closed at their end. */
export function scenariosOf(test: AddTest): Scenario {
  return (name, run) =>
    test(name, async () => {
      const lab = new Lab();
      try {
        await run(lab);
      } finally {
        await lab.close();
      }
    });
}

export class Lab {
  readonly #cleanups: (() => Promise<unknown> | undefined)[] = [];
  readonly events: TcpEvent[] = [];

  async node(
    id: number,
    options: Partial<TcpTransportOptions> = {},
  ): Promise<TestNode & { tcp: TcpTransport }> {
    const tcp = new TcpTransport({
      ...QUICK,
      id,
      ports: realPorts(),
      onEvent: (event) => void this.events.push(event),
      ...options,
    });
    this.#cleanups.push(() => tcp.close());
    const node = Object.assign(new TestNode(id, tcp), { tcp });
    node.address = await tcp.start({
      frame: ({ from, payload }) => {
        if (node.onFrame !== undefined) node.onFrame(from, payload);
        else node.inbox.push({ from, payload });
      },
      connected: (peer) => void node.connected.add(peer),
      disconnected: (peer, reason) => {
        node.connected.delete(peer);
        node.lost.push(reason);
      },
    });
    return node;
  }

  async proxy(target: string): Promise<{ proxy: TcpProxy; address: string }> {
    const proxy = new TcpProxy(target);
    const address = await proxy.start();
    this.#cleanups.push(() => proxy.close());
    return { proxy, address };
  }

  /** A bare client that keeps what it hears. */
  stranger(address: string): Stranger {
    const socket = connect(parseAddress(address));
    const stranger = new Stranger(socket);
    this.#cleanups.push(() => {
      socket.destroy();
      return undefined;
    });
    return stranger;
  }

  /** A bare server. */
  async server(accept: (socket: Socket) => void): Promise<{ server: Server; address: string }> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      accept(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    this.#cleanups.push(() => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    });
    const bound = server.address();
    if (bound === null || typeof bound === 'string') throw new Error('no address');
    return { server, address: `127.0.0.1:${bound.port}` };
  }

  async close(): Promise<void> {
    for (const cleanup of this.#cleanups.reverse()) await cleanup();
  }
}

export class Stranger {
  readonly socket: Socket;
  closed = false;
  readonly heard: Uint8Array[] = [];
  constructor(socket: Socket) {
    this.socket = socket;
    const decoder = new FrameDecoder(1 << 20);
    socket.on('data', (chunk) => decoder.push(chunk, (payload) => void this.heard.push(payload)));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
    });
  }
}

export function framed(payload: Uint8Array): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32LE(payload.length);
  return Buffer.concat([header, payload]);
}

/** That node 1 reaches `node` and is heard: whatever a stranger did, it harmed nobody else. */
export async function stillServes(lab: Lab, node: TestNode): Promise<void> {
  const peer = await lab.node(90);
  peer.transport.setPeer(node.id, node.address);
  const before = node.inbox.length;
  await peer.sendSurely(node.id, [Buffer.from('well?')]);
  await until('others are served', () => node.inbox.length === before + 1);
}
