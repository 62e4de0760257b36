/**
 * What the numbers must reach: a table of bars, and the verdict on each from the results of one run.
 *
 * A bar compares one result with a fixed number, or with another result of the same run (a ratio: machines differ, runs do not), or with the best of several peers
 * (the greatest; those that were not measured do not count). A bar whose results were not measured has no verdict.
 */
import type { BenchResult } from './result.ts';

type Metric =
  | 'opsPerSecond'
  | 'p95Us'
  | 'p99Us'
  | 'rssMb'
  | 'mbPerSecond'
  | 'gcPercent'
  | 'bytesPerKey'
  | 'cpuPercent';
interface Which {
  readonly peer: string;
  readonly case: string;
}
export interface Bar {
  readonly of: Which;
  /** What `of` is divided by; nothing: the number itself counts. */
  readonly over?: Which | readonly Which[];
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

function atMost(name: string, metric: Metric, required: number): Bar {
  return { of: kvorum(name), metric, is: 'at most', required };
}

function megabytes(name: string, required: number): Bar {
  return { of: kvorum(name), metric: 'mbPerSecond', is: 'at least', required };
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
  rate('embedded put os', 200_000),
  atMost('embedded put os', 'p95Us', 15),
  atMost('embedded put os', 'gcPercent', 2),
  {
    of: kvorum('embedded put os'),
    over: ['lmdb', 'classic-level', 'level-rocksdb'].map((peer) => ({ peer, case: 'embedded put os' })),
    metric: 'opsPerSecond',
    is: 'at least',
    required: 2,
  },
  rate('embedded get 100k', 500_000),
  atMost('embedded get 100k', 'p95Us', 3),
  atMost('embedded get 100k', 'gcPercent', 2),
  over('embedded get 100k', 'lmdb', 1.5),
  rate('embedded batch10', 250_000),
  rate('embedded put fsync 256', 60_000),
  over('embedded get 1m', 'lmdb', 1.3),
  // What the public interface gives is a promise for each key; the engine's own rate is what the filters are held to.
  rate('engine get absent', 3_000_000),
  megabytes('embedded scan', 1_000),
  megabytes('embedded load sorted', 400),
  over('embedded overwrite', 'classic-level', 2),
  atMost('embedded overwrite', 'p99Us', 1_000),
  rate('embedded mixed 8 threads', 300_000),
  {
    of: kvorum('embedded get 2 threads'),
    over: kvorum('embedded get 1 thread'),
    metric: 'opsPerSecond',
    is: 'at least',
    required: 1.7,
  },
  atMost('memtable overhead', 'bytesPerKey', 100),
  overEtcd('cluster put 1', 1),
  overEtcd('cluster put 256', 3),
  overEtcd('cluster get linearizable 1', 1),
  overEtcd('cluster get linearizable 256', 4),
  // A transaction of 100 puts within ten times a single put.
  {
    of: kvorum('cluster txn of 100 puts 1'),
    over: kvorum('cluster put 1'),
    metric: 'opsPerSecond',
    is: 'at least',
    required: 0.1,
  },
  overEtcd('grpc put 256', 1),
  overEtcd('grpc get linearizable 256', 1),
  {
    of: kvorum('watchers 10000'),
    over: kvorum('watchers 10000 first half'),
    metric: 'rssMb',
    is: 'at most',
    required: 1.1,
  },
  atMost('leases 100000', 'cpuPercent', 30),
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

/** What a bar divides by: the measured one of its rows with the greatest value; 1 when it divides by nothing. */
function divisor(
  bar: Bar,
  results: readonly BenchResult[],
): { readonly value: number; readonly name: string } | undefined {
  if (bar.over === undefined) return { value: 1, name: '' };
  const candidates = 'peer' in bar.over ? [bar.over] : bar.over;
  const measured = candidates.flatMap((which) => {
    const value = find(results, which, bar.metric);
    return value === undefined ? [] : [{ value, which }];
  });
  if (measured.length === 0) return undefined;
  const { value, which } = measured.reduce((best, next) => (next.value > best.value ? next : best));
  const otherCase = which.case === bar.of.case ? '' : ` "${which.case}"`;
  const peers = measured.map(({ which: { peer } }) => peer).join(', ');
  const best = candidates.length > 1 ? ` (best of ${peers})` : '';
  return { value, name: ` / ${which.peer}${otherCase}${best}` };
}

/** The verdict on a bar; undefined when this run did not measure what it compares. */
export function judge(bar: Bar, results: readonly BenchResult[]): Verdict | undefined {
  const numerator = find(results, bar.of, bar.metric);
  const over = divisor(bar, results);
  if (numerator === undefined || over === undefined) return undefined;
  const value = numerator / over.value;
  const met = bar.is === 'at least' ? value >= bar.required : value <= bar.required;
  const unit = bar.over === undefined ? ` ${UNITS[bar.metric]}` : 'x';
  const what = `${bar.of.case}: ${bar.of.peer}${over.name}, ${NAMES[bar.metric]}`;
  const wanted = `${bar.is} ${show(bar.required)}${unit}`;
  return { text: `${what}: ${show(value)}${unit} (wanted: ${wanted})`, value, met };
}

const UNITS: Readonly<Record<Metric, string>> = {
  opsPerSecond: 'ops/s',
  p95Us: 'us',
  p99Us: 'us',
  rssMb: 'MiB',
  mbPerSecond: 'MB/s',
  gcPercent: '%',
  cpuPercent: '% of a core',
  bytesPerKey: 'B',
};
const NAMES: Readonly<Record<Metric, string>> = {
  opsPerSecond: 'throughput',
  p95Us: 'p95',
  p99Us: 'p99',
  rssMb: 'memory',
  mbPerSecond: 'throughput',
  gcPercent: 'garbage collection',
  cpuPercent: 'processor time',
  bytesPerKey: 'memory beyond key and value, for a key',
};
