/**
 * A closed loop of load: a number of callers, each of which asks again as soon as it is answered; and the median of a few such rounds.
 *
 * Latency is what one caller waits for one answer. The first tenth of a round warms up and is not counted.
 */
import { LatencyHistogram, median } from './latency.ts';
import type { BenchResult } from './result.ts';

export interface Round {
  readonly opsPerSecond: number;
  readonly latency: LatencyHistogram;
}

/** Does one operation; `n` counts up over all callers of all rounds of a run. */
export type Operation = (n: number) => Promise<unknown>;

/** Runs `callers` loops over `operation` for about `seconds`. An operation that fails ends the round with its error. */
export async function loadRound(callers: number, seconds: number, operation: Operation): Promise<Round> {
  const latency = new LatencyHistogram();
  const started = performance.now();
  const countFrom = started + seconds * 100;
  const end = started + seconds * 1_100;
  let n = 0;
  const caller = async (): Promise<void> => {
    let before = performance.now();
    while (before < end) {
      await operation(n++);
      const now = performance.now();
      if (before >= countFrom) latency.recordMs(now - before);
      before = now;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  const elapsedSeconds = (performance.now() - countFrom) / 1_000;
  return { opsPerSecond: latency.count / elapsedSeconds, latency };
}

/** Runs `callers` loops until `count` operations are done; all of them count. */
export async function loadCount(callers: number, count: number, operation: Operation): Promise<Round> {
  const latency = new LatencyHistogram();
  const started = performance.now();
  let n = 0;
  const caller = async (): Promise<void> => {
    let before = performance.now();
    while (n < count) {
      await operation(n++);
      const now = performance.now();
      latency.recordMs(now - before);
      before = now;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return { opsPerSecond: count / ((performance.now() - started) / 1_000), latency };
}

/** The result of some rounds: median throughput, percentiles over all their samples. */
export function summarize(
  peer: string,
  name: string,
  rounds: readonly Round[],
  extra: { readonly rssMb?: number | undefined; readonly note?: string | undefined } = {},
): BenchResult {
  const latency = new LatencyHistogram();
  for (const round of rounds) latency.add(round.latency);
  return {
    peer,
    case: name,
    opsPerSecond: median(rounds.map((round) => round.opsPerSecond)),
    p50Us: latency.percentileUs(0.5),
    p95Us: latency.percentileUs(0.95),
    p99Us: latency.percentileUs(0.99),
    ...extra,
  };
}

export const VALUE_BYTES = 1024;

/** Values that no compression makes smaller; a few of them, so that making them costs nothing while measuring. */
export function makeValues(random: (count: number) => Uint8Array, sizeBytes = VALUE_BYTES): Uint8Array[] {
  return Array.from({ length: 64 }, () => random(sizeBytes));
}

/** Keys of 16 bytes, in an order that has nothing to do with their sorting, the same in every run. */
export function makeKeys(count: number): Buffer[] {
  const keys = Array.from({ length: count }, (_, i) =>
    Buffer.from(`key-${String(i).padStart(12, '0')}`, 'latin1'),
  );
  let state = 42;
  for (let i = keys.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const j = state % (i + 1);
    [keys[i], keys[j]] = [keys[j]!, keys[i]!];
  }
  return keys;
}
