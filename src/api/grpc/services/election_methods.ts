/** etcd's Election: the recipe of its clients, run by the server. The client keeps its lease alive itself. */
import { storedKey, userKey } from '../../../kv/keyspace.ts';
import type { Ports } from '../../../ports.ts';
import { announce, firstOf, leave, lineOf, type Place } from '../../../recipes/line.ts';
import { observeLine } from '../../../recipes/observe.ts';
import type { StoredRecord } from '../../../storage/record.ts';
import { etcdError } from '../etcd_errors.ts';
import {
  CampaignRequest,
  CampaignResponse,
  type LeaderKey,
  LeaderRequest,
  LeaderResponse,
  ProclaimRequest,
  ProclaimResponse,
  ResignRequest,
  ResignResponse,
} from '../messages/lease.ts';
import {
  type CallContext,
  type Method,
  type ServiceTable,
  type StreamCall,
  type StreamHandler,
  streaming,
  unary,
} from '../method.ts';
import { CODE, GrpcError } from '../status.ts';
import { Contender, recipeError, recipeStoreOf } from './contender.ts';
import { callOptionsOf, type EtcdContext, Headers, keyValueOf } from './etcd_context.ts';

type Leader = ReturnType<typeof LeaderKey.create>;
type Observed = ReturnType<typeof LeaderResponse.create>;

export function electionService(context: EtcdContext, ports: Ports): ServiceTable {
  return {
    name: 'v3electionpb.Election',
    methods: [...candidates(context, ports), ...observers(context, ports)],
  };
}

function candidates({ service }: EtcdContext, ports: Ports): Method[] {
  const headers = new Headers(service);
  const begin = (call: CallContext): Contender => {
    headers.requireLeader(call);
    return new Contender(service, ports, call);
  };
  return [
    unary('Campaign', CampaignRequest, CampaignResponse, async ({ name, lease: given, value }, call) => {
      try {
        const { createRevision: rev, key, lease } = await begin(call).win(name, given, value);
        return { header: headers.header(), leader: { name, key: userKey(key), rev, lease } };
      } catch (error) {
        throw recipeError(error, 'election: session is expired');
      }
    }),
    unary('Proclaim', ProclaimRequest, ProclaimResponse, async ({ leader, value }, call) => {
      const place = placeOf(leader);
      const { done, revision } = await announce(begin(call).store, place, value);
      if (!done) throw new GrpcError(CODE.UNKNOWN, 'election: not leader');
      return { header: headers.header(revision) };
    }),
    unary('Resign', ResignRequest, ResignResponse, async ({ leader }, call) => {
      const place = placeOf(leader);
      const { revision } = await leave(begin(call).store, place);
      return { header: headers.header(revision) };
    }),
  ];
}

function observers({ service }: EtcdContext, ports: Ports): Method[] {
  const headers = new Headers(service);
  return [
    unary('Leader', LeaderRequest, LeaderResponse, async ({ name }, call) => {
      const { record, revision } = await firstOf(new Contender(service, ports, call).store, lineOf(name));
      if (record === undefined) throw new GrpcError(CODE.UNKNOWN, 'election: no leader');
      return { header: headers.header(revision), kv: keyValueOf(record) };
    }),
    streaming('Observe', LeaderRequest, LeaderResponse, false, (call) => {
      headers.requireLeader(call.context);
      const { identity } = callOptionsOf(service, call.context);
      const store = recipeStoreOf(service, ports, { identity });
      return new Observation(call, headers, (name, signal) => observeLine(store, lineOf(name), signal));
    }),
  ];
}

/** Where a leader says that it stands. @throws GrpcError */
function placeOf(leader: Leader | undefined): Place {
  if (leader === undefined) throw new GrpcError(CODE.UNKNOWN, '"leader" field must be provided');
  if (leader.key.length === 0) throw etcdError('EmptyKey');
  // No key was put at such a revision; 0 would stand for one that is not there.
  if (leader.rev <= 0) throw new GrpcError(CODE.UNKNOWN, 'election: not leader');
  return { key: storedKey(leader.key), createRevision: leader.rev, lease: leader.lease };
}

/** Sends who leads, as fast as the client takes it: what it has no room for may be passed over by whatever comes after. */
class Observation implements StreamHandler<{ name: Uint8Array }> {
  readonly #call: StreamCall<Observed>;
  readonly #headers: Headers;
  readonly #observe: (name: Uint8Array, signal: AbortSignal) => AsyncIterable<StoredRecord>;
  readonly #stop = new AbortController();
  #wake: (() => void) | undefined;

  constructor(
    call: StreamCall<Observed>,
    headers: Headers,
    observe: (name: Uint8Array, signal: AbortSignal) => AsyncIterable<StoredRecord>,
  ) {
    this.#call = call;
    this.#headers = headers;
    this.#observe = observe;
  }

  message({ name }: { name: Uint8Array }): void {
    this.#run(name).then(
      () => this.#call.end(),
      (error: unknown) => this.#call.end(error),
    );
  }

  clientEnded(): void {}

  over(): void {
    this.#stop.abort();
    this.roomAgain();
  }

  roomAgain(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  async #run(name: Uint8Array): Promise<void> {
    const { signal } = this.#stop;
    for await (const record of this.#observe(name, signal)) {
      if (signal.aborted) return;
      this.#call.send({ header: this.#headers.header(record.modRevision), kv: keyValueOf(record) });
      while (!this.#call.hasRoom && !signal.aborted) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
