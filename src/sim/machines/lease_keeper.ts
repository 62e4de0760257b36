/** Keep-alives of leases by a program on the machine of a node, as long as the client protocol has no word for them: they die, wait and are cut short with their node. */
import { KvError } from '../../errors.ts';
import type { SimProcess } from '../core/sim_process.ts';
import type { SimNode } from './sim_node.ts';

export interface KeepAliveOptions {
  readonly lease: bigint;
  readonly timeoutMs: number;
  /** Who asks, where rights are enforced. */
  readonly user?: string | undefined;
  readonly password?: string | undefined;
}

/** Gives the lease's time to live, 0 when there is none. @throws KvError of the node; UNAVAILABLE, TIMEOUT */
export function keepAliveAt(node: SimNode, client: SimProcess, options: KeepAliveOptions): Promise<number> {
  const { lease, timeoutMs, user, password = '' } = options;
  const { node: running, process } = node;
  if (running === undefined || process === undefined || !node.isUp)
    return Promise.reject(new KvError('UNAVAILABLE', `${node.lane} does not run`));
  const { auth, leases } = running.service;
  const ask = async (): Promise<number> => {
    const identity = user === undefined ? undefined : await named(auth, user, password, timeoutMs);
    const { ttlMs } = await leases.keepAlive(lease, { timeoutMs, identity });
    return ttlMs;
  };
  return new Promise((resolve, reject) => {
    const late = client.ports.timers.after(timeoutMs, () =>
      reject(new KvError('TIMEOUT', 'no answer from the node', { maybeApplied: true })),
    );
    process.ports.timers.after(1, () => {
      void ask()
        .then(resolve, reject)
        .finally(() => late.cancel());
    });
  });
}

async function named(
  auth: NonNullable<SimNode['node']>['service']['auth'],
  user: string,
  password: string,
  timeoutMs: number,
) {
  try {
    return (await auth.authenticate(user, password, { timeoutMs })).identity;
  } catch (error) {
    if (error instanceof KvError && error.code === 'AUTH_NOT_ENABLED') return undefined;
    throw error;
  }
}
