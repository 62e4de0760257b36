/**
 * Many seeds over several processes: each takes the next few seeds when it is done with its own, and one that dies or hangs costs its seeds only.
 *
 * Invariants: every seed is reported once, those that the time did not allow left out; a process that gives no report for SILENCE_MS is killed, and the seed that it was at is reported as failed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { RunStats } from './run.ts';

export interface SeedReport {
  readonly seed: number;
  readonly ok: boolean;
  readonly stats: Pick<RunStats, 'ops' | 'events' | 'simulatedMs'>;
  /** What is to be told of a failure. */
  readonly text: string;
}

export interface ManyOptions {
  /** The words that the processes are given, besides their seeds. */
  readonly args: readonly string[];
  readonly seed: number;
  readonly seeds: number;
  readonly jobs: number;
  /** By `nowMs`: no seed is begun after it. */
  readonly untilMs: number;
  readonly nowMs: () => number;
  report(report: SeedReport): void;
}

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
/** Most seeds of one process: so many that the seconds which it takes until its code is compiled do not count, and never so many that the loss of a process matters. */
const SEEDS_AT_ONCE = 125;
const SILENCE_MS = 180_000;
/**
 * Young objects are many and die at once: a larger nursery has them die before they are copied. A larger old space is collected once in several runs instead of several
 * times in each, where all but the little that lives through a run would be marked again. main.ts collects all of it now and then (`gc`), for what V8 does
 * not count: memories of WebAssembly.
 */
const NODE_FLAGS = ['--max-semi-space-size=32', '--initial-old-space-size=256', '--expose-gc'];
const NOTHING = { ops: 0, events: 0, simulatedMs: 0 };

export async function runMany(options: ManyOptions): Promise<void> {
  const end = options.seed + options.seeds;
  // All processes get the same number, more or less: nobody waits long for the last one.
  const rounds = Math.ceil(options.seeds / (options.jobs * SEEDS_AT_ONCE));
  const share = Math.ceil(options.seeds / (options.jobs * rounds));
  let next = options.seed;
  const work = async (): Promise<void> => {
    while (next < end && options.nowMs() < options.untilMs) {
      const from = next;
      next = Math.min(end, from + share);
      await runRange(options, from, next);
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, work));
}

/** Runs [from, to); goes on behind a seed that took its process along. */
async function runRange(options: ManyOptions, from: number, to: number): Promise<void> {
  let at = from;
  while (at < to) {
    const { reported, problem } = await runProcess(options, at, to);
    at += reported;
    if (at >= to || problem === undefined) return;
    options.report({ seed: at, ok: false, stats: NOTHING, text: `seed ${at} FAILED: ${problem}` });
    at++;
  }
}

async function runProcess(
  options: ManyOptions,
  from: number,
  to: number,
): Promise<{ reported: number; problem: string | undefined }> {
  const words = ['--seed', String(from), '--seeds', String(to - from), '--worker'];
  const child = spawn(process.execPath, [...NODE_FLAGS, MAIN, ...options.args, ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let reported = 0;
  let hangs = false;
  let timeIsUp = false;
  const silence = (): NodeJS.Timeout =>
    setTimeout(() => {
      hangs = true;
      child.kill('SIGKILL');
    }, SILENCE_MS);
  let timer = silence();
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    clearTimeout(timer);
    timer = silence();
    reported++;
    options.report(JSON.parse(line) as SeedReport);
    if (options.nowMs() < options.untilMs) return;
    timeIsUp = true;
    lines.close();
    child.kill('SIGKILL');
  });
  const how = await ended(child);
  clearTimeout(timer);
  if (timeIsUp) return { reported, problem: undefined };
  return { reported, problem: hangs ? `nothing was heard of it for ${SILENCE_MS / 1_000} s` : how };
}

function ended(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    // After all of its output was read.
    child.once('close', (code, signal) => resolve(`its process ended with ${signal ?? `status ${code}`}`));
  });
}
