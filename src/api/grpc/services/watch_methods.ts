/**
 * etcd's Watch: one stream of gRPC, many watches (watch_session.ts is one of them).
 *
 * Invariants: creations are answered in the order in which they were asked for; progress is never ahead of events, and is told of the whole stream when the
 * client asks; a stream whose client does not read holds its watches back, and they catch up from storage.
 */
import type { Ports, TimerHandle } from '../../../ports.ts';
import type { WatchRequest as WatchOptions } from '../../../wire/messages.ts';
import type { Service, WatchHandle, WatchSink } from '../../service.ts';
import { etcdError } from '../etcd_errors.ts';
import type { ResponseHeader } from '../messages/kv.ts';
import { type WatchCreateRequest, WatchRequest, WatchResponse } from '../messages/watch.ts';
import { type ServiceTable, type StreamCall, type StreamHandler, streaming } from '../method.ts';
import { callOptionsOf, type EtcdContext, Headers } from './etcd_context.ts';
import { WatchSession, type WatchStreamOutput, watchedRange } from './watch_session.ts';

/** Watches of one stream. */
const MAX_WATCHES = 10_000;
/** What a stream may have asked for before it was answered. */
const MAX_WAITING = 2 * MAX_WATCHES;
/** How often streams that require a leader look for one, and how often they may find none. */
const LEADER_CHECK_MS = 1_000;
const LEADER_MISSES = 3;
/** Stands for no watch: an answer that concerns the stream, or a watch that was not made. */
const NO_WATCH = -1;
const EMPTY_RANGE = 'mvcc: watcher range is empty';
const DUPLICATE_ID = 'mvcc: duplicate watch ID provided on the WatchStream';
const TOO_MANY = 'etcdserver: too many requests';

export function watchService(context: EtcdContext, ports: Ports): ServiceTable {
  return {
    name: 'etcdserverpb.Watch',
    methods: [
      streaming('Watch', WatchRequest, WatchResponse, true, (call) => new WatchStream(context, ports, call)),
    ],
  };
}

class WatchStream implements StreamHandler<WatchRequest>, WatchStreamOutput {
  readonly #service: Service;
  readonly #call: StreamCall<WatchResponse>;
  readonly #headers: Headers;
  readonly #watches = new Map<number, WatchSession>();
  readonly #leaderCheck: TimerHandle | undefined;
  /** Creations wait for the one before them, so that their answers keep the order. */
  #lastCreation: Promise<void> = Promise.resolve();
  /** The next id that is chosen here: that of a watch that was refused is given again, as etcd does. */
  #nextId = 0;
  #waiting = 0;
  #misses = 0;
  #over = false;
  /** The revision up to which the client wants to hear of progress; undefined: it has not asked. */
  #progressWanted: number | undefined;

  /** @throws GrpcError NoLeader */
  constructor(context: EtcdContext, ports: Ports, call: StreamCall<WatchResponse>) {
    this.#service = context.service;
    this.#call = call;
    this.#headers = new Headers(context.service);
    if (call.context.metadata('hasleader') === 'true') {
      this.#headers.requireLeader(call.context);
      this.#leaderCheck = ports.timers.every(LEADER_CHECK_MS, () => this.#checkLeader());
    }
  }

  get hasRoom(): boolean {
    return !this.#over && this.#call.hasRoom;
  }

  message({ create_request, cancel_request, progress_request }: WatchRequest): void {
    if (create_request !== undefined) this.#create(create_request);
    else if (cancel_request !== undefined) this.#cancel(cancel_request.watch_id);
    else if (progress_request !== undefined) this.#askProgress();
  }

  /** The watches go on: who posts a body through the JSON gateway has said all there is to say. */
  clientEnded(): void {}

  over(): void {
    this.#over = true;
    this.#leaderCheck?.cancel();
    for (const watch of this.#watches.values()) watch.cancel();
    this.#watches.clear();
  }

  roomAgain(): void {
    for (const watch of [...this.#watches.values()]) {
      if (!this.hasRoom) return;
      watch.resume();
    }
  }

  header(revision?: number): ResponseHeader {
    return this.#headers.header(revision);
  }

  async watch(request: WatchOptions, sink: WatchSink): Promise<WatchHandle> {
    return this.#service.watch(request, sink, callOptionsOf(this.#service, this.#call.context));
  }

  compactRevision(): number {
    return this.#service.status().compactRevision;
  }

  send(response: Partial<WatchResponse>): void {
    if (!this.#over) this.#call.send(WatchResponse.create(response));
  }

  ended(id: number): void {
    this.#watches.delete(id);
    this.tellProgress();
  }

  created(id: number): void {
    if (id === this.#nextId) this.#nextId++;
  }

  endStream(error: unknown): void {
    this.#call.end(error);
  }

  /** Answers the client's question for progress once every watch has come that far. */
  tellProgress(): void {
    if (this.#progressWanted === undefined || this.#over) return;
    // A watch may begin in the future: that is no progress.
    let { revision } = this.#service.standing();
    for (const watch of this.#watches.values()) revision = Math.min(revision, watch.syncedRevision);
    if (revision < this.#progressWanted) return;
    this.#progressWanted = undefined;
    this.send({ header: this.header(revision), watch_id: NO_WATCH });
  }

  /** Does something when what was asked for before has been answered. @throws GrpcError when too much waits */
  #inOrder(run: () => Promise<void> | void): void {
    if (this.#waiting >= MAX_WAITING) throw etcdError('RequestTooManyRequests');
    this.#waiting++;
    this.#lastCreation = this.#lastCreation
      .then(() => {
        this.#waiting--;
        return this.#over ? undefined : run();
      })
      .catch((error) => this.endStream(error));
  }

  #create(request: WatchCreateRequest): void {
    this.#inOrder(() => {
      if (this.#watches.size >= MAX_WATCHES) return this.#refuse(TOO_MANY);
      if (watchedRange(request).isEmpty) return this.#refuse(EMPTY_RANGE);
      const id = this.#idFor(request.watch_id);
      if (id === undefined) return this.#refuse(DUPLICATE_ID);
      const watch = new WatchSession(this, id, request);
      this.#watches.set(id, watch);
      return watch.open();
    });
  }

  #refuse(reason: string): void {
    this.send({
      header: this.header(),
      watch_id: NO_WATCH,
      created: true,
      canceled: true,
      cancel_reason: reason,
    });
  }

  /** 0 lets us choose; undefined: the client's choice is taken. */
  #idFor(wanted: number): number | undefined {
    if (wanted !== 0) return this.#watches.has(wanted) ? undefined : wanted;
    while (this.#watches.has(this.#nextId)) this.#nextId++;
    return this.#nextId;
  }

  #cancel(id: number): void {
    // Behind its `created`, if that is still to come.
    this.#inOrder(() => {
      const watch = this.#watches.get(id);
      if (watch === undefined) return;
      this.#watches.delete(id);
      watch.cancel();
      this.send({ header: this.header(), watch_id: id, canceled: true });
      this.tellProgress();
    });
  }

  #askProgress(): void {
    this.#inOrder(() => {
      this.#progressWanted = this.#service.standing().revision;
      for (const watch of [...this.#watches.values()]) watch.catchUp();
      this.tellProgress();
    });
  }

  #checkLeader(): void {
    this.#misses = this.#service.standing().leader === 0 ? this.#misses + 1 : 0;
    if (this.#misses >= LEADER_MISSES) this.endStream(etcdError('NoLeader'));
  }
}
