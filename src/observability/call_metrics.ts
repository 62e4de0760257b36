/**
 * Counts and times the calls of the service, for Prometheus: how many there were by method and code, how long they took, how many are under way.
 *
 * Invariants: bounded by the methods of the service and the codes there are; a call that was refused in apply counts by the code of its refusal.
 */
import { KvError } from '../errors.ts';

/** Upper bounds of the histogram, in milliseconds. */
const BOUNDS_MS = [0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

interface Method {
  running: number;
  sumMs: number;
  /** One for each bound, and one for what took longer. */
  readonly counts: Float64Array;
  readonly codes: Map<string, number>;
}

/** As api/pipeline.ts calls it. */
export class CallMetrics {
  readonly #methods = new Map<string, Method>();

  begin({ operation }: { readonly operation: string }): void {
    this.#method(operation).running++;
  }

  end({ operation }: { readonly operation: string }, tookMs: number, error: unknown, answer: unknown): void {
    const method = this.#method(operation);
    const code = codeOf(error, answer);
    method.running--;
    method.sumMs += tookMs;
    method.codes.set(code, (method.codes.get(code) ?? 0) + 1);
    let at = 0;
    while (at < BOUNDS_MS.length && tookMs > (BOUNDS_MS[at] as number)) at++;
    method.counts[at] = (method.counts[at] as number) + 1;
  }

  /** In the text form of Prometheus. */
  text(): string {
    const methods = [...this.#methods].toSorted(([a], [b]) => (a < b ? -1 : 1));
    const calls: string[] = [];
    const times: string[] = [];
    const running: string[] = [];
    for (const [name, method] of methods) {
      const codes = [...method.codes].toSorted(([a], [b]) => (a < b ? -1 : 1));
      for (const [code, count] of codes)
        calls.push(`kvorum_calls_total{method="${name}",code="${code}"} ${count}`);
      running.push(`kvorum_calls_running{method="${name}"} ${method.running}`);
      let below = 0;
      for (const [at, count] of method.counts.entries()) {
        below += count;
        const bound = BOUNDS_MS[at];
        const le = bound === undefined ? '+Inf' : String(bound / 1_000);
        times.push(`kvorum_call_duration_seconds_bucket{method="${name}",le="${le}"} ${below}`);
      }
      times.push(`kvorum_call_duration_seconds_sum{method="${name}"} ${method.sumMs / 1_000}`);
      times.push(`kvorum_call_duration_seconds_count{method="${name}"} ${below}`);
    }
    return [
      '# TYPE kvorum_calls_total counter',
      ...calls,
      '# TYPE kvorum_calls_running gauge',
      ...running,
      '# TYPE kvorum_call_duration_seconds histogram',
      ...times,
      '',
    ].join('\n');
  }

  #method(operation: string): Method {
    const known = this.#methods.get(operation);
    if (known !== undefined) return known;
    const counts = new Float64Array(BOUNDS_MS.length + 1);
    const fresh: Method = { running: 0, sumMs: 0, counts, codes: new Map() };
    this.#methods.set(operation, fresh);
    return fresh;
  }
}

function codeOf(error: unknown, answer: unknown): string {
  if (error !== undefined) return error instanceof KvError ? error.code : 'INTERNAL';
  const refused =
    typeof answer === 'object' && answer !== null && 'type' in answer && answer.type === 'failed';
  return refused && 'code' in answer && typeof answer.code === 'string' ? answer.code : 'OK';
}
