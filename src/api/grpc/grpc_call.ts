/**
 * One call of gRPC over a stream of HTTP/2: messages in, messages out, a status at the end.
 *
 * Invariants: a call is answered exactly once; a unary call's message is decoded when its request is complete; a handler that throws ends its call, never the connection; once a
 * client has cancelled nothing is written any more.
 */

import { etcdError, grpcErrorOf } from './etcd_errors.ts';
import { fieldOf, type RequestHead } from './http2/request_head.ts';
import type { Http2Stream, StreamReceiver } from './http2/stream.ts';
import { type ByteBudget, MessageAssembler } from './message_assembler.ts';
import {
  type CallContext,
  LazySignal,
  type Method,
  type StreamCall,
  type StreamHandler,
  type StreamMethod,
  type UnaryMethod,
} from './method.ts';
import type { GenericMessage } from './protobuf/message_type.ts';
import { WireReader } from './protobuf/wire_reader.ts';
import { CODE, errorTrailers, GrpcError, timeoutMsOf } from './status.ts';

export interface CallHost {
  /** By path. */
  readonly methods: ReadonlyMap<string, Method>;
  /** Longest message taken. */
  readonly maxMessageBytes: number;
  readonly budget: ByteBudget;
  /** Calls that are being worked on, those of clients that have gone away included. */
  readonly running: RunningCalls;
  /** A mistake of ours, for the log. */
  failed(error: unknown): void;
}

/** How many handlers run: what resets and lost connections leave behind is counted until it has ended. */
export class RunningCalls {
  readonly #limit: number;
  #count = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get count(): number {
    return this.#count;
  }

  begin(): boolean {
    if (this.#count >= this.#limit) return false;
    this.#count++;
    return true;
  }

  end(): void {
    this.#count--;
  }
}

const ACCEPTED_ENCODINGS = ['grpc-accept-encoding', 'identity,gzip'];
const MAX_TIMEOUT_MS = 24 * 3_600_000;

export function isGrpc(contentType: string | undefined): boolean {
  return (
    contentType === 'application/grpc' ||
    contentType === 'application/grpc+proto' ||
    contentType?.startsWith('application/grpc;') === true
  );
}

/** Begins a call; undefined when it has been answered already. */
export function beginCall(
  host: CallHost,
  stream: Http2Stream,
  head: RequestHead,
): StreamReceiver | undefined {
  try {
    const method = host.methods.get(head.path);
    if (method === undefined) throw unknownMethod(head.path);
    const encoding = fieldOf(head.fields, 'grpc-encoding') ?? 'identity';
    if (encoding !== 'identity' && encoding !== 'gzip') {
      refuse(stream, unsupportedEncoding(encoding), ACCEPTED_ENCODINGS);
      return undefined;
    }
    const context = new GrpcContext(head);
    const assembler = new MessageAssembler(host.maxMessageBytes, host.budget, encoding === 'gzip');
    if (method.kind === 'unary') return new UnaryCall(host, stream, method, context, assembler);
    return new StreamingCall(host, stream, method, context, assembler);
  } catch (error) {
    refuse(stream, grpcErrorOf(error));
    return undefined;
  }
}

/** An answer without a message: trailers only. */
function refuse(stream: Http2Stream, error: GrpcError, more: readonly string[] = []): void {
  stream.headers(200, ['content-type', 'application/grpc', ...errorTrailers(error), ...more], true);
}

function unknownMethod(path: string): GrpcError {
  const [, service = '', name = ''] = path.split('/');
  return new GrpcError(CODE.UNIMPLEMENTED, `unknown method ${name} for service ${service}`);
}

function unsupportedEncoding(encoding: string): GrpcError {
  return new GrpcError(
    CODE.UNIMPLEMENTED,
    `grpc: Decompressor is not installed for grpc-encoding "${encoding.slice(0, 64)}"`,
  );
}

class GrpcContext extends LazySignal implements CallContext {
  readonly timeoutMs: number | undefined;
  readonly #head: RequestHead;

  /** @throws GrpcError */
  constructor(head: RequestHead) {
    super();
    this.#head = head;
    const timeout = fieldOf(head.fields, 'grpc-timeout');
    this.timeoutMs = timeout === undefined ? undefined : Math.min(timeoutMsOf(timeout), MAX_TIMEOUT_MS);
  }

  metadata(name: string): string | undefined {
    return fieldOf(this.#head.fields, name);
  }
}

/** Writes a message with its prefix as data of the stream. @throws what encoding throws; nothing is written then. */
function writeMessage(stream: Http2Stream, method: Method, message: object): void {
  const { out } = stream;
  const start = stream.beginData();
  try {
    const prefix = out.length;
    out.u8(0);
    out.u32(0);
    method.response.encodeGeneric(out, message);
    out.patchU32(prefix + 1, out.length - prefix - 5);
  } catch (error) {
    out.truncate(start);
    throw error;
  }
  stream.endData(start);
}

class UnaryCall implements StreamReceiver {
  readonly #host: CallHost;
  readonly #stream: Http2Stream;
  readonly #method: UnaryMethod;
  readonly #context: GrpcContext;
  readonly #assembler: MessageAssembler;
  #message: Buffer | undefined;

  constructor(
    host: CallHost,
    stream: Http2Stream,
    method: UnaryMethod,
    context: GrpcContext,
    assembler: MessageAssembler,
  ) {
    this.#host = host;
    this.#stream = stream;
    this.#method = method;
    this.#context = context;
    this.#assembler = assembler;
    stream.awaitsRequest = !stream.remoteEnded;
    if (stream.remoteEnded) this.data(Buffer.alloc(0), true);
  }

  data(bytes: Buffer, end: boolean): void {
    if (this.#stream.isOver) return;
    try {
      this.#assembler.push(bytes, (message) => this.#take(message));
      if (end) this.#begin();
    } catch (error) {
      this.#assembler.release();
      this.#fail(error);
    }
  }

  aborted(): void {
    this.#assembler.release();
    this.#context.clientGone();
  }

  roomAgain(): void {}

  goingAway(): void {
    this.#context.closing();
  }

  #take(message: Buffer): void {
    if (this.#message !== undefined) {
      throw new GrpcError(CODE.INTERNAL, 'grpc: a unary call has one message');
    }
    this.#message = message;
  }

  #begin(): void {
    const message = this.#message;
    if (message === undefined || this.#assembler.isPartial) {
      throw new GrpcError(CODE.INTERNAL, 'grpc: the request ended without a whole message');
    }
    this.#message = undefined;
    const request = this.#method.request.decodeFrom(new WireReader(message), 0);
    const { running } = this.#host;
    if (!running.begin()) throw new GrpcError(CODE.RESOURCE_EXHAUSTED, 'etcdserver: too many requests');
    let answer: ReturnType<UnaryMethod['handle']>;
    try {
      answer = this.#method.handle(request, this.#context);
    } catch (error) {
      running.end();
      throw error;
    }
    if (!(answer instanceof Promise)) {
      running.end();
      this.#answer(answer);
      return;
    }
    answer.then(
      (late) => {
        running.end();
        this.#answer(late);
      },
      (error) => {
        running.end();
        this.#fail(error);
      },
    );
  }

  #answer(message: object): void {
    const stream = this.#stream;
    if (stream.isOver) return;
    if (stream.isOverloaded) {
      refuse(stream, new GrpcError(CODE.RESOURCE_EXHAUSTED, 'grpc: too many answers wait to be read'));
      return;
    }
    const { out } = stream;
    const start = out.length;
    try {
      stream.grpcHeaders();
      writeMessage(stream, this.#method, message);
    } catch (error) {
      // The encoder's table may have been added to: what was written stays, the call ends with an error.
      this.#host.failed(error);
      if (out.length === start) refuse(stream, grpcErrorOf(error));
      else stream.trailers(errorTrailers(grpcErrorOf(error)));
      return;
    }
    stream.trailers(undefined);
  }

  #fail(cause: unknown): void {
    if (this.#stream.isOver) return;
    const error = grpcErrorOf(cause, this.#context.timeoutMs !== undefined);
    if (error.code === CODE.INTERNAL && error !== cause) this.#host.failed(cause);
    refuse(this.#stream, error);
  }
}

class StreamingCall implements StreamReceiver, StreamCall<object> {
  readonly context: GrpcContext;
  readonly #host: CallHost;
  readonly #stream: Http2Stream;
  readonly #method: StreamMethod;
  readonly #assembler: MessageAssembler;
  #handler: StreamHandler<GenericMessage> | undefined;
  #requests = 0;
  #answered = false;
  #over = false;
  #counted = false;

  /** @throws GrpcError */
  constructor(
    host: CallHost,
    stream: Http2Stream,
    method: StreamMethod,
    context: GrpcContext,
    assembler: MessageAssembler,
  ) {
    this.context = context;
    this.#host = host;
    this.#stream = stream;
    this.#method = method;
    this.#assembler = assembler;
    this.#counted = host.running.begin();
    if (!this.#counted) throw new GrpcError(CODE.RESOURCE_EXHAUSTED, 'etcdserver: too many requests');
    try {
      const handler = method.open(this);
      if (this.#over) handler.over();
      else this.#handler = handler;
    } catch (error) {
      this.end(error);
      return;
    }
    if (stream.remoteEnded) this.data(Buffer.alloc(0), true);
  }

  get hasRoom(): boolean {
    return this.#stream.hasRoom;
  }

  send(message: object): void {
    if (this.#over) return;
    try {
      if (!this.#answered) {
        this.#answered = true;
        this.#stream.grpcHeaders();
      }
      writeMessage(this.#stream, this.#method, message);
    } catch (error) {
      this.end(error);
    }
  }

  end(cause?: unknown): void {
    if (this.#over) return;
    const error = cause === undefined ? undefined : grpcErrorOf(cause);
    if (error?.code === CODE.INTERNAL && error !== cause) this.#host.failed(cause);
    if (error !== undefined && !this.#answered) refuse(this.#stream, error);
    else {
      if (!this.#answered) this.#stream.grpcHeaders();
      this.#stream.trailers(error === undefined ? undefined : errorTrailers(error));
    }
    this.#letGo();
  }

  data(bytes: Buffer, end: boolean): void {
    if (this.#over) return;
    try {
      this.#assembler.push(bytes, (message) => this.#take(message));
      if (!end || this.#over) return;
      if (this.#assembler.isPartial || (!this.#method.clientStreams && this.#requests === 0)) {
        throw new GrpcError(CODE.INTERNAL, 'grpc: the request ended without a whole message');
      }
      this.#handler?.clientEnded();
    } catch (error) {
      this.end(error);
    }
  }

  aborted(): void {
    this.context.clientGone();
    this.#letGo();
  }

  roomAgain(): void {
    if (this.#over) return;
    try {
      this.#handler?.roomAgain();
    } catch (error) {
      this.end(error);
    }
  }

  goingAway(): void {
    this.context.closing();
    this.end(etcdError('Stopped'));
  }

  #take(bytes: Buffer): void {
    if (this.#over) return;
    // Who asks on and on and does not read the answers.
    if (this.#stream.isOverloaded) {
      throw new GrpcError(CODE.RESOURCE_EXHAUSTED, 'grpc: too many answers wait to be read');
    }
    this.#requests++;
    if (!this.#method.clientStreams && this.#requests > 1) {
      throw new GrpcError(CODE.INTERNAL, 'grpc: this call has one request');
    }
    this.#handler?.message(this.#method.request.decodeFrom(new WireReader(bytes), 0));
  }

  #letGo(): void {
    if (this.#over) return;
    this.#over = true;
    this.#assembler.release();
    if (this.#counted) this.#host.running.end();
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.over();
  }
}
