/** The gateway over HTTP/2: for requests that are no gRPC. */
import { fieldOf, type RequestHead } from '../http2/request_head.ts';
import type { Http2Stream, StreamReceiver } from '../http2/stream.ts';
import type { ByteBudget } from '../message_assembler.ts';
import { type HttpAnswer, type HttpHandler, pathOf } from './exchange.ts';

export interface Http2GatewayOptions {
  readonly handler: HttpHandler;
  readonly maxBodyBytes: number;
  readonly budget: ByteBudget;
}

/** Reads a request and has it answered; undefined when that has happened already. */
export function beginExchange(
  options: Http2GatewayOptions,
  stream: Http2Stream,
  head: RequestHead,
  end: boolean,
): StreamReceiver | undefined {
  const exchange = new Exchange(options, stream, head);
  if (end) exchange.data(Buffer.alloc(0), true);
  else stream.awaitsRequest = true;
  return exchange;
}

class Exchange implements StreamReceiver {
  readonly #options: Http2GatewayOptions;
  readonly #stream: Http2Stream;
  readonly #head: RequestHead;
  #parts: Buffer[] = [];
  #size = 0;
  #onAborted: (() => void) | undefined;
  #onRoom: (() => void) | undefined;
  #onGoingAway: (() => void) | undefined;

  constructor(options: Http2GatewayOptions, stream: Http2Stream, head: RequestHead) {
    this.#options = options;
    this.#stream = stream;
    this.#head = head;
  }

  data(bytes: Buffer, end: boolean): void {
    if (this.#stream.isOver) return;
    const { budget, maxBodyBytes, handler } = this.#options;
    if (this.#size + bytes.length > maxBodyBytes || !budget.take(bytes.length)) {
      this.#release();
      this.#stream.headers(413, ['content-length', '0'], true);
      return;
    }
    this.#size += bytes.length;
    if (bytes.length > 0) this.#parts.push(bytes);
    if (!end) return;
    const body = Buffer.concat(this.#parts);
    this.#release();
    const { method, path, fields } = this.#head;
    handler({ method, path: pathOf(path), header: (name) => fieldOf(fields, name), body }, this.#answer());
  }

  aborted(): void {
    this.#release();
    this.#onAborted?.();
  }

  roomAgain(): void {
    this.#onRoom?.();
  }

  goingAway(): void {
    this.#onGoingAway?.();
  }

  #release(): void {
    this.#options.budget.give(this.#size);
    this.#size = 0;
    this.#parts = [];
  }

  #answer(): HttpAnswer {
    const stream = this.#stream;
    let begun = false;
    const write = (text: string, end: boolean): void => {
      if (stream.isOver) return;
      const start = stream.beginData();
      stream.out.bytes(Buffer.from(text, 'utf8'));
      stream.endData(start, end);
    };
    return {
      send(status, contentType, body) {
        if (begun) return;
        begun = true;
        const length = String(Buffer.byteLength(body));
        stream.headers(status, ['content-type', contentType, 'content-length', length], false);
        write(body, true);
      },
      begin(status, contentType) {
        begun = true;
        stream.headers(status, ['content-type', contentType], false);
        return {
          get hasRoom() {
            return stream.hasRoom;
          },
          part: (text) => write(text, false),
          end: () => write('', true),
        };
      },
      onAborted: (run) => {
        this.#onAborted = run;
      },
      onRoom: (run) => {
        this.#onRoom = run;
      },
      onGoingAway: (run) => {
        this.#onGoingAway = run;
      },
    };
  }
}
