/** A store's channel that tells the trace of every call and its outcome. Invariant: calls and answers pass through as they are. */
import type { Channel, ChannelOptions } from '../client/channel.ts';
import { KvError } from '../errors.ts';
import type { CommandResult, Operation } from '../kv/command.ts';
import { userKey } from '../kv/keyspace.ts';
import type { MaybePromise } from '../storage/record.ts';
import { decodeCommand } from '../wire/command_codec.ts';
import type {
  GetRequest,
  GetResponse,
  ScanPageRequest,
  ScanPageResponse,
  WatchBatch,
  WatchRequest,
} from '../wire/messages.ts';
import type { Lane, Trace } from './trace.ts';

const decoder = new TextDecoder();

export class TracedChannel implements Channel {
  readonly needsSession: boolean;
  readonly #inner: Channel;
  readonly #trace: Trace;
  readonly #lane: Lane;
  #calls = 0;

  constructor(inner: Channel, trace: Trace, lane: Lane) {
    this.#inner = inner;
    this.needsSession = inner.needsSession;
    this.#trace = trace;
    this.#lane = lane;
  }

  write(command: Uint8Array, options: ChannelOptions): Promise<CommandResult> {
    const text = this.#trace.recording ? describeCommand(command) : undefined;
    return this.#told('write', text, command.length, this.#inner.write(command, options));
  }

  get(request: GetRequest, options: ChannelOptions): Promise<GetResponse> {
    const text = this.#trace.recording ? `get ${keyText(request.key)} (${request.level})` : undefined;
    return this.#told('get', text, request.key.length, this.#inner.get(request, options));
  }

  scan(request: ScanPageRequest, options: ChannelOptions): Promise<ScanPageResponse> {
    const text = this.#trace.recording ? `scan from ${keyText(request.start)} (${request.level})` : undefined;
    return this.#told('scan', text, request.start.length, this.#inner.scan(request, options));
  }

  watch(request: WatchRequest, options: ChannelOptions): AsyncIterable<WatchBatch> {
    this.#trace.add('invoke', this.#lane, 'watch');
    return this.#inner.watch(request, options);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #told<T>(kind: string, text: string | undefined, size: number, answer: MaybePromise<T>): Promise<T> {
    const call = ++this.#calls;
    this.#trace.add('invoke', this.#lane, kind, size, undefined, call, text);
    try {
      const value = await answer;
      this.#trace.add('ok', this.#lane, kind, 0, undefined, call, text);
      return value;
    } catch (error) {
      const code = error instanceof KvError ? error.code : 'error';
      const unknown = error instanceof KvError && error.maybeApplied;
      const outcome = text === undefined ? undefined : `${text}: ${code}`;
      this.#trace.add(unknown ? 'info' : 'fail', this.#lane, code, 0, undefined, call, outcome);
      throw error;
    }
  }
}

function keyText(storedKey: Uint8Array): string {
  return JSON.stringify(decoder.decode(userKey(storedKey)));
}

function describeCommand(bytes: Uint8Array): string {
  const command = decodeCommand(bytes);
  if (command.type === 'write') return describeOperation(command.operation);
  if (command.type !== 'txn') return command.type;
  const steps = command.success.map(describeOperation).join(', ');
  return `txn: ${command.compares.length} compares, then ${steps || 'nothing'}`;
}

function describeOperation(operation: Operation): string {
  const last = operation.type === 'delete' || operation.type === 'range' ? operation.end : undefined;
  const to = last === undefined ? '' : ` to ${keyText(last)}`;
  return `${operation.type} ${keyText(operation.key)}${to}`;
}
