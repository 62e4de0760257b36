/**
 * The simulator from the command line.
 *
 *     npm run sim -- --seed N --ops M --nodes K [--seeds COUNT] [--jobs J] [--twice] [--within SECONDS] [--plan FILE.json]
 *                    [--kinds A,B] [--shrink] [--timeline FILE.txt] [--html FILE.html]
 *
 * Runs seed N (or the COUNT seeds from N on, in J processes); --twice runs each again and compares the trace hashes; no seed is begun when
 * SECONDS have passed, and how many there were is told. A failure is told with the seed, the commit, what was broken, the whole
 * fault plan and the command that does it all again. For one seed: --shrink looks for a smaller run that fails in the same way and writes its plan to shrunk-SEED.json; --timeline and --html show the
 * (smaller) run as text and as a page. The last line has the totals; the exit status is 1 after a failure, 2 for wrong words.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { KvError } from '../errors.ts';
import { writeFailureFiles } from './failure_files.ts';
import {
  FAULT_KINDS,
  type FaultKind,
  type FaultPlan,
  formatFaultPlan,
  parseFaultPlan,
} from './faults/fault_plan.ts';
import { type RunOptions, type RunResult, runSeed } from './run.ts';
import { runMany, type SeedReport } from './run_many.ts';

/** Seeds after which a worker lets go of what their nodes had. */
const SEEDS_BETWEEN_COLLECTIONS = 4;
/** Most time that shrinking takes. */
const SHRINK_MS = 600_000;

export interface Words {
  readonly seed: number;
  readonly seeds: number;
  readonly jobs: number;
  readonly twice: boolean;
  /** Seconds after which no seed is begun any more. */
  readonly within: number | undefined;
  readonly ops: number;
  readonly nodes: number | undefined;
  readonly plan: string | undefined;
  readonly kinds: readonly FaultKind[] | undefined;
  readonly shrink: boolean;
  /** Files to be written. */
  readonly timeline: string | undefined;
  readonly html: string | undefined;
  /** A process that was started for some of the seeds: reports are lines of JSON. */
  readonly worker: boolean;
}

/** @throws KvError INVALID_ARGUMENT */
export function readWords(args: readonly string[]): Words {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  let values: Record<string, string | boolean | undefined>;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        seed: text,
        seeds: text,
        jobs: text,
        twice: flag,
        within: text,
        ops: text,
        nodes: text,
        plan: text,
        kinds: text,
        shrink: flag,
        timeline: text,
        html: text,
        worker: flag,
      },
    }));
  } catch (cause) {
    throw new KvError('INVALID_ARGUMENT', cause instanceof Error ? cause.message : String(cause), { cause });
  }
  const number = (name: string, fallback: number, from: number): number => {
    const given = values[name];
    if (given === undefined) return fallback;
    const value = Number(given);
    if (!Number.isSafeInteger(value) || value < from)
      throw new KvError('INVALID_ARGUMENT', `--${name} is ${given}, allowed: a whole number from ${from}`);
    return value;
  };
  const word = (name: string): string | undefined => {
    const given = values[name];
    return typeof given === 'string' ? given : undefined;
  };
  const seeds = number('seeds', 1, 1);
  const one = ['shrink', 'timeline', 'html'].find(
    (name) => values[name] !== undefined && values[name] !== false,
  );
  if (one !== undefined && seeds > 1)
    throw new KvError('INVALID_ARGUMENT', `--${one} is for one seed, and --seeds is ${seeds}`);
  return {
    seed: number('seed', 1, 0),
    seeds,
    jobs: number('jobs', 1, 1),
    twice: values['twice'] === true,
    within: values['within'] === undefined ? undefined : number('within', 1, 1),
    ops: number('ops', 2_000, 1),
    nodes: values['nodes'] === undefined ? undefined : number('nodes', 3, 1),
    plan: word('plan'),
    kinds: word('kinds')?.split(',').map(kindOf),
    shrink: values['shrink'] === true,
    timeline: word('timeline'),
    html: word('html'),
    worker: values['worker'] === true,
  };
}

function kindOf(name: string): FaultKind {
  const kind = FAULT_KINDS.find((known) => known === name);
  if (kind === undefined)
    throw new KvError('INVALID_ARGUMENT', `--kinds has ${name}, allowed: ${FAULT_KINDS.join(', ')}`);
  return kind;
}

/** Runs one seed as the words say; a second run that differs from the first is a failure, too. */
export async function runOne(
  words: Words,
  seed: number,
  faults: FaultPlan | undefined,
  record = false,
): Promise<RunResult> {
  const options: RunOptions = {
    seed,
    ops: words.ops,
    nodes: words.nodes,
    kinds: words.kinds,
    faults,
    record,
  };
  const result = await runSeed(options);
  if (!words.twice) return result;
  // A violation is part of the trace: where one was found, the second run has to find it, too.
  const again = await runSeed({ ...options, judged: !result.ok });
  if (again.hash === result.hash) return result;
  const message = `the same seed gave two traces: ${result.hash} and ${again.hash}`;
  const atMs = result.stats.simulatedMs;
  return { ...result, ok: false, failure: { invariant: 'determinism', message, atMs, details: {} } };
}

/** All that is needed to understand a failure and to do it again. */
export function describeFailure(result: RunResult, words: Words): string {
  const { failure, stats, plan } = result;
  if (failure === undefined) return '';
  const { stack } = failure.details;
  return [
    `seed ${result.seed} FAILED: ${failure.invariant}: ${failure.message}`,
    `  commit ${commit()}, ${result.nodes} nodes, ${stats.ops} operations, at ${Math.round(failure.atMs)} ms, trace ${result.hash}`,
    ...(typeof stack === 'string' ? stack.split('\n').map((line) => `  ${line}`) : []),
    `  again: ${replay(result, words)}`,
    '  fault plan:',
    formatFaultPlan(plan).trimEnd(),
  ].join('\n');
}

function replay({ seed, nodes }: RunResult, words: Words): string {
  const plan = words.plan === undefined ? '' : ` --plan ${words.plan}`;
  const kinds = words.kinds === undefined ? '' : ` --kinds ${words.kinds.join(',')}`;
  return `npm run sim -- --seed ${seed} --ops ${words.ops} --nodes ${nodes}${plan}${kinds}`;
}

function commit(): string {
  const folder = fileURLToPath(new URL('.', import.meta.url));
  const { status, stdout } = spawnSync('git', ['rev-parse', 'HEAD'], { cwd: folder, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : 'unknown';
}

/** Shrinks the run and shows it, as far as the words ask for it; gives what there is to tell. */
export function showRun(words: Words, seed: number, result: RunResult): Promise<string> {
  const { ops, shrink, timeline, html } = words;
  return writeFailureFiles({
    run: { seed, ops, nodes: result.nodes, plan: result.plan },
    failure: result.failure,
    rerun: (run, record) => runOne({ ...words, ops: run.ops, nodes: run.nodes }, seed, run.plan, record),
    timeline,
    html,
    shrunkPlan: shrink ? `shrunk-${seed}.json` : undefined,
    maxMs: SHRINK_MS,
    nowMs: () => performance.now(),
    onSmaller: (run, runs) =>
      console.error(`${runs} runs: ${run.ops} calls, ${run.nodes} nodes, ${run.plan.steps.length} faults`),
    write: (file, text) => writeFileSync(file, text),
  });
}

async function main(args: readonly string[]): Promise<number> {
  const words = readWords(args);
  const faults = words.plan === undefined ? undefined : parseFaultPlan(readFileSync(words.plan, 'utf8'));
  // Whoever started a worker looks at the time for it.
  const withinSeconds = words.worker ? undefined : words.within;
  const untilMs = performance.now() + (withinSeconds ?? Number.POSITIVE_INFINITY) * 1_000;
  if (words.worker || words.jobs === 1 || words.seeds === 1) {
    let failed = 0;
    const totals = new Totals();
    for (let seed = words.seed; seed < words.seed + words.seeds && performance.now() < untilMs; seed++) {
      const result = await runOne(words, seed, faults);
      const report: SeedReport = {
        seed,
        ok: result.ok,
        stats: result.stats,
        text: describeFailure(result, words),
      };
      if (!result.ok) failed++;
      if (words.worker) console.log(JSON.stringify(report));
      else totals.add(report);
      const shown = await showRun(words, seed, result);
      if (shown !== '') console.log(shown.trimEnd());
      if ((seed - words.seed + 1) % SEEDS_BETWEEN_COLLECTIONS === 0) globalThis.gc?.();
    }
    if (!words.worker) totals.print(words.twice, words.seeds);
    return failed > 0 ? 1 : 0;
  }
  const totals = new Totals();
  await runMany({
    args,
    seed: words.seed,
    seeds: words.seeds,
    jobs: words.jobs,
    untilMs,
    nowMs: () => performance.now(),
    report: (one) => totals.add(one),
  });
  totals.print(words.twice, words.seeds);
  return totals.failed > 0 ? 1 : 0;
}

class Totals {
  failed = 0;
  #runs = 0;
  #ops = 0;
  #events = 0;
  #simulatedMs = 0;
  readonly #beganMs = performance.now();

  add({ seed, ok, stats, text }: SeedReport): void {
    this.#runs++;
    this.#ops += stats.ops;
    this.#events += stats.events;
    this.#simulatedMs += stats.simulatedMs;
    if (!ok) {
      this.failed++;
      console.log(text === '' ? `seed ${seed} FAILED` : text);
    }
  }

  print(twice: boolean, wanted: number): void {
    if (this.#runs < wanted)
      console.log(`${wanted - this.#runs} of ${wanted} seeds were not begun: the time was up`);
    const seconds = (performance.now() - this.#beganMs) / 1_000;
    const rate = ((twice ? 2 : 1) * this.#simulatedMs) / 1_000 / seconds;
    console.log(
      `${this.#runs} seeds${twice ? ', each twice' : ''}: ${this.#runs - this.failed} passed, ${this.failed} failed; ${this.#ops} operations, ${this.#events} events, ${Math.round(this.#simulatedMs / 1_000)} simulated seconds in ${seconds.toFixed(1)} s (${rate.toFixed(0)} a second)`,
    );
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
    console.error(`sim: ${error.message}`);
    process.exitCode = 2;
  }
}
