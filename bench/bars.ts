/**
 * What the numbers must reach: a table of bars, and the verdict on each from the results of one run.
 *
 * A bar compares one result with a fixed number, or with another result of the same run (a ratio: machines differ, runs do not). A bar whose results were not measured
 * has no verdict.
 */
import type { BenchResult } from './result.ts';

type Metric = 'opsPerSecond' | 'p99Us' | 'rssMb';
interface Which {
  readonly peer: string;
  readonly case: string;
}
export interface Bar {
  readonly of: Which;
  /** What `of` is divided by; nothing: the number itself counts. */
  readonly over?: Which;
  readonly metric: Metric;
  readonly is: 'at least' | 'at most';
  readonly required: number;
}

const kvorum = (name: string): Which => ({ peer: 'kvorum', case: name });
const etcd = (name: string): Which => ({ peer: 'etcd', case: name });

function overEtcd(name: string, required: number): Bar {
  return { of: kvorum(name), over: etcd(name), metric: 'opsPerSecond', is: 'at least', required };
}

function p99OverEtcd(name: string, required: number): Bar {
  return { of: kvorum(name), over: etcd(name), metric: 'p99Us', is: 'at most', required };
}

function over(name: string, peer: string, required: number): Bar {
  return { of: kvorum(name), over: { peer, case: name }, metric: 'opsPerSecond', is: 'at least', required };
}

function rate(name: string, required: number): Bar {
  return { of: kvorum(name), metric: 'opsPerSecond', is: 'at least', required };
}

export const BARS: readonly Bar[] = [
  over('memtable put', 'js-map', 0.5),
  over('memtable get', 'js-map', 0.9),
  // LMDB's copying read (getBinary) is the measure for ours without a copy.
  {
    of: kvorum('memtable get no copy'),
    over: { peer: 'lmdb', case: 'memtable get' },
    metric: 'opsPerSecond',
    is: 'at least',
    required: 2,
  },
  rate('embedded put os', 100_000),
  rate('embedded put fsync 256', 60_000),
  over('embedded put os', 'lmdb', 1),
  overEtcd('cluster put 1', 1),
  overEtcd('cluster put 256', 3),
  overEtcd('cluster get linearizable 1', 1),
  overEtcd('cluster get linearizable 256', 4),
  p99OverEtcd('cluster put 256', 1),
  p99OverEtcd('cluster get linearizable 256', 1),
  { of: kvorum('memory 1M x 10'), metric: 'rssMb', is: 'at most', required: 1_024 },
  {
    of: kvorum('memory sustained minute'),
    over: kvorum('memory sustained at 20 s'),
    metric: 'rssMb',
    is: 'at most',
    required: 1.1,
  },
];

export interface Verdict {
  readonly text: string;
  readonly value: number;
  readonly met: boolean;
}

function find(results: readonly BenchResult[], which: Which, metric: Metric): number | undefined {
  return results.find((result) => result.peer === which.peer && result.case === which.case)?.[metric];
}

function show(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en-US');
  return value.toFixed(2);
}

/** The verdict on a bar; undefined when this run did not measure what it compares. */
export function judge(bar: Bar, results: readonly BenchResult[]): Verdict | undefined {
  const numerator = find(results, bar.of, bar.metric);
  const denominator = bar.over === undefined ? 1 : find(results, bar.over, bar.metric);
  if (numerator === undefined || denominator === undefined) return undefined;
  const value = numerator / denominator;
  const met = bar.is === 'at least' ? value >= bar.required : value <= bar.required;
  const over = bar.over === undefined ? '' : ` / ${bar.over.peer}`;
  const otherCase = bar.over === undefined || bar.over.case === bar.of.case ? '' : ` "${bar.over.case}"`;
  const unit = bar.over === undefined ? ` ${UNITS[bar.metric]}` : 'x';
  const what = `${bar.of.case}: ${bar.of.peer}${over}${otherCase}, ${NAMES[bar.metric]}`;
  const wanted = `${bar.is} ${show(bar.required)}${unit}`;
  return { text: `${what}: ${show(value)}${unit} (wanted: ${wanted})`, value, met };
}

const UNITS: Readonly<Record<Metric, string>> = { opsPerSecond: 'ops/s', p99Us: 'us', rssMb: 'MiB' };
const NAMES: Readonly<Record<Metric, string>> = { opsPerSecond: 'throughput', p99Us: 'p99', rssMb: 'memory' };
