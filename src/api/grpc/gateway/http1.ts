/** The gateway over HTTP/1.1: Node's own server, given sockets that were found to speak it. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { ByteStream } from '../../../byte_stream.ts';
import { type Http1, type Http1Options, type HttpAnswer, type HttpParts, pathOf } from './exchange.ts';

const MAX_HEADER_BYTES = 16 * 1024;
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 60_000;
const KEEP_ALIVE_MS = 60_000;
const QUEUE_BYTES = 1024 * 1024;

export function http1Server(options: Http1Options): Http1 {
  return new Http1Server(options);
}

class Http1Server implements Http1 {
  readonly #server: Server;
  readonly #options: Http1Options;
  /** Ends answers that would go on and on. */
  readonly #goingAway = new Set<() => void>();

  constructor(options: Http1Options) {
    this.#options = options;
    this.#server = createServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectionsCheckingInterval: HEADERS_TIMEOUT_MS / 2,
      },
      (request, response) => this.#read(request, response),
    );
    // It never listens itself: without this it would not keep count of its connections, close idle ones, or end slow ones.
    this.#server.emit('listening');
  }

  take(stream: ByteStream): void {
    if (stream instanceof Socket) this.#server.emit('connection', stream);
    else stream.destroy();
  }

  goAway(): void {
    this.#server.close();
    for (const run of [...this.#goingAway]) run();
    this.#server.closeIdleConnections();
  }

  destroy(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #read(request: IncomingMessage, response: ServerResponse): void {
    const { handler, maxBodyBytes } = this.#options;
    const parts: Buffer[] = [];
    let size = 0;
    request.on('data', (part: Buffer) => {
      size += part.length;
      if (size <= maxBodyBytes) parts.push(part);
      else if (!response.headersSent) {
        response.writeHead(413, { connection: 'close', 'content-length': 0 }).end();
        parts.length = 0;
        request.unpipe();
        request.resume();
      }
    });
    request.on('end', () => {
      if (size > maxBodyBytes) return;
      handler(
        {
          method: request.method ?? '',
          path: pathOf(request.url ?? ''),
          header: (name) => {
            const value = request.headers[name];
            return Array.isArray(value) ? value[0] : value;
          },
          body: Buffer.concat(parts),
        },
        this.#answerOf(response),
      );
    });
    // The response hears of it, too.
    request.on('error', () => undefined);
  }

  #answerOf(response: ServerResponse): HttpAnswer {
    return {
      send(status, contentType, body) {
        if (response.headersSent) return;
        const length = Buffer.byteLength(body);
        response.writeHead(status, { 'content-type': contentType, 'content-length': length }).end(body);
      },
      begin(status, contentType): HttpParts {
        response.writeHead(status, { 'content-type': contentType });
        response.flushHeaders();
        return {
          get hasRoom() {
            return !response.destroyed && response.writableLength < QUEUE_BYTES;
          },
          part: (text) => void response.write(text),
          end: () => void response.end(),
        };
      },
      onAborted: (run) => void response.on('close', run),
      onRoom: (run) => void response.on('drain', run),
      onGoingAway: (run) => {
        this.#goingAway.add(run);
        response.on('close', () => this.#goingAway.delete(run));
      },
    };
  }
}
