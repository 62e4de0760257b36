/**
 * Carries a plan out on a running cluster: every step at its time, and lifted after its length.
 *
 * A step finds its nodes at the moment it falls due. One that makes no sense then (nobody leads, too few nodes to remove one) does nothing and says so. What a step
 * does to the network is laid over what others do: the last one to set a link wins, and the end of any step on a link heals it.
 */
import { KvError } from '../../src/errors.ts';
import { type Cluster, isPassing, type Member } from './cluster.ts';
import type { LinkFault } from './link.ts';
import type { Network } from './network.ts';
import { type Fault, type Plan, type Step, shownStep, type Target } from './plan.ts';
import { fillDisk, makeRoom } from './small_disk.ts';

const LEADER_LIMIT_MS = 700;
const OVERTAKE_EVERY_MS = 250;

export interface FaultsOptions {
  readonly plan: Plan;
  readonly cluster: Cluster;
  readonly network: Network;
  readonly clients: readonly string[];
  readonly canFillDisks: boolean;
  readonly note: (text: string) => void;
}

export class Faults {
  readonly counts = new Map<string, number>();
  readonly #options: FaultsOptions;
  #stopping = false;
  #wake: (() => void)[] = [];

  constructor(options: FaultsOptions) {
    this.#options = options;
  }

  /** Carries out all steps; resolves when the last has been lifted. */
  async run(): Promise<void> {
    const beganMs = performance.now();
    await Promise.all(
      this.#options.plan.steps.map(async (step) => {
        await this.#pause(step.atMs - (performance.now() - beganMs));
        if (this.#stopping) return;
        this.#options.note(shownStep(step));
        try {
          if (await this.#carryOut(step)) this.counts.set(step.kind, (this.counts.get(step.kind) ?? 0) + 1);
          else this.#options.note(`  ${step.kind}: not now`);
        } catch (error) {
          if (!isPassing(error)) throw error;
          this.#options.note(`  ${step.kind}: ${error instanceof KvError ? error.code : error}`);
        }
      }),
    );
  }

  /** Steps that have not begun never will; those under way are lifted at once. */
  stop(): void {
    this.#stopping = true;
    for (const wake of this.#wake.splice(0)) wake();
  }

  #pause(ms: number): Promise<void> {
    if (ms <= 0 || this.#stopping) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  async #carryOut(step: Step): Promise<boolean> {
    const { cluster } = this.#options;
    switch (step.kind) {
      case 'kill':
        return this.#down(await this.#find(step.node), step.forMs, (member) => cluster.kill(member));
      case 'restart':
        return this.#down(await this.#find(step.node), step.forMs, (member) => cluster.stop(member));
      case 'killAll':
        await Promise.all(
          cluster.running.map((member) => this.#down(member, step.forMs, () => cluster.kill(member))),
        );
        return true;
      case 'pause':
        return this.#pauseNode(await this.#find(step.node), step.forMs);
      case 'clock':
        return this.#shiftClock(await this.#find(step.node), step.offsetMs, step.forMs);
      case 'fullDisk':
        return this.#fillDisk(cluster.member(step.node), step.forMs);
      case 'moveLeader':
        await cluster.admin.moveLeader(0, { timeoutMs: 3_000 });
        return true;
      case 'addNode':
        await cluster.add(() => this.#stopping);
        return true;
      case 'removeNode':
        return this.#remove(await this.#find(step.node));
      case 'overtake':
        return this.#overtake(await this.#find(step.node), step.lateMs, step.forMs);
      default:
        return this.#onLinks(await this.#waysOf(step), step.forMs);
    }
  }

  /** The member that a target means now. */
  async #find(target: Target): Promise<Member | undefined> {
    const { cluster } = this.#options;
    const { running } = cluster;
    if (target === 'leader') {
      const leader = await cluster.leader(LEADER_LIMIT_MS).catch(() => undefined);
      return leader?.running ? leader : running[0];
    }
    return running.find((member) => member.slot >= target) ?? running[0];
  }

  async #down(
    member: Member | undefined,
    forMs: number,
    end: (member: Member) => Promise<void>,
  ): Promise<boolean> {
    if (member === undefined || !member.running) return false;
    await end(member);
    await this.#pause(forMs);
    if (member.state === 'down') await this.#options.cluster.startMember(member);
    return true;
  }

  async #pauseNode(member: Member | undefined, forMs: number): Promise<boolean> {
    const { cluster } = this.#options;
    if (member?.state !== 'up') return false;
    cluster.pause(member);
    await this.#pause(forMs);
    cluster.resume(member);
    return true;
  }

  async #shiftClock(member: Member | undefined, offsetMs: number, forMs: number): Promise<boolean> {
    const { cluster } = this.#options;
    if (member === undefined) return false;
    cluster.setClock(member, offsetMs);
    await this.#pause(forMs);
    cluster.setClock(member, 0);
    return true;
  }

  async #fillDisk(member: Member | undefined, forMs: number): Promise<boolean> {
    if (!this.#options.canFillDisks || member?.smallDisk !== true || !member.running) return false;
    fillDisk(member.dataDirectory);
    await this.#pause(forMs);
    makeRoom(member.dataDirectory);
    return true;
  }

  async #remove(member: Member | undefined): Promise<boolean> {
    const { cluster } = this.#options;
    const { members } = await cluster.membership();
    const voters = members.filter(({ role }) => role === 'voter');
    if (member === undefined || voters.length < 3) return false;
    await cluster.remove(member);
    return true;
  }

  async #overtake(member: Member | undefined, lateMs: number, forMs: number): Promise<boolean> {
    const { cluster, network } = this.#options;
    if (member === undefined) return false;
    const others = cluster.members.filter((other) => other !== member);
    const slow: LinkFault = { kind: 'delayed', delayMs: 30, jitterMs: 60 };
    for (const other of others) network.set(member.end, other.end, slow);
    for (let left = forMs; left > 0 && !this.#stopping; left -= OVERTAKE_EVERY_MS) {
      await this.#pause(OVERTAKE_EVERY_MS);
      for (const other of others) network.overtake(member.end, other.end, lateMs);
    }
    for (const other of others) network.set(member.end, other.end, undefined);
    return true;
  }

  async #onLinks(ways: readonly Way[], forMs: number): Promise<boolean> {
    const { network } = this.#options;
    for (const { from, to, how } of ways) network.set(from, to, how);
    await this.#pause(forMs);
    for (const { from, to } of ways) network.set(from, to, undefined);
    return ways.length > 0;
  }

  async #waysOf(fault: Fault): Promise<Way[]> {
    const { cluster, clients } = this.#options;
    const members = cluster.members.filter(({ id }) => id !== 0);
    const ends = members.map(({ end }) => end);
    switch (fault.kind) {
      case 'isolate': {
        const member = await this.#find(fault.node);
        if (member === undefined) return [];
        return ways([member.end], ends, fault.ways, fault.how);
      }
      case 'clients': {
        const member = await this.#find(fault.node);
        const client = fault.client === 0 ? clients : [clients[fault.client % clients.length]!];
        return member === undefined ? [] : ways([member.end], client, fault.ways, fault.how);
      }
      case 'split': {
        const inside = members
          .filter(({ slot }) => ((fault.mask >>> (slot - 1)) & 1) === 1)
          .map(({ end }) => end);
        return ways(
          inside,
          ends.filter((end) => !inside.includes(end)),
          'both',
          fault.how,
        );
      }
      case 'pair': {
        const [a, b] = [await this.#find(fault.a), await this.#find(fault.b)];
        if (a === undefined || b === undefined) return [];
        return ways([a.end], [b.end], fault.oneWay ? 'out' : 'both', fault.how);
      }
      case 'everywhere':
        return ways(ends, ends, 'out', fault.how);
      default:
        return [];
    }
  }
}

interface Way {
  readonly from: string;
  readonly to: string;
  readonly how: LinkFault;
}

function ways(
  some: readonly string[],
  others: readonly string[],
  direction: 'in' | 'out' | 'both',
  how: LinkFault,
): Way[] {
  const found: Way[] = [];
  for (const a of some) {
    for (const b of others) {
      if (a === b) continue;
      if (direction !== 'in') found.push({ from: a, to: b, how });
      if (direction !== 'out') found.push({ from: b, to: a, how });
    }
  }
  return found;
}
