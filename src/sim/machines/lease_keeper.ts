/** What a program on the machine of a node asks about leases: it dies, waits and is cut short with its node. */
import { KvError } from '../../errors.ts';
import type { Identity } from '../../security/identity.ts';
import type { SimProcess } from '../core/sim_process.ts';
import type { LeaseAsker } from '../load/direct_calls.ts';
import type { SimNode } from './sim_node.ts';

interface LeaseAskOptions {
  readonly lease: bigint;
  readonly timeoutMs: number;
  /** Who asks, where rights are enforced. */
  readonly user?: string | undefined;
  readonly password?: string | undefined;
}

/** Asks any node that `pick` gives. */
export function leasesAsked(
  pick: () => SimNode | undefined,
  client: SimProcess,
  login: Pick<LeaseAskOptions, 'user' | 'password'>,
): LeaseAsker {
  const any = (ask: typeof keepAliveAt) => (lease: bigint, timeoutMs: number) => {
    const node = pick();
    if (node === undefined) return Promise.reject(new KvError('UNAVAILABLE', 'no node runs'));
    return ask(node, client, { lease, timeoutMs, ...login });
  };
  return { keepAlive: any(keepAliveAt), remaining: any(remainingAt) };
}

/** Gives the lease's time to live, 0 when there is none. @throws KvError of the node; UNAVAILABLE, TIMEOUT */
function keepAliveAt(node: SimNode, client: SimProcess, options: LeaseAskOptions): Promise<number> {
  const { lease, timeoutMs } = options;
  return askAt(node, client, options, async ({ leases }, identity) => {
    const { ttlMs } = await leases.keepAlive(lease, { timeoutMs, identity });
    return ttlMs;
  });
}

/** Gives what is left of the lease's time; -1 when there is none. @throws as keepAliveAt */
function remainingAt(node: SimNode, client: SimProcess, options: LeaseAskOptions): Promise<number> {
  const { lease, timeoutMs } = options;
  return askAt(node, client, options, async ({ leases }, identity) => {
    const { remainingMs } = await leases.timeToLive(lease, false, { timeoutMs, identity });
    return remainingMs;
  });
}

type NodeService = NonNullable<SimNode['node']>['service'];

function askAt(
  node: SimNode,
  client: SimProcess,
  { timeoutMs, user, password = '' }: LeaseAskOptions,
  question: (service: NodeService, identity: Identity | undefined) => Promise<number>,
): Promise<number> {
  const { node: running, process } = node;
  if (running === undefined || process === undefined || !node.isUp)
    return Promise.reject(new KvError('UNAVAILABLE', `${node.lane} does not run`));
  const { service } = running;
  const ask = async (): Promise<number> => {
    const identity = user === undefined ? undefined : await named(service.auth, user, password, timeoutMs);
    return question(service, identity);
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
  auth: NodeService['auth'],
  user: string,
  password: string,
  timeoutMs: number,
): Promise<Identity | undefined> {
  try {
    return (await auth.authenticate(user, password, { timeoutMs })).identity;
  } catch (error) {
    if (error instanceof KvError && error.code === 'AUTH_NOT_ENABLED') return undefined;
    throw error;
  }
}
