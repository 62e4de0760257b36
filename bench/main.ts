/**
 * `npm run bench [GROUP...] [-- OPTIONS]`
 *
 * Groups: micro, engine, cluster, grpc, scale, memory; all of these when none is named. `embedded` is the quick part of `engine`, beside LMDB.
 *
 *     --json --seconds N --rounds N      for every group
 *     --etcd                             cluster, grpc: beside a three-node etcd
 *     --peers --chart                    engine: beside other engines; draw the rows into docs/bench_engine.svg
 *     --keys N --large-keys N            engine: its sizes
 *     --tree tables|rocksdb              engine: the tree of Kvorum; its default unless named
 *     --only SECTION --progress          engine: single sections (the option may be repeated); tell of every step on standard error
 *
 * Prints a table, or with `--json` one JSON object a line; at the end the bars that this run can judge (bars.ts). The exit code is 1 only when something could not be
 * measured: a bar that is not met is a finding, not a failure.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { BARS, judge } from './bars.ts';
import { run as cluster } from './cluster.ts';
import { TREE_VARIABLE } from './engine/peers/kvorum.ts';
import { run as engine, SECTION_NAMES } from './engine/run.ts';
import { run as grpc } from './grpc.ts';
import { run as memory } from './memory.ts';
import { run as log } from './micro/log.ts';
import { run as memtable } from './micro/memtable.ts';
import { cleanUpAtExit, makeDirectory, removeDirectory } from './processes.ts';
import type { BenchOptions, BenchResult, BenchRun } from './result.ts';
import { run as scale } from './scale.ts';

const GROUPS: Readonly<Record<string, readonly BenchRun[]>> = {
  micro: [
    (emit, options) => memtable(emit, { seconds: options.seconds * options.rounds }),
    (emit, options) => log(emit, { durationMs: options.seconds * 1_000, directory: options.directory }),
  ],
  engine: [engine],
  embedded: [(emit, options) => engine(emit, { ...options, peers: 'lmdb', sections: ['small', 'fsync'] })],
  cluster: [cluster],
  grpc: [grpc],
  scale: [scale],
  memory: [memory],
};

const ALL = Object.keys(GROUPS).filter((group) => group !== 'embedded');

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${name} is ${text}, allowed: a number above 0`);
  return value;
}

function parse(): { groups: string[]; json: boolean; options: Omit<BenchOptions, 'directory' | 'log'> } {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      etcd: { type: 'boolean', default: false },
      peers: { type: 'boolean', default: false },
      chart: { type: 'boolean', default: false },
      progress: { type: 'boolean', default: false },
      seconds: { type: 'string', default: '3' },
      rounds: { type: 'string', default: '3' },
      keys: { type: 'string', default: '100000' },
      'large-keys': { type: 'string', default: '1000000' },
      tree: { type: 'string' },
      only: { type: 'string', multiple: true, default: [] },
    },
  });
  const unknown = positionals.find((group) => !Object.hasOwn(GROUPS, group));
  if (unknown !== undefined)
    throw new Error(`no group ${unknown}; there are ${Object.keys(GROUPS).join(', ')}`);
  const section = values.only.find((name) => !SECTION_NAMES.includes(name));
  if (section !== undefined) throw new Error(`no section ${section}; there are ${SECTION_NAMES.join(', ')}`);
  if (values.tree !== undefined) process.env[TREE_VARIABLE] = values.tree;
  return {
    groups: positionals.length > 0 ? positionals : ALL,
    json: values.json,
    options: {
      etcd: values.etcd,
      peers: values.peers ? 'all' : 'none',
      chart: values.chart,
      progress: values.progress,
      sections: values.only,
      seconds: positive('seconds', values.seconds),
      rounds: Math.ceil(positive('rounds', values.rounds)),
      keys: Math.ceil(positive('keys', values.keys)),
      largeKeys: Math.ceil(positive('large-keys', values['large-keys'])),
    },
  };
}

function number(value: number | undefined, digits: number): string {
  if (value === undefined || Number.isNaN(value)) return '-';
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function row(cells: readonly string[]): string {
  const [peer, name, rate, p50, p95, p99, rss, note] = cells as [string, ...string[]];
  const numbers = [
    rate!.padStart(11),
    ...[p50!, p95!, p99!].map((cell) => cell.padStart(10)),
    rss!.padStart(8),
  ];
  return `${peer.padEnd(14)} ${name!.padEnd(34)} ${numbers.join(' ')}  ${note}`.trimEnd();
}

/** What was measured beside operations, for the reader of the table. */
function measures({ mbPerSecond, bytesPerKey, cpuPercent }: BenchResult): string {
  if (cpuPercent !== undefined) return `${number(cpuPercent, 0)} % of a core; `;
  if (mbPerSecond !== undefined) return `${number(mbPerSecond, 0)} MB/s; `;
  return bytesPerKey === undefined ? '' : `${number(bytesPerKey, 1)} B a key; `;
}

function resultRow(result: BenchResult): string {
  const latency = (value: number | undefined): string =>
    number(value, value !== undefined && value < 1_000 ? 1 : 0);
  return row([
    result.peer,
    result.case,
    number(result.opsPerSecond, 0),
    ...[result.p50Us, result.p95Us, result.p99Us].map(latency),
    number(result.rssMb, 0),
    `${measures(result)}${result.note ?? ''}`,
  ]);
}

async function main(): Promise<void> {
  const { groups, json, options: given } = parse();
  cleanUpAtExit();
  const results: BenchResult[] = [];
  const emit = (result: BenchResult): void => {
    results.push(result);
    console.log(json ? JSON.stringify(result) : resultRow(result));
  };
  // With --json, standard output is JSON alone.
  const log = (line: string): void => (json ? console.error(line) : console.log(line));
  log(`Node ${process.version}, ${cpus().length} cores, ${cpus()[0]?.model ?? 'unknown processor'}`);
  if (!json) console.log(row(['peer', 'case', 'ops/s', 'p50 us', 'p95 us', 'p99 us', 'RSS MiB', '']));
  for (const group of groups) {
    const directory = makeDirectory();
    const options: BenchOptions = { ...given, directory, log };
    try {
      for (const run of GROUPS[group]!) await run(emit, options);
    } catch (error) {
      process.exitCode = 1;
      log(`${group} FAILED: ${error instanceof Error ? error.stack : String(error)}`);
    } finally {
      removeDirectory(directory);
    }
  }
  for (const bar of BARS) {
    const verdict = judge(bar, results);
    if (verdict === undefined) continue;
    if (json) console.log(JSON.stringify({ bar: verdict.text, value: verdict.value, met: verdict.met }));
    else console.log(`${verdict.met ? 'met    ' : 'NOT met'} ${verdict.text}`);
  }
}

await main();
