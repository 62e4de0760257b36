/**
 * etcd's JSON gateway: `POST /v3/...` with a message as JSON, answered with one, or, for streams, with one `{"result": ...}` a line; and `/health`, `/version` and `/metrics` beside it.
 *
 * The methods are those of gRPC (method.ts): only the form differs.
 */
import { KvError } from '../../../errors.ts';
import type { Service } from '../../service.ts';
import { etcdError, grpcErrorOf } from '../etcd_errors.ts';
import {
  type CallContext,
  LazySignal,
  type Method,
  type StreamCall,
  type StreamHandler,
  type StreamMethod,
  type UnaryMethod,
} from '../method.ts';
import { fromJson, toJson } from '../protobuf/json.ts';
import type { GenericMessage } from '../protobuf/message_type.ts';
import { ETCD_VERSION } from '../services/etcd_version.ts';
import { isServing } from '../services/health_methods.ts';
import { CODE, type Code, type GrpcError } from '../status.ts';
import type { HttpAnswer, HttpHandler, HttpParts, HttpRequest } from './exchange.ts';
import { metricsText } from './metrics_text.ts';
import { GATEWAY_PATHS } from './paths.ts';

const JSON_TYPE = 'application/json';
const TEXT_TYPE = 'text/plain; charset=utf-8';
/** JSON values in the body of one streaming request. */
const MAX_REQUESTS = 10_000;
const PREFIX = /^\/v3(?:beta)?\//;

const HTTP_STATUS: Partial<Record<Code, number>> = {
  [CODE.CANCELLED]: 408,
  [CODE.INVALID_ARGUMENT]: 400,
  [CODE.DEADLINE_EXCEEDED]: 504,
  [CODE.NOT_FOUND]: 404,
  [CODE.ALREADY_EXISTS]: 409,
  [CODE.PERMISSION_DENIED]: 403,
  [CODE.RESOURCE_EXHAUSTED]: 429,
  [CODE.FAILED_PRECONDITION]: 412,
  [CODE.ABORTED]: 409,
  [CODE.OUT_OF_RANGE]: 400,
  [CODE.UNIMPLEMENTED]: 501,
  [CODE.UNAVAILABLE]: 503,
  [CODE.UNAUTHENTICATED]: 401,
};

export interface GatewayOptions {
  readonly service: Service;
  /** More for `/metrics`. */
  readonly metrics?: (() => string) | undefined;
  /** By path, as gRPC has them. */
  readonly methods: ReadonlyMap<string, Method>;
  /** A mistake of ours, for the log. */
  failed(error: unknown): void;
}

export function gateway(options: GatewayOptions): HttpHandler {
  const { methods } = options;
  return (request, answer) => {
    try {
      const page = pageOf(options, request);
      if (page !== undefined) return answer.send(page.status, page.type, page.body);
      const method = PREFIX.test(request.path)
        ? methods.get(GATEWAY_PATHS[request.path.replace(PREFIX, '')] ?? '')
        : undefined;
      if (method === undefined) return answer.send(404, TEXT_TYPE, 'Not Found\n');
      if (request.method !== 'POST') return answer.send(405, TEXT_TYPE, 'Method Not Allowed\n');
      if (method.kind === 'unary') callUnary(options, method, request, answer);
      else callStream(options, method, request, answer);
    } catch (error) {
      fail(options, answer, error);
    }
  };
}

interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

function pageOf({ service, metrics }: GatewayOptions, { method, path }: HttpRequest): Page | undefined {
  if (method !== 'GET' && method !== 'HEAD') return undefined;
  switch (path) {
    case '/health': {
      // As with an etcd, an alarm that somebody has to look at counts.
      const healthy = isServing(service) && service.status().alarms.length === 0;
      return { status: healthy ? 200 : 503, type: JSON_TYPE, body: `{"health":"${healthy}"}` };
    }
    case '/version': {
      const versions = {
        etcdserver: ETCD_VERSION,
        etcdcluster: ETCD_VERSION,
        kvorum: service.status().version,
      };
      return { status: 200, type: JSON_TYPE, body: JSON.stringify(versions) };
    }
    case '/metrics':
      return {
        status: 200,
        type: 'text/plain; version=0.0.4; charset=utf-8',
        body: metricsText(service.status()) + (metrics?.() ?? ''),
      };
    default:
      return undefined;
  }
}

function callUnary(
  options: GatewayOptions,
  method: UnaryMethod,
  request: HttpRequest,
  answer: HttpAnswer,
): void {
  const message = messagesOf(method, request.body)[0] ?? fromJson(method.request, {});
  const sendMessage = (response: object): void => {
    try {
      answer.send(200, JSON_TYPE, JSON.stringify(toJson(method.response, response)));
    } catch (error) {
      fail(options, answer, error);
    }
  };
  const context = new JsonContext(request);
  answer.onAborted(() => context.clientGone());
  answer.onGoingAway(() => context.closing());
  const result = method.handle(message, context);
  if (result instanceof Promise) result.then(sendMessage, (error) => fail(options, answer, error));
  else sendMessage(result);
}

function callStream(
  options: GatewayOptions,
  method: StreamMethod,
  request: HttpRequest,
  answer: HttpAnswer,
): void {
  const messages = messagesOf(method, request.body);
  const call = new JsonStreamCall(options, method, request, answer);
  call.begin(messages);
}

class JsonStreamCall implements StreamCall<object> {
  readonly context: CallContext;
  readonly #options: GatewayOptions;
  readonly #method: StreamMethod;
  readonly #answer: HttpAnswer;
  #parts: HttpParts | undefined;
  #handler: StreamHandler<GenericMessage> | undefined;
  #over = false;

  constructor(options: GatewayOptions, method: StreamMethod, request: HttpRequest, answer: HttpAnswer) {
    this.context = new JsonContext(request);
    this.#options = options;
    this.#method = method;
    this.#answer = answer;
  }

  get hasRoom(): boolean {
    return !this.#over && (this.#parts?.hasRoom ?? true);
  }

  begin(messages: readonly GenericMessage[]): void {
    this.#answer.onAborted(() => this.#letGo());
    this.#answer.onRoom(() => this.#handler?.roomAgain());
    this.#answer.onGoingAway(() => this.end(etcdError('Stopped')));
    const handler = this.#method.open(this);
    if (this.#over) {
      handler.over();
      return;
    }
    this.#handler = handler;
    try {
      for (const message of messages) if (!this.#over) handler.message(message);
      if (!this.#over) handler.clientEnded();
    } catch (error) {
      this.end(error);
    }
  }

  send(response: object): void {
    if (this.#over) return;
    this.#parts ??= this.#answer.begin(200, JSON_TYPE);
    this.#parts.part(`${JSON.stringify({ result: toJson(this.#method.response, response) })}\n`);
  }

  end(cause?: unknown): void {
    if (this.#over) return;
    if (cause === undefined) {
      this.#parts ??= this.#answer.begin(200, JSON_TYPE);
      this.#parts.end();
    } else if (this.#parts === undefined) {
      fail(this.#options, this.#answer, cause);
    } else {
      const { code, message } = grpcErrorOf(cause);
      const error = { grpc_code: code, http_code: HTTP_STATUS[code] ?? 500, message };
      this.#parts.part(`${JSON.stringify({ error })}\n`);
      this.#parts.end();
    }
    this.#letGo();
  }

  #letGo(): void {
    if (this.#over) return;
    this.#over = true;
    this.#handler?.over();
    this.#handler = undefined;
  }
}

/** The JSON values of a body: one, or one a line. @throws KvError INVALID_ARGUMENT */
function messagesOf(method: Method, body: Buffer): GenericMessage[] {
  const text = body.toString('utf8').trim();
  if (text === '') return [];
  const values = parseJson(text) ?? text.split('\n').map((line) => parseJson(line));
  const list = Array.isArray(values) ? values : [values];
  if (list.length > MAX_REQUESTS) throw new KvError('INVALID_ARGUMENT', 'too many messages in one request');
  return list.map((value) => {
    if (value === undefined) throw new KvError('INVALID_ARGUMENT', 'the body is not JSON');
    return fromJson(method.request, value);
  });
}

/** undefined: not JSON. */
function parseJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    // A list is no message; as one it will be refused.
    return Array.isArray(value) ? [value] : value;
  } catch {
    // The caller says what is wrong.
    return undefined;
  }
}

class JsonContext extends LazySignal implements CallContext {
  readonly timeoutMs = undefined;
  readonly #request: HttpRequest;

  constructor(request: HttpRequest) {
    super();
    this.#request = request;
  }

  metadata(name: string): string | undefined {
    return this.#request.header(name);
  }
}

function fail(options: GatewayOptions, answer: HttpAnswer, cause: unknown): void {
  const error = grpcErrorOf(cause);
  if (error.code === CODE.INTERNAL && error !== cause) options.failed(cause);
  sendError(answer, error);
}

function sendError(answer: HttpAnswer, error: GrpcError): void {
  answer.send(HTTP_STATUS[error.code] ?? 500, JSON_TYPE, errorBody(error));
}

function errorBody({ code, message }: GrpcError): string {
  return JSON.stringify({ error: message, message, code });
}
