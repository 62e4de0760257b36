/**
 * `npm run chaos`: rounds of faults against real server processes; docs/chaos.md says what they do and what they prove.
 *
 *     node build/test/chaos/main.js [--rounds N] [--seconds S] [--nodes 3|5] [--seed N] [--network proxy|namespaces] [--faults KIND,...] [--jobs N] [--keep] [--plan]
 *
 * Every round runs in a process of its own, which is ended, and everything that it took given back, when it takes too long or this process is told to stop.
 * Exit status 1 when a round failed. The last line has the totals.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HISTORY_FILES } from './judge.ts';
import { drawPlan, FAULT_KINDS, type PlanOptions, shownStep } from './plan.ts';
import { giveBack } from './resources.ts';
import { AFTERMATH_LIMIT_MS, type RoundResult, runRound } from './round.ts';

const RESULT_FILE = 'result.json';
const USAGE =
  'usage: npm run chaos -- [--rounds N] [--seconds S] [--nodes 3|5] [--seed N] [--network proxy|namespaces] [--faults KIND,...] [--jobs N] [--keep] [--plan]';

interface Options {
  rounds: number;
  seconds: number;
  nodes: number | undefined;
  seed: number;
  network: 'proxy' | 'namespaces' | undefined;
  faults: string[] | undefined;
  jobs: number;
  keep: boolean;
  /** Only show the plans. */
  plan: boolean;
  /** Within a round's own process: where it works. */
  directory: string | undefined;
}

function parseOptions(args: readonly string[]): Options {
  const options: Options = {
    rounds: 5,
    seconds: 15,
    nodes: undefined,
    seed: Math.floor(Math.random() * 1_000_000),
    network: undefined,
    faults: undefined,
    jobs: 1,
    keep: false,
    plan: false,
    directory: undefined,
  };
  for (let at = 0; at < args.length; at++) {
    const name = args[at];
    const number = (from: number, to: number): number => {
      const value = Number(args[++at]);
      if (Number.isInteger(value) && value >= from && value <= to) return value;
      throw new Error(`${name} is ${args[at]}, allowed: a whole number from ${from} to ${to}\n${USAGE}`);
    };
    if (name === '--rounds') options.rounds = number(1, 100_000);
    else if (name === '--seconds') options.seconds = number(2, 3_600);
    else if (name === '--nodes') options.nodes = number(3, 7);
    else if (name === '--seed') options.seed = number(0, 2 ** 31);
    else if (name === '--jobs') options.jobs = number(1, 16);
    else if (name === '--keep') options.keep = true;
    else if (name === '--plan') options.plan = true;
    else if (name === '--network' && (args[at + 1] === 'proxy' || args[at + 1] === 'namespaces'))
      options.network = args[++at] === 'proxy' ? 'proxy' : 'namespaces';
    else if (name === '--faults') options.faults = faultKinds(args[++at]);
    else if (name === '--directory') options.directory = args[++at];
    else throw new Error(`${name} is no option\n${USAGE}`);
  }
  return options;
}

function faultKinds(text = ''): string[] {
  const kinds = text.split(',');
  const wrong = kinds.find((kind) => !FAULT_KINDS.includes(kind));
  if (wrong !== undefined) throw new Error(`--faults has ${wrong}, allowed: ${FAULT_KINDS.join(', ')}`);
  return kinds;
}

interface Running {
  readonly child: ChildProcess;
  readonly directory: string;
}

/** Runs rounds as child processes. */
class Rounds {
  readonly #options: Options;
  readonly #root: string;
  readonly #running = new Set<Running>();
  readonly results: RoundResult[] = [];

  constructor(options: Options) {
    this.#options = options;
    this.#root = mkdtempSync(join(tmpdir(), 'kvorum-chaos-'));
  }

  async run(): Promise<void> {
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < this.#options.rounds) await this.#round(this.#options.seed + next++);
    };
    await Promise.all(Array.from({ length: this.#options.jobs }, lane));
    if (this.results.every(({ failures }) => failures.length === 0) && !this.#options.keep)
      rmSync(this.#root, { recursive: true, force: true });
  }

  /** Ends what runs and gives everything back; at once, for a process that is about to end. */
  abandon(): void {
    for (const { child, directory } of this.#running) {
      child.kill('SIGKILL');
      giveBack(directory, !this.#options.keep);
    }
    if (!this.#options.keep && this.results.every(({ failures }) => failures.length === 0))
      rmSync(this.#root, { recursive: true, force: true, maxRetries: 5 });
  }

  async #round(seed: number): Promise<void> {
    const { seconds, nodes, network, faults, keep } = this.#options;
    const directory = join(this.#root, `round-${seed}`);
    const args = ['--seed', String(seed), '--seconds', String(seconds), '--directory', directory];
    if (nodes !== undefined) args.push('--nodes', String(nodes));
    if (network !== undefined) args.push('--network', network);
    if (faults !== undefined) args.push('--faults', faults.join(','));
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const running = { child, directory };
    this.#running.add(running);
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
    const timer = setTimeout(() => child.kill('SIGKILL'), seconds * 1000 + AFTERMATH_LIMIT_MS);
    const ending = await new Promise<string>((resolve) =>
      child.on('close', (status, signal) => resolve(signal ?? String(status))),
    );
    clearTimeout(timer);
    this.#running.delete(running);
    const result = resultOf(directory, seed, ending, Buffer.concat(output).toString());
    this.results.push(result);
    const failed = result.failures.length > 0;
    giveBack(directory, !failed && !keep);
    this.#tell(result, directory);
  }

  #tell(result: RoundResult, directory: string): void {
    const { seed, nodes, network, failures, skipped, operations, unknown, events, faults, maxRssBytes } =
      result;
    const made = Object.entries(faults).map(([kind, count]) => `${kind} ${count}`);
    const verdict = failures.length === 0 ? 'ok  ' : 'FAIL';
    console.log(
      `${verdict} seed ${seed}: ${nodes} nodes, ${network}, ${result.seconds.toFixed(0)} s, ${operations} operations (${unknown} unknown), ${events} events, ${Math.round(maxRssBytes / 1e6)} MB; ${made.join(', ')}`,
    );
    for (const what of skipped) console.log(`     skipped: ${what}`);
    if (failures.length === 0) return;
    for (const failure of failures.slice(0, 10)) console.log(`     ${failure.replaceAll('\n', '\n     ')}`);
    const { seconds, faults: only } = this.#options;
    const faultsWords = only === undefined ? '' : ` --faults ${only.join(',')}`;
    console.log(`     files: ${directory}`);
    console.log(
      `     again: npm run chaos -- --rounds 1 --seed ${seed} --seconds ${seconds} --nodes ${nodes}${faultsWords} --keep`,
    );
    for (const { file, model } of HISTORY_FILES)
      console.log(`     judge: kvorum check-history --model ${model} ${join(directory, file)}`);
  }
}

function resultOf(directory: string, seed: number, ending: string, output: string): RoundResult {
  const file = join(directory, RESULT_FILE);
  if (existsSync(file)) {
    const result: RoundResult = JSON.parse(readFileSync(file, 'utf8'));
    if (ending === '0') return result;
    return {
      ...result,
      failures: [...result.failures, `the round's process ended with ${ending}: ${output}`],
    };
  }
  return {
    seed,
    nodes: 0,
    network: 'none',
    failures: [`the round's process ended with ${ending} and left no result: ${output.slice(-3_000)}`],
    skipped: [],
    operations: 0,
    unknown: 0,
    events: 0,
    faults: {},
    maxRssBytes: 0,
    seconds: 0,
  };
}

function planOptions({ seed, nodes, seconds, network, faults }: Options): PlanOptions {
  return { seed, nodes, seconds, network, faults };
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  if (options.plan) {
    for (let seed = options.seed; seed < options.seed + options.rounds; seed++) {
      const { steps, ...plan } = drawPlan(planOptions({ ...options, seed }));
      console.log(`${JSON.stringify(plan)}\n${steps.map(shownStep).join('\n')}`);
    }
    return;
  }
  const { directory } = options;
  if (directory !== undefined) {
    // A round must not outlive who started it, however that ended.
    const parent = process.ppid;
    setInterval(() => {
      if (process.ppid !== parent) process.exit(1);
    }, 1_000).unref();
    process.on('exit', () => giveBack(directory, false));
    const result = await runRound(drawPlan(planOptions(options)), directory);
    writeFileSync(join(directory, RESULT_FILE), JSON.stringify(result));
    process.exit(0);
  }
  const rounds = new Rounds(options);
  process.on('exit', () => rounds.abandon());
  await rounds.run();
  const { results } = rounds;
  const sum = (of: (result: RoundResult) => number): number =>
    results.reduce((total, result) => total + of(result), 0);
  const failed = results.filter(({ failures }) => failures.length > 0);
  const steps = sum(({ faults }) => Object.values(faults).reduce((total, count) => total + count, 0));
  console.log(
    `${results.length} rounds, ${failed.length} failed, ${sum(({ operations }) => operations)} operations, ${sum(({ events }) => events)} watch events, ${steps} faults, ${sum(({ seconds }) => seconds).toFixed(0)} s of chaos`,
  );
  process.exitCode = failed.length > 0 ? 1 : 0;
}

await main();
