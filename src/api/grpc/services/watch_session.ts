/**
 * One watch of a client of etcd: from `created` to `canceled`.
 *
 * Invariants: `created` comes before any event; what arrives before it, or while the stream is full, waits here, and the service is told to hold back after the first batch; a watch
 * whose history is gone ends with `canceled` and the compacted revision, whatever else goes wrong ends the stream, so that the client watches on elsewhere.
 */
import { KvError } from '../../../errors.ts';
import { storedKey, USER_SPACE_END } from '../../../kv/keyspace.ts';
import { compareKeys } from '../../../storage/record.ts';
import type { WatchBatch, WatchRequest as WatchOptions } from '../../../wire/messages.ts';
import type { WatchHandle, WatchSink } from '../../service.ts';
import { ETCD_ERRORS, grpcErrorOf } from '../etcd_errors.ts';
import type { ResponseHeader } from '../messages/kv.ts';
import type { WatchCreateRequest, WatchResponse } from '../messages/watch.ts';
import { goNameOf } from '../status.ts';
import { storedEndOf } from './etcd_context.ts';
import { type EventFilter, eventsOf, filterOf, partsOf } from './watch_events.ts';

const NO_WATCH = -1;
/** etcd's own bound for what it sends at once to who takes fragments. */
const FRAGMENT_BYTES = 2 * 1024 * 1024;
/** What concerns a watch alone; other errors end the stream. */
const REFUSALS: readonly string[] = ['PERMISSION_DENIED', 'USER_EMPTY', 'UNAUTHENTICATED', 'KEY_TOO_LARGE'];
const SMALLEST_KEY = Uint8Array.of(0);

/** The stream that a watch is part of. */
export interface WatchStreamOutput {
  readonly hasRoom: boolean;
  watch(request: WatchOptions, sink: WatchSink): Promise<WatchHandle>;
  /** History up to here is gone. */
  compactRevision(): number;
  header(revision?: number): ResponseHeader;
  send(response: Partial<WatchResponse>): void;
  /** The client has been told that the watch exists. */
  created(id: number): void;
  /** The watch is over by itself. */
  ended(id: number): void;
  endStream(error: unknown): void;
  /** A watch has come further. */
  tellProgress(): void;
}

/** What a client wants to watch, as it is stored. */
export function watchedRange({ key, range_end: rangeEnd }: WatchCreateRequest) {
  const start = storedKey(key.length === 0 ? SMALLEST_KEY : key);
  const end = storedEndOf(rangeEnd);
  const isEmpty = end !== undefined && end !== USER_SPACE_END && compareKeys(start, end) >= 0;
  return { start, end, isEmpty };
}

export class WatchSession {
  /** Everything up to here has been sent. */
  syncedRevision = 0;
  readonly #stream: WatchStreamOutput;
  readonly #id: number;
  readonly #request: WatchCreateRequest;
  readonly #filter: EventFilter;
  #handle: WatchHandle | undefined;
  #queued: WatchBatch[] = [];
  #held = false;
  #over = false;
  #created = false;
  #endedBy: Error | undefined;

  constructor(stream: WatchStreamOutput, id: number, request: WatchCreateRequest) {
    this.#stream = stream;
    this.#id = id;
    this.#request = request;
    this.#filter = filterOf(request.filters, request.prev_kv);
  }

  /** Resolves when the client has been told whether the watch exists. */
  async open(): Promise<void> {
    const { start_revision: fromRevision, prev_kv: prevKv } = this.#request;
    const { start, end } = watchedRange(this.#request);
    if (fromRevision < 0) return this.#refused(ETCD_ERRORS.Compacted[1]);
    const sink = {
      deliver: (batch: WatchBatch) => this.#deliver(batch),
      end: (error: Error) => this.#ended(error),
    };
    try {
      const handle = await this.#stream.watch({ start, end, fromRevision, prevKv }, sink);
      if (this.#over) handle.cancel();
      else this.#opened(handle);
    } catch (error) {
      if (this.#over) return;
      if (!(error instanceof KvError)) return this.#stream.endStream(error);
      if (error.code === 'COMPACTED') {
        this.#sendCreated();
        this.#compacted(error);
      } else if (REFUSALS.includes(error.code)) this.#refused(reasonOf(error));
      else this.#stream.endStream(error);
    }
  }

  cancel(): void {
    this.#over = true;
    this.#queued = [];
    this.#handle?.cancel();
  }

  /** There is room for more. */
  resume(): void {
    if (!this.#held || this.#handle === undefined || this.#over) return;
    while (this.#queued.length > 0 && this.#stream.hasRoom) this.#send(this.#queued.shift()!);
    if (this.#queued.length > 0 || !this.#stream.hasRoom || this.#over) return;
    this.#held = false;
    this.#handle.resume();
  }

  /** Learns how far the watch has come, if it is not behind. */
  catchUp(): void {
    if (!this.#held && !this.#over) this.#handle?.progress();
  }

  #refused(reason: string): void {
    this.#over = true;
    this.#stream.send({
      header: this.#stream.header(),
      watch_id: NO_WATCH,
      created: true,
      canceled: true,
      cancel_reason: reason,
    });
    this.#stream.ended(this.#id);
  }

  #opened(handle: WatchHandle): void {
    this.#handle = handle;
    this.syncedRevision = handle.fromRevision - 1;
    this.#sendCreated();
    this.#held = this.#queued.length > 0;
    this.resume();
    if (this.#endedBy !== undefined) this.#ended(this.#endedBy);
  }

  #sendCreated(): void {
    this.#created = true;
    this.#stream.created(this.#id);
    this.#stream.send({ header: this.#stream.header(), watch_id: this.#id, created: true });
  }

  #deliver(batch: WatchBatch): boolean {
    if (this.#over) return false;
    if (!this.#created || this.#handle === undefined || !this.#stream.hasRoom) {
      this.#queued.push(batch);
      this.#held = true;
      return false;
    }
    this.#send(batch);
    this.#held = !this.#stream.hasRoom;
    return !this.#held;
  }

  #send({ revision, events }: WatchBatch): void {
    this.syncedRevision = Math.max(this.syncedRevision, revision);
    const shown = eventsOf(events, this.#filter);
    const header = this.#stream.header(revision);
    const watch_id = this.#id;
    if (shown.length === 0) {
      if (events.length === 0 && this.#request.progress_notify) this.#stream.send({ header, watch_id });
    } else if (this.#request.fragment) {
      const parts = partsOf(shown, FRAGMENT_BYTES);
      parts.forEach((part, i) => {
        this.#stream.send({ header, watch_id, events: part, fragment: i < parts.length - 1 });
      });
    } else {
      this.#stream.send({ header, watch_id, events: shown });
    }
    this.#stream.tellProgress();
  }

  #ended(error: Error): void {
    if (this.#over) return;
    if (!this.#created || this.#handle === undefined) {
      this.#endedBy = error;
      return;
    }
    if (error instanceof KvError && error.code === 'COMPACTED') this.#compacted(error);
    else if (error instanceof KvError && REFUSALS.includes(error.code)) this.#forbidden(error);
    else this.#stream.endStream(error);
  }

  /** A right has gone while the watch went on. */
  #forbidden(error: KvError): void {
    this.#over = true;
    this.#stream.send({
      header: this.#stream.header(),
      watch_id: this.#id,
      canceled: true,
      cancel_reason: reasonOf(error),
    });
    this.#stream.ended(this.#id);
  }

  #compacted(error: KvError): void {
    this.#over = true;
    const { compactRevision: told } = error.details;
    const compacted = typeof told === 'number' ? told : this.#stream.compactRevision();
    this.#stream.send({
      header: this.#stream.header(),
      watch_id: this.#id,
      canceled: true,
      // The first revision that can be watched from: clients go on there. Of the compacted one itself the deletes are gone.
      compact_revision: compacted + 1,
    });
    this.#stream.ended(this.#id);
  }
}

/** As Go's clients of etcd compare it: the error with its code, in the words of gRPC for Go. */
function reasonOf(error: KvError): string {
  const { code, message } = grpcErrorOf(error);
  return `rpc error: code = ${goNameOf(code)} desc = ${message}`;
}
