/** A request over HTTP and its answer, whichever version of HTTP it came with (http1.ts, http2.ts). */
import type { ByteStream } from '../../../byte_stream.ts';

export interface HttpRequest {
  readonly method: string;
  /** Without its query. */
  readonly path: string;
  /** The value of a header field (lower case); undefined when there is none. */
  header(name: string): string | undefined;
  /** All of it. */
  readonly body: Buffer;
}

export interface HttpAnswer {
  /** Answers, once. */
  send(status: number, contentType: string, body: string): void;
  /** Begins an answer in parts instead. */
  begin(status: number, contentType: string): HttpParts;
  /** Hears when the client is gone. */
  onAborted(run: () => void): void;
  /** Hears when there is room for more parts. */
  onRoom(run: () => void): void;
  /** Hears when the server closes: an answer in parts should end. */
  onGoingAway(run: () => void): void;
}

export interface HttpParts {
  readonly hasRoom: boolean;
  part(text: string): void;
  end(): void;
}

/** Answers a request. Must not throw. */
export type HttpHandler = (request: HttpRequest, answer: HttpAnswer) => void;

/** A server of HTTP/1.1 that is given its connections. */
export interface Http1 {
  /** Takes a connection whose first bytes have been put back. */
  take(stream: ByteStream): void;
  /** Ends idle connections and answers in parts; other requests are answered first. */
  goAway(): void;
  destroy(): void;
}

export interface Http1Options {
  readonly handler: HttpHandler;
  readonly maxBodyBytes: number;
}

export function pathOf(url: string): string {
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}
