/**
 * Calls that no leader could be reached for: tried again here, as an etcd holds them until there is one. Its clients do not repeat writes, whatever the error says.
 *
 * Invariants: only what surely took no effect is tried again, and no longer than the client waits or an etcd would; a client that has gone, or a door that closes, ends it.
 */
import { type ErrorCode, KvError } from '../../../errors.ts';
import type { Ports } from '../../../ports.ts';
import { pauseAfter } from '../../../recipes/patience.ts';
import type { CallContext, Method, ServiceTable, UnaryMethod } from '../method.ts';

/** What an etcd gives a request: five seconds, and two of its time-outs of elections. */
const GIVE_UP_MS = 7_000;
/** How it shows that the leader is gone, is another one, or is not known yet. */
const WITHOUT_LEADER: ReadonlySet<ErrorCode> = new Set(['UNAVAILABLE', 'NO_LEADER', 'NOT_LEADER']);
/** They wait by themselves (node/read_barrier.ts), and their answers may be views that do not keep. */
const READS: ReadonlySet<string> = new Set(['Range']);

/** A service whose unary methods have this patience; its streams are left to clients, which open them anew. */
export function patientService({ name, methods }: ServiceTable, ports: Ports): ServiceTable {
  const patient = (method: Method): Method =>
    method.kind === 'unary' && !READS.has(method.name) ? patientMethod(method, ports) : method;
  return { name, methods: methods.map(patient) };
}

function patientMethod(method: UnaryMethod, ports: Ports): UnaryMethod {
  return {
    ...method,
    handle(request, context) {
      const startedMs = ports.clock.monotonicMs();
      const answer = method.handle(request, context);
      if (!(answer instanceof Promise)) return answer;
      return answer.catch((error: unknown) => {
        const endMs = startedMs + Math.min(GIVE_UP_MS, context.timeoutMs ?? GIVE_UP_MS);
        return goOn(error, () => method.handle(request, context), context, endMs, ports);
      });
    },
  };
}

async function goOn(
  first: unknown,
  attempt: () => object | Promise<object>,
  { signal }: CallContext,
  endMs: number,
  ports: Ports,
): Promise<object> {
  for (let error = first; ; ) {
    if (!hadNoLeader(error) || ports.clock.monotonicMs() >= endMs) throw error;
    await pauseAfter(error, signal, ports);
    if (signal.aborted) throw error;
    try {
      return await attempt();
    } catch (next) {
      error = next;
    }
  }
}

const hadNoLeader = (error: unknown): boolean =>
  error instanceof KvError && WITHOUT_LEADER.has(error.code) && !error.maybeApplied;
