/** A server of bare HTTP/2 for tests: each request goes to `answer`; what the clients sent raw is up to them. */
import { connect, type Socket } from 'node:net';
import { Http2Connection, type Http2Options } from '../../../src/api/grpc/http2/connection.ts';
import type { RequestHead } from '../../../src/api/grpc/http2/request_head.ts';
import type { Http2Stream } from '../../../src/api/grpc/http2/stream.ts';
import type { ByteStream } from '../../../src/byte_stream.ts';
import { listenTcp } from '../../../src/net_streams.ts';
import { realPorts } from '../../../src/real_ports.ts';

export interface TestRequest {
  readonly stream: Http2Stream;
  readonly head: RequestHead;
  body: Buffer;
  aborted: boolean;
}

export interface H2Server {
  readonly port: number;
  readonly connections: Set<Http2Connection>;
  readonly requests: TestRequest[];
  /** Reasons of connections that are over. */
  readonly closed: string[];
  close(): Promise<void>;
}

export const TEST_LIMITS: Http2Options['limits'] = {
  maxStreams: 100,
  maxQueuedBytes: 1024 * 1024,
  idleTimeoutMs: 60_000,
  handshakeTimeoutMs: 5_000,
  requestTimeoutMs: 60_000,
};

export interface H2ServerOptions {
  readonly limits?: Partial<Http2Options['limits']>;
  /** Called when a request is whole; the default echoes its data. */
  readonly answer?: (request: TestRequest) => void;
  /** Called when a request begins. */
  readonly begin?: (request: TestRequest) => void;
  readonly roomAgain?: (request: TestRequest) => void;
}

export function respond(stream: Http2Stream, body: Uint8Array | undefined): void {
  stream.headers(200, ['content-type', 'text/plain'], body === undefined);
  if (body === undefined) return;
  const start = stream.beginData();
  stream.out.bytes(body);
  stream.endData(start, true);
}

export async function startH2Server(options: H2ServerOptions = {}): Promise<H2Server> {
  const ports = realPorts();
  const connections = new Set<Http2Connection>();
  const requests: TestRequest[] = [];
  const closed: string[] = [];
  const answer = options.answer ?? (({ stream, body }) => respond(stream, body));
  const accept = (socket: ByteStream): void => {
    const connection = new Http2Connection(socket, {
      limits: { ...TEST_LIMITS, ...options.limits },
      ports,
      request(stream, head, end) {
        const request: TestRequest = { stream, head, body: Buffer.alloc(0), aborted: false };
        requests.push(request);
        options.begin?.(request);
        if (end) {
          answer(request);
          return undefined;
        }
        return {
          data(bytes, last) {
            request.body = Buffer.concat([request.body, bytes]);
            if (last) answer(request);
          },
          aborted() {
            request.aborted = true;
          },
          roomAgain: () => options.roomAgain?.(request),
          goingAway: () => undefined,
        };
      },
      failed(error) {
        throw error;
      },
      closed(gone, reason) {
        connections.delete(gone);
        closed.push(reason);
      },
    });
    connections.add(connection);
    socket.on('data', (chunk) => connection.receive(chunk));
    socket.on('drain', () => connection.drained());
    socket.on('error', () => connection.destroy('error'));
    socket.on('end', () => connection.destroy('the client closed the connection'));
    socket.on('close', () => connection.destroy('the connection was lost'));
  };
  const listener = await listenTcp('127.0.0.1:0', {
    accept,
    failed: (error) => {
      throw error;
    },
  });
  return {
    port: Number(listener.address.split(':')[1]),
    connections,
    requests,
    closed,
    async close() {
      for (const connection of [...connections]) connection.destroy('the test is over');
      await listener.close();
    },
  };
}

/** A frame of HTTP/2 as it came. */
export interface RawFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** A client that sends what it is told and shows what comes back. */
export class RawClient {
  readonly frames: RawFrame[] = [];
  ended = false;
  readonly socket: Socket;
  #rest: Buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('data', (chunk: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      this.#cut();
      this.#wake?.();
    });
    this.socket.on('close', () => {
      this.ended = true;
      this.#wake?.();
    });
    this.socket.on('error', () => undefined);
  }

  /** Waits until `found` gives something, or the connection is closed (undefined then). */
  async until<T>(found: () => T | undefined): Promise<T | undefined> {
    for (;;) {
      const result = found();
      if (result !== undefined || this.ended) return result;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  frame(type: number, streamId?: number): Promise<RawFrame | undefined> {
    return this.until(() =>
      this.frames.find(
        (frame) => frame.type === type && (streamId === undefined || frame.streamId === streamId),
      ),
    );
  }

  /** The reason of the GOAWAY that ends the connection. */
  async goAwayReason(): Promise<number | undefined> {
    const frame = await this.frame(7);
    await this.until(() => (this.ended ? true : undefined));
    return frame?.payload.readUInt32BE(4);
  }

  async resetReason(streamId: number): Promise<number | undefined> {
    return (await this.frame(3, streamId))?.payload.readUInt32BE(0);
  }

  send(...parts: readonly Uint8Array[]): this {
    this.socket.write(Buffer.concat(parts));
    return this;
  }

  close(): void {
    this.socket.destroy();
  }

  #cut(): void {
    while (this.#rest.length >= 9) {
      const end = 9 + this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < end) return;
      this.frames.push({
        type: this.#rest[3]!,
        flags: this.#rest[4]!,
        streamId: this.#rest.readUInt32BE(5),
        payload: this.#rest.subarray(9, end),
      });
      this.#rest = this.#rest.subarray(end);
    }
  }
}

export function rawFrame(
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

export const rawPreface = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1'),
  rawFrame(4, 0, 0),
]);

/** A header block of literals. */
export function literalBlock(fields: readonly (readonly [string, string])[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const [name, value] of fields) {
    parts.push(Uint8Array.of(0));
    for (const text of [name, value]) {
      const bytes = Buffer.from(text, 'latin1');
      const size = bytes.length < 127 ? [bytes.length] : [127, ...varint(bytes.length - 127)];
      parts.push(Uint8Array.from(size), bytes);
    }
  }
  return Buffer.concat(parts);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest >>>= 7) bytes.push((rest & 127) | 128);
  bytes.push(rest);
  return bytes;
}

export const REQUEST_FIELDS = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/x'],
  [':authority', 'a'],
] as const;

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
