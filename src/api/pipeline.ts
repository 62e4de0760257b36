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
  /** Its first argument: a request, or the bytes of a command. Good until the call returns. */
  readonly request: unknown;
  /** On the monotonic clock. */
  readonly startedMs: number;
}

export interface Middleware {
  /** Before the call. What it throws (a KvError) refuses it. */
  begin?(call: ServiceCall): void;
  /**
   * After the call. `error`: what it failed with; undefined: it did not, and `answer` is what it gave (a FailedResult for a write that was refused in apply), to be looked at in this turn. Must
   * not throw.
   */
  end?(call: ServiceCall, tookMs: number, error: unknown, answer: unknown): void;
}

/** The groups of calls within the service. */
const GROUPS: ReadonlySet<string> = new Set(['auth', 'leases', 'quotas']);

/** What doors ask on their own account, at every turn, and which costs nothing. */
const UNTOLD: ReadonlySet<string> = new Set(['knownMembers', 'standing', 'quotas.inForce']);

type Method = (...args: readonly unknown[]) => unknown;

/** The service with `around` put around each of its calls, the first outermost. */
export function throughPipeline(service: Service, clock: Clock, around: readonly Middleware[]): Service {
  return around.length === 0 ? service : wrapped(service, '', new Pipeline(clock, around));
}

/** An object with the same members, made once: looking one up costs what it costs on any object. */
function wrapped<T extends object>(target: T, prefix: string, pipeline: Pipeline): T {
  const made: T = Object.create(null);
  for (let from: object | null = target; from !== null && from !== Object.prototype; ) {
    for (const [name, described] of Object.entries(Object.getOwnPropertyDescriptors(from))) {
      if (name === 'constructor' || name in made) continue;
      const value: unknown = described.value;
      const one = described.get === undefined ? wrap(target, `${prefix}${name}`, value, pipeline) : undefined;
      Object.defineProperty(
        made,
        name,
        one === undefined ? { get: () => Reflect.get(target, name, target) } : { value: one },
      );
    }
    from = Object.getPrototypeOf(from);
  }
  return made;
}

/** What stands in the place of a member; undefined: the member itself. */
function wrap(target: object, operation: string, value: unknown, pipeline: Pipeline): object | undefined {
  if (typeof value === 'function') {
    const method: Method = (...args) => Reflect.apply(value, target, args);
    if (UNTOLD.has(operation)) return method;
    return (...args: readonly unknown[]) => pipeline.run(operation, method, args);
  }
  if (GROUPS.has(operation) && typeof value === 'object' && value !== null)
    return wrapped(value, `${operation}.`, pipeline);
  return undefined;
}

/** What middleware is told; most of it is found out only when somebody looks. */
class Call implements ServiceCall {
  readonly operation: string;
  readonly startedMs: number;
  readonly #args: readonly unknown[];

  constructor(operation: string, args: readonly unknown[], startedMs: number) {
    this.operation = operation;
    this.#args = args;
    this.startedMs = startedMs;
  }
  get identity(): Identity | undefined {
    return identityIn(this.#args);
  }
  get request(): unknown {
    return this.#args[0];
  }
}

class Pipeline {
  readonly #clock: Clock;
  readonly #around: readonly Middleware[];

  constructor(clock: Clock, around: readonly Middleware[]) {
    this.#clock = clock;
    this.#around = around;
  }

  run(operation: string, method: Method, args: readonly unknown[]): unknown {
    const told = new Call(operation, args, this.#clock.monotonicMs());
    let begun = 0;
    let answer: unknown;
    try {
      for (const one of this.#around) {
        one.begin?.(told);
        begun++;
      }
      answer = method(...args);
    } catch (error) {
      this.#end(told, begun, error, undefined);
      throw error;
    }
    if (!(answer instanceof Promise)) {
      this.#end(told, begun, undefined, answer);
      return answer;
    }
    return answer.then(
      (value: unknown) => {
        this.#end(told, begun, undefined, value);
        return value;
      },
      (error: unknown) => {
        this.#end(told, begun, error, undefined);
        throw error;
      },
    );
  }

  #end(call: ServiceCall, begun: number, error: unknown, answer: unknown): void {
    const tookMs = this.#clock.monotonicMs() - call.startedMs;
    for (let at = begun - 1; at >= 0; at--) this.#around[at]?.end?.(call, tookMs, error, answer);
  }
}

/** Call options come last, where they are given. */
function identityIn(args: readonly unknown[]): Identity | undefined {
  const last = args[args.length - 1];
  if (typeof last !== 'object' || last === null || !('identity' in last)) return undefined;
  const { identity } = last;
  return isIdentity(identity) ? identity : undefined;
}

function isIdentity(value: unknown): value is Identity {
  return typeof value === 'object' && value !== null && 'user' in value && typeof value.user === 'string';
}
