/** Opens a store over a cluster. */
import type { Ports } from '../ports.ts';
import { ClusterClient, DEFAULT_TIMEOUT_MS } from './cluster_client.ts';
import { createStore } from './store.ts';
import type { Codec, Store, Value } from './store_types.ts';
import { TcpChannel } from './tcp_channel.ts';

export interface ConnectOptions {
  /** HOST:PORT of some nodes; the others are learned from them. */
  readonly endpoints: readonly string[];
  /** For connecting, and for each call that names none. Default 5 seconds. */
  readonly timeoutMs?: number | undefined;
  /** Shown in the nodes' logs. */
  readonly name?: string | undefined;
}

/**
 * Connects to a cluster: resolves once one of the nodes has greeted.
 * @throws KvError UNAVAILABLE that says of each endpoint why it failed; CLUSTER_MISMATCH, UNSUPPORTED_VERSION, INVALID_ARGUMENT.
 */
export function connectWith(options: ConnectOptions, ports: Ports): Promise<Store>;
export function connectWith<V>(
  options: ConnectOptions & { codec: Codec<V> },
  ports: Ports,
): Promise<Store<V, V>>;
export async function connectWith<V>(
  options: ConnectOptions & { codec?: Codec<V> },
  ports: Ports,
): Promise<Store<Value, Uint8Array> | Store<V, V>> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const cluster = new ClusterClient({ endpoints: options.endpoints, ports, timeoutMs, name: options.name });
  try {
    const { limits } = await cluster.firstGreeting(ports.clock.monotonicMs() + timeoutMs);
    const store = createStore({
      channel: new TcpChannel(cluster),
      limits,
      ports,
      maxSessionResults: limits.maxSessionResults,
      timeoutMs,
    });
    return options.codec === undefined ? store : store.withCodec(options.codec);
  } catch (error) {
    cluster.close();
    throw error;
  }
}
