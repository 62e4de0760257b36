/** A store's channel that tells the trace of every call and its outcome. Invariant: calls and answers pass through as they are. */
import type { AuthCalls, Channel, ChannelOptions, LeaseCalls } from '../../client/channel.ts';
import { KvError } from '../../errors.ts';
import type { CommandResult } from '../../kv/command.ts';
import type { MaybePromise } from '../../storage/record.ts';
import type {
  GetRequest,
  GetResponse,
  RangeRequest,
  RangeResponse,
  ScanPageRequest,
  ScanPageResponse,
  WatchBatch,
  WatchRequest,
} from '../../wire/messages.ts';
import type { Lane, Trace } from '../core/trace.ts';
import {
  describeCommand,
  describeGet,
  describeGot,
  describeRange,
  describeRanged,
  describeResult,
  describeScan,
  describeScanned,
} from '../timeline/call_text.ts';

export class TracedChannel implements Channel {
  readonly needsSession: boolean;
  readonly auth: AuthCalls | undefined;
  readonly leases: LeaseCalls | undefined;
  readonly #inner: Channel;
  readonly #trace: Trace;
  readonly #lane: Lane;
  #calls = 0;

  constructor(inner: Channel, trace: Trace, lane: Lane) {
    this.#inner = inner;
    this.needsSession = inner.needsSession;
    this.auth = inner.auth;
    this.leases = inner.leases;
    this.#trace = trace;
    this.#lane = lane;
  }

  write(command: Uint8Array, options: ChannelOptions): Promise<CommandResult> {
    const text = this.#trace.recording ? describeCommand(command) : undefined;
    return this.#told('write', text, command.length, this.#inner.write(command, options), describeResult);
  }

  get(request: GetRequest, options: ChannelOptions): Promise<GetResponse> {
    const text = this.#trace.recording ? describeGet(request) : undefined;
    return this.#told('get', text, request.key.length, this.#inner.get(request, options), describeGot);
  }

  scan(request: ScanPageRequest, options: ChannelOptions): Promise<ScanPageResponse> {
    const text = this.#trace.recording ? describeScan(request) : undefined;
    return this.#told(
      'scan',
      text,
      request.start.length,
      this.#inner.scan(request, options),
      describeScanned,
    );
  }

  range(request: RangeRequest, options: ChannelOptions): Promise<RangeResponse> {
    const text = this.#trace.recording ? describeRange(request) : undefined;
    return this.#told('range', text, request.key.length, this.#inner.range(request, options), describeRanged);
  }

  watch(request: WatchRequest, options: ChannelOptions): AsyncIterable<WatchBatch> {
    this.#trace.add('invoke', this.#lane, 'watch');
    return this.#inner.watch(request, options);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #told<T>(
    kind: string,
    text: string | undefined,
    size: number,
    answer: MaybePromise<T>,
    describe: (value: T) => string,
  ): Promise<T> {
    const call = ++this.#calls;
    this.#trace.add('invoke', this.#lane, kind, size, undefined, call, text);
    try {
      const value = await answer;
      const done = text === undefined ? undefined : `${text}: ${describe(value)}`;
      this.#trace.add('ok', this.#lane, kind, 0, undefined, call, done);
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
