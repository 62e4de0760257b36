/**
 * What stands around every call of the service, whichever door it came through: limits that may refuse it, and hooks that count, time or trace it.
 *
 * Who asks is checked further in, where the state is (node/auth_gate.ts): a check out here would be about another moment than the call. What stands here is told who asks.
 *
 * Invariants: `end` is called exactly once for each `begin` that did not throw, in the opposite order, when the call has its outcome; a call that is refused here does not reach the service; with
 * nothing to put around it the service is handed on as it is, and costs nothing more.
 */
import type { Clock } from '../ports.ts';
import type { Identity } from '../security/identity.ts';
import type { Service } from './service.ts';

export interface ServiceCall {
  /** As the service calls it: `write`, `get`, `auth.authenticate`, `leases.keepAlive`, ... */
  readonly operation: string;
  /** Who asks; undefined: nobody. */
  readonly identity: Identity | undefined;
  /** On the monotonic clock. */
  readonly startedMs: number;
}

export interface Middleware {
  /** Before the call. What it throws (a KvError) refuses it. */
  begin?(call: ServiceCall): void;
  /** After the call. `error`: what it failed with; undefined: it did not. Must not throw. */
  end?(call: ServiceCall, tookMs: number, error: unknown): void;
}

/** The groups of calls within the service. */
const GROUPS: ReadonlySet<string> = new Set(['auth', 'leases', 'quotas']);

type Method = (...args: readonly unknown[]) => unknown;

/** The service with `around` put around each of its calls, the first outermost. */
export function throughPipeline(service: Service, clock: Clock, around: readonly Middleware[]): Service {
  return around.length === 0 ? service : wrapped(service, '', new Pipeline(clock, around));
}

function wrapped<T extends object>(target: T, prefix: string, pipeline: Pipeline): T {
  const made = new Map<string | symbol, unknown>();
  return new Proxy(target, {
    get(_, name) {
      const known = made.get(name);
      if (known !== undefined) return known;
      const value: unknown = Reflect.get(target, name, target);
      const one = wrap(target, `${prefix}${String(name)}`, value, pipeline);
      if (one !== value) made.set(name, one);
      return one;
    },
  });
}

function wrap(target: object, operation: string, value: unknown, pipeline: Pipeline): unknown {
  if (typeof value === 'function') {
    const method = value;
    return (...args: readonly unknown[]) =>
      pipeline.run(operation, args, () => Reflect.apply(method, target, args));
  }
  if (GROUPS.has(operation) && typeof value === 'object' && value !== null)
    return wrapped(value, `${operation}.`, pipeline);
  return value;
}

class Pipeline {
  readonly #clock: Clock;
  readonly #around: readonly Middleware[];

  constructor(clock: Clock, around: readonly Middleware[]) {
    this.#clock = clock;
    this.#around = around;
  }

  run(operation: string, args: readonly unknown[], call: () => ReturnType<Method>): unknown {
    const startedMs = this.#clock.monotonicMs();
    const told: ServiceCall = { operation, identity: identityIn(args), startedMs };
    let begun = 0;
    let answer: unknown;
    try {
      for (const one of this.#around) {
        one.begin?.(told);
        begun++;
      }
      answer = call();
    } catch (error) {
      this.#end(told, begun, error);
      throw error;
    }
    if (!(answer instanceof Promise)) {
      this.#end(told, begun, undefined);
      return answer;
    }
    return answer.then(
      (value: unknown) => {
        this.#end(told, begun, undefined);
        return value;
      },
      (error: unknown) => {
        this.#end(told, begun, error);
        throw error;
      },
    );
  }

  #end(call: ServiceCall, begun: number, error: unknown): void {
    const tookMs = this.#clock.monotonicMs() - call.startedMs;
    for (let at = begun - 1; at >= 0; at--) this.#around[at]?.end?.(call, tookMs, error);
  }
}

/** Call options come last, where they are given. */
function identityIn(args: readonly unknown[]): Identity | undefined {
  const last = args.at(-1);
  if (typeof last !== 'object' || last === null || !('identity' in last)) return undefined;
  const { identity } = last;
  return isIdentity(identity) ? identity : undefined;
}

function isIdentity(value: unknown): value is Identity {
  return typeof value === 'object' && value !== null && 'user' in value && typeof value.user === 'string';
}
