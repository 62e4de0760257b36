/**
 * `kvorum local`: a cluster on this machine, each node a child process.
 *
 * A node that dies is started again after a pause, so that killing one shows what a cluster does. Nodes end when this process ends, however it ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { connectAdmin } from '../client/admin.ts';
import { KvError } from '../errors.ts';
import { realPorts } from '../real_ports.ts';
import type { NodeStatus } from '../wire/messages.ts';
import { FIRST_PORT, PORT_STEP, positiveInteger } from './endpoints.ts';
import { note, print, table } from './output.ts';

const RESTART_PAUSE_MS = 3_000;
/** A node that ends sooner than this after its start did not work: it is not started a third time in a row. */
const WORKED_MS = 10_000;
const LEADER_WAIT_MS = 30_000;
const STOP_WAIT_MS = 10_000;
const MAX_NODES = 9;
/** etcd's own port, and the step to the next node: etcd has its peers in between. */
const ETCD_PORT = 2379;
const ETCD_PORT_STEP = 2;

interface LocalOptions {
  nodes: string;
  data: string;
  basePort: string;
  etcdPort: string;
  durability?: string;
  tree?: string;
}

interface LocalNode {
  readonly id: number;
  readonly client: string;
  readonly peer: string;
  /** Where clients of etcd are to be served. */
  readonly etcdPort: number;
  /** Where they are; undefined: the port was taken by others when the node was last started. */
  etcd: string | undefined;
  readonly data: string;
  child: ChildProcess | undefined;
  startedMs: number;
  failures: number;
}

export function addLocal(program: Command): void {
  program
    .command('local')
    .description('run a cluster on this machine, each node a child process')
    .option('--nodes <n>', `how many nodes, 1 to ${MAX_NODES}`, '3')
    .option('--data <directory>', 'where the nodes keep their data', './data')
    .option(
      '--base-port <port>',
      `client port of the first node; the next node's is ${PORT_STEP} higher`,
      String(FIRST_PORT),
    )
    .option(
      '--etcd-port <port>',
      `port for clients of etcd of the first node; the next node's is ${ETCD_PORT_STEP} higher; those that are taken are left out`,
      String(ETCD_PORT),
    )
    .option('--durability <mode>', 'fsync (default), os or relaxed')
    .option('--tree <kind>', 'tables (default) or rocksdb')
    .addHelpText('after', '\nExample:\n  kvorum local --nodes 3 --data ./data')
    .action((options: LocalOptions) => new LocalCluster(options).run());
}

class LocalCluster {
  readonly #options: LocalOptions;
  readonly #nodes: LocalNode[];
  #stopping = false;
  #finish: () => void = () => undefined;

  constructor(options: LocalOptions) {
    this.#options = options;
    const count = positiveInteger('--nodes', options.nodes);
    if (count > MAX_NODES)
      throw new KvError('INVALID_ARGUMENT', `--nodes is ${count}, allowed: 1 to ${MAX_NODES}`);
    const etcdBase = positiveInteger('--etcd-port', options.etcdPort);
    const base = positiveInteger('--base-port', options.basePort);
    const lastBase = 65_534 - (count - 1) * PORT_STEP;
    if (base > lastBase)
      throw new KvError('INVALID_ARGUMENT', `--base-port is ${base}, allowed: 1 to ${lastBase}`);
    this.#nodes = Array.from({ length: count }, (_, i) => ({
      id: i + 1,
      client: `127.0.0.1:${base + i * PORT_STEP}`,
      peer: `127.0.0.1:${base + i * PORT_STEP + 1}`,
      etcdPort: etcdBase + i * ETCD_PORT_STEP,
      etcd: undefined,
      data: join(options.data, `node-${i + 1}`),
      child: undefined,
      startedMs: 0,
      failures: 0,
    }));
  }

  async run(): Promise<void> {
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve;
    });
    process.on('SIGINT', () => this.#stop());
    process.on('SIGTERM', () => this.#stop());
    for (const { client, peer } of this.#nodes) {
      await mustBeFree(client);
      await mustBeFree(peer);
    }
    mkdirSync(this.#options.data, { recursive: true });
    await Promise.all(this.#nodes.map((node) => this.#start(node)));
    await this.#announce();
    await finished;
  }

  async #start(node: LocalNode): Promise<void> {
    // Asked at every start: another cluster may have taken the port since, and a node must not fail for it.
    const etcd = `127.0.0.1:${node.etcdPort}`;
    node.etcd = (await isFree(etcd)) ? etcd : undefined;
    if (this.#stopping) return;
    const main = fileURLToPath(new URL('./main.js', import.meta.url));
    const args = [main, 'serve', '--data', node.data, '--listen', node.client, '--peer-listen', node.peer];
    args.push('--etcd-listen', node.etcd ?? 'none');
    if (this.#nodes.length > 1) args.push('--id', String(node.id), '--cluster', this.#founders());
    for (const name of ['durability', 'tree'] as const) {
      const value = this.#options[name];
      if (value !== undefined) args.push(`--${name}`, value);
    }
    mkdirSync(node.data, { recursive: true });
    const log = openSync(join(node.data, 'node.log'), 'a');
    // The channel tells the node when this process is gone.
    const child = spawn(process.execPath, args, { stdio: ['ignore', log, log, 'ipc'] });
    closeSync(log);
    node.child = child;
    node.startedMs = Date.now();
    child.on('exit', (code, signal) => this.#ended(node, code, signal));
  }

  #founders(): string {
    return this.#nodes.map(({ id, peer, client }) => `${id}=${peer}/${client}`).join(',');
  }

  #ended(node: LocalNode, code: number | null, signal: NodeJS.Signals | null): void {
    const pid = node.child?.pid;
    node.child = undefined;
    if (this.#stopping) {
      if (this.#nodes.every(({ child }) => child === undefined)) this.#finish();
      return;
    }
    const how = signal === null ? `ended with status ${code}` : `was ended by ${signal}`;
    node.failures = Date.now() - node.startedMs < WORKED_MS ? node.failures + 1 : 0;
    if (node.failures >= 2 && signal === null) {
      note(`node ${node.id} (pid ${pid}) ${how} again and is left alone: see ${join(node.data, 'node.log')}`);
      if (this.#nodes.every(({ child }) => child === undefined)) {
        process.exitCode = 1;
        this.#finish();
      }
      return;
    }
    note(`node ${node.id} (pid ${pid}) ${how}; it is started again in ${RESTART_PAUSE_MS / 1000} s`);
    setTimeout(async () => {
      await this.#start(node);
      if (node.child !== undefined) note(`node ${node.id} is back as pid ${node.child.pid}`);
    }, RESTART_PAUSE_MS);
  }

  async #announce(): Promise<void> {
    const startedMs = Date.now();
    const many = this.#nodes.length > 1;
    print(
      `kvorum: starting ${many ? `${this.#nodes.length} nodes` : 'one node'} with data under ${this.#options.data}`,
    );
    const statuses = await this.#whenLed(startedMs);
    if (statuses === undefined) return;
    const rows = [['node', 'role', 'clients', 'etcd clients', 'peers', 'pid', 'log']];
    for (const node of this.#nodes) {
      const status = statuses.find(({ id }) => id === node.id);
      const log = relative('.', join(node.data, 'node.log'));
      rows.push([
        String(node.id),
        status?.role ?? 'starting',
        node.client,
        node.etcd ?? '-',
        node.peer,
        String(node.child?.pid ?? '-'),
        log,
      ]);
    }
    const leader = statuses.find(({ role }) => role === 'leader');
    print(table(rows));
    for (const { id, client, etcd, etcdPort } of this.#nodes)
      if (etcd === undefined)
        note(
          `port ${etcdPort} is taken by another process: clients of etcd find node ${id} at ${client} only`,
        );
    print(
      `\nNode ${leader?.id} leads (term ${leader?.term}), after ${((Date.now() - startedMs) / 1000).toFixed(1)} s.`,
    );
    const flag =
      this.#options.basePort === String(FIRST_PORT)
        ? ''
        : ` --endpoints ${this.#nodes.map(({ client }) => client).join(',')}`;
    print(`
Try, from another terminal in this folder:
  npx kvorum put greeting hello${flag}
  npx kvorum get greeting${flag}
  npx kvorum status${flag}`);
    const etcd = this.#nodes.find((node) => node.etcd !== undefined)?.etcd;
    if (etcd !== undefined) print(`  etcdctl --endpoints ${etcd} get greeting`);
    if (many) print(`  kill -9 ${leader?.pid ?? 'PID'}  # the leader: the others take over, nothing is lost`);
    print(`\nCtrl-C stops ${many ? 'all nodes' : 'the node'}; the data stays in ${this.#options.data}.`);
  }

  async #whenLed(startedMs: number): Promise<NodeStatus[] | undefined> {
    const endpoints = this.#nodes.map(({ client }) => client);
    let last: unknown;
    while (!this.#stopping && Date.now() - startedMs < LEADER_WAIT_MS) {
      if (this.#nodes.every(({ child, failures }) => child === undefined && failures >= 2)) return undefined;
      try {
        const admin = connectAdmin({ endpoints, timeoutMs: 1_000, ports: realPorts() });
        try {
          const statuses = await admin.clusterStatus();
          if (statuses.some(({ role }) => role === 'leader') && statuses.length === this.#nodes.length)
            return statuses;
        } finally {
          await admin.close();
        }
      } catch (error) {
        last = error;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    if (!this.#stopping) {
      const why = last instanceof Error ? `: ${last.message}` : '';
      note(
        `kvorum: no leader after ${LEADER_WAIT_MS / 1000} s${why}; see the node.log files under ${this.#options.data}`,
      );
    }
    return undefined;
  }

  #stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    note('\nstopping');
    if (this.#nodes.every(({ child }) => child === undefined)) this.#finish();
    for (const { child } of this.#nodes) child?.kill('SIGTERM');
    setTimeout(() => {
      for (const { id, child } of this.#nodes) {
        if (child === undefined) continue;
        note(`node ${id} does not stop: ending it`);
        child.kill('SIGKILL');
      }
    }, STOP_WAIT_MS).unref();
  }
}

async function isFree(address: string): Promise<boolean> {
  return mustBeFree(address).then(
    () => true,
    () => false,
  );
}

/** Said here, before anything is started, and not in the nodes' logs. @throws KvError UNAVAILABLE */
function mustBeFree(address: string): Promise<void> {
  const colon = address.lastIndexOf(':');
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (cause) => {
      reject(new KvError('UNAVAILABLE', `cannot listen on ${address}: ${cause.message}`, { cause }));
    });
    probe.listen(Number(address.slice(colon + 1)), address.slice(0, colon), () =>
      probe.close(() => resolve()),
    );
  });
}
