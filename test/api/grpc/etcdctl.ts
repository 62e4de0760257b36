/**
 * etcdctl of Debian as its users have it, for tests: single runs and running ones, and three nodes that a test stops and starts one by one.
 *
 * Invariants: a run ends within its limit, and one that should succeed shows what it said when it does not; what goes on ends with the test.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import * as assert from 'uvu/assert';
import {
  endWithTest,
  eventually,
  freePorts,
  type ServedNode,
  serve,
  statusOf,
  temporaryDirectory,
} from '../../end_to_end/processes.ts';

const RUN_LIMIT_MS = 30_000;
const env = { ...process.env, ETCDCTL_API: '3' };

export interface Run {
  readonly out: string;
  readonly errors: string;
  readonly status: number;
}

/** One that goes on until it ends by itself or is told to. */
export interface Running {
  readonly child: ChildProcess;
  out(): string;
  errors(): string;
  /** Its status; of one that a signal ended, -1. */
  readonly ended: Promise<number>;
}

export class Etcdctl {
  readonly #binary: string;
  readonly #flags: readonly string[];

  constructor(binary: string, endpoints: readonly string[], flags: readonly string[] = []) {
    this.#binary = binary;
    this.#flags = ['--endpoints', endpoints.join(','), ...flags];
  }

  run(args: readonly string[], input = ''): Promise<Run> {
    return new Promise((resolve) => {
      const words = [...this.#flags, ...args];
      const options = { env, timeout: RUN_LIMIT_MS };
      const child = execFile(this.#binary, words, options, (error, out, errors) => {
        const status = typeof error?.code === 'number' ? error.code : error === null ? 0 : -1;
        resolve({ out, errors, status });
      });
      // One that needs no input may have ended before it is given any.
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(input);
    });
  }

  /** What a run that must succeed prints, as lines. */
  async lines(args: readonly string[], input = ''): Promise<string[]> {
    const { out, errors, status } = await this.run(args, input);
    assert.is(status, 0, `etcdctl ${args.join(' ')}: ${errors}`);
    return out.trimEnd().split('\n');
  }

  /** What a run that must fail says. */
  async failure(args: readonly string[], input = ''): Promise<string> {
    const { errors, status } = await this.run(args, input);
    assert.is.not(status, 0, `etcdctl ${args.join(' ')} did not fail`);
    return errors;
  }

  running(args: readonly string[]): Running {
    const child = spawn(this.#binary, [...this.#flags, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    endWithTest(child.pid!);
    let [out, errors] = ['', ''];
    child.stdout.on('data', (part: Buffer) => {
      out += part.toString();
    });
    child.stderr.on('data', (part: Buffer) => {
      errors += part.toString();
    });
    const ended = new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? -1)));
    return { child, out: () => out, errors: () => errors, ended };
  }
}

/** Waits until it has printed this. */
export function seen(what: string, { out, errors }: Running, pattern: RegExp): Promise<true> {
  return eventually(what, () => {
    if (pattern.test(out())) return true;
    throw new Error(`${out()}${errors()}`);
  });
}

/** Ctrl-C, and its end. */
export async function interrupted({ child, ended }: Running): Promise<void> {
  child.kill('SIGINT');
  await ended;
}

/** Three nodes, each a `kvorum serve` that founds the cluster with the others. */
export class Trio {
  readonly endpoints: readonly string[];
  readonly #ports: number[];
  readonly #founders: string;
  readonly #data = temporaryDirectory();
  readonly #nodes = new Map<number, ServedNode>();

  private constructor(ports: number[]) {
    this.#ports = ports;
    this.endpoints = [1, 2, 3].map((id) => `127.0.0.1:${this.#clientPort(id)}`);
    this.#founders = [1, 2, 3]
      .map((id) => `${id}=127.0.0.1:${this.#peerPort(id)}/127.0.0.1:${this.#clientPort(id)}`)
      .join(',');
  }

  static async start(): Promise<Trio> {
    const trio = new Trio(await freePorts(6));
    await Promise.all([1, 2, 3].map((id) => trio.begin(id)));
    await trio.leader();
    return trio;
  }

  async begin(id: number): Promise<void> {
    const args = ['--id', String(id), '--cluster', this.#founders, '--etcd-listen', 'none'];
    const [clientPort, peerPort] = [this.#clientPort(id), this.#peerPort(id)];
    this.#nodes.set(id, await serve({ data: `${this.#data}/node-${id}`, clientPort, peerPort, args }));
  }

  /** Where a node listens for its peers from its next start on. */
  moved(id: number, peerPort: number): void {
    this.#ports[(id - 1) * 2 + 1] = peerPort;
  }

  endpoint(id: number): string {
    return this.endpoints[id - 1]!;
  }

  /** Those of the other two. */
  others(id: number): string[] {
    return this.endpoints.filter((one) => one !== this.endpoint(id));
  }

  async end(id: number, name: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#nodes.get(id)?.command.stop(name);
    this.#nodes.delete(id);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#nodes.keys()].map((id) => this.end(id)));
  }

  /** The id of who leads, once all that run follow it. */
  leader(): Promise<number> {
    const endpoints = [...this.#nodes.keys()].map((id) => this.endpoint(id));
    return eventually('a leader that all follow', async () => {
      const nodes = await statusOf(endpoints);
      const terms = new Set(nodes.map(({ term }) => term));
      return nodes.length === endpoints.length && terms.size === 1
        ? nodes.find(({ role }) => role === 'leader')?.id
        : undefined;
    });
  }

  #clientPort(id: number): number {
    return this.#ports[(id - 1) * 2]!;
  }

  #peerPort(id: number): number {
    return this.#ports[(id - 1) * 2 + 1]!;
  }
}
