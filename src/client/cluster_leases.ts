/** What is asked of a cluster about leases. All of it may be repeated: a keep-alive that comes twice keeps the lease alive once more. */
import { OPCODE } from '../wire/client_frames.ts';
import { readKeptAlive, readLeases, readTimeToLive, writeLease } from '../wire/client_lease_codec.ts';
import type {
  LeaseKeepAliveResponse,
  LeasesResponse,
  LeaseTimeToLiveResponse,
} from '../wire/lease_messages.ts';
import type { ByteReader, ByteWriter } from '../wire/varint.ts';
import type { CallRequest } from './call.ts';
import type { ChannelOptions, LeaseCalls } from './channel.ts';
import type { ClusterClient } from './cluster_client.ts';
import { plainCall } from './plain_call.ts';

export class ClusterLeases implements LeaseCalls {
  readonly #cluster: ClusterClient;

  constructor(cluster: ClusterClient) {
    this.#cluster = cluster;
  }

  keepAlive(lease: bigint, options: ChannelOptions): Promise<LeaseKeepAliveResponse> {
    const write = (writer: ByteWriter): void => void writeLease(writer, lease);
    return this.#cluster.call(callOf(OPCODE.LEASE_KEEP_ALIVE, write, readKeptAlive), options);
  }
  timeToLive(lease: bigint, withKeys: boolean, options: ChannelOptions): Promise<LeaseTimeToLiveResponse> {
    const write = (writer: ByteWriter): void => void writeLease(writer, lease).bool(withKeys);
    return this.#cluster.call(callOf(OPCODE.LEASE_TIME_TO_LIVE, write, readTimeToLive), options);
  }
  list(options: ChannelOptions): Promise<LeasesResponse> {
    return this.#cluster.call(
      callOf(OPCODE.LEASES, () => undefined, readLeases),
      options,
    );
  }
}

/** The leader knows the store's time best, and gathers the keep-alives. */
function callOf<T>(
  opcode: number,
  write: (writer: ByteWriter) => void,
  read: (reader: ByteReader) => T,
): CallRequest<T> {
  return plainCall({ opcode, write, read, preferLeader: true });
}
