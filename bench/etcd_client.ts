/**
 * The leanest client of etcd's v3 API that is still correct: unary Put and Range over node:http2, encoded by hand, one session per connection.
 *
 * gRPC over HTTP/2: a message is `0 length:u32be bytes`, and the outcome stands in the trailers (`grpc-status`; in the headers when there is no message).
 * Protobuf as used here, all fields length-delimited but the numbers of KeyValue:
 *     PutRequest   { key = 1, value = 2 }             PutResponse   { header = 1 }
 *     RangeRequest { key = 1 }                        RangeResponse { header = 1, kvs = 2 }
 *     KeyValue     { key = 1, create_revision = 2, mod_revision = 3, version = 4, value = 5, lease = 6 }
 * A plain Range is linearizable.
 */
import { type ClientHttp2Session, connect, constants, type IncomingHttpHeaders } from 'node:http2';

const PREFIX_BYTES = 5;
const WINDOW_BYTES = 16 * 1024 * 1024;

function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) length++;
  return length;
}

function writeVarint(target: Uint8Array, value: number, at: number): number {
  let rest = value;
  let offset = at;
  for (; rest >= 128; rest = Math.floor(rest / 128)) target[offset++] = (rest % 128) | 128;
  target[offset++] = rest;
  return offset;
}

/** A gRPC message with length-delimited fields 1, 2, ... */
export function encodeMessage(fields: readonly Uint8Array[]): Buffer {
  let length = 0;
  for (const field of fields) length += 1 + varintLength(field.length) + field.length;
  const message = Buffer.allocUnsafe(PREFIX_BYTES + length);
  message[0] = 0;
  message.writeUInt32BE(length, 1);
  let at = PREFIX_BYTES;
  for (let i = 0; i < fields.length; i++) {
    const field = fields[i]!;
    message[at] = ((i + 1) << 3) | 2;
    at = writeVarint(message, field.length, at + 1);
    message.set(field, at);
    at += field.length;
  }
  return message;
}

/** The bytes of the first length-delimited field with that number; undefined when there is none. */
export function findField(message: Buffer, number: number): Buffer | undefined {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++];
      if (byte === undefined) throw new Error('etcd: message ends inside a number');
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const type = tag & 7;
    if (type === 0) varint();
    else if (type === 2) {
      const length = varint();
      if (at + length > message.length) throw new Error('etcd: message ends inside a field');
      if (tag >>> 3 === number) return message.subarray(at, at + length);
      at += length;
    } else throw new Error(`etcd: field of type ${type}`);
  }
  return undefined;
}

export class EtcdClient {
  readonly #sessions: ClientHttp2Session[];
  #next = 0;

  /** REQUIRES: every session connected. */
  private constructor(sessions: ClientHttp2Session[]) {
    this.#sessions = sessions;
  }

  /** Connects to each of the given `http://host:port` once; requests take turns. */
  static async connect(urls: readonly string[]): Promise<EtcdClient> {
    const sessions = await Promise.all(
      urls.map(
        (url) =>
          new Promise<ClientHttp2Session>((resolve, reject) => {
            const session = connect(url, {
              settings: { initialWindowSize: WINDOW_BYTES, enablePush: false },
            });
            session.once('error', reject);
            session.once('connect', () => {
              session.setLocalWindowSize(WINDOW_BYTES);
              resolve(session);
            });
          }),
      ),
    );
    return new EtcdClient(sessions);
  }

  async put(key: Uint8Array, value: Uint8Array): Promise<void> {
    const answer = await this.#call('/etcdserverpb.KV/Put', encodeMessage([key, value]));
    if (findField(answer, 1) === undefined) throw new Error('etcd: the answer to a put has no header');
  }

  /** A linearizable read; undefined when there is no such key. */
  async get(key: Uint8Array): Promise<Buffer | undefined> {
    const answer = await this.#call('/etcdserverpb.KV/Range', encodeMessage([key]));
    const found = findField(answer, 2);
    return found === undefined ? undefined : (findField(found, 5) ?? Buffer.alloc(0));
  }

  #call(path: string, message: Buffer): Promise<Buffer> {
    const session = this.#sessions[this.#next++ % this.#sessions.length]!;
    return new Promise((resolve, reject) => {
      const stream = session.request({
        [constants.HTTP2_HEADER_METHOD]: 'POST',
        [constants.HTTP2_HEADER_PATH]: path,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      let body: Buffer | undefined;
      let outcome: IncomingHttpHeaders = {};
      stream.on('response', (headers) => {
        if (headers['grpc-status'] !== undefined) outcome = headers;
      });
      stream.on('trailers', (trailers) => {
        outcome = trailers;
      });
      stream.on('data', (chunk: Buffer) => {
        body = body === undefined ? chunk : Buffer.concat([body, chunk]);
      });
      stream.on('error', reject);
      stream.on('end', () => {
        if (outcome['grpc-status'] !== '0') {
          reject(new Error(`etcd: status ${outcome['grpc-status']}: ${outcome['grpc-message']}`));
        } else if (body === undefined || body.length !== PREFIX_BYTES + body.readUInt32BE(1)) {
          reject(new Error('etcd: the answer is not one whole message'));
        } else resolve(body.subarray(PREFIX_BYTES));
      });
      stream.end(message);
    });
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#sessions.map((session) => new Promise<void>((resolve) => session.close(() => resolve()))),
    );
  }
}
