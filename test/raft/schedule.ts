/**
 * One randomised run: faults, proposals, reads, membership changes, transfers and snapshots in an order that a seed decides, then a phase in which everything
 * heals and all work must finish. The invariants are checked all along.
 */
import * as assert from 'uvu/assert';
import { isMember } from '../../src/raft/configuration.ts';
import type { ConfigurationChange, Message } from '../../src/raft/types.ts';
import { Cluster, type ClusterNode, configurationOf } from './cluster.ts';
import { SeededRandom } from './random.ts';

export interface ScheduleResult {
  readonly decided: number;
  readonly terms: number;
  readonly readsAnswered: number;
  readonly changes: number;
  readonly snapshotsInstalled: number;
  readonly transfers: number;
}

/** How much of each trouble a run makes; drawn from its seed. */
interface Mood {
  readonly drop: number;
  readonly duplicate: number;
  readonly reorder: number;
  readonly crash: number;
  readonly partition: number;
  readonly membership: number;
  readonly snapshot: number;
}

export class Schedule {
  readonly random: SeededRandom;
  readonly cluster: Cluster;
  readonly mood: Mood;
  #nextContext = 1;
  #nextCommand = 1;
  #changes = 0;
  #transfers = 0;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    const { random } = this;
    const level = (most: number): number => (random.chance(0.4) ? 0 : random.next() * most);
    this.mood = {
      drop: level(0.3),
      duplicate: level(0.2),
      reorder: level(0.8),
      crash: level(0.04),
      partition: level(0.04),
      membership: level(0.06),
      snapshot: level(0.06),
    };
    const count = random.pick([1, 2, 3, 3, 3, 4, 5]);
    const voters = Array.from({ length: count }, (_, i) => i + 1);
    this.cluster = new Cluster(configurationOf(voters), {
      seed: seed ^ 0x5bd1e995,
      autoSync: false,
      eagerLog: random.chance(0.5),
      raft: { maxAppendBytes: random.pick([40, 100, 1000]), maxInflightBytes: random.pick([100, 400, 4000]) },
    });
  }

  run(steps: number): ScheduleResult {
    for (let i = 0; i < steps; i++) this.#act();
    this.#settle();
    let readsAnswered = 0;
    for (const node of this.cluster.all)
      for (const index of node.reads.values()) if (index > 0) readsAnswered++;
    return {
      decided: this.cluster.invariants.maxDecided,
      terms: Math.max(...this.cluster.all.map((node) => node.raft.term)),
      readsAnswered,
      changes: this.#changes,
      snapshotsInstalled: this.cluster.snapshotsInstalled,
      transfers: this.#transfers,
    };
  }

  #act(): void {
    const { random, mood } = this;
    if (random.chance(mood.crash)) this.#crashOrRestart();
    if (random.chance(mood.partition)) this.#partitionOrHeal();
    if (random.chance(mood.membership)) this.#changeMembership();
    if (random.chance(mood.snapshot)) this.#snapshot();
    const up = this.cluster.all.filter((node) => node.up);
    if (up.length === 0) return;
    const node = random.pick(up);
    const dice = random.below(100);
    if (dice < 45) this.#deliver();
    else if (dice < 65) node.tick();
    else if (dice < 85) node.sync(1 + random.below(3));
    else if (dice < 93) this.#propose();
    else if (dice < 98) node.read(this.#nextContext++);
    else if (dice < 99) this.#transfer();
    else node.raft.peerUnreachable(random.pick(up).id);
  }

  #deliver(): void {
    const { random, mood, cluster } = this;
    const { network } = cluster;
    for (let count = random.below(6); count > 0 && network.length > 0; count--) {
      const at = random.chance(mood.reorder) ? random.below(network.length) : 0;
      const message: Message = network[at]!;
      if (!random.chance(mood.duplicate)) network.splice(at, 1);
      if (!random.chance(mood.drop)) cluster.deliverOne(message);
    }
    // A network that holds back too much loses the rest.
    if (network.length > 300) network.splice(0, 150);
  }

  #propose(): void {
    const leaders = this.cluster.all.filter((node) => node.up && node.raft.role === 'leader');
    if (leaders.length === 0) return;
    const commands = Array.from({ length: 1 + this.random.below(4) }, () => `c${this.#nextCommand++}`);
    this.random.pick(leaders).propose(...commands);
  }

  #crashOrRestart(): void {
    const node = this.random.pick(this.cluster.all);
    if (!node.up) node.restart();
    else if (this.random.chance(0.6)) node.crash(this.random.below(node.unsynced.length + 1));
  }

  #partitionOrHeal(): void {
    const { random, cluster } = this;
    if (random.chance(0.4)) {
      cluster.heal();
      return;
    }
    const ids = cluster.all.map((node) => node.id);
    if (random.chance(0.5)) {
      cluster.partition(ids.filter(() => random.chance(0.5)));
    } else {
      // One direction of one link: bridges and half-open connections.
      cluster.cut.add(`${random.pick(ids)}>${random.pick(ids)}`);
    }
  }

  #changeMembership(): void {
    const { random } = this;
    const leader = this.cluster.leader();
    if (leader === undefined) return;
    const { configuration } = leader.raft.status();
    const address = 100 + random.below(1_000_000);
    const member = { peerAddress: `peer${address}:1`, clientAddress: `client${address}:1` };
    const changes: ConfigurationChange[] = [
      { type: 'remove', id: random.pick(configuration.voters) },
      { type: 'updateAddresses', member: { id: random.pick(configuration.voters), ...member } },
    ];
    if (configuration.members.length < 6) changes.push({ type: 'addLearner', member });
    for (const id of configuration.learners) changes.push({ type: 'promote', id }, { type: 'promote', id });
    if (configuration.learners.length > 0)
      changes.push({ type: 'remove', id: random.pick(configuration.learners) });
    if (leader.raft.proposeConfiguration(random.pick(changes)).ok) this.#changes++;
    leader.pump();
  }

  #transfer(): void {
    const leader = this.cluster.leader();
    if (leader === undefined) return;
    const to = this.random.pick(leader.raft.status().configuration.voters);
    if (leader.raft.transferLeadership(to)) this.#transfers++;
    leader.pump();
  }

  #snapshot(): void {
    const node = this.random.pick(this.cluster.all);
    if (node.up) node.takeSnapshot(this.random.pick([0, 0, 3, 20]));
  }

  /** Liveness: with the network healed and every node up, a leader emerges, a proposal is decided and reaches every member. */
  #settle(): void {
    const { cluster } = this;
    cluster.heal();
    for (const node of cluster.all) if (!node.up) node.restart();
    let proposed = 0;
    let asked = 0;
    let reader: ClusterNode | undefined;
    const finished = (): boolean => {
      for (const node of cluster.all) if (node.up && node.snapshotWanted > 0) node.takeSnapshot();
      const leader = cluster.leader();
      if (leader === undefined) return false;
      if (proposed === 0 || leader.raft.term !== proposed) {
        if (leader.propose('last')) proposed = leader.raft.term;
        return false;
      }
      if (reader === undefined || reader.reads.get(asked) === 0) {
        // Any member may be asked; one that lost its leader says so, and is asked again.
        reader = this.random.pick(this.#members(leader));
        asked = this.#nextContext++;
        if (!reader.read(asked)) reader = undefined;
        return false;
      }
      return reader.reads.has(asked) && this.#allCaughtUp(leader);
    };
    cluster.runUntil(finished, 'everything finishes once the faults are over', 600);
    this.#checkStates();
  }

  /** The nodes behind the configuration in force, as far as they are up yet. */
  #members(leader: ClusterNode): ClusterNode[] {
    const { configuration } = leader.raft.status();
    return this.cluster.all.filter((node) => isMember(configuration, node.id));
  }

  #allCaughtUp(leader: ClusterNode): boolean {
    const { configuration, lastIndex, commit } = leader.raft.status();
    if (configuration.votersOutgoing.length > 0 || commit !== lastIndex) return false;
    return configuration.members.every(({ id }) => this.cluster.nodes.get(id)?.machine.index === lastIndex);
  }

  /** Equal index, equal state. */
  #checkStates(): void {
    const leader = this.cluster.leader()!;
    for (const node of this.#members(leader)) {
      assert.is(node.machine.hash, leader.machine.hash, `state of ${node.id} equals the leader's`);
    }
  }
}

/**
 * Runs many seeds. @returns what they did together, and how the first few that failed did so, by seed.
 */
export function runSchedules(
  from: number,
  count: number,
  steps: number,
): { readonly total: ScheduleResult; readonly failures: string[] } {
  const sums = { decided: 0, terms: 0, readsAnswered: 0, changes: 0, snapshotsInstalled: 0, transfers: 0 };
  const failures: string[] = [];
  for (let seed = from; seed < from + count && failures.length < 20; seed++) {
    try {
      const result = new Schedule(seed).run(steps);
      sums.decided += result.decided;
      sums.terms += result.terms;
      sums.readsAnswered += result.readsAnswered;
      sums.changes += result.changes;
      sums.snapshotsInstalled += result.snapshotsInstalled;
      sums.transfers += result.transfers;
    } catch (error) {
      const shown = count === 1 && error instanceof Error ? error.stack : String(error);
      failures.push(`seed ${seed}: ${shown}`);
    }
  }
  return { total: sums, failures };
}
