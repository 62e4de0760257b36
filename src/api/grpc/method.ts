/**
 * What a service of gRPC consists of, apart from how it is reached: the same methods serve gRPC (grpc_call.ts) and the JSON gateway (gateway/).
 */
import { KvError } from '../../errors.ts';
import type { MaybePromise } from '../../storage/record.ts';
import type { AnyMessageType, GenericMessage, MessageType } from './protobuf/message_type.ts';

/** What a method knows of the call beside its request. */
export interface CallContext {
  /** The first value of a metadata field (lower case); undefined when there is none. */
  metadata(name: string): string | undefined;
  /** What the client leaves us; undefined: no deadline. */
  readonly timeoutMs: number | undefined;
  /** For what waits for others: aborts, with a KvError, when the client has gone away or the node is closing. */
  readonly signal: AbortSignal;
}

/** A signal that exists once somebody asks for it. */
export class LazySignal {
  #controller: AbortController | undefined;
  #reason: KvError | undefined;

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    return this.#controller.signal;
  }

  clientGone(): void {
    this.#abort(new KvError('CANCELLED', 'the client has gone away'));
  }

  closing(): void {
    this.#abort(new KvError('CLOSED', 'the node is closing'));
  }

  #abort(reason: KvError): void {
    this.#reason ??= reason;
    this.#controller?.abort(this.#reason);
  }
}

/** Where a streaming method's answers go. */
export interface StreamCall<Response> {
  readonly context: CallContext;
  /** False: send nothing more until `roomAgain`, what can wait. */
  readonly hasRoom: boolean;
  send(response: Response): void;
  /** Ends the call; nothing follows. */
  end(error?: unknown): void;
}

/** What a streaming method does with what its client sends. What these throw ends the call with that error. */
export interface StreamHandler<Request> {
  message(request: Request): void;
  /** The client sends nothing more. */
  clientEnded(): void;
  /** The call is over, by whatever: let go of everything. Called once, in any case. */
  over(): void;
  roomAgain(): void;
}

export interface UnaryMethod {
  readonly kind: 'unary';
  readonly name: string;
  readonly request: AnyMessageType;
  readonly response: AnyMessageType;
  handle(request: GenericMessage, context: CallContext): MaybePromise<object>;
}
export interface StreamMethod {
  readonly kind: 'stream';
  readonly name: string;
  readonly request: AnyMessageType;
  readonly response: AnyMessageType;
  /** Whether the client sends a stream, too, or one request. */
  readonly clientStreams: boolean;
  open(call: StreamCall<object>): StreamHandler<GenericMessage>;
}
export type Method = UnaryMethod | StreamMethod;

export interface ServiceTable {
  /** With its package. */
  readonly name: string;
  readonly methods: readonly Method[];
}

export function unary<Request extends object, Response extends object>(
  name: string,
  request: MessageType<Request>,
  response: MessageType<Response>,
  handle: (request: Request, context: CallContext) => MaybePromise<Response>,
): UnaryMethod {
  return {
    kind: 'unary',
    name,
    request,
    response,
    handle: (message, context) => handle(request.typed(message), context),
  };
}

export function streaming<Request extends object, Response extends object>(
  name: string,
  request: MessageType<Request>,
  response: MessageType<Response>,
  clientStreams: boolean,
  open: (call: StreamCall<Response>) => StreamHandler<Request>,
): StreamMethod {
  return {
    kind: 'stream',
    name,
    request,
    response,
    clientStreams,
    open(call) {
      const handler = open(call);
      return {
        message: (message) => handler.message(request.typed(message)),
        clientEnded: () => handler.clientEnded(),
        over: () => handler.over(),
        roomAgain: () => handler.roomAgain(),
      };
    },
  };
}
