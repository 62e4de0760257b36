/**
 * A simulated world: machines with nodes of the real code, the network between them, clients, and a test that acts on all of it, in virtual time.
 *
 *     const world = new World({ seed: 7, nodes: 3 });
 *     await world.run(async () => {
 *       await world.start();
 *       const { store } = world.client('a');
 *       await store.put('key', 'value');
 *       world.partition([1], [2, 3]);
 *     });
 *     world.trace.hash // the same for the same seed
 *
 * Invariants: everything that could differ between two runs comes from the seed; nothing happens outside `run`; nothing of a world is left in the process after `close`.
 * Methods that give no promise act at once.
 */
import { type AdminClient, connectAdmin } from '../client/admin.ts';
import type { Channel } from '../client/channel.ts';
import { ClusterClient } from '../client/cluster_client.ts';
import { createStore } from '../client/store.ts';
import { StoreCore } from '../client/store_core.ts';
import type { Store } from '../client/store_types.ts';
import { TcpChannel } from '../client/tcp_channel.ts';
import type { Config, ConfigInput } from '../config.ts';
import { foundTogether } from '../node/founding.ts';
import type { Identity } from '../node/identity.ts';
import { joinedConfiguration } from '../node/joining.ts';
import type { KvorumNode } from '../node/node.ts';
import type { Ports } from '../ports.ts';
import type { Member, NodeId } from '../raft/types.ts';
import type { Disk } from '../storage/disk.ts';
import type { LossRule } from '../storage/memory_disk.ts';
import type { ClockSetting } from './check/clock_bounds.ts';
import { Scheduler, type SchedulerLimits, SimulationError } from './core/scheduler.ts';
import { SeededRandom } from './core/seeded_random.ts';
import { MachineClock, SimProcess } from './core/sim_process.ts';
import { Trace } from './core/trace.ts';
import { DirectCalls } from './load/direct_calls.ts';
import { leasesAsked } from './machines/lease_keeper.ts';
import { type LinkFault, PeerNetwork } from './machines/peer_network.ts';
import { simConfig } from './machines/sim_config.ts';
import type { SimDisk } from './machines/sim_disk.ts';
import { SimNode } from './machines/sim_node.ts';
import { type StreamFault, StreamNetwork } from './machines/streams.ts';
import { TracedChannel } from './machines/traced_channel.ts';

/** So few that a slow watcher keeps its node waiting, which then has to keep events for it or to read them again. */
const WATCH_WINDOW_BYTES = 8 * 1024;

export interface WorldOptions {
  readonly seed: number | string;
  /** Founding members: ids 1 to this. Default 3. */
  readonly nodes?: number | undefined;
  /** Overrides of simConfig. */
  readonly config?: ConfigInput | undefined;
  /** Keeps the events for the timeline. */
  readonly record?: boolean | undefined;
  /** Who the world's own administrator is, where rights are enforced. */
  readonly admin?: { readonly user: string; readonly password: string } | undefined;
}

export interface SimClient {
  readonly name: string;
  readonly store: Store;
  /** What the store has no words for. */
  readonly direct: DirectCalls;
  readonly process: SimProcess;
  /** The client's own clock, timers and randomness. */
  readonly ports: Ports;
  close(): Promise<void>;
  /** Its process ends without a word. */
  crash(): void;
}

export interface ClientOptions {
  /** HOST:PORT of nodes. */
  readonly endpoints?: readonly string[] | undefined;
  /** For each call that names none. */
  readonly timeoutMs?: number | undefined;
  /** Who to be, where rights are enforced. */
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  /** Gives the channel that the store is to use, over its own. */
  readonly overhear?: ((channel: Channel) => Channel) | undefined;
}

export class World {
  readonly seed: string;
  readonly config: Config;
  readonly scheduler = new Scheduler();
  readonly trace: Trace;
  /** Between nodes. */
  readonly network: PeerNetwork;
  /** Between clients and nodes. */
  readonly streams: StreamNetwork;
  readonly nodes = new Map<NodeId, SimNode>();
  readonly clients: SimClient[] = [];
  /** What machines' clocks were set to, and when in the world's time. */
  readonly clockSettings: ClockSetting[] = [];
  /** When nodes were started, in the world's time. */
  readonly starts: number[] = [];
  /** Of the seed; fork it, never draw from it. */
  readonly random: SeededRandom;
  /** The test's own process. */
  readonly process: SimProcess;
  readonly #founders: Member[];
  readonly #adminLogin: WorldOptions['admin'];
  #admin: AdminClient | undefined;
  /** Machines so far: addresses are never used again. */
  #machines = 0;
  readonly #joined = new Map<NodeId, Identity>();

  constructor(options: WorldOptions) {
    this.seed = String(options.seed);
    this.#adminLogin = options.admin;
    this.config = simConfig(options.config);
    this.random = new SeededRandom(options.seed);
    this.trace = new Trace(options.record === true, () => this.scheduler.nowMs);
    this.scheduler.trace = this.trace;
    this.network = new PeerNetwork(this.scheduler, this.trace, this.random.fork('network'));
    this.streams = new StreamNetwork(this.scheduler, this.trace, this.random.fork('streams'));
    this.process = this.#newProcess('world');
    this.#founders = Array.from({ length: options.nodes ?? 3 }, (_, i) => memberOf(i + 1));
    for (const member of this.#founders) this.#addMachine(member);
  }

  /** The test's own clock, timers and randomness. */
  get ports(): Ports {
    return this.process.ports;
  }

  get nowMs(): number {
    return this.scheduler.nowMs;
  }

  /** Lets so much virtual time pass. */
  sleep(delayMs: number): Promise<void> {
    return this.process.sleep(delayMs);
  }

  /**
   * Runs a test in this world: virtual time passes until its promise has settled.
   * @throws what the test throws; SimulationError when the world can't go on; the first error that nobody caught.
   */
  run<T>(body: () => Promise<T>, limits?: SchedulerLimits): Promise<T> {
    return this.scheduler.drive(body, limits);
  }

  /** Starts all founding members and waits for a leader. */
  async start(): Promise<void> {
    await Promise.all(this.#founders.map(({ id }) => this.startNode(id)));
    await this.untilLeader();
  }

  /** Begins a life of a node on the disk that it has. @throws what the node fails to start with. */
  startNode(id: NodeId, disk?: (view: Disk) => Disk): Promise<KvorumNode> {
    this.starts.push(this.nowMs);
    return this.node(id).start(disk);
  }

  /**
   * Ends a node's life between two events. A loss rule: the machine loses its power, its disk what it had not synced, by the rule, and peers find out by themselves.
   * 'process': the process is killed, the disk loses nothing.
   */
  crash(id: NodeId, rule: LossRule | 'process' = 'random'): void {
    this.node(id).crash(rule);
  }

  /** Ends a node in good order. */
  stop(id: NodeId): Promise<void> {
    return this.node(id).stop();
  }

  /** SIGSTOP: nothing of the node runs; what is sent to it waits. */
  pause(id: NodeId): void {
    this.trace.add('fault', this.node(id).lane, 'pause');
    this.node(id).process?.pause();
  }

  resume(id: NodeId): void {
    this.trace.add('fault', this.node(id).lane, 'resume');
    this.node(id).process?.resume();
  }

  /** Sets a machine's wall clock off the world's time, and how fast its clocks run. */
  setClock(id: NodeId, change: { readonly offsetMs?: number; readonly rate?: number }): void {
    this.trace.add('fault', this.node(id).lane, 'clock', (change.offsetMs ?? 0) + (change.rate ?? 1));
    const { clock } = this.node(id);
    clock.set(change);
    this.clockSettings.push({ node: id, fromMs: this.nowMs, offsetMs: clock.offsetMs, rate: clock.rate });
  }

  disk(id: NodeId): SimDisk {
    return this.node(id).disk;
  }

  node(id: NodeId): SimNode {
    const node = this.nodes.get(id);
    if (node === undefined) throw new Error(`there is no node ${id} in this world`);
    return node;
  }

  /** Nodes that run, by id. */
  running(): SimNode[] {
    return [...this.nodes.values()].filter((node) => node.isUp);
  }

  /** The running node that leads in the newest term. */
  leader(): SimNode | undefined {
    let best: SimNode | undefined;
    let bestTerm = -1;
    for (const node of this.running()) {
      const raft = node.node?.parts.consensus.raft;
      if (raft?.role !== 'leader' || raft.term <= bestTerm) continue;
      best = node;
      bestTerm = raft.term;
    }
    return best;
  }

  /** Waits for a condition, looking every few milliseconds of virtual time. @throws SimulationError after `withinMs`. */
  async until(condition: () => boolean, what: string, withinMs = 30_000): Promise<void> {
    const deadlineMs = this.nowMs + withinMs;
    while (!condition()) {
      if (this.nowMs >= deadlineMs) throw new SimulationError(`waited ${withinMs} ms for ${what}`);
      await this.sleep(5);
    }
  }

  async untilLeader(withinMs = 30_000): Promise<SimNode> {
    await this.until(() => this.leader() !== undefined, 'a leader', withinMs);
    return this.leader()!;
  }

  /** Cuts every way between the groups, in both directions. */
  partition(groupA: readonly NodeId[], groupB: readonly NodeId[]): void {
    this.partitionOneWay(groupA, groupB);
    this.partitionOneWay(groupB, groupA);
  }

  /** Cuts every way from the first group to the second; the way back stays. */
  partitionOneWay(from: readonly NodeId[], to: readonly NodeId[]): void {
    for (const a of from) {
      for (const b of to) {
        if (a !== b) this.setLink(a, b, { ...this.network.fault(a, b), blocked: true });
      }
    }
  }

  /** Two groups that can't see each other, and nodes in the middle that see both. */
  bridge(groupA: readonly NodeId[], groupB: readonly NodeId[]): void {
    this.partition(groupA, groupB);
  }

  setLink(from: NodeId, to: NodeId, fault: LinkFault): void {
    const text = this.trace.recording ? JSON.stringify(fault) : undefined;
    this.trace.add('fault', `node-${from}`, 'link', 0, `node-${to}`, 0, text);
    this.network.setLink(from, to, fault);
  }

  /** Lifts every fault of the network. */
  heal(): void {
    this.trace.add('fault', 'faults', 'heal');
    this.network.heal();
    this.streams.heal();
  }

  /**
   * A client with its own process, over simulated byte streams.
   * @param options.endpoints default: every member of now.
   */
  client(name: string, options: ClientOptions = {}): SimClient {
    const process = this.#newProcess(name);
    const { timeoutMs, user, password } = options;
    const cluster = new ClusterClient({
      endpoints: options.endpoints ?? this.addresses(),
      ports: process.ports,
      dial: this.streams.dialFrom(process),
      timeoutMs,
      user,
      password,
      name,
      watchWindowBytes: WATCH_WINDOW_BYTES,
    });
    const { limits } = this.config;
    const traced = new TracedChannel(new TcpChannel(cluster), this.trace, name);
    const channel = options.overhear === undefined ? traced : options.overhear(traced);
    const over = {
      channel,
      limits,
      ports: process.ports,
      maxSessionResults: limits.maxSessionResults,
      timeoutMs,
    };
    const store = createStore(over);
    const chance = this.random.fork(`nodes of ${name}`);
    const leases = leasesAsked(
      () => {
        const up = this.running();
        return up.length === 0 ? undefined : chance.pick(up);
      },
      process,
      { user, password },
    );
    const direct = new DirectCalls({ core: new StoreCore(over), channel, leases });
    const crash = (): void => {
      process.kill();
      this.streams.processEnded(process, false);
    };
    const client = { name, store, direct, process, ports: process.ports, close: () => store.close(), crash };
    this.clients.push(client);
    return client;
  }

  /** The client addresses of all machines. */
  addresses(): string[] {
    return [...this.nodes.values()].map(({ member }) => member.clientAddress);
  }

  /** Sets what is the matter with the way from a client to a node, or back. */
  setClientLink(name: string, id: NodeId, direction: 'to' | 'from' | 'both', fault: StreamFault): void {
    const { lane } = this.node(id);
    const text = this.trace.recording ? `${direction} ${JSON.stringify(fault)}` : undefined;
    this.trace.add('fault', name, 'stream', 0, lane, 0, text);
    if (direction !== 'from') this.streams.setWay(name, lane, fault);
    if (direction !== 'to') this.streams.setWay(lane, name, fault);
  }

  /** Breaks the connections of a client to a node. */
  resetClient(name: string, id: NodeId): void {
    this.trace.add('fault', name, 'reset', 0, this.node(id).lane);
    this.streams.reset(name, this.node(id).lane);
  }

  /** What the command line asks of a cluster, through a client of the test's own. */
  admin(): AdminClient {
    this.#admin ??= connectAdmin({
      endpoints: this.addresses(),
      ports: this.process.ports,
      dial: this.streams.dialFrom(this.process),
      ...this.#adminLogin,
    });
    return this.#admin;
  }

  /**
   * Adds a member with an empty disk, and starts it: it asks for its vote by itself once it has caught up. Gives its id.
   * @throws KvError of the change, or of the start. After an unknown outcome, ids that the cluster has given away stay unused.
   */
  async addMember(): Promise<NodeId> {
    this.#machines = Math.max(this.#machines, ...this.nodes.keys()) + 1;
    const { peerAddress, clientAddress } = memberOf(this.#machines);
    this.trace.add('fault', 'world', 'add member', this.#machines);
    const added = await this.admin().memberAdd({ peerAddress, clientAddress });
    const identity: Identity = {
      clusterId: added.clusterId,
      nodeId: added.id,
      tree: this.config.storage.tree,
      configuration: joinedConfiguration(added),
      promote: true,
    };
    this.#joined.set(added.id, identity);
    this.#addMachine({ id: added.id, peerAddress, clientAddress });
    await this.startNode(added.id);
    return added.id;
  }

  /** Takes a member out; its machine goes on until it is crashed or stopped. */
  async removeMember(id: NodeId): Promise<void> {
    this.trace.add('fault', 'world', 'remove member', id);
    await this.admin().memberRemove(id);
  }

  /** Ends everything at once. */
  close(): void {
    for (const { process } of this.clients) process.kill();
    for (const node of this.nodes.values()) node.crash('process');
    this.process.kill();
  }

  #newProcess(lane: string): SimProcess {
    const random = this.random.fork(`process ${lane}`);
    return new SimProcess(lane, this.scheduler, new MachineClock(this.scheduler, 1_000), random);
  }

  #addMachine(member: Member): SimNode {
    const { id } = member;
    const node = new SimNode({
      member,
      config: this.config,
      scheduler: this.scheduler,
      network: this.network,
      trace: this.trace,
      random: this.random.fork(`machine ${id}`),
      create: async () => this.#joined.get(id) ?? foundTogether(id, this.#founders, this.config.storage.tree),
      streams: this.streams,
    });
    this.nodes.set(id, node);
    return node;
  }
}

function memberOf(id: NodeId): Member {
  return { id, peerAddress: `node-${id}:7401`, clientAddress: `node-${id}:7400` };
}
