/**
 * The servers of a round: real processes, started, killed, paused, added and removed, and watched all the time.
 *
 * Invariants: a process that ends without having been told to is a failure, with its last words; what a server prints that is no line of its log is one too, and so is
 * a line at level error, and memory above MAX_RSS_BYTES; every process is written down (resources.ts) before anybody could lose it.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type AdminClient, connectAdmin } from '../../src/client/admin.ts';
import type { ConfigInput } from '../../src/config.ts';
import { KvError } from '../../src/errors.ts';
import { realPorts } from '../../src/real_ports.ts';
import type { MembersResponse, NodeStatus } from '../../src/wire/messages.ts';
import { Command, eventually, signal } from '../end_to_end/processes.ts';
import { DirectNode } from './direct_node.ts';
import { nodeEnd } from './hello_names.ts';
import type { Addresses, Network } from './network.ts';
import { noteResource } from './resources.ts';
import { makeRoom, mountSmallDisk } from './small_disk.ts';

const SHIFTED_CLOCK = fileURLToPath(new URL('./shifted_clock.js', import.meta.url));
export const MAX_RSS_BYTES = 700 * 1024 * 1024;
const RSS_EVERY_MS = 400;
const PAGE_BYTES = 4096;
/** What servers say, loudly and rightly, when they are treated so. */
const EXPECTED = [
  'kvorum: this node was removed from its cluster',
  'the disk is full: no writes until there is room',
];
const START_LIMIT_MS = 90_000;
const STOP_LIMIT_MS = 30_000;
const JOIN_ATTEMPTS = 6;

export type MemberState = 'new' | 'joining' | 'up' | 'paused' | 'down' | 'removed';

/** A node of the cluster, through all lives of its process. */
export class Member {
  readonly slot: number;
  readonly dataDirectory: string;
  readonly clockFile: string;
  readonly addresses: Addresses;
  readonly smallDisk: boolean;
  /** 0 until it is known. */
  id = 0;
  state: MemberState = 'new';
  /** Somebody asked for its removal; it may come true. */
  removalAsked = false;
  command: Command | undefined;
  lives = 0;
  maxRssBytes = 0;
  readonly logs: string[] = [];

  constructor(slot: number, directory: string, addresses: Addresses, smallDisk: boolean) {
    this.slot = slot;
    this.addresses = addresses;
    this.smallDisk = smallDisk;
    this.dataDirectory = join(directory, `node-${slot}`);
    this.clockFile = join(directory, `clock-${slot}`);
  }

  get end(): string {
    return nodeEnd(this.id);
  }

  get running(): boolean {
    return this.state === 'up' || this.state === 'paused';
  }

  /** Everything that its processes printed on standard error. */
  get log(): string {
    return [...this.logs, this.command?.stderr ?? ''].join('');
  }
}

export interface ClusterOptions {
  readonly directory: string;
  readonly network: Network;
  readonly config: ConfigInput;
  readonly nodes: number;
  /** Slots whose data lies on a small file system. */
  readonly smallDisks: ReadonlySet<number>;
  readonly note: (text: string) => void;
  /** The time of the round's records. */
  readonly now: () => number;
}

export class Cluster {
  readonly members: Member[] = [];
  readonly failures: string[] = [];
  /** When wall clocks were shifted. */
  readonly shifts: { readonly atMs: number; readonly offsetMs: number }[] = [];
  readonly admin: AdminClient;
  #founders = '';
  readonly #options: ClusterOptions;
  readonly #configFile: string;
  readonly #rssTimer: NodeJS.Timeout;

  private constructor(options: ClusterOptions, members: Member[]) {
    this.#options = options;
    this.members = members;
    this.#configFile = join(options.directory, 'config.json');
    writeFileSync(this.#configFile, JSON.stringify(options.config));
    const endpoints = members.map(({ addresses }) => addresses.clientAdvertise);
    this.admin = connectAdmin({ endpoints, ports: realPorts() });
    this.#rssTimer = setInterval(() => this.#lookAtMemory(), RSS_EVERY_MS);
  }

  /** Starts the founders and waits until one leads. */
  static async start(options: ClusterOptions): Promise<Cluster> {
    const members: Member[] = [];
    for (let slot = 1; slot <= options.nodes; slot++) {
      const member: Member = await placed(options, slot, () => member.end);
      member.id = slot;
      members.push(member);
    }
    const cluster = new Cluster(options, members);
    cluster.#founders = members
      .map(({ id, addresses }) => `${id}=${addresses.peerAdvertise}/${addresses.clientAdvertise}`)
      .join(',');
    try {
      await Promise.all(members.map((member) => cluster.startMember(member)));
      await cluster.leader(START_LIMIT_MS);
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  /** Members whose process runs and that nobody asked to leave. */
  get running(): Member[] {
    return this.members.filter((member) => member.running);
  }

  member(slot: number): Member | undefined {
    return this.members.find((member) => member.slot === slot);
  }

  get endpoints(): string[] {
    return this.members
      .filter(({ state }) => state !== 'removed')
      .map(({ addresses }) => addresses.clientAdvertise);
  }

  async startMember(member: Member, join?: string): Promise<void> {
    const { clientListen, peerListen, clientAdvertise, peerAdvertise } = member.addresses;
    const words = ['serve', '--data', member.dataDirectory, '--config', this.#configFile];
    words.push('--listen', clientListen, '--peer-listen', peerListen);
    words.push('--advertise', clientAdvertise, '--peer-advertise', peerAdvertise);
    if (join !== undefined) words.push('--join', join);
    else if (member.slot <= this.#options.nodes)
      words.push('--cluster', this.#founders, '--id', String(member.slot));
    if (member.command !== undefined) member.logs.push(member.command.stderr);
    const command = new Command(words, {
      env: { KVORUM_CHAOS_CLOCK: member.clockFile },
      launcher: this.#options.network.launcher(member.slot),
      nodeFlags: ['--import', SHIFTED_CLOCK],
    });
    noteResource(this.#options.directory, { kind: 'process', pid: command.pid });
    member.command = command;
    member.lives++;
    member.state = join === undefined ? 'up' : 'joining';
    command.ended.then(
      ({ status }) => this.#ended(member, command, status),
      (error) => this.failures.push(`node ${member.id}: ${error}`),
    );
    const listening = command.line(/"event":"listening"/, START_LIMIT_MS);
    const first = await Promise.race([listening, command.ended]);
    if (typeof first === 'string') {
      const { node }: { node: number } = JSON.parse(first);
      member.id = node;
      if (member.state === 'joining') member.state = 'up';
      return;
    }
    listening.catch(() => undefined);
    // Killed by the next fault already, or removed while it was down, and told so at once.
    if (member.command !== command || !this.#isOf(member, 'up', 'joining')) return;
    throw new Error(
      `node ${member.id} ended with status ${first.status} instead of starting: ${lastWords(first.stderr)}`,
    );
  }

  /** Ends a process the hard way; the machine, and so what was written, lives on. */
  async kill(member: Member): Promise<void> {
    if (!member.running || member.command === undefined) return;
    member.state = 'down';
    member.command.child.kill('SIGKILL');
    await member.command.ended;
  }

  /** Ends a process in good order. */
  async stop(member: Member): Promise<void> {
    const { command } = member;
    if (!member.running || command === undefined) return;
    if (member.state === 'paused') this.resume(member);
    member.state = 'down';
    command.child.kill('SIGTERM');
    const timer = setTimeout(() => {
      this.failures.push(`node ${member.id} did not stop within ${STOP_LIMIT_MS} ms of SIGTERM`);
      command.child.kill('SIGKILL');
    }, STOP_LIMIT_MS);
    const { status } = await command.ended;
    clearTimeout(timer);
    if (status !== 0 && status !== null)
      this.failures.push(
        `node ${member.id} ended with status ${status} after SIGTERM: ${lastWords(command.stderr)}`,
      );
  }

  pause(member: Member): void {
    if (member.state !== 'up' || member.command === undefined) return;
    member.state = 'paused';
    signal(member.command.pid, 'SIGSTOP');
  }

  resume(member: Member): void {
    if (member.state !== 'paused' || member.command === undefined) return;
    member.state = 'up';
    signal(member.command.pid, 'SIGCONT');
  }

  setClock(member: Member, offsetMs: number): void {
    if (offsetMs !== 0) this.shifts.push({ atMs: this.#options.now(), offsetMs });
    writeFileSync(member.clockFile, String(offsetMs));
  }

  /** Starts another node that joins; gives up, without a trace of a failure, when the cluster can't take it at this time. */
  async add(stopping: () => boolean): Promise<void> {
    const slot = Math.max(...this.members.map((member) => member.slot)) + 1;
    const member: Member = await placed(this.#options, slot, () => member.end);
    this.members.push(member);
    for (let attempt = 1; attempt <= JOIN_ATTEMPTS && !stopping(); attempt++) {
      const through = this.members[attempt % (this.members.length - 1)]!;
      try {
        await this.startMember(member, through.addresses.clientAdvertise);
        this.#options.note(`node ${member.id} joined in slot ${slot}`);
        return;
      } catch (error) {
        this.#options.note(`slot ${slot} did not join through ${through.id}: ${lastWords(String(error))}`);
        member.command?.child.kill('SIGKILL');
        await member.command?.ended;
        // What a command that can't join prints is for its user, not for a log.
        member.command = undefined;
        member.state = 'new';
      }
    }
    this.members.splice(this.members.indexOf(member), 1);
  }

  async remove(member: Member): Promise<void> {
    member.removalAsked = true;
    await this.admin.memberRemove(member.id, { timeoutMs: 5_000 });
  }

  /** The member that leads, as the cluster says. */
  async leader(limitMs: number): Promise<Member> {
    return eventually(
      'a leader',
      async () => {
        const { leader } = await this.admin.members({ timeoutMs: Math.min(limitMs, 2_000) });
        return this.members.find((member) => member.id === leader && leader !== 0);
      },
      limitMs,
    );
  }

  membership(): Promise<MembersResponse> {
    return this.admin.members({ timeoutMs: 3_000 });
  }

  /** Asks one node itself. */
  async direct<T>(member: Member, ask: (node: DirectNode) => Promise<T>): Promise<T> {
    const node = await DirectNode.connect(member.addresses.clientListen);
    try {
      return await ask(node);
    } finally {
      node.close();
    }
  }

  status(member: Member): Promise<NodeStatus> {
    return this.direct(member, (node) => node.status());
  }

  /** Lifts everything that was done to single nodes. */
  async heal(): Promise<void> {
    for (const member of this.members) {
      if (member.smallDisk) makeRoom(member.dataDirectory);
      this.setClock(member, 0);
      this.resume(member);
    }
    const down = this.members.filter(({ state }) => state === 'down');
    await Promise.all(down.map((member) => this.startMember(member)));
  }

  /** What servers printed that they should not have. */
  checkLogs(): void {
    for (const member of this.members) {
      for (const line of member.log.split('\n')) {
        const problem = problemOfLine(line);
        if (problem !== undefined) this.failures.push(`node ${member.id}: ${problem}`);
      }
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#rssTimer);
    await this.admin.close();
    for (const member of this.members) await this.kill(member);
  }

  #isOf({ state }: Member, ...states: readonly MemberState[]): boolean {
    return states.includes(state);
  }

  #ended(member: Member, command: Command, status: number | null): void {
    if (member.command !== command || !member.running) return;
    const removed = member.removalAsked && status === 0;
    member.state = removed ? 'removed' : 'down';
    if (removed) this.#options.note(`node ${member.id} was removed and has stopped`);
    else
      this.failures.push(
        `node ${member.id} ended by itself with status ${status}: ${lastWords(command.stderr)}`,
      );
  }

  #lookAtMemory(): void {
    for (const member of this.members) {
      if (!member.running || member.command === undefined) continue;
      let rssBytes: number;
      try {
        rssBytes =
          Number(readFileSync(`/proc/${member.command.pid}/statm`, 'utf8').split(' ')[1]) * PAGE_BYTES;
      } catch {
        // It is just ending, or this system has no /proc.
        continue;
      }
      if (rssBytes <= member.maxRssBytes) continue;
      if (rssBytes > MAX_RSS_BYTES && member.maxRssBytes <= MAX_RSS_BYTES)
        this.failures.push(`node ${member.id} takes ${rssBytes} bytes of memory, allowed: ${MAX_RSS_BYTES}`);
      member.maxRssBytes = rssBytes;
    }
  }
}

async function placed(options: ClusterOptions, slot: number, name: () => string): Promise<Member> {
  const addresses = await options.network.place(slot, name);
  const smallDisk = options.smallDisks.has(slot);
  const member = new Member(slot, options.directory, addresses, smallDisk);
  writeFileSync(member.clockFile, '0');
  mkdirSync(member.dataDirectory, { recursive: true });
  if (smallDisk) mountSmallDisk(options.directory, member.dataDirectory);
  return member;
}

/** What is wrong with a line on a server's standard error; undefined when nothing is. */
export function problemOfLine(line: string): string | undefined {
  if (line === '' || EXPECTED.some((text) => line.includes(text))) return undefined;
  let entry: { level?: unknown; msg?: unknown };
  try {
    entry = JSON.parse(line);
  } catch {
    return `printed ${line.slice(0, 300)}`;
  }
  return entry.level === 'error' || entry.level === 'fatal' ? `logged ${line.slice(0, 600)}` : undefined;
}

function lastWords(text: string): string {
  return text.trim().split('\n').slice(-6).join('\n').slice(-1_500);
}

/** Whether an error of the cluster's own is one that faults explain. */
export function isPassing(error: unknown): boolean {
  return (
    error instanceof KvError &&
    (error.retryable || error.code === 'MEMBER_NOT_FOUND' || error.code === 'CLOSED')
  );
}
