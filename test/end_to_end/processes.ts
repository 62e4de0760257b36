/**
 * Kvorum as real processes, for tests: nodes, clusters and single commands, in temporary directories and on free ports.
 *
 * Invariants: every child is ended by its own id and every temporary directory removed when the test's process ends, however it ends; nothing waits
 * without a limit, and a wait that ran out says what it waited for and what the process had printed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const WAIT_MS = 30_000;
const STOP_WAIT_MS = 15_000;
const LEFT_OPEN_MS = 3_000;

const running = new Set<ChildProcess>();
/** Processes that are not our children (the nodes of `kvorum local`): ended with it, and once more here. */
const strangers = new Set<number>();
const directories = new Set<string>();
const atExit: (() => void)[] = [];

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const pid of strangers) signal(pid, 'SIGKILL');
  for (const end of atExit) end();
  for (const directory of directories) rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
});
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => process.exit(1));

/**
 * For `test.after`: ends what a test that failed left running. A store that it left open would keep the process alive: then the process is ended too,
 * as a failure.
 */
export async function endAll(): Promise<void> {
  await endAllWithin(LEFT_OPEN_MS);
}

/** The same, where timers of a client's library may outlive the test by `leftOpenMs`. */
export async function endAllWithin(leftOpenMs: number): Promise<void> {
  const ended = [...running].map((child) => new Promise((resolve) => child.on('exit', resolve)));
  for (const child of running) child.kill('SIGKILL');
  for (const pid of strangers) signal(pid, 'SIGKILL');
  await Promise.all(ended);
  setTimeout(() => {
    const open = process.getActiveResourcesInfo().join(', ');
    console.error(`something is still open after the last test (${open}): ending the process`);
    process.exit(1);
  }, leftOpenMs).unref();
}

/** Runs when the test's process ends, after all children were ended. */
export function whenTestEnds(run: () => void): void {
  atExit.push(run);
}

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-test-'));
  directories.add(directory);
  return directory;
}

/** What a test that failed leaves to be looked at: this temporary directory is not removed. */
export function keepDirectory(directory: string): void {
  directories.delete(directory);
}

/** Sends a signal to a process that may be gone already. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** Makes sure that a node which `kvorum local` started ends with the test. */
export function endWithTest(pid: number): void {
  strangers.add(pid);
}

/** Loopback ports, free a moment ago, `step` apart: the first of `count`. */
export async function freePorts(count: number, step = 1): Promise<number[]> {
  for (let attempt = 0; attempt < 200; attempt++) {
    // Below the range from which the system takes the ports of outgoing connections.
    const base = 10_000 + Math.floor(Math.random() * 20_000);
    const ports = Array.from({ length: count }, (_, i) => base + i * step);
    const servers = await Promise.all(ports.map(listenOn));
    const free = servers.every((server) => server !== undefined);
    await Promise.all(servers.map((server) => server && new Promise((resolve) => server.close(resolve))));
    if (free) return ports;
  }
  throw new Error('no free ports');
}

/** Holds a port, so that it is taken; undefined when it is taken already. */
export function listenOn(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

/** Tries until `attempt` gives something other than undefined; what it throws counts as not yet. */
export async function eventually<T>(
  what: string,
  attempt: () => Promise<T | undefined> | T | undefined,
  limitMs = WAIT_MS,
): Promise<T> {
  const endMs = performance.now() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await attempt();
      if (value !== undefined) return value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > endMs) {
      throw new Error(`not within ${limitMs} ms: ${what}${last === undefined ? '' : `; last: ${last}`}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutBytes: Buffer;
}

export interface CommandOptions {
  readonly input?: string | Uint8Array;
  readonly env?: NodeJS.ProcessEnv;
  /** Words before `node`: a program that starts it somewhere else (`ip netns exec NAME`). */
  readonly launcher?: readonly string[];
  /** Flags of `node` itself. */
  readonly nodeFlags?: readonly string[];
}

/** A running `kvorum` command. */
export class Command {
  readonly child: ChildProcess;
  readonly #stdout: Buffer[] = [];
  readonly #stderr: Buffer[] = [];
  readonly ended: Promise<Ended>;

  constructor(args: readonly string[], options: CommandOptions = {}) {
    const env = { ...process.env, KVORUM_ENDPOINTS: undefined, ...options.env };
    const { launcher = [], nodeFlags = [] } = options;
    const [program, ...words] = [...launcher, process.execPath, ...nodeFlags, MAIN, ...args] as [string];
    this.child = spawn(program, words, { stdio: ['pipe', 'pipe', 'pipe'], env });
    running.add(this.child);
    this.child.stdout!.on('data', (chunk: Buffer) => this.#stdout.push(chunk));
    this.child.stderr!.on('data', (chunk: Buffer) => this.#stderr.push(chunk));
    this.child.stdin!.on('error', () => undefined);
    this.child.stdin!.end(options.input ?? '');
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (status) => {
        running.delete(this.child);
        const { stdout, stderr } = this;
        resolve({ status, stdout, stderr, stdoutBytes: Buffer.concat(this.#stdout) });
      });
    });
  }

  get pid(): number {
    return this.child.pid!;
  }
  get stdout(): string {
    return Buffer.concat(this.#stdout).toString();
  }
  get stderr(): string {
    return Buffer.concat(this.#stderr).toString();
  }

  /** The first line of standard output that matches. */
  line(pattern: RegExp, limitMs = WAIT_MS): Promise<string> {
    return eventually(
      `${pattern} from ${this.child.spawnargs.slice(2).join(' ')}`,
      () => {
        const found = this.stdout.split('\n').find((line) => pattern.test(line));
        if (found !== undefined) return found;
        const { exitCode } = this.child;
        throw new Error(`${exitCode === null ? 'it runs' : `it ended with ${exitCode}`}: ${this.stderr}`);
      },
      limitMs,
    );
  }

  /** Ends it in good order, and by force where it does not end. */
  async stop(name: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    this.child.kill(name);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_WAIT_MS);
    try {
      return await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Runs one command to its end; one that does not end is ended, and its status is then null. */
export async function kvorum(
  args: readonly string[],
  options: { input?: string | Uint8Array; env?: NodeJS.ProcessEnv; limitMs?: number } = {},
): Promise<Ended> {
  const command = new Command(args, options);
  const timer = setTimeout(() => command.child.kill('SIGKILL'), options.limitMs ?? WAIT_MS);
  try {
    return await command.ended;
  } finally {
    clearTimeout(timer);
  }
}

export interface ServeOptions {
  readonly data: string;
  readonly clientPort: number;
  readonly peerPort: number;
  /** Settings, as --config takes them. */
  readonly config?: Record<string, unknown>;
  readonly args?: readonly string[];
}

export interface ServedNode {
  readonly command: Command;
  readonly id: number;
  readonly pid: number;
  readonly endpoint: string;
}

/** `kvorum serve`, waiting until it listens. */
export async function serve(options: ServeOptions): Promise<ServedNode> {
  const { data, clientPort, peerPort } = options;
  const endpoint = `127.0.0.1:${clientPort}`;
  const args = ['serve', '--data', data, '--listen', endpoint, '--peer-listen', `127.0.0.1:${peerPort}`];
  if (options.config !== undefined) {
    mkdirSync(data, { recursive: true });
    const file = join(data, '..', `config-${clientPort}.json`);
    writeFileSync(file, JSON.stringify(options.config));
    args.push('--config', file);
  }
  const command = new Command([...args, ...(options.args ?? [])]);
  const { node, pid }: { node: number; pid: number } = JSON.parse(await command.line(/"event":"listening"/));
  return { command, id: node, pid, endpoint };
}

export interface StatusOfNode {
  readonly id: number;
  readonly role: 'leader' | 'follower' | 'learner';
  readonly pid: number;
  readonly term: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly revision: number;
  readonly health: string;
  readonly endpoints: readonly string[];
}

/** `kvorum status --json`, as an operator's script reads it. */
export async function statusOf(endpoints: readonly string[], timeoutMs = 3_000): Promise<StatusOfNode[]> {
  const flags = ['--json', '--endpoints', endpoints.join(','), '--timeout', String(timeoutMs)];
  const { status, stdout, stderr } = await kvorum(['status', ...flags]);
  if (status !== 0) throw new Error(`kvorum status ended with ${status}: ${stderr}`);
  const { nodes }: { nodes: StatusOfNode[] } = JSON.parse(stdout);
  return nodes;
}

/** `kvorum local` with its nodes. */
export interface LocalCluster {
  readonly command: Command;
  readonly endpoints: readonly string[];
  readonly data: string;
}

export async function startLocal(nodes: number, data: string, basePort: number): Promise<LocalCluster> {
  const args = ['local', '--nodes', String(nodes), '--data', data, '--base-port', String(basePort)];
  // Not etcd's own ports: clusters of test files that run at the same time would take them from each other.
  args.push('--etcd-port', String((await freePorts(nodes, 2))[0]));
  const command = new Command(args);
  const endpoints = Array.from({ length: nodes }, (_, i) => `127.0.0.1:${basePort + i * 10}`);
  await command.line(/^Node \d+ leads/);
  for (const { pid } of await statusOf(endpoints)) endWithTest(pid);
  return { command, endpoints, data };
}

/** Ports for a `kvorum local` of so many nodes. */
export async function localBasePort(nodes: number): Promise<number> {
  for (;;) {
    const clients = await freePorts(nodes, 10);
    const peers = await Promise.all(clients.map((port) => listenOn(port + 1)));
    await Promise.all(peers.map((server) => server && new Promise((resolve) => server.close(resolve))));
    if (peers.every((server) => server !== undefined)) return clients[0]!;
  }
}
