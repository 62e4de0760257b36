/**
 * The group `engine`: Kvorum embedded, and with --peers other engines beside it.
 *
 * Every section gives each peer a process of its own (child.ts); the processes live side by side and take turns, step by step, so that one works at a time and a slow
 * spell of the machine hits all of them. Rows come out when a section ends, ordered by case. A peer that cannot be loaded here is left out with a line that says why; a peer that
 * fails while it is measured makes the whole run fail, after everything else was measured.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { realPorts } from '../../src/real_ports.ts';
import { probeRocksDb } from '../../src/storage/rocksdb/rocksdb_probe.ts';
import { forkChild, stopChild } from '../processes.ts';
import type { BenchOptions, BenchResult, Emit } from '../result.ts';
import { drawChart } from './chart.ts';
import { memtableOverhead } from './memtable_overhead.ts';
import { PEER_NAMES, type PeerName } from './peer.ts';
import { answerSchema, type ChildAnswer, REPORT, SECTIONS, type SectionName, type Task } from './protocol.ts';

const PROGRAM = fileURLToPath(new URL('./child.js', import.meta.url));
const CHART = fileURLToPath(new URL('../../../docs/bench_engine.svg', import.meta.url));
/** A step that takes longer hangs. */
const STEP_LIMIT_MS = 600_000;
const MEMTABLE = 'memtable';

/** What `--only` may name. */
export const SECTION_NAMES: readonly string[] = [...SECTIONS, MEMTABLE];

/** The peers of a section besides Kvorum. */
const PEERS: Readonly<Record<SectionName, readonly PeerName[]>> = {
  small: PEER_NAMES,
  fsync: ['kvorum', 'lmdb'],
  large: PEER_NAMES,
  threads: ['kvorum', 'lmdb', 'classic-level'],
};

interface Child {
  readonly peer: PeerName;
  readonly process: ChildProcess;
  plan: readonly string[];
  failure: Error | undefined;
}

/** The next answer of a child; its end, its failure and too long a silence fail. */
function nextAnswer(child: ChildProcess): Promise<ChildAnswer> {
  return new Promise((resolve, reject) => {
    const settle = (run: () => void): void => {
      clearTimeout(timer);
      child.off('message', onMessage);
      child.off('exit', onExit);
      child.off('error', onError);
      run();
    };
    const onMessage = (message: unknown): void =>
      settle(() => {
        const answer = answerSchema.parse(message);
        if ('failed' in answer) reject(new Error(answer.failed));
        else resolve(answer);
      });
    const onExit = (code: number | null, signal: string | null): void =>
      settle(() => reject(new Error(`its process ended with ${signal ?? code}`)));
    const onError = (error: Error): void => settle(() => reject(error));
    const timer = setTimeout(
      () => settle(() => reject(new Error(`no answer in ${STEP_LIMIT_MS} ms`))),
      STEP_LIMIT_MS,
    );
    child.on('message', onMessage);
    child.on('exit', onExit);
    child.on('error', onError);
  });
}

async function start(section: SectionName, peer: PeerName, options: BenchOptions): Promise<Child> {
  const directory = join(options.directory, `${section}-${peer}`);
  mkdirSync(directory, { recursive: true });
  const task: Task = {
    section,
    peer,
    directory,
    keys: section === 'large' ? options.largeKeys : options.keys,
    seconds: options.seconds,
    rounds: options.rounds,
  };
  const process = forkChild(PROGRAM, [JSON.stringify(task)]);
  const child: Child = { peer, process, plan: [], failure: undefined };
  await attempt(child, async () => {
    const answer = await nextAnswer(process);
    if ('plan' in answer) child.plan = answer.plan;
  });
  if (child.failure === undefined && child.plan.length === 0)
    options.log(`${section}: ${peer} is left out: it does not do this`);
  return child;
}

/** Does something with a child; what fails is remembered, and the child is not asked again. */
async function attempt(child: Child, work: () => Promise<void>): Promise<void> {
  if (child.failure !== undefined) return;
  try {
    await work();
  } catch (error) {
    child.failure = error instanceof Error ? error : new Error(String(error));
  }
}

function ask(child: Child, step: string): Promise<ChildAnswer> {
  const answer = nextAnswer(child.process);
  child.process.send({ step });
  return answer;
}

/** The rows of a child; of one that failed those of what it had done before, where it still answers. */
async function report(child: Child): Promise<readonly BenchResult[]> {
  if (!child.process.connected) return [];
  try {
    const answer = await ask(child, REPORT);
    return 'results' in answer ? answer.results : [];
  } catch (error) {
    child.failure ??= error instanceof Error ? error : new Error(String(error));
    return [];
  }
}

/** Runs a section with its peers side by side. @returns the rows, ordered by case, and what failed. */
async function runSection(
  section: SectionName,
  peers: readonly PeerName[],
  options: BenchOptions,
): Promise<{ rows: BenchResult[]; failures: string[] }> {
  const children: Child[] = [];
  const rows: BenchResult[] = [];
  try {
    for (const peer of peers) children.push(await start(section, peer, options));
    const steps = Math.max(...children.map(({ plan }) => plan.length));
    for (let i = 0; i < steps; i++) {
      for (const child of children) {
        const step = child.plan[i];
        if (step === undefined || child.failure !== undefined) continue;
        const startedMs = performance.now();
        await attempt(child, async () => void (await ask(child, step)));
        const tookSeconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
        if (options.progress) console.error(`${section} ${child.peer} ${step}: ${tookSeconds} s`);
      }
    }
    for (const child of children) rows.push(...(await report(child)));
  } finally {
    for (const child of children) await stopChild(child.process);
    for (const peer of peers)
      rmSync(join(options.directory, `${section}-${peer}`), { recursive: true, force: true });
  }
  const cases = [...new Set(rows.map((row) => row.case))];
  return {
    rows: cases.flatMap((name) => rows.filter((row) => row.case === name)),
    failures: children.flatMap(({ peer, failure }) =>
      failure === undefined ? [] : [`${section}, ${peer}: ${failure.stack ?? failure.message}`],
    ),
  };
}

function installed(packageName: string): boolean {
  try {
    createRequire(import.meta.url).resolve(packageName);
    return true;
  } catch {
    return false;
  }
}

/** The peers that this machine can measure. */
async function availablePeers(options: BenchOptions): Promise<PeerName[]> {
  if (options.peers === 'none') return ['kvorum'];
  if (options.peers === 'lmdb') return ['kvorum', 'lmdb'];
  const peers: PeerName[] = ['kvorum', 'js-map'];
  for (const name of ['lmdb', 'classic-level'] as const) {
    if (installed(name)) peers.push(name);
    else options.log(`${name} is left out: not installed`);
  }
  try {
    await probeRocksDb({ timers: realPorts().timers });
    peers.push('level-rocksdb');
  } catch (error) {
    options.log(`level-rocksdb is left out: ${error instanceof Error ? error.message : String(error)}`);
  }
  return PEER_NAMES.filter((name) => peers.includes(name));
}

function wanted(options: BenchOptions, section: string): boolean {
  return options.sections.length === 0 || options.sections.includes(section);
}

/** Sizes, and whatever else a row needs that is the same for all peers. */
function withSizes(row: BenchResult, section: SectionName, options: BenchOptions): BenchResult {
  const keys = section === 'large' ? options.largeKeys : options.keys;
  const gc = row.gcPercent === undefined ? '' : `; GC ${row.gcPercent.toFixed(1)} %`;
  return { ...row, note: `${row.note ?? ''}; ${keys.toLocaleString('en-US')} keys${gc}` };
}

export async function run(emit: Emit, options: BenchOptions): Promise<void> {
  const available = await availablePeers(options);
  const failures: string[] = [];
  const all: BenchResult[] = [];
  const tell = (row: BenchResult): void => {
    all.push(row);
    emit(row);
  };
  for (const section of SECTIONS) {
    if (!wanted(options, section)) continue;
    const peers = PEERS[section].filter((peer) => available.includes(peer));
    const done = await runSection(section, peers, options);
    for (const row of done.rows) tell(withSizes(row, section, options));
    failures.push(...done.failures);
  }
  if (wanted(options, MEMTABLE)) tell(memtableOverhead());
  if (options.chart) {
    const processor = cpus()[0]?.model ?? 'unknown processor';
    writeFileSync(CHART, drawChart(all, `Node ${process.version}, ${cpus().length} x ${processor}`));
    options.log(`wrote ${CHART}`);
  }
  if (failures.length > 0) throw new Error(failures.join('\n'));
}
