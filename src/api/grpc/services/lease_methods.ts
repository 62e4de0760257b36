/** etcd's Lease. Seconds there, milliseconds here: what is left is told rounded down, what was granted rounded up. */
import { userKey } from '../../../kv/keyspace.ts';
import { encodeCommand } from '../../../wire/command_codec.ts';
import type { Service } from '../../service.ts';
import { etcdError } from '../etcd_errors.ts';
import {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseLeasesRequest,
  LeaseLeasesResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
} from '../messages/lease.ts';
import {
  type Method,
  type ServiceTable,
  type StreamCall,
  type StreamHandler,
  streaming,
  unary,
} from '../method.ts';
import { callOptionsOf, type EtcdContext, Headers, succeeded } from './etcd_context.ts';

const MAX_TTL_SECONDS = 9_000_000_000;
/** A lease of less is over before its holder has heard of it. */
const MIN_TTL_SECONDS = 1;
const NO_ID = { session: 0, sequence: 0, acknowledgedBelow: 0 };
/** Keep-alives of one stream that wait at once. */
const MAX_WAITING = 100_000;

export function leaseService(context: EtcdContext): ServiceTable {
  return { name: 'etcdserverpb.Lease', methods: [...writes(context), ...looks(context)] };
}

function writes({ service }: EtcdContext): Method[] {
  const headers = new Headers(service);
  return [
    unary('LeaseGrant', LeaseGrantRequest, LeaseGrantResponse, async (request, call) => {
      if (request.TTL > MAX_TTL_SECONDS) throw etcdError('LeaseTTLTooLarge');
      headers.requireLeader(call);
      const ttlMs = Math.max(MIN_TTL_SECONDS, request.TTL) * 1_000;
      const command = encodeCommand({ type: 'leaseGrant', id: NO_ID, lease: request.ID, ttlMs });
      const result = succeeded(await service.write(command, callOptionsOf(service, call)));
      if (result.type !== 'lease') throw new TypeError(`a lease was answered with '${result.type}'`);
      return {
        header: headers.header(result.revision),
        ID: result.lease,
        TTL: Math.ceil(result.ttlMs / 1_000),
        error: '',
      };
    }),
    unary('LeaseRevoke', LeaseRevokeRequest, LeaseRevokeResponse, async ({ ID }, call) => {
      // There is no lease 0.
      if (ID === 0n) throw etcdError('LeaseNotFound');
      headers.requireLeader(call);
      const command = encodeCommand({ type: 'leaseRevoke', id: NO_ID, lease: ID });
      const result = succeeded(await service.write(command, callOptionsOf(service, call)));
      return { header: headers.header(result.revision) };
    }),
    streaming(
      'LeaseKeepAlive',
      LeaseKeepAliveRequest,
      LeaseKeepAliveResponse,
      true,
      (call) => new KeepAliveStream(service, call),
    ),
  ];
}

function looks({ service }: EtcdContext): Method[] {
  const headers = new Headers(service);
  return [
    unary('LeaseTimeToLive', LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, async ({ ID, keys }, call) => {
      const found = await service.leases.timeToLive(ID, keys, callOptionsOf(service, call));
      return {
        header: headers.header(found.revision),
        ID,
        TTL: found.remainingMs < 0 ? -1 : Math.floor(found.remainingMs / 1_000),
        grantedTTL: Math.ceil(found.ttlMs / 1_000),
        keys: found.keys.map((key) => userKey(key)),
      };
    }),
    unary('LeaseLeases', LeaseLeasesRequest, LeaseLeasesResponse, async (_request, call) => {
      const { revision, leases } = await service.leases.list(callOptionsOf(service, call));
      return { header: headers.header(revision), leases: leases.map((ID) => ({ ID })) };
    }),
  ];
}

/** Keep-alives are answered as they are applied, which may be in another order: their ids tell them apart. A lease that is gone has a TTL of 0. */
class KeepAliveStream implements StreamHandler<{ ID: bigint }> {
  readonly #service: Service;
  readonly #headers: Headers;
  readonly #call: StreamCall<ReturnType<typeof LeaseKeepAliveResponse.create>>;
  #waiting = 0;
  #ended = false;
  #over = false;

  constructor(service: Service, call: StreamCall<ReturnType<typeof LeaseKeepAliveResponse.create>>) {
    this.#service = service;
    this.#headers = new Headers(service);
    this.#call = call;
    this.#headers.requireLeader(call.context);
  }

  message({ ID }: { ID: bigint }): void {
    if (this.#waiting >= MAX_WAITING || !this.#call.hasRoom) throw etcdError('RequestTooManyRequests');
    this.#waiting++;
    // The deadline of a stream is not that of each of its requests.
    const { identity } = callOptionsOf(this.#service, this.#call.context);
    this.#service.leases.keepAlive(ID, { identity }).then(
      ({ revision, ttlMs }) => {
        this.#waiting--;
        if (this.#over) return;
        this.#call.send({ header: this.#headers.header(revision), ID, TTL: Math.ceil(ttlMs / 1_000) });
        this.#endIfDone();
      },
      (error) => {
        this.#waiting--;
        this.#call.end(error);
      },
    );
  }

  clientEnded(): void {
    this.#ended = true;
    this.#endIfDone();
  }

  over(): void {
    this.#over = true;
  }

  roomAgain(): void {}

  #endIfDone(): void {
    if (this.#ended && this.#waiting === 0) this.#call.end();
  }
}
