/** The channel below a Store, overheard: what the Store keeps to itself is told to the client's recorder. */
import type { Channel, ChannelOptions } from '../../client/channel.ts';
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
import type { OperationRecord, StepResult, WatcherRecord } from '../check/observations.ts';

/** Who is told what goes by. */
export interface Listener {
  /** A command goes out: gives the operation that it is of, if it is one's. */
  sent(command: Uint8Array): OperationRecord | undefined;
  /** The operation that reads now. */
  reading(): OperationRecord | undefined;
  /** The watcher that is being opened. */
  openingWatch(): WatcherRecord | undefined;
  batch(record: WatcherRecord, batch: WatchBatch): void;
  saw(revision: number): void;
}

/** Passes everything on, and tells the recorder what goes by. */
export class OverheardChannel implements Channel {
  readonly needsSession: boolean;
  readonly #channel: Channel;
  readonly #client: Listener;

  constructor(channel: Channel, client: Listener) {
    this.#channel = channel;
    this.#client = client;
    this.needsSession = channel.needsSession;
  }

  async write(command: Uint8Array, options: ChannelOptions): Promise<CommandResult> {
    const operation = this.#client.sent(command);
    const result = await this.#channel.write(command, options);
    if (operation !== undefined) {
      operation.revision = result.revision;
      if (operation.kind === 'batch' && result.type === 'txn')
        operation.results = result.results.flatMap(batchResult);
    }
    return result;
  }

  get(request: GetRequest, options: ChannelOptions): MaybePromise<GetResponse> {
    return this.#read(this.#channel.get(request, options));
  }

  scan(request: ScanPageRequest, options: ChannelOptions): MaybePromise<ScanPageResponse> {
    return this.#read(this.#channel.scan(request, options));
  }

  range(request: RangeRequest, options: ChannelOptions): Promise<RangeResponse> {
    return this.#read(this.#channel.range(request, options));
  }

  async *watch(request: WatchRequest, options: ChannelOptions): AsyncGenerator<WatchBatch, void, undefined> {
    const record = this.#client.openingWatch();
    // The Store has no words for filters yet.
    const asked = record?.filters === undefined ? request : { ...request, filters: record.filters };
    for await (const batch of this.#channel.watch(asked, options)) {
      if (record !== undefined) this.#client.batch(record, batch);
      yield batch;
    }
  }

  close(): Promise<void> {
    return this.#channel.close();
  }

  async #read<T extends { readonly revision: number }>(response: MaybePromise<T>): Promise<T> {
    const operation = this.#client.reading();
    const answer = await response;
    if (operation !== undefined) operation.revision = answer.revision;
    this.#client.saw(answer.revision);
    return answer;
  }
}

function batchResult(result: { type: string; deleted?: number }): StepResult[] {
  if (result.type === 'put') return [{ type: 'put' }];
  return result.type === 'delete' ? [{ type: 'delete', deleted: result.deleted ?? 0 }] : [];
}
