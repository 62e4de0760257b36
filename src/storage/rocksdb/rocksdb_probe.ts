/**
 * Finds out in a child process whether level-rocksdb can be loaded: its prebuilt binary (of 2021) aborts the whole process on some Node builds
 * (`std::bad_alloc` while loading, seen on official builds of Node 20.12, 22 and 24), which no try/catch survives.
 */
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { KvError } from '../../errors.ts';
import type { Timers } from '../../ports.ts';

const SCRIPT = "require(process.argv[1]); process.stdout.write('loaded');";
const PROBE_LIMIT_MS = 30_000;
const MAX_OUTPUT_BYTES = 4096;

export interface ProbeOptions {
  readonly timers: Timers;
  /** Default 'level-rocksdb'. */
  readonly packageName?: string;
  readonly limitMs?: number;
}

/**
 * Tries to load the package in a child process.
 * @returns the URL to import it by.
 * @throws KvError TREE_UNAVAILABLE that says what happened and what to do.
 */
export async function probeRocksDb(options: ProbeOptions): Promise<string> {
  const packageName = options.packageName ?? 'level-rocksdb';
  let path: string;
  try {
    path = createRequire(import.meta.url).resolve(packageName);
  } catch (cause) {
    throw unavailable(`the package ${packageName} is not installed`, `npm install ${packageName}@5`, cause);
  }
  const problem = await loadInChild(path, options.timers, options.limitMs ?? PROBE_LIMIT_MS);
  if (problem !== undefined) {
    throw unavailable(
      `${packageName} cannot be loaded by Node ${process.version} (${problem})`,
      'build it from source for this Node (npm rebuild rocksdb --build-from-source) or run a Node that its binary works on',
    );
  }
  return pathToFileURL(path).href;
}

/** What went wrong; undefined when it loaded. */
function loadInChild(path: string, timers: Timers, limitMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['-e', SCRIPT, path], { stdio: ['ignore', 'pipe', 'pipe'] });
    let loaded = '';
    let complaint = '';
    let late = false;
    const limit = timers.after(limitMs, () => {
      late = true;
      child.kill('SIGKILL');
    });
    child.stdout.on('data', (chunk) => {
      if (loaded.length < MAX_OUTPUT_BYTES) loaded += String(chunk);
    });
    child.stderr.on('data', (chunk) => {
      if (complaint.length < MAX_OUTPUT_BYTES) complaint += String(chunk);
    });
    const end = (problem: string | undefined) => {
      limit.cancel();
      resolve(problem);
    };
    child.on('error', (error) => end(error.message));
    child.on('close', (code, signal) => {
      if (late) end(`no answer within ${limitMs} ms`);
      else if (code === 0 && loaded.includes('loaded')) end(undefined);
      else end([signal ?? `exit code ${code}`, lastLines(complaint)].filter(Boolean).join(': '));
    });
  });
}

/** The line of a complaint that says the most: an error's message, or else what stands last. */
function lastLines(complaint: string): string {
  const lines = complaint.split('\n').filter((line) => line.trim() !== '');
  return (lines.find((line) => /Error|what\(\)|abort/i.test(line)) ?? lines.at(-1) ?? '').trim();
}

function unavailable(what: string, remedy: string, cause?: unknown): KvError {
  return new KvError(
    'TREE_UNAVAILABLE',
    `the RocksDB tree is not available: ${what}. Either use storage.tree "tables" (in a new directory), or ${remedy}.`,
    { cause },
  );
}
