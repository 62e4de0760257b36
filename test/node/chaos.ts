/**
 * Faults over a lab, chosen by a seed: a plan of steps that can be made again from the seed (what comes of it also depends on timing).
 *
 * Invariant: `heal` leaves every member running, awake, connected and with room on its disk.
 */
import { KvError } from '../../src/errors.ts';
import { LOSS_RULES } from '../../src/storage/memory_disk_nodes.ts';
import type { ClusterLab, LabNode } from './cluster_lab.ts';

const MAX_MEMBERS = 5;
const ACTIONS = [
  'halves',
  'oneWay',
  'bridge',
  'slowLinks',
  'lossyLinks',
  'healLinks',
  'crash',
  'crash',
  'crashAll',
  'restart',
  'restart',
  'restart',
  'noSpace',
  'room',
  'sleep',
  'wake',
  'moveLeader',
  'add',
  'promote',
  'promote',
  'remove',
  'stop',
] as const;
type Action = (typeof ACTIONS)[number];

/** mulberry32 */
export function seeded(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Chaos {
  readonly #lab: ClusterLab;
  readonly #random: () => number;
  /** Nodes that the cluster has let go, or that never got in. */
  readonly #gone = new Set<number>();
  readonly log: string[] = [];

  constructor(lab: ClusterLab, random: () => number) {
    this.#lab = lab;
    this.#random = random;
  }

  async run(durationMs: number): Promise<void> {
    const end = performance.now() + durationMs;
    while (performance.now() < end) {
      const action = ACTIONS[Math.floor(this.#random() * ACTIONS.length)]!;
      await this.#do(action);
      await new Promise((resolve) => setTimeout(resolve, 50 + this.#random() * 350));
    }
  }

  async #do(action: Action): Promise<void> {
    const draws = [this.#random(), this.#random(), this.#random()] as const;
    try {
      await this.#act(action, draws);
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      this.log.push(`  ${action}: ${error.code} ${error.message}`);
    }
  }

  async #act(action: Action, [a, b, c]: readonly [number, number, number]): Promise<void> {
    const lab = this.#lab;
    const ids = [...lab.disks.keys()].filter((id) => !this.#gone.has(id));
    const id = ids[Math.floor(a * ids.length)]!;
    const node = lab.nodes.get(id);
    this.log.push(`${action} ${id}`);
    switch (action) {
      case 'halves':
        lab.network.partition(ids.slice(0, Math.ceil(b * ids.length)), ids.slice(Math.ceil(b * ids.length)));
        return;
      case 'oneWay':
        lab.network.partitionOneWay(
          [id],
          ids.filter((other) => other !== id),
        );
        return;
      case 'bridge': {
        const others = ids.filter((other) => other !== id);
        lab.network.partition(others.slice(0, 1), others.slice(1));
        return;
      }
      case 'slowLinks':
        for (const other of ids) if (other !== id) lab.network.setLink(other, id, { delayMs: b * 40 });
        return;
      case 'lossyLinks':
        for (const other of ids) if (other !== id) lab.network.setLink(other, id, { dropRate: b * 0.5 });
        return;
      case 'healLinks':
        this.#healLinks();
        return;
      case 'crash':
        if (node !== undefined) lab.crash(id, LOSS_RULES[Math.floor(b * LOSS_RULES.length)]!, this.#random);
        return;
      case 'crashAll':
        if (b > 0.3) return;
        for (const each of [...lab.nodes.keys()])
          lab.crash(each, LOSS_RULES[Math.floor(c * LOSS_RULES.length)]!, this.#random);
        return;
      case 'restart':
        for (const each of ids) if (!lab.nodes.has(each)) await this.#restart(each);
        return;
      case 'noSpace': {
        const disk = lab.disks.get(id)!;
        disk.capacityBytes = disk.usedBytes() + b * 200_000;
        return;
      }
      case 'room':
        for (const disk of lab.disks.values()) disk.capacityBytes = Number.POSITIVE_INFINITY;
        return;
      case 'sleep':
        if (node !== undefined && !node.ports.asleep) lab.sleep(id);
        return;
      case 'wake':
        this.#wakeAll(b);
        return;
      case 'stop':
        if (node !== undefined && !node.ports.asleep) await lab.stopNode(id);
        return;
      default:
        return this.#changeMembers(action, id, ids);
    }
  }

  async #changeMembers(action: Action, id: number, ids: readonly number[]): Promise<void> {
    const lab = this.#lab;
    const through = [...lab.nodes.values()].find(({ ports }) => !ports.asleep);
    if (through === undefined) return;
    const timeoutMs = 800;
    const { service } = through.node;
    switch (action) {
      case 'moveLeader':
        await service.moveLeader(0, { timeoutMs });
        return;
      case 'add':
        if (ids.length < MAX_MEMBERS) await this.#add(through);
        return;
      case 'promote': {
        const { members } = await service.members({ timeoutMs });
        for (const { id: learner, role } of members)
          if (role === 'learner') await service.memberPromote(learner, { timeoutMs });
        return;
      }
      case 'remove': {
        const { members } = await service.members({ timeoutMs });
        if (members.filter(({ role }) => role === 'voter').length <= 3) return;
        await service.memberRemove(id, { timeoutMs });
        this.#letGo(id);
        return;
      }
      default:
        throw new Error(`no such action: ${action}`);
    }
  }

  async #add(through: LabNode): Promise<void> {
    const next = Math.max(...this.#lab.disks.keys()) + 1;
    await this.#lab.join(through);
    this.log.push(`  joined as ${next}`);
  }

  #letGo(id: number): void {
    this.#gone.add(id);
    if (this.#lab.nodes.has(id)) this.#lab.crash(id);
  }

  async #restart(id: number): Promise<void> {
    this.#lab.disks.get(id)!.capacityBytes = Number.POSITIVE_INFINITY;
    await this.#lab.startNode(id);
  }

  #healLinks(): void {
    const asleep = [...this.#lab.nodes.values()].filter(({ ports }) => ports.asleep);
    this.#lab.network.heal();
    for (const { id } of asleep) this.#lab.sleep(id);
  }

  #wakeAll(dice: number): void {
    for (const { id, ports } of [...this.#lab.nodes.values()])
      if (ports.asleep) this.#lab.wake(id, dice < 0.5 ? 'timers' : 'frames');
  }

  /** Ends all faults; gives the ids of the members. */
  async heal(): Promise<number[]> {
    const lab = this.#lab;
    this.#wakeAll(this.#random());
    lab.network.heal();
    for (const disk of lab.disks.values()) disk.capacityBytes = Number.POSITIVE_INFINITY;
    for (const id of lab.disks.keys()) if (!lab.nodes.has(id) && !this.#gone.has(id)) await this.#restart(id);
    const { members } = await (await lab.leader()).node.service.members({ timeoutMs: 10_000 });
    const ids = members.map(({ id }) => id);
    // A removal whose answer was lost may have happened all the same.
    for (const id of [...lab.nodes.keys()]) if (!ids.includes(id)) this.#letGo(id);
    return ids.filter((id) => lab.nodes.has(id));
  }
}
