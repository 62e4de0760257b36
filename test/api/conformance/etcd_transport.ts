/** How etcd's messages reach the door: as gRPC over Node's own HTTP/2, and as JSON through the gateway. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, type IncomingHttpHeaders } from 'node:http2';
import { ByteOutput } from '../../../src/api/grpc/byte_output.ts';
import { GATEWAY_PATHS } from '../../../src/api/grpc/gateway/paths.ts';
import { fromJson, toJson } from '../../../src/api/grpc/protobuf/json.ts';
import type { MessageType } from '../../../src/api/grpc/protobuf/message_type.ts';

/** A refusal: gRPC's number and etcd's text. */
export class EtcdRefusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface EtcdMethod<Q extends object, R extends object> {
  readonly path: string;
  readonly request: MessageType<Q>;
  readonly response: MessageType<R>;
}

export interface EtcdTransport {
  readonly name: string;
  /** Sends one message and gives the answers as they come, until the caller has enough. @throws EtcdRefusal */
  call<Q extends object, R extends object>(method: EtcdMethod<Q, R>, request: Q): AsyncIterable<R>;
  close(): Promise<void>;
}

export function grpcTransport(address: string): EtcdTransport {
  const session = connect(`http://${address}`);
  return {
    name: 'grpc',
    async *call(method, request) {
      const stream = session.request({
        ':method': 'POST',
        ':path': method.path,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      let trailers: IncomingHttpHeaders = {};
      stream.on('trailers', (headers) => {
        trailers = headers;
      });
      stream.on('response', (headers) => {
        if (headers['grpc-status'] !== undefined) trailers = headers;
      });
      stream.write(framed(method.request, request));
      if (!method.path.endsWith('/Watch')) stream.end();
      let rest: Buffer = Buffer.alloc(0);
      try {
        for await (const chunk of stream) {
          rest = Buffer.concat([rest, chunk]);
          for (;;) {
            if (rest.length < 5 || rest.length < 5 + rest.readUInt32BE(1)) break;
            const end = 5 + rest.readUInt32BE(1);
            const answer = method.response.decode(rest.subarray(5, end));
            rest = rest.subarray(end);
            yield answer;
          }
        }
      } finally {
        stream.close();
      }
      const status = Number(trailers['grpc-status']);
      if (status !== 0) throw new EtcdRefusal(status, decodeURIComponent(String(trailers['grpc-message'])));
    },
    close: () => new Promise((resolve) => session.close(() => resolve())),
  };
}

function framed<Q extends object>(type: MessageType<Q>, message: Q): Buffer {
  const out = new ByteOutput();
  type.encode(out, message);
  const frame = Buffer.alloc(5 + out.length);
  frame.writeUInt32BE(out.length, 1);
  out.buffer.copy(frame, 5, 0, out.length);
  return frame;
}

export function jsonTransport(address: string): EtcdTransport {
  const paths = new Map(Object.entries(GATEWAY_PATHS).map(([path, method]) => [method, path]));
  return {
    name: 'json',
    async *call(method, request) {
      const path = paths.get(method.path);
      const body = JSON.stringify(toJson(method.request, request));
      const [response, stop] = await post(`http://${address}/v3/${path}`, body);
      try {
        let text = '';
        for await (const chunk of response) {
          text += String(chunk);
          for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
            const line = text.slice(0, end);
            text = text.slice(end + 1);
            yield answerOf(method, response.statusCode, line);
          }
        }
        if (text !== '') yield answerOf(method, response.statusCode, text);
      } finally {
        stop();
      }
    },
    close: async () => undefined,
  };
}

function post(url: string, body: string): Promise<readonly [IncomingMessage, () => void]> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method: 'POST' }, (response) => {
      response.setEncoding('utf8');
      resolve([response, () => request.destroy()]);
    });
    request.on('error', reject);
    request.end(body);
  });
}

function answerOf<R extends object>(
  { response }: EtcdMethod<object, R> | { readonly response: MessageType<R> },
  status: number | undefined,
  line: string,
): R {
  const parsed: {
    result?: unknown;
    code?: number;
    message?: string;
    error?: { message?: string; grpc_code?: number };
  } = JSON.parse(line);
  if (status !== 200) throw new EtcdRefusal(parsed.code ?? -1, parsed.message ?? line);
  if (typeof parsed.error === 'object')
    throw new EtcdRefusal(parsed.error.grpc_code ?? -1, parsed.error.message ?? line);
  return response.typed(fromJson(response, parsed.result ?? parsed));
}
