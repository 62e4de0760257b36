/**
 * What a benchmark starts and leaves on disk, and its end.
 *
 * Invariant: every child process is ended by its own id, and every temporary directory removed, whether the benchmark finishes, fails or is interrupted.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const STOP_LIMIT_MS = 5_000;
const TMPFS_MAGIC = 0x01021994;

const children = new Set<ChildProcess>();
const directories = new Set<string>();

/** Arms the clean-up for every way in which this process may end. Call once, first. */
export function cleanUpAtExit(): void {
  process.on('exit', () => {
    for (const child of children) child.kill('SIGKILL');
    for (const directory of directories) rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  });
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)
    process.on(signal, () => process.exit(code));
}

/** A fresh directory on a real disk: below the system's temporary directory, or below the project where that one lies in memory. */
export function makeDirectory(): string {
  let parent = tmpdir();
  if (statfsSync(parent).type === TMPFS_MAGIC) {
    parent = join(process.cwd(), 'build', 'bench-data');
    mkdirSync(parent, { recursive: true });
  }
  const directory = mkdtempSync(join(parent, 'kvorum-bench-'));
  directories.add(directory);
  return directory;
}

export function removeDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  directories.delete(directory);
}

/** Starts a program whose output goes to a file, and remembers it until it has ended. */
export function startChild(command: string, args: readonly string[], logFile: string): ChildProcess {
  const log = openSync(logFile, 'a');
  const child = spawn(command, args, { stdio: ['ignore', log, log] });
  closeSync(log);
  children.add(child);
  child.on('exit', () => children.delete(child));
  child.on('error', () => children.delete(child));
  return child;
}

/** Starts a program of this project that talks to this process over a channel; what it prints comes out on standard error. */
export function forkChild(program: string, args: readonly string[]): ChildProcess {
  const child = fork(program, args, { stdio: ['ignore', 2, 2, 'ipc'], serialization: 'advanced' });
  children.add(child);
  child.on('exit', () => children.delete(child));
  child.on('error', () => children.delete(child));
  return child;
}

/** Asks a child to end, and ends it where it does not. */
export function stopChild(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null)
    return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
    child.on('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill('SIGTERM');
  });
}

/** Rejects as soon as one of the children ends: for racing with whatever waits for them to be ready. */
export function anyEnds(running: readonly ChildProcess[]): Promise<never> {
  return new Promise((_resolve, reject) => {
    for (const child of running) {
      child.on('error', reject);
      child.on('exit', (code, signal) =>
        reject(new Error(`${child.spawnfile} ended with ${signal ?? code}`)),
      );
    }
  });
}

/** Resident memory of processes, MiB, added up; undefined where the system does not tell. */
export function residentMb(pids: readonly (number | undefined)[]): number | undefined {
  let kib = 0;
  for (const pid of pids) {
    if (pid === undefined) return undefined;
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      kib += Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN);
    } catch {
      // No /proc here, or the process has just ended.
      return undefined;
    }
  }
  return Number.isNaN(kib) ? undefined : kib / 1024;
}

/** Loopback ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer();
          server.on('error', reject);
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => {
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Tries `attempt` until it succeeds; after `limitMs` its last error comes out. */
export async function eventually<T>(limitMs: number, attempt: () => Promise<T>): Promise<T> {
  const end = performance.now() + limitMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() >= end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
