/**
 * A cluster of Raft cores in one process, for tests: disks, network and time are objects that the test moves by hand.
 *
 * A node's Readys wait in `unsynced` until `sync` makes them durable, oldest first; a crash forgets those that are left. Messages lie in `network` until
 * they are delivered. Every Ready goes past the invariants. The state machine is a running hash over the commands applied.
 */
import * as assert from 'uvu/assert';
import { decodeConfiguration, EMPTY_CONFIGURATION } from '../../src/raft/configuration.ts';
import { Raft } from '../../src/raft/raft.ts';
import {
  type Configuration,
  ENTRY_COMMAND,
  ENTRY_CONFIGURATION,
  type Entry,
  type HardState,
  type Message,
  type NodeId,
  type RaftOptions,
  type Ready,
  type SnapshotChunk,
  type SnapshotMeta,
} from '../../src/raft/types.ts';
import { Invariants } from './invariants.ts';
import { MemoryLog } from './memory_log.ts';
import { SeededRandom } from './random.ts';

export interface ClusterOptions {
  readonly seed?: number;
  readonly raft?: Partial<RaftOptions>;
  /** Readys are durable at once. Default true. */
  readonly autoSync?: boolean;
  /** The log port shows entries as soon as they are handed out, not only when they are durable. */
  readonly eagerLog?: boolean;
}

interface Machine {
  index: number;
  hash: number;
  configuration: Configuration;
}
interface Snapshot {
  readonly meta: SnapshotMeta;
  readonly bytes: Uint8Array;
}
interface Disk {
  hardState: HardState;
  log: MemoryLog;
  snapshot: Snapshot | undefined;
}

export function configurationOf(voters: NodeId[], learners: NodeId[] = []): Configuration {
  const ids = [...voters, ...learners].sort((a, b) => a - b);
  return {
    voters,
    votersOutgoing: [],
    learners,
    members: ids.map((id) => memberOf(id)),
    lastId: Math.max(...ids),
  };
}

export function memberOf(id: NodeId): { id: NodeId; peerAddress: string; clientAddress: string } {
  return { id, peerAddress: `peer${id}:1`, clientAddress: `client${id}:1` };
}

export class ClusterNode {
  readonly id: NodeId;
  readonly cluster: Cluster;
  readonly initial: Configuration;
  disk: Disk = { hardState: { term: 0, vote: 0, commit: 0 }, log: new MemoryLog(), snapshot: undefined };
  /** Everything handed out, durable or not. */
  visible = new MemoryLog();
  unsynced: Ready[] = [];
  machine: Machine;
  raft: Raft;
  up = true;
  snapshotWanted = 0;
  /** Context -> index; 0 for "ask again". */
  readonly reads = new Map<number, number>();
  readonly #asked = new Map<number, number>();
  #partial: { index: number; bytes: Uint8Array } = { index: 0, bytes: new Uint8Array(0) };
  #handedHardState: HardState = this.disk.hardState;
  readyCount = 0;

  constructor(cluster: Cluster, id: NodeId, initial: Configuration) {
    this.cluster = cluster;
    this.id = id;
    this.initial = initial;
    this.machine = this.#machineOnDisk();
    this.raft = this.#newCore();
  }

  #machineOnDisk(): Machine {
    if (this.disk.snapshot === undefined) return { index: 0, hash: 0, configuration: this.initial };
    const { meta, bytes } = this.disk.snapshot;
    const state: unknown = JSON.parse(Buffer.from(bytes).toString());
    if (typeof state !== 'object' || state === null || !('hash' in state)) throw new Error('bad snapshot');
    return { index: meta.index, hash: Number(state.hash), configuration: meta.configuration };
  }

  #newCore(): Raft {
    const { options } = this.cluster;
    return new Raft({
      id: this.id,
      log: options.eagerLog ? this.visible : this.disk.log,
      snapshots: {
        latest: () => this.disk.snapshot?.meta,
        read: (index, offset, maxBytes) =>
          this.disk.snapshot?.meta.index === index
            ? this.disk.snapshot.bytes.slice(offset, offset + maxBytes)
            : undefined,
      },
      hardState: this.disk.hardState,
      configuration: this.machine.configuration,
      applied: this.machine.index,
      electionTicks: 10,
      heartbeatTicks: 2,
      maxAppendBytes: 1024,
      maxInflightBytes: 4096,
      maxUncommittedBytes: 16_384,
      snapshotChunkBytes: 64,
      random: this.cluster.random.next,
      ...options.raft,
    });
  }

  crash(durableReadys = 0): void {
    for (let i = 0; i < durableReadys && i < this.unsynced.length; i++) this.#write(this.unsynced[i]!);
    this.unsynced = [];
    this.up = false;
  }

  restart(): void {
    this.up = true;
    this.visible = this.disk.log.clone();
    this.machine = this.#machineOnDisk();
    this.#partial = { index: 0, bytes: new Uint8Array(0) };
    this.#handedHardState = this.disk.hardState;
    this.snapshotWanted = 0;
    this.raft = this.#newCore();
    this.pump();
  }

  tick(count = 1): void {
    for (let i = 0; i < count && this.up; i++) {
      this.raft.tick();
      this.pump();
    }
  }

  step(message: Message): void {
    this.raft.step(message);
    this.pump();
  }

  propose(...commands: string[]): boolean {
    const result = this.raft.propose(commands.map((command) => new TextEncoder().encode(command)));
    this.pump();
    return result.ok;
  }

  read(context: number): boolean {
    if (!this.raft.readIndex(context)) return false;
    this.#asked.set(context, this.cluster.invariants.maxCommit);
    this.pump();
    return true;
  }

  /** Takes Readys until there are none. */
  pump(): void {
    for (let i = 0; this.up && this.raft.hasReady(); i++) {
      assert.ok(i < 10_000, 'Readys do not end');
      this.#take(this.raft.ready());
      if (this.cluster.options.autoSync !== false) this.sync();
    }
  }

  #take(ready: Ready): void {
    this.readyCount++;
    const { invariants } = this.cluster;
    invariants.ready(this.id, ready, this.visible.lastIndex(), this.machine.index, this.disk.log.lastIndex());
    if (ready.hardState !== undefined) {
      invariants.hardState(this.id, this.#handedHardState, ready.hardState);
      const { term, vote } = this.#handedHardState;
      const changed = ready.hardState.term !== term || ready.hardState.vote !== vote;
      assert.is(ready.mustSync, changed || ready.entries.length > 0, 'mustSync');
      this.#handedHardState = ready.hardState;
    }
    this.visible.append(ready.entries);
    this.unsynced.push(ready);
    for (const message of ready.messages) this.cluster.send(message);
    this.#observe();
    for (const entry of ready.committed) this.#apply(entry);
    if (ready.committed.length > 0) this.raft.applied(this.machine.index);
    for (const { context, index } of ready.readStates) this.#answered(context, index);
    this.snapshotWanted = Math.max(this.snapshotWanted, ready.snapshotWanted);
  }

  #observe(): void {
    const { raft, cluster } = this;
    if (raft.role === 'leader') {
      cluster.invariants.leaderElected(raft.term, this.id, this.visible);
      const { configuration, commit } = raft.status();
      cluster.invariants.committed(
        commit,
        this.visible.term(commit),
        configuration,
        (id) => cluster.nodes.get(id)?.disk.log,
      );
    }
  }

  #answered(context: number, index: number): void {
    const asked = this.#asked.get(context);
    assert.is.not(asked, undefined, `an answer to read ${context} that nobody waits for`);
    this.#asked.delete(context);
    this.reads.set(context, index);
    if (index > 0) this.cluster.invariants.readAnswered(this.id, index, asked!);
  }

  #apply(entry: Entry): void {
    this.cluster.invariants.entryDecided(this.id, entry);
    this.machine.index = entry.index;
    if (entry.kind === ENTRY_COMMAND) {
      for (const byte of entry.data) this.machine.hash = (Math.imul(this.machine.hash, 31) + byte) | 0;
    } else if (entry.kind === ENTRY_CONFIGURATION) {
      this.machine.configuration = decodeConfiguration(entry.data);
      this.cluster.configurationApplied(this.machine.configuration);
    }
  }

  /** Makes the oldest `count` Readys durable, and does what waits for that. */
  sync(count = Number.POSITIVE_INFINITY): void {
    for (let i = 0; i < count && this.up && this.unsynced.length > 0; i++) {
      const ready = this.unsynced.shift()!;
      this.#write(ready);
      for (const message of ready.messagesAfterAppend) this.cluster.send(message);
      const last = ready.entries.at(-1);
      if (last !== undefined) this.raft.appended(ready.appendTerm, last.index);
      for (const chunk of ready.snapshotChunks) this.#store(chunk);
      this.pump();
    }
  }

  #write(ready: Ready): void {
    if (ready.hardState !== undefined) {
      this.cluster.invariants.hardState(this.id, this.disk.hardState, ready.hardState);
      this.disk.hardState = ready.hardState;
    }
    this.disk.log.append(ready.entries);
    for (const entry of ready.entries) {
      const prevTerm = this.disk.log.term(entry.index - 1);
      if (prevTerm !== undefined) this.cluster.invariants.entryExists(entry, prevTerm);
    }
  }

  #store({ snapshot, offset, data, last }: SnapshotChunk): void {
    if (this.#partial.index !== snapshot.index)
      this.#partial = { index: snapshot.index, bytes: new Uint8Array(0) };
    if (offset === this.#partial.bytes.length) {
      this.#partial.bytes = Buffer.concat([this.#partial.bytes, data]);
    }
    const { bytes } = this.#partial;
    if (!last || bytes.length < snapshot.sizeBytes) {
      this.raft.snapshotChunkStored(snapshot.index, bytes.length);
      return;
    }
    this.disk.snapshot = { meta: snapshot, bytes };
    this.disk.log.reset(snapshot.index, snapshot.term);
    this.visible.reset(snapshot.index, snapshot.term);
    this.machine = this.#machineOnDisk();
    this.cluster.snapshotsInstalled++;
    this.raft.snapshotInstalled(snapshot);
  }

  /** Writes a snapshot of the state machine, and cuts the log up to `keep` entries before it. */
  takeSnapshot(keep = 0): void {
    const { index, hash, configuration } = this.machine;
    const term = this.visible.term(index);
    if (term === undefined || index === 0) return;
    const bytes = Buffer.from(JSON.stringify({ hash, padding: 'x'.repeat(150) }));
    this.disk.snapshot = { meta: { index, term, configuration, sizeBytes: bytes.length }, bytes };
    this.disk.log.compact(index - keep);
    this.visible.compact(index - keep);
    this.snapshotWanted = 0;
  }
}

export class Cluster {
  readonly options: ClusterOptions;
  readonly random: SeededRandom;
  readonly nodes = new Map<NodeId, ClusterNode>();
  readonly invariants = new Invariants();
  network: Message[] = [];
  /** Directed links that lose everything. */
  readonly cut = new Set<string>();
  /** Called for every message sent. */
  onSend: (message: Message) => void = () => undefined;
  snapshotsInstalled = 0;

  constructor(configuration: Configuration, options: ClusterOptions = {}) {
    this.options = options;
    this.random = new SeededRandom(options.seed ?? 1);
    for (const { id } of configuration.members) this.add(id, configuration);
  }

  /** A node that will be a member. It starts empty, unless it is one of the first. */
  add(id: NodeId, configuration = EMPTY_CONFIGURATION): ClusterNode {
    const node = new ClusterNode(this, id, configuration);
    this.nodes.set(id, node);
    return node;
  }

  node(id: NodeId): ClusterNode {
    const node = this.nodes.get(id);
    if (node === undefined) throw new Error(`no node ${id}`);
    return node;
  }

  get all(): ClusterNode[] {
    return [...this.nodes.values()];
  }

  /** Nodes that are added come up when the configuration that names them is decided. */
  configurationApplied(configuration: Configuration): void {
    for (const { id } of configuration.members) if (!this.nodes.has(id)) this.add(id);
  }

  send(message: Message): void {
    if (message.type === 'appendRequest') {
      let { prevTerm } = message;
      for (const entry of message.entries) {
        this.invariants.entryExists(entry, prevTerm);
        prevTerm = entry.term;
      }
    }
    this.onSend(message);
    this.network.push(message);
  }

  isCut(from: NodeId, to: NodeId): boolean {
    return this.cut.has(`${from}>${to}`);
  }

  /** Cuts both directions between every two nodes of different groups. */
  partition(...groups: NodeId[][]): void {
    for (const group of groups) {
      for (const from of group) {
        for (const to of this.nodes.keys())
          if (!group.includes(to)) this.cut.add(`${from}>${to}`).add(`${to}>${from}`);
      }
    }
  }

  heal(): void {
    this.cut.clear();
  }

  deliverOne(message: Message): void {
    const node = this.nodes.get(message.to);
    if (node?.up && !this.isCut(message.from, message.to)) node.step(message);
  }

  /** Delivers, in order, until nothing is under way. `accept` false loses a message. */
  deliver(accept: (message: Message) => boolean = () => true): void {
    for (let i = 0; this.network.length > 0; i++) {
      assert.ok(i < 200_000, 'messages do not end');
      const message = this.network.shift()!;
      if (accept(message)) this.deliverOne(message);
    }
  }

  /** Ticks everybody and delivers everything, `count` times. */
  run(count: number, accept?: (message: Message) => boolean): void {
    for (let i = 0; i < count; i++) {
      for (const node of this.all) if (node.up) node.tick();
      if (this.options.autoSync === false) for (const node of this.all) node.sync();
      this.deliver(accept);
      if (this.options.autoSync === false) for (const node of this.all) node.sync();
    }
  }

  /** Runs until `condition` holds. */
  runUntil(condition: () => boolean, what: string, limit = 500): void {
    for (let i = 0; !condition(); i++) {
      assert.ok(i < limit, `not within ${limit} ticks: ${what}`);
      this.run(1);
    }
  }

  /** The leader of the highest term, if any is up. */
  leader(): ClusterNode | undefined {
    let best: ClusterNode | undefined;
    for (const node of this.all) {
      if (node.up && node.raft.role === 'leader' && (best === undefined || node.raft.term > best.raft.term))
        best = node;
    }
    return best;
  }

  /** Makes `id` leader by an election. */
  elect(id: NodeId): ClusterNode {
    const node = this.node(id);
    node.raft.campaign();
    node.pump();
    this.deliver();
    for (let i = 0; i < 3 && this.options.autoSync === false; i++) {
      for (const each of this.all) each.sync();
      this.deliver();
    }
    assert.is(node.raft.role, 'leader', `${id} should lead`);
    return node;
  }
}
