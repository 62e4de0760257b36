/**
 * `npm run bench [-- GROUP...] [--json] [--etcd] [--seconds N] [--rounds N]`
 *
 * Groups: micro, embedded, cluster, memory; all of them when none is named. Prints a table, or with `--json` one JSON object a line; at the end the bars that
 * this run can judge (bars.ts). The exit code is 1 only when something could not be measured: a bar that is not met is a finding, not a failure.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { BARS, judge } from './bars.ts';
import { run as cluster } from './cluster.ts';
import { run as embedded } from './embedded.ts';
import { run as memory } from './memory.ts';
import { run as log } from './micro/log.ts';
import { run as memtable } from './micro/memtable.ts';
import { cleanUpAtExit, makeDirectory, removeDirectory } from './processes.ts';
import type { BenchOptions, BenchResult, BenchRun } from './result.ts';

const GROUPS: Readonly<Record<string, readonly BenchRun[]>> = {
  micro: [
    (emit, options) => memtable(emit, { seconds: options.seconds * options.rounds }),
    (emit, options) => log(emit, { durationMs: options.seconds * 1_000, directory: options.directory }),
  ],
  embedded: [embedded],
  cluster: [cluster],
  memory: [memory],
};

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${name} is ${text}, allowed: a number above 0`);
  return value;
}

function parse(): { groups: string[]; json: boolean; etcd: boolean; seconds: number; rounds: number } {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      etcd: { type: 'boolean', default: false },
      seconds: { type: 'string', default: '3' },
      rounds: { type: 'string', default: '3' },
    },
  });
  const unknown = positionals.find((group) => !Object.hasOwn(GROUPS, group));
  if (unknown !== undefined)
    throw new Error(`no group ${unknown}; there are ${Object.keys(GROUPS).join(', ')}`);
  return {
    groups: positionals.length > 0 ? positionals : Object.keys(GROUPS),
    json: values.json,
    etcd: values.etcd,
    seconds: positive('seconds', values.seconds),
    rounds: Math.ceil(positive('rounds', values.rounds)),
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

function resultRow(result: BenchResult): string {
  const latency = (value: number | undefined): string =>
    number(value, value !== undefined && value < 1_000 ? 1 : 0);
  return row([
    result.peer,
    result.case,
    number(result.opsPerSecond, 0),
    ...[result.p50Us, result.p95Us, result.p99Us].map(latency),
    number(result.rssMb, 0),
    result.note ?? '',
  ]);
}

async function main(): Promise<void> {
  const { groups, json, ...given } = parse();
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
