/**
 * A cluster of real nodes in one process, on disks in memory and a network in memory that can be cut.
 *
 * A crash takes the node away between two turns and loses what its disk had not synced; the next start of that node opens what is left.
 */

import { createStore } from '../../src/client/store.ts';
import type { Store } from '../../src/client/store_types.ts';
import { type Config, type ConfigInput, parseConfig } from '../../src/config.ts';
import { EmbeddedChannel } from '../../src/embedded_channel.ts';
import type { KvError } from '../../src/errors.ts';
import { foundTogether } from '../../src/node/founding.ts';
import type { Identity } from '../../src/node/identity.ts';
import { KvorumNode } from '../../src/node/node.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import type { Member } from '../../src/raft/types.ts';
import { realPorts } from '../../src/real_ports.ts';
import { ScryptPasswords } from '../../src/security/passwords.ts';
import { type LossRule, MemoryDisk } from '../../src/storage/memory_disk.ts';
import type { MemberAddResponse } from '../../src/wire/messages.ts';
import { MemoryNetwork } from '../../transports/memory.ts';
import { diskOfThisLife } from './disk_of_this_life.ts';
import { SleepyPorts } from './sleepy_ports.ts';

const MIB = 1024 * 1024;
export const WAIT_MS = 20_000;

/** Small and quick: elections take a few hundred milliseconds. */
export const LAB_CONFIG = {
  raft: { tickMs: 10, electionTicks: 25, heartbeatTicks: 2 },
  storage: { memtableSizeBytes: MIB, segmentSizeBytes: MIB, preallocateBytes: 64 * 1024 },
} satisfies ConfigInput;

export interface LabNode {
  readonly id: number;
  readonly node: KvorumNode;
  readonly store: Store;
  readonly ports: SleepyPorts;
  /** Set when the node has ended by itself. */
  readonly ended: { reason: KvError | undefined; is: boolean };
}

export class ClusterLab {
  readonly network = new MemoryNetwork({ ports: realPorts() });
  readonly disks = new Map<number, MemoryDisk>();
  readonly nodes = new Map<number, LabNode>();
  readonly config: Config;
  /** Housekeeping of nodes started from now on runs so many times as often. */
  hurry: number;
  readonly #founders: Member[];
  readonly #joined = new Map<number, Identity>();

  private constructor(count: number, config: ConfigInput, hurry: number) {
    this.hurry = hurry;
    this.config = parseConfig({
      ...LAB_CONFIG,
      ...config,
      raft: { ...LAB_CONFIG.raft, ...config.raft },
      storage: { ...LAB_CONFIG.storage, ...config.storage },
    });
    this.#founders = Array.from({ length: count }, (_, i) => memberOf(i + 1));
  }

  /** A lab with no node running yet. */
  static create(count: number, config: ConfigInput, hurry: number): ClusterLab {
    return new ClusterLab(count, config, hurry);
  }

  /** @param disks disks that are not plain ones, by node. */
  static async start(
    count: number,
    config: ConfigInput = {},
    disks: ReadonlyMap<number, MemoryDisk> = new Map(),
    hurry = 1,
  ): Promise<ClusterLab> {
    const lab = new ClusterLab(count, config, hurry);
    for (const [id, disk] of disks) lab.disks.set(id, disk);
    await Promise.all(lab.#founders.map((member) => lab.startNode(member.id)));
    await lab.leader();
    return lab;
  }

  /** Starts a node that is not running, on the disk that it left (or on a new one). */
  async startNode(id: number): Promise<LabNode> {
    const disk = this.disks.get(id) ?? new MemoryDisk();
    this.disks.set(id, disk);
    const ports = new SleepyPorts(this.hurry);
    const ended: LabNode['ended'] = { reason: undefined, is: false };
    const node = await KvorumNode.start({
      path: `node-${id}`,
      config: this.config,
      ports,
      disk: diskOfThisLife(disk),
      logger: silentLogger,
      version: 'test',
      pid: id,
      rssBytes: () => 0,
      passwords: new ScryptPasswords({ logN: 2 }),
      create: async () => this.#joined.get(id) ?? foundTogether(id, this.#founders, this.config.storage.tree),
      transport: (identity) => this.network.transport(identity.nodeId),
      endpoints: [memberOf(id).clientAddress],
      batching: 'io',
      onEnd: (reason) => {
        ended.reason = reason;
        ended.is = true;
      },
    });
    const store = createStore({
      channel: new EmbeddedChannel(node.service, async () => undefined),
      limits: this.config.limits,
      ports,
      maxSessionResults: this.config.limits.maxSessionResults,
    });
    const labNode = { id, node, store, ports, ended };
    this.nodes.set(id, labNode);
    return labNode;
  }

  /** Adds a node with an empty disk as a learner, through any running node. */
  async join(through: LabNode): Promise<LabNode> {
    const next = Math.max(...this.disks.keys()) + 1;
    const { peerAddress, clientAddress } = memberOf(next);
    const added = await through.node.service.memberAdd({ peerAddress, clientAddress });
    if (added.id !== next) throw new Error(`the lab expected id ${next}, the cluster gave ${added.id}`);
    return this.rejoin(next, added);
  }

  /** Starts a node that the cluster has added. */
  rejoin(next: number, added: MemberAddResponse): Promise<LabNode> {
    const ids = (role: string): number[] => added.members.filter((m) => m.role === role).map((m) => m.id);
    this.#joined.set(next, {
      clusterId: added.clusterId,
      nodeId: next,
      tree: this.config.storage.tree,
      promote: false,
      configuration: {
        voters: ids('voter'),
        votersOutgoing: [],
        learners: ids('learner'),
        members: added.members.map(({ id, ...m }) => ({
          id,
          peerAddress: m.peerAddress,
          clientAddress: m.clientAddress,
        })),
        lastId: next,
      },
    });
    return this.startNode(next);
  }

  node(id: number): LabNode {
    const found = this.nodes.get(id);
    if (found === undefined) throw new Error(`node ${id} is not running`);
    return found;
  }

  /** The node that leads and is reachable by a majority; waits for it. */
  async leader(): Promise<LabNode> {
    const find = (): LabNode | undefined => {
      const leaders = [...this.nodes.values()].filter(({ node }) => node.service.status().role === 'leader');
      // Right after a partition an old leader may not know yet: the newest term counts.
      return leaders.sort((a, b) => b.node.service.status().term - a.node.service.status().term)[0];
    };
    await until(() => find() !== undefined, 'a leader');
    return find()!;
  }

  follower(leader: LabNode): LabNode {
    return [...this.nodes.values()].find(({ id }) => id !== leader.id)!;
  }

  /** Power loss: the node stops where it is, and its disk keeps only what it must. */
  crash(id: number, rule: LossRule = 'all', random: () => number = () => 0): void {
    const { node } = this.node(id);
    this.nodes.delete(id);
    this.disks.get(id)!.crash(rule, random);
    node.halt();
  }

  /** The process of a node is stopped: no timer of it runs, and nothing is taken from its connections. */
  sleep(id: number): void {
    for (const other of this.disks.keys())
      if (other !== id) this.network.setLink(other, id, { ...this.network.fault(other, id), held: true });
    this.node(id).ports.sleep();
  }

  /** It goes on: with its timers first, or with what waits in its connections. */
  wake(id: number, first: 'timers' | 'frames'): void {
    const receive = (): void => {
      for (const other of this.disks.keys())
        if (other !== id) this.network.setLink(other, id, { ...this.network.fault(other, id), held: false });
    };
    if (first === 'frames') receive();
    this.nodes.get(id)?.ports.wake();
    if (first === 'timers') receive();
  }

  async stopNode(id: number): Promise<void> {
    const { node } = this.node(id);
    this.nodes.delete(id);
    await node.stop();
  }

  /** Ends all nodes without ceremony: their disks are gone with the lab. */
  async stop(): Promise<void> {
    const running = [...this.nodes.values()];
    this.nodes.clear();
    for (const { node } of running) node.halt();
    // What is still under way below a node ends with its disk: an engine would wait for room on a full one for ever.
    for (const disk of this.disks.values()) disk.crash('none', () => 0);
  }
}

function memberOf(id: number): Member {
  return { id, peerAddress: `memory:${id}`, clientAddress: `client:${id}` };
}

/** Waits for a condition; fails with its name after WAIT_MS. */
export async function until(
  test: () => boolean | Promise<boolean>,
  what: string,
  waitMs = WAIT_MS,
): Promise<void> {
  const deadline = Date.now() + waitMs;
  while (!(await test())) {
    if (Date.now() > deadline) throw new Error(`waited ${waitMs} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const decoder = new TextDecoder();
export const text = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : decoder.decode(bytes);

/** Puts with retries, as a client does: gives the revision. */
export async function persistentPut(lab: ClusterLab, key: string, value: string): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const nodes = [...lab.nodes.values()];
    if (nodes.length === 0) throw new Error('the lab has no running node');
    const { store } = nodes[Math.floor(Math.random() * nodes.length)]!;
    try {
      await store.put(key, value, { timeoutMs: 500 });
      return;
    } catch (error) {
      if (!(error as KvError).retryable || Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

export async function withLab(count: number, work: (lab: ClusterLab) => Promise<void>): Promise<void> {
  const lab = await ClusterLab.start(count);
  try {
    await work(lab);
  } finally {
    await lab.stop();
  }
}
