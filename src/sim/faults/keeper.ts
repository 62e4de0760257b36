/**
 * Looks after the machines as an operator does: starts nodes that are down, checks their directories before, and replaces those whose disks are lost.
 *
 * Invariants: a node that a fault holds down stays down until the fault lets go; every directory is checked before a node opens it, and damage that nobody has done
 * is a violation, as is a node that ends or refuses to start without a cause; a node that refuses because of its damage never runs again: it is taken
 * out of the cluster, and another one joins in its place with an empty disk. (The same id with an empty disk would forget its vote.)
 */
import { KvError } from '../../errors.ts';
import type { NodeId } from '../../raft/types.ts';
import type { LossRule } from '../../storage/memory_disk.ts';
import type { Checks } from '../invariants/checks.ts';
import { damagesOn, describeDamages } from '../invariants/directory_check.ts';
import type { SimNode } from '../machines/sim_node.ts';
import type { World } from '../world.ts';
import type { DamageBudget } from './damage_budget.ts';

const LOOK_MS = 40;
/** A node that could not start, or ended, is started again after so long. */
const RESTART_MS: readonly [number, number] = [150, 900];
/** How often a damaged disk is looked through, as an operator's scrub would. */
const SCRUB_MS = 1_500;
const CHANGE_RETRY_MS = 400;
const CHANGE_TRIES = 60;

export class Keeper {
  readonly #world: World;
  readonly #checks: Checks;
  readonly #budget: DamageBudget;
  /** How many faults hold a node down. */
  readonly #holds = new Map<NodeId, number>();
  /** What a disk loses when its node, which has ended by itself, is taken away. */
  readonly #losses = new Map<NodeId, LossRule>();
  /** Nodes that are not started before. */
  readonly #notBefore = new Map<NodeId, number>();
  /** Nodes whose disks gave errors or were full: they may end for it. */
  readonly #diskTrouble = new Set<NodeId>();
  /** Nodes that never run again. */
  readonly #gone = new Set<NodeId>();
  readonly #opening = new Set<NodeId>();
  readonly #scrubbed = new Map<NodeId, number>();
  #replacing = 0;
  #closed = false;

  constructor(world: World, checks: Checks, budget: DamageBudget) {
    this.#world = world;
    this.#checks = checks;
    this.#budget = budget;
  }

  /** True while a lost node is being replaced. */
  get replacing(): boolean {
    return this.#replacing > 0;
  }

  isGone(id: NodeId): boolean {
    return this.#gone.has(id);
  }

  /** The node stays down, whatever ends it, until `release` is called as often. */
  hold(id: NodeId): void {
    this.#holds.set(id, (this.#holds.get(id) ?? 0) + 1);
  }

  release(id: NodeId): void {
    const holds = (this.#holds.get(id) ?? 0) - 1;
    if (holds > 0) this.#holds.set(id, holds);
    else this.#holds.delete(id);
  }

  /** From now on a node may end for what its disk does; when it does, its disk loses what it had not synced by the rule. */
  expectDiskTrouble(id: NodeId, loss?: LossRule): void {
    this.#diskTrouble.add(id);
    if (loss !== undefined) this.#losses.set(id, loss);
  }

  /** The node is no member any more, and its machine is switched off. */
  retire(id: NodeId): void {
    this.#gone.add(id);
    this.#world.crash(id, 'process');
    this.#checks.forget(id);
    this.#budget.restored(id);
  }

  /** Looks after the machines from now on, until `close`. */
  start(): void {
    this.#world.ports.timers.every(LOOK_MS, () => {
      if (!this.#closed) this.#look();
    });
  }

  close(): void {
    this.#closed = true;
  }

  #look(): void {
    for (const node of [...this.#world.nodes.values()]) {
      const { id, state } = node;
      if (this.#gone.has(id) || this.#opening.has(id)) continue;
      if (state === 'failed') this.#buryFailed(node);
      else if (state === 'removed') this.retire(id);
      else if (state === 'down' && !this.#holds.has(id) && this.#mayStart(id)) this.#open(node);
      else if (state === 'up' && this.#budget.isDamaged(id)) this.#scrub(node);
    }
  }

  #mayStart(id: NodeId): boolean {
    return this.#world.nowMs >= (this.#notBefore.get(id) ?? 0);
  }

  /** A node has ended by itself: for a reason that is known, or not. */
  #buryFailed(node: SimNode): void {
    const { id, endedBy } = node;
    if (!this.#isExplained(id, endedBy)) {
      this.#checks.report(
        'a node ends without a cause',
        id,
        `node ${id} ended by itself, and no fault explains it: ${told(endedBy)}`,
        { code: codeOf(endedBy) },
      );
    }
    this.#world.crash(id, this.#losses.get(id) ?? 'process');
    this.#losses.delete(id);
    const [from, to] = RESTART_MS;
    const pauseMs = from + this.#world.ports.random.next() * (to - from);
    this.#notBefore.set(id, this.#world.nowMs + pauseMs);
  }

  #isExplained(id: NodeId, error: unknown): boolean {
    switch (codeOf(error)) {
      case 'STORAGE_FAILED':
      case 'NO_SPACE':
        return this.#diskTrouble.has(id) || this.#budget.isDamaged(id);
      case 'CORRUPT':
        return this.#budget.isDamaged(id);
      default:
        return false;
    }
  }

  #open(node: SimNode): void {
    this.#opening.add(node.id);
    this.#checkAndStart(node).catch((error: unknown) => this.#world.scheduler.fail(asError(error)));
  }

  async #checkAndStart(node: SimNode): Promise<void> {
    const { id } = node;
    const wasDamaged = this.#budget.isDamaged(id);
    const damages = await damagesOn(node.disk.memory, node.path);
    this.#opening.delete(id);
    if (damages.length > 0 && !wasDamaged) {
      this.#checks.report(
        'directory after a crash',
        id,
        `the directory of node ${id} is damaged, and nothing but crashes has happened to it: ${describeDamages(damages)}`,
        { damages },
      );
      return;
    }
    if (damages.length === 0 && wasDamaged) this.#budget.restored(id);
    try {
      await this.#world.startNode(id);
    } catch (error) {
      // The state is `failed` now, which the next look deals with.
      if (codeOf(error) === 'CORRUPT' && damages.length > 0) this.#lose(id, error);
      return;
    }
    const inLog = damages.filter(({ file }) => file.includes('/log/'));
    if (inLog.length > 0) {
      this.#checks.report(
        'damage is not noticed',
        id,
        `node ${id} starts with a damaged log: ${describeDamages(inLog)}`,
        { damages: inLog },
      );
    }
  }

  /** A damaged node that runs: is its disk whole again? */
  #scrub(node: SimNode): void {
    const { id } = node;
    const { nowMs } = this.#world;
    if (nowMs < (this.#scrubbed.get(id) ?? 0) + SCRUB_MS || node.isPaused) return;
    this.#scrubbed.set(id, nowMs);
    if (node.node?.service.status().health === 'CORRUPT') return;
    const { lives } = node;
    damagesOn(node.disk.memory, node.path)
      .then((damages) => {
        // The directory of a node that runs is never whole in its last bytes: only what is no damage counts.
        if (damages.length === 0 && node.lives === lives) this.#budget.restored(id);
      })
      .catch((error: unknown) => this.#world.scheduler.fail(asError(error)));
  }

  /** The disk of a node is lost: another one takes its place. */
  #lose(id: NodeId, error: unknown): void {
    this.#world.trace.add('note', `node-${id}`, 'lost', 0, undefined, 0, `refuses to start: ${told(error)}`);
    this.#budget.refused(id);
    this.#gone.add(id);
    this.#world.crash(id, 'process');
    this.#replacing++;
    this.#replace(id)
      .catch((failure: unknown) => this.#world.scheduler.fail(asError(failure)))
      .finally(() => {
        this.#replacing--;
      });
  }

  async #replace(id: NodeId): Promise<void> {
    await this.#persist(async () => {
      if (this.#isMember(id)) await this.#world.removeMember(id);
    });
    this.retire(id);
    // Ids are given once: an attempt whose outcome is not known may have made a member that never comes, which has no vote.
    await this.#persist(() => this.#within(this.#world.addMember(), 5_000));
  }

  #isMember(id: NodeId): boolean {
    const leader = this.#world.leader();
    const status = leader?.node?.parts.consensus.raft.status();
    return status === undefined || status.configuration.members.some((member) => member.id === id);
  }

  /** As an operator does: again and again, for a while. */
  async #persist(change: () => Promise<unknown>): Promise<void> {
    for (let attempt = 0; attempt < CHANGE_TRIES; attempt++) {
      try {
        await change();
        return;
      } catch (error) {
        if (!(error instanceof KvError)) throw error;
        await this.#world.sleep(CHANGE_RETRY_MS);
      }
    }
  }

  /** A machine that crashes while its node starts leaves its start without an end. */
  async #within<T>(work: Promise<T>, withinMs: number): Promise<T | undefined> {
    return Promise.race([work, this.#world.sleep(withinMs).then(() => undefined)]);
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof KvError ? error.code : undefined;
}

function told(error: unknown): string {
  if (error instanceof KvError) return `${error.code} ${error.message}`;
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
