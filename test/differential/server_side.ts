/**
 * One of two servers that are asked the same: sends what is asked over gRPC on bare HTTP/2, keeps the tokens it was given and the streams of watches, and tells what came back.
 *
 * Invariants: requests go one at a time; `created` and the end of a watch are waited for, its events are not: `logs` has them in the order in which they came.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
} from 'node:http2';
import { ByteOutput } from '../../src/api/grpc/byte_output.ts';
import type { Method } from '../../src/api/grpc/method.ts';
import type { GenericMessage } from '../../src/api/grpc/protobuf/message_type.ts';
import { WireReader } from '../../src/api/grpc/protobuf/wire_reader.ts';
import { CODE } from '../../src/api/grpc/status.ts';
import { type Answer, type Ask, Mapping, messageOf, PLAIN_START, type Plain, plainOf } from './asks.ts';

const PREFIX_BYTES = 5;
const ANSWER_LIMIT_MS = 15_000;
const STRANGER = 'nobody-gave-this';

/** What came of one watch. */
export interface WatchLog {
  readonly id: number;
  request: Ask['message'];
  readonly events: Plain[];
  /** Of the newest event, as it is shown. */
  revision: number;
  canceled: Plain | undefined;
}

interface WatchStream {
  readonly stream: ClientHttp2Stream;
  /** Answers to what was created, in order. */
  readonly created: Plain[];
  readonly logs: WatchLog[];
  failed: string | undefined;
  fragment: boolean;
}

export class ServerSide {
  readonly name: string;
  mapping = new Mapping(PLAIN_START);
  readonly tokens = new Map<string, string>();
  /** By who watches: each has a stream of its own. */
  readonly watches = new Map<string, WatchStream>();
  readonly #session: ClientHttp2Session;
  readonly #methods: ReadonlyMap<string, Method>;
  #wake: () => void = () => undefined;
  #gone: string | undefined;

  constructor(name: string, url: string, methods: ReadonlyMap<string, Method>) {
    this.name = name;
    this.#session = connect(url);
    this.#session.on('error', (error) => {
      this.#gone = error.message;
    });
    this.#session.on('close', () => {
      this.#gone = `${name} has closed the connection`;
    });
    this.#methods = methods;
  }

  async ask({ call, message, as, needsLeader = false }: Ask): Promise<Answer> {
    if (call === 'Watch/Watch') return this.#watch(message, as ?? '', needsLeader);
    const method = this.#method(call);
    const bytes = framed(method, messageOf(method.request, message, this.mapping));
    const { code, text, body } = await this.#call(call, bytes, as, needsLeader);
    if (code !== CODE.OK) return { code, text };
    const [first] = messagesIn(body);
    if (first === undefined) return { code: CODE.INTERNAL, text: 'an answer without a message' };
    const answer = method.response.decodeFrom(new WireReader(first), 0);
    this.#learn(call, message, answer);
    return { message: plainOf(method.response, answer, this.mapping) };
  }

  /** The answer as the server gave it, unmapped. @throws Error for a status other than OK */
  async raw(call: string, message: { readonly [name: string]: Plain }, as?: string): Promise<GenericMessage> {
    const method = this.#method(call);
    const bytes = framed(method, messageOf(method.request, message, this.mapping));
    const { code, text, body } = await this.#call(call, bytes, as);
    const [first] = messagesIn(body);
    if (code !== CODE.OK || first === undefined) throw new Error(`${this.name}: ${call}: ${code} ${text}`);
    return method.response.decodeFrom(new WireReader(first), 0);
  }

  log(as: string, id: number): WatchLog | undefined {
    return this.watches.get(as)?.logs.findLast((one) => one.id === id);
  }

  /** Ends all watches and forgets who was who. */
  begin(revision: number): void {
    for (const { stream } of this.watches.values()) stream.close();
    this.watches.clear();
    this.tokens.clear();
    this.mapping = new Mapping(revision);
  }

  close(): void {
    this.#session.destroy();
  }

  #method(call: string): Method {
    const method = this.#methods.get(`/etcdserverpb.${call}`);
    if (method === undefined) throw new Error(`no method ${call}`);
    return method;
  }

  #learn(call: string, asked: Ask['message'], answer: GenericMessage): void {
    if (call === 'Auth/Authenticate') this.tokens.set(String(asked['name']), String(answer['token']));
    if (call === 'Lease/LeaseGrant' && (asked['ID'] ?? 0) === 0) this.mapping.granted(answer['ID'] as bigint);
  }

  #request(call: string, as: string | undefined, needsLeader: boolean): ClientHttp2Stream {
    const token = as === 'stranger' ? STRANGER : this.tokens.get(as ?? '');
    return this.#session.request({
      ':method': 'POST',
      ':path': `/etcdserverpb.${call}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...(token !== undefined && { token }),
      ...(needsLeader && { hasleader: 'true' }),
    });
  }

  #call(call: string, bytes: Buffer, as: string | undefined, needsLeader = false) {
    if (this.#gone !== undefined) throw new Error(this.#gone);
    const stream = this.#request(call, as, needsLeader);
    return new Promise<{ code: number; text: string; body: Buffer }>((resolve) => {
      const parts: Buffer[] = [];
      let outcome: IncomingHttpHeaders = {};
      const end = (code: number, text: string): void => {
        clearTimeout(timer);
        resolve({ code, text, body: Buffer.concat(parts) });
      };
      const timer = setTimeout(() => {
        stream.close();
        end(CODE.DEADLINE_EXCEEDED, 'no answer in time');
      }, ANSWER_LIMIT_MS);
      stream.on('response', (headers) => {
        if (headers['grpc-status'] !== undefined) outcome = headers;
      });
      stream.on('trailers', (trailers) => {
        outcome = trailers;
      });
      stream.on('data', (part: Buffer) => {
        parts.push(part);
      });
      stream.on('error', (error) => end(CODE.UNAVAILABLE, `the stream failed: ${error.message}`));
      stream.on('end', () =>
        end(Number(outcome['grpc-status'] ?? -1), decodeURIComponent(String(outcome['grpc-message'] ?? ''))),
      );
      stream.end(bytes);
    });
  }

  async #watch(message: Ask['message'], as: string, needsLeader: boolean): Promise<Answer> {
    const method = this.#method('Watch/Watch');
    let watch = this.watches.get(as);
    if (watch === undefined) {
      watch = this.#openWatches(method, as, needsLeader);
      this.watches.set(as, watch);
    }
    const open = watch;
    const { cancel_request: cancel } = message as { cancel_request?: { watch_id?: number } };
    const log = cancel === undefined ? undefined : this.log(as, cancel.watch_id ?? 0);
    const before = open.created.length;
    const logs = open.logs.length;
    // Nothing answers a cancel of what is not there.
    if (cancel !== undefined && (log === undefined || log.canceled !== undefined))
      return { message: 'nothing' };
    open.stream.write(framed(method, messageOf(method.request, message, this.mapping)));
    const found = await this.until(() => {
      if (open.failed !== undefined) return `the stream failed: ${open.failed}`;
      return cancel === undefined ? open.created[before] : log?.canceled;
    }, ANSWER_LIMIT_MS);
    const made = open.logs.at(-1);
    const { create_request: asked } = message as { create_request?: Ask['message'] };
    if (asked !== undefined && made !== undefined && logs < open.logs.length) made.request = asked;
    return { message: found ?? 'no answer in time' };
  }

  /** Has `until` look again, for news that came from elsewhere. */
  look(): void {
    this.#wake();
  }

  /** Waits for something that a watch brings; undefined: it did not, in time. */
  async until<T>(find: () => T | undefined, limitMs: number): Promise<T | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<true>((resolve) => {
      timer = setTimeout(resolve, limitMs, true);
    });
    try {
      for (;;) {
        const found = find();
        if (found !== undefined) return found;
        const news = new Promise<false>((resolve) => {
          this.#wake = () => resolve(false);
        });
        if (await Promise.race([late, news])) return find();
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #openWatches(method: Method, as: string, needsLeader: boolean): WatchStream {
    const stream = this.#request('Watch/Watch', as, needsLeader);
    const watch: WatchStream = { stream, created: [], logs: [], failed: undefined, fragment: false };
    let rest = Buffer.alloc(0);
    stream.on('data', (part: Buffer) => {
      rest = Buffer.concat([rest, part]);
      for (const bytes of messagesIn(rest)) {
        rest = rest.subarray(PREFIX_BYTES + bytes.length);
        this.#received(watch, method, method.response.decodeFrom(new WireReader(bytes), 0));
      }
      this.#wake();
    });
    const ended = (headers: IncomingHttpHeaders): void => {
      const status = headers['grpc-status'];
      if (status !== undefined) watch.failed = `${status} ${headers['grpc-message'] ?? ''}`;
      this.#wake();
    };
    stream.on('response', ended);
    stream.on('trailers', ended);
    stream.on('error', (error) => {
      watch.failed ??= error.message;
      this.#wake();
    });
    return watch;
  }

  #received(watch: WatchStream, method: Method, message: GenericMessage): void {
    const shown = plainOf(method.response, message, this.mapping) as Record<string, Plain>;
    const id = Number(message['watch_id']);
    if (message['created'] === true) {
      watch.created.push(shown);
      if (message['canceled'] !== true)
        watch.logs.push({ id, request: {}, events: [], revision: 0, canceled: undefined });
      return;
    }
    const log = watch.logs.findLast((one) => one.id === id && one.canceled === undefined);
    if (log === undefined) {
      watch.failed = `an answer for watch ${id}, which is not there: ${JSON.stringify(shown)}`;
      return;
    }
    const events = message['events'] as { kv: { mod_revision: number } }[];
    if (events.length > 0) {
      const [first, last] = [events[0]!, events.at(-1)!].map(({ kv }) =>
        this.mapping.shownRevision(kv.mod_revision),
      );
      if (first! <= log.revision && !watch.fragment) log.events.push('a revision was split');
      log.revision = last!;
      const { revision } = message['header'] as { revision: number };
      if (this.mapping.shownRevision(revision) < last!) log.events.push('a header behind its events');
      log.events.push(...(shown['events'] as Plain[]));
    }
    watch.fragment = message['fragment'] === true;
    // The revision that is current then is a matter of luck: writes are under way.
    if (message['canceled'] === true) log.canceled = { ...shown, header: 'any', events: [] };
  }
}

function framed(method: Method, message: GenericMessage): Buffer {
  const out = new ByteOutput();
  method.request.encodeGeneric(out, message);
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(out.length, 1);
  return Buffer.concat([prefix, out.copyFrom(0)]);
}

/** The whole messages at the beginning of what came. */
function messagesIn(body: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at + PREFIX_BYTES <= body.length; ) {
    const end = at + PREFIX_BYTES + body.readUInt32BE(at + 1);
    if (end > body.length) break;
    messages.push(body.subarray(at + PREFIX_BYTES, end));
    at = end;
  }
  return messages;
}
