/**
 * One timed stretch of operations by one caller: each is begun when the one before it has been answered.
 *
 * Operations that answer at once run in a loop without `await`: a peer with a synchronous interface does not pay for promises that its users do not pay for.
 * Clock reads (some tens of nanoseconds) count as part of the operation, for every peer alike.
 */
import { LatencyHistogram, median } from '../latency.ts';
import { type Round, summarize } from '../load.ts';
import type { BenchResult } from '../result.ts';

/** What ends a stretch: a number of operations or a time, whichever comes first. */
export interface Limit {
  readonly operations: number;
  readonly seconds: number;
}

export type Answer = Uint8Array | undefined;

/** What is timed: work done at once, a promise, or the promise of a value that `check` looks at. */
export type Operation =
  | { readonly kind: 'now'; readonly run: (n: number) => unknown }
  | { readonly kind: 'promise'; readonly run: (n: number) => Promise<unknown> }
  | {
      readonly kind: 'read';
      readonly run: (n: number) => Promise<Answer>;
      readonly check: (n: number, answer: Answer) => void;
    };

export interface Stretch extends Round {
  readonly operations: number;
  readonly startedMs: number;
  readonly endedMs: number;
  /** Set by whoever watches garbage collection. */
  readonly gcPercent?: number;
}

export function toStretch(
  operations: number,
  startedMs: number,
  endedMs: number,
  latency = new LatencyHistogram(),
): Stretch {
  return {
    operations,
    startedMs,
    endedMs,
    latency,
    opsPerSecond: (operations * 1_000) / (endedMs - startedMs),
  };
}

/** Runs operations `first`, `first` + 1, ... until the limit. */
export async function timeStretch(operation: Operation, first: number, limit: Limit): Promise<Stretch> {
  const latency = new LatencyHistogram();
  const startedMs = performance.now();
  const endMs = startedMs + limit.seconds * 1_000;
  const end = first + limit.operations;
  let n = first;
  let before = startedMs;
  // Three loops, so that nothing is asked for each operation.
  if (operation.kind === 'now') {
    const { run } = operation;
    while (n < end && before < endMs) {
      run(n++);
      const now = performance.now();
      latency.recordMs(now - before);
      before = now;
    }
  } else if (operation.kind === 'promise') {
    const { run } = operation;
    while (n < end && before < endMs) {
      await run(n++);
      const now = performance.now();
      latency.recordMs(now - before);
      before = now;
    }
  } else {
    const { run, check } = operation;
    while (n < end && before < endMs) {
      check(n, await run(n));
      n++;
      const now = performance.now();
      latency.recordMs(now - before);
      before = now;
    }
  }
  return toStretch(n - first, startedMs, before, latency);
}

/** Several operations behind one another count as one more often: `perOperation` of them were done in each. */
export function multiplied(stretch: Stretch, perOperation: number): Stretch {
  return { ...stretch, opsPerSecond: stretch.opsPerSecond * perOperation };
}

export interface RowFacts {
  readonly note: string;
  /** Bytes that each operation moves, where a rate in bytes says something. */
  readonly bytesPerOperation?: number | undefined;
  readonly rssMb?: number | undefined;
}

/** The row of a case: medians of its stretches, percentiles over all their samples. */
export function toResult(
  peer: string,
  name: string,
  stretches: readonly Stretch[],
  facts: RowFacts,
): BenchResult {
  const row = summarize(peer, name, stretches, { rssMb: facts.rssMb, note: facts.note });
  const gc = stretches.flatMap(({ gcPercent }) => (gcPercent === undefined ? [] : [gcPercent]));
  const timed = stretches.some(({ latency }) => latency.count > 0);
  return {
    ...row,
    ...(timed ? {} : { p50Us: undefined, p95Us: undefined, p99Us: undefined }),
    ...(gc.length > 0 ? { gcPercent: median(gc) } : {}),
    ...(facts.bytesPerOperation === undefined
      ? {}
      : { mbPerSecond: ((row.opsPerSecond ?? Number.NaN) * facts.bytesPerOperation) / 1e6 }),
  };
}
