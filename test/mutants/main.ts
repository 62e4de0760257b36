/**
 * `npm run mutants`: plants each known mistake into a copy of the build and lets the simulator hunt for it. A simulator that can't find planted bugs proves nothing.
 *
 *     npm run mutants -- [--only WORD] [--seeds N] [--seed FIRST] [--ops N] [--jobs N] [--keep]
 *
 * The run that finds a bug must pass without it, and end by a violation that is the bug's. The last line is `N passed, N failed`; exit code 1 when a bug was not found.
 */
import { spawn } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Found } from './hunt.ts';
import { plant, uproot } from './plant.ts';
import { OPS, PLANTED_BUGS, type PlantedBug, type RunSettings, SEEDS } from './planted.ts';

const here = dirname(fileURLToPath(import.meta.url));
const build = join(here, '..', '..');
const LIMIT_MS = 15 * 60_000;

interface Outcome {
  readonly found: Found | undefined;
  /** Why the hunt ended without an answer. */
  readonly trouble: string | undefined;
  readonly seconds: number;
}

function hunt(
  directory: string,
  first: number,
  seeds: number,
  ops: number,
  settings: RunSettings,
): Promise<Outcome> {
  const startedMs = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      [join(here, 'hunt.js'), directory, `${first}`, `${seeds}`, `${ops}`, JSON.stringify(settings)],
      { stdio: ['ignore', 'pipe', 'pipe'], timeout: LIMIT_MS, killSignal: 'SIGKILL' },
    );
    let output = '';
    let errors = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-4_000);
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const seconds = (performance.now() - startedMs) / 1000;
      const last = output.trimEnd().split('\n').at(-1) ?? '';
      if (code !== 0)
        resolve({ found: undefined, trouble: `ended by ${signal ?? code}: ${errors.trim()}`, seconds });
      else {
        const answer: Partial<Found> = JSON.parse(last);
        const found = answer.invariant === undefined ? undefined : (answer as Found);
        resolve({ found, trouble: undefined, seconds });
      }
    });
  });
}

function options() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      seeds: { type: 'string' },
      seed: { type: 'string' },
      ops: { type: 'string' },
      jobs: { type: 'string', default: `${Math.min(2, availableParallelism())}` },
      keep: { type: 'boolean', default: false },
    },
  });
  const number = (name: 'seeds' | 'seed' | 'ops' | 'jobs'): number | undefined => {
    const text = values[name];
    if (text === undefined) return undefined;
    const value = Number(text);
    if (!Number.isInteger(value) || value < 1)
      throw new Error(`--${name} is ${text}, allowed: a whole number from 1`);
    return value;
  };
  return {
    only: values.only,
    keep: values.keep,
    seeds: number('seeds'),
    seed: number('seed'),
    ops: number('ops'),
    jobs: number('jobs') ?? 1,
  };
}

async function main(): Promise<number> {
  const { only, keep, seeds, seed, ops, jobs } = options();
  const bugs = PLANTED_BUGS.filter(({ name }) => name.includes(only));
  if (bugs.length === 0) throw new Error(`no planted bug has "${only}" in its name`);
  let passed = 0;
  let failed = 0;
  const judge = (name: string, ok: boolean, text: string): void => {
    if (ok) passed++;
    else failed++;
    console.log(`${ok ? 'ok  ' : 'FAIL'} ${name.padEnd(34)} ${text}`);
  };
  const one = async (bug: PlantedBug): Promise<void> => {
    const most = seeds ?? bug.seeds ?? SEEDS;
    const first = seed ?? bug.seed ?? 1;
    const copy = await plant(build, bug);
    try {
      const { found, trouble, seconds } = await hunt(
        copy,
        first,
        most,
        ops ?? bug.ops ?? OPS,
        bug.settings ?? {},
      );
      const took = `${seconds.toFixed(1)} s`;
      if (found === undefined) {
        judge(bug.name, false, trouble ?? `not found within ${most} seeds from seed ${first}, ${took}`);
        return;
      }
      const { invariant, message, without } = found;
      const how = `by ${invariant}: ${message.split('\n')[0]}`;
      if (without !== undefined)
        judge(bug.name, false, `seed ${found.seed} fails without the bug too, by ${without}`);
      else if (!bug.by.includes(invariant))
        judge(bug.name, false, `seed ${found.seed}, ${took}, ${how}, which is not what it must bring about`);
      else
        judge(bug.name, true, `seed ${found.seed}: ${found.seeds} of ${most} from ${first}, ${took}, ${how}`);
    } finally {
      if (!keep) await uproot(copy);
    }
  };
  const waiting = bugs.values();
  await Promise.all(
    Array.from({ length: jobs }, async () => {
      for (const bug of waiting) await one(bug);
    }),
  );
  if (!keep) await rm(join(build, 'mutants'), { recursive: true, force: true });
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main();
