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
  /** Who to be, where rights are enforced. With `password`. */
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  /** Shown in the nodes' logs. */
  readonly name?: string | undefined;
}

/**
 * Connects to a cluster: resolves once one of the nodes has greeted.
 * @throws KvError UNAVAILABLE that says of each endpoint why it failed; CLUSTER_MISMATCH, UNSUPPORTED_VERSION, INVALID_ARGUMENT, AUTH_FAILED.
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
  const { endpoints, name, user, password } = options;
  const cluster = new ClusterClient({ endpoints, ports, timeoutMs, name, user, password });
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
