/** Opens a store over a cluster, with this process's clock, timers and randomness. */
import { type ConnectOptions, connectWith } from './client/connect.ts';
import type { Codec, Store } from './client/store_types.ts';
import { realPorts } from './real_ports.ts';

/**
 * Connects to a cluster: resolves once one of the nodes has greeted.
 * @throws KvError UNAVAILABLE that says of each endpoint why it failed; CLUSTER_MISMATCH, UNSUPPORTED_VERSION, INVALID_ARGUMENT.
 */
export function connect(options: ConnectOptions): Promise<Store>;
export function connect<V>(options: ConnectOptions & { codec: Codec<V> }): Promise<Store<V, V>>;
export function connect<V>(options: ConnectOptions & { codec?: Codec<V> }): Promise<Store | Store<V, V>> {
  const { codec, ...rest } = options;
  return codec === undefined ? connectWith(rest, realPorts()) : connectWith({ ...rest, codec }, realPorts());
}
