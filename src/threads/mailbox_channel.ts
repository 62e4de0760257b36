/** The channel of a store in a reader thread: point reads are done in the thread, all else goes through the mailbox. */
import type { Channel, ChannelOptions } from '../client/channel.ts';
import { KvError } from '../errors.ts';
import type { CommandResult } from '../kv/command.ts';
import { readPage, writeScan } from '../wire/client_codec.ts';
import type {
  GetRequest,
  GetResponse,
  RangeResponse,
  ScanPageRequest,
  ScanPageResponse,
  WatchBatch,
} from '../wire/messages.ts';
import { decodeResult } from '../wire/result_codec.ts';
import { ByteWriter } from '../wire/varint.ts';
import { REQUEST } from './mailbox.ts';
import type { MailboxClient } from './mailbox_client.ts';

export class MailboxChannel implements Channel {
  readonly needsSession = false;
  readonly #client: MailboxClient;
  readonly #read: (storedKey: Uint8Array, revision: number) => GetResponse;
  readonly #close: () => void;

  constructor(
    client: MailboxClient,
    read: (storedKey: Uint8Array, revision: number) => GetResponse,
    close: () => void,
  ) {
    this.#client = client;
    this.#read = read;
    this.#close = close;
  }

  write(command: Uint8Array, options: ChannelOptions): Promise<CommandResult> {
    return this.#client.call(REQUEST.WRITE, command, decodeResult, options.timeoutMs);
  }

  /** What this thread sees is as new as whatever was acknowledged: all levels are the same. */
  get(request: GetRequest): GetResponse {
    return this.#read(request.key, request.revision);
  }

  scan(request: ScanPageRequest, options: ChannelOptions): Promise<ScanPageResponse> {
    const writer = new ByteWriter();
    writeScan(writer, request);
    return this.#client.call(REQUEST.SCAN, writer.finish(), readPage, options.timeoutMs);
  }

  range(): Promise<RangeResponse> {
    const message = 'a reader thread has no ranges: scan, or ask in the thread that opened the store';
    return Promise.reject(new KvError('UNSUPPORTED', message));
  }

  watch(): AsyncIterable<WatchBatch> {
    throw new KvError(
      'UNSUPPORTED',
      'a reader thread cannot watch: watch in the thread that opened the store',
    );
  }

  async close(): Promise<void> {
    this.#close();
  }
}
