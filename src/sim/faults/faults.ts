/**
 * Carries out a fault plan in a world.
 *
 * Invariants: every step ends after its duration, or with `endAll`, and leaves nothing behind but what it did to data; steps that overlap add up; disks are damaged within
 * the budget only; a step that makes no sense when its time comes does nothing, and the trace says why.
 */
import { KvError } from '../../errors.ts';
import type { NodeId } from '../../raft/types.ts';
import type { SimNode } from '../machines/sim_node.ts';
import type { World } from '../world.ts';
import { ClientFaults, type ClientStep } from './client_faults.ts';
import type { DamageBudget } from './damage_budget.ts';
import { type DamageStep, damageDisk } from './disk_damage.ts';
import { describeStep, type FaultPlan, type FaultStep, type NodeTarget } from './fault_plan.ts';
import { asError, type Keeper } from './keeper.ts';
import { beginLeaderChurn } from './leader_churn.ts';
import { type LinkEffect, LinkEffects, type LinkStep, linkEffectOf } from './link_effects.ts';

/** Members that a cluster grows to at most. */
const MAX_MEMBERS = 7;
const CHANGE_MS = 3_000;

/** Ends what a step began; undefined: it ends with what it did. */
type Undo = (() => void) | undefined;

export interface FaultsOptions {
  readonly world: World;
  readonly budget: DamageBudget;
  readonly keeper: Keeper;
}

export class Faults {
  readonly #world: World;
  readonly #budget: DamageBudget;
  readonly #keeper: Keeper;
  readonly #links: LinkEffects;
  /** Steps at work, by id. */
  readonly #active = new Map<number, () => void>();
  readonly #clients: ClientFaults;
  /** Power cuts that are to come at some operation of a disk. */
  readonly #powerCuts = new Map<NodeId, () => void>();
  /** Power cuts that are to come after promises of a node; `left` 0: now. */
  readonly #promiseCuts = new Map<NodeId, { type: 'vote' | 'holds'; left: number; strike: () => void }>();
  /** Steps that had an effect, by kind. */
  readonly counts: Record<string, number> = {};
  /** True once a clock was set off: leases may end early or late then. */
  clocksMoved = false;
  #ended = false;

  constructor({ world, budget, keeper }: FaultsOptions) {
    this.#world = world;
    this.#budget = budget;
    this.#keeper = keeper;
    this.#clients = new ClientFaults(world);
    this.#links = new LinkEffects({
      nodes: () => [...world.nodes.keys()].sort((a, b) => a - b),
      setLink: (from, to, fault) => world.setLink(from, to, fault),
    });
  }

  /** Carries the steps out, each in its time, counted from now. */
  start(plan: FaultPlan): void {
    for (const step of plan.steps) {
      this.#world.ports.timers.after(step.atMs, () => {
        if (!this.#ended)
          this.#begin(step).catch((error: unknown) => this.#world.scheduler.fail(asError(error)));
      });
    }
  }

  /** Ends every step now; none begins any more. */
  endAll(): void {
    this.#ended = true;
    for (const end of [...this.#active.values()]) end();
    this.#links.endAll();
    for (const { disk } of this.#world.nodes.values()) disk.memory.disarm();
  }

  /** A node has promised something to another one. */
  promised(from: NodeId, type: 'vote' | 'holds'): void {
    const cut = this.#promiseCuts.get(from);
    if (cut?.type === type && cut.left > 0) cut.left--;
  }

  /** To be called between two events: a disk whose power has gone takes its machine along. */
  afterEvent(): void {
    for (const cut of this.#promiseCuts.values()) if (cut.left === 0) cut.strike();
    if (this.#powerCuts.size === 0) return;
    for (const [id, strike] of [...this.#powerCuts]) {
      if (this.#world.node(id).disk.memory.down) strike();
    }
  }

  async #begin(step: FaultStep): Promise<void> {
    const undo = await this.#act(step);
    if (undo === false) return;
    this.counts[step.kind] = (this.counts[step.kind] ?? 0) + 1;
    if (undo === undefined) return;
    const end = (): void => {
      if (!this.#active.delete(step.id)) return;
      this.#world.trace.add('fault', 'faults', 'end', step.id, undefined, 0, `end of ${step.kind}`);
      undo();
    };
    this.#active.set(step.id, end);
    // It may have been waited for something, and all may be over by now.
    if (this.#ended) end();
    else this.#world.ports.timers.after(step.durationMs, end);
  }

  #told(step: FaultStep, lane: string, what = describeStep(step)): void {
    this.#world.trace.add('fault', lane, step.kind, step.id, undefined, 0, what);
  }

  /** False: nothing was done. */
  #void(step: FaultStep, why: string): false {
    this.#world.trace.add('note', 'faults', 'void', step.id, undefined, 0, `no ${step.kind}: ${why}`);
    return false;
  }

  async #act(step: FaultStep): Promise<Undo | false> {
    switch (step.kind) {
      case 'crashAll':
        return this.#crashAll(step);
      case 'partition':
        return this.#partition(step);
      case 'leaderChurn':
        this.#told(step, 'faults');
        return beginLeaderChurn(this.#world, this.#links, step);
      case 'addMember':
      case 'moveLeader':
        return this.#change(step);
      default:
        break;
    }
    const node = this.#resolve(step.node);
    if (node === undefined) return this.#void(step, `there is no node ${step.node}`);
    switch (step.kind) {
      case 'oneWay':
      case 'bridge':
      case 'cutLink':
      case 'drop':
      case 'duplicate':
      case 'reorder':
      case 'delay':
      case 'hold':
        return this.#link(step, node);
      case 'clientSilence':
      case 'clientReset':
      case 'clientRefused':
      case 'clientDelay':
        return this.#client(step, node);
      case 'bitRot':
      case 'misdirectedWrite':
      case 'truncation':
      case 'lostFile':
      case 'lostTree':
        return this.#damage(step, node);
      case 'removeMember':
        return this.#remove(step, node);
      default:
        return this.#machine(step, node);
    }
  }

  #resolve(target: NodeTarget): SimNode | undefined {
    const world = this.#world;
    if (target === 'leader') return world.leader();
    if (target === 'follower') {
      const leader = world.leader();
      return world.running().find((node) => node !== leader);
    }
    const node = world.nodes.get(target);
    return node === undefined || this.#keeper.isGone(node.id) ? undefined : node;
  }

  #begins(step: FaultStep, effect: LinkEffect): Undo {
    this.#links.begin(step.id, effect);
    return () => this.#links.end(step.id);
  }

  #partition(step: Extract<FaultStep, { kind: 'partition' }>): Undo | false {
    const minority = new Set<NodeId>();
    for (const target of step.minority) {
      const node = this.#resolve(target);
      if (node !== undefined) minority.add(node.id);
    }
    if (minority.size === 0) return this.#void(step, 'nobody to cut off');
    this.#told(step, 'faults', `partition: ${[...minority].join(', ')} apart from the others`);
    return this.#begins(step, (from, to) =>
      minority.has(from) === minority.has(to) ? undefined : { blocked: true },
    );
  }

  #link(step: LinkStep, node: SimNode): Undo | false {
    const nodes = [...this.#world.nodes.keys()].sort((a, b) => a - b);
    const to = step.kind === 'cutLink' ? this.#resolve(step.to)?.id : undefined;
    const effect = linkEffectOf(step, node.id, to, nodes);
    if (typeof effect === 'string') return this.#void(step, effect);
    this.#told(step, node.lane);
    return this.#begins(step, effect);
  }

  #client(step: ClientStep, node: SimNode): Undo {
    this.#told(step, node.lane);
    if (step.kind !== 'clientReset') return this.#clients.begin(step, node.id);
    for (const { name } of this.#world.clients) this.#world.resetClient(name, node.id);
    return undefined;
  }

  #machine(
    step: Exclude<Extract<FaultStep, { node: NodeTarget }>, DamageStep>,
    node: SimNode,
  ): Undo | false | Promise<Undo | false> {
    const world = this.#world;
    const { id, lane } = node;
    const { memory } = node.disk;
    switch (step.kind) {
      case 'crash':
        this.#told(step, lane);
        return this.#down(node, () => world.crash(id, step.loss));
      case 'stop':
        return this.#stop(step, node);
      case 'powerCutAt':
        this.#told(step, lane);
        this.#keeper.expectDiskTrouble(id);
        memory.crashAt(step.operations);
        return this.#powerCut(step, node);
      case 'powerCutAfter':
        this.#told(step, lane);
        return this.#promiseCut(step, node);
      case 'pause': {
        const { process } = node;
        if (process === undefined || process.paused) return this.#void(step, `${lane} does not run`);
        this.#told(step, lane);
        world.pause(id);
        return () => {
          // Only the life that was paused: another one runs.
          if (node.process === process) world.resume(id);
        };
      }
      case 'clockJump':
        this.#told(step, lane);
        this.clocksMoved = true;
        world.setClock(id, { offsetMs: step.offsetMs });
        return () => world.setClock(id, { offsetMs: 0 });
      case 'clockDrift':
        this.#told(step, lane);
        this.clocksMoved = true;
        world.setClock(id, { rate: step.rate });
        return () => world.setClock(id, { rate: 1 });
      case 'writeError':
      case 'syncError':
        this.#told(step, lane);
        this.#keeper.expectDiskTrouble(id, step.loss);
        if (step.kind === 'writeError') memory.failWrite(step.nth);
        else memory.failSync(step.nth);
        return () => memory.disarm();
      case 'readError': {
        // What cannot be read counts as lost until it was read, or fetched from another node.
        const refusal = this.#budget.refusal(id, this.#quorums());
        if (refusal !== undefined) return this.#void(step, refusal);
        this.#told(step, lane);
        this.#budget.damage(id);
        this.#keeper.expectDiskTrouble(id, step.loss);
        memory.failRead(step.nth);
        return () => memory.disarm();
      }
      case 'noSpace':
        this.#told(step, lane);
        this.#keeper.expectDiskTrouble(id);
        memory.capacityBytes = memory.usedBytes() + step.freeBytes;
        return () => memory.makeRoom();
      case 'shortWrites':
        this.#told(step, lane);
        memory.shortWriteBytes = step.bytes;
        return () => {
          memory.shortWriteBytes = Number.POSITIVE_INFINITY;
        };
      case 'slowDisk': {
        this.#told(step, lane);
        const before = node.disk.speed;
        const { delayMs } = step;
        node.disk.speed = { readMs: delayMs, writeMs: delayMs, syncMs: delayMs, nameMs: delayMs };
        return () => {
          node.disk.speed = before;
        };
      }
      case 'stuckDisk':
        this.#told(step, lane);
        node.disk.setStuck(true);
        return () => node.disk.setStuck(false);
      default:
        throw new Error(`no such fault: ${step.kind}`);
    }
  }

  /** The node is down until the step ends. */
  #down(node: SimNode, act: () => void): Undo {
    this.#keeper.hold(node.id);
    act();
    return () => this.#keeper.release(node.id);
  }

  #crashAll(step: Extract<FaultStep, { kind: 'crashAll' }>): Undo {
    this.#told(step, 'faults');
    const nodes = [...this.#world.nodes.values()].filter(({ id }) => !this.#keeper.isGone(id));
    const undos = nodes.map((node) => this.#down(node, () => this.#world.crash(node.id, step.loss)));
    return () => {
      for (const undo of undos) undo?.();
    };
  }

  async #stop(step: FaultStep, node: SimNode): Promise<Undo | false> {
    if (!node.isUp || node.isPaused || node.disk.stuck) return this.#void(step, `${node.lane} does not run`);
    this.#told(step, node.lane);
    this.#keeper.hold(node.id);
    const { lives } = node;
    const failed = (error: unknown): void => {
      if (!(error instanceof KvError)) throw error;
      this.#world.trace.add(
        'note',
        node.lane,
        error.code,
        0,
        undefined,
        0,
        `did not stop well: ${error.message}`,
      );
    };
    // It may crash on the way, and then its stop never ends; what has not stopped in time is killed.
    await Promise.race([this.#world.stop(node.id).catch(failed), this.#world.sleep(step.durationMs)]);
    if (node.lives === lives) this.#world.crash(node.id, 'process');
    return () => this.#keeper.release(node.id);
  }

  /** The power goes when the disk says so, and comes back when the step ends. */
  #powerCut(step: Extract<FaultStep, { kind: 'powerCutAt' }>, node: SimNode): Undo {
    const { id } = node;
    let undo: Undo;
    this.#powerCuts.set(id, () => {
      this.#powerCuts.delete(id);
      undo = this.#down(node, () => this.#world.crash(id, step.loss));
    });
    return () => {
      this.#powerCuts.delete(id);
      if (!node.disk.memory.down) node.disk.memory.disarm();
      undo?.();
    };
  }

  /** The power goes once the node has promised what is waited for, and comes back when the step ends. */
  #promiseCut(step: Extract<FaultStep, { kind: 'powerCutAfter' }>, node: SimNode): Undo {
    const { id } = node;
    let undo: Undo;
    const strike = (): void => {
      this.#promiseCuts.delete(id);
      undo = this.#down(node, () => this.#world.crash(id, step.loss));
    };
    const cut = { type: step.promise, left: step.nth, strike };
    this.#promiseCuts.set(id, cut);
    return () => {
      if (this.#promiseCuts.get(id) === cut) this.#promiseCuts.delete(id);
      undo?.();
    };
  }

  async #damage(step: DamageStep, node: SimNode): Promise<Undo | false> {
    const { id, lane } = node;
    const refusal = this.#budget.refusal(id, this.#quorums());
    if (refusal !== undefined) return this.#void(step, refusal);
    this.#budget.damage(id);
    this.#keeper.hold(id);
    // Damage comes on top of nothing else: what was synced is there, and nothing more.
    this.#world.crash(id, 'all');
    node.disk.memory.disarm();
    const what = await damageDisk(node.disk.memory, node.path, step);
    this.#told(step, lane, what === undefined ? `${step.kind}: nothing to damage` : `${step.kind}: ${what}`);
    return () => this.#keeper.release(id);
  }

  /** The voters of every configuration that some node takes for the present one, or took when it went down: what a node holds counts whether it runs or not. */
  #quorums(): NodeId[][] {
    const quorums: NodeId[][] = [];
    for (const { id, configuration } of this.#world.nodes.values()) {
      if (configuration === undefined || this.#keeper.isGone(id)) continue;
      quorums.push([...configuration.voters]);
      if (configuration.votersOutgoing.length > 0) quorums.push([...configuration.votersOutgoing]);
    }
    // Nobody has run so far: all are founders.
    return quorums.length > 0 ? quorums : [[...this.#world.nodes.keys()]];
  }

  #members(): { voters: number; members: number } {
    const status = this.#world.leader()?.node?.parts.consensus.raft.status();
    const { voters, members } = status?.configuration ?? { voters: [], members: [] };
    return { voters: voters.length, members: members.length };
  }

  async #change(step: Extract<FaultStep, { kind: 'addMember' | 'moveLeader' }>): Promise<false> {
    const leader = this.#world.leader();
    const { members } = this.#members();
    if (leader === undefined || members === 0) return this.#void(step, 'nobody leads');
    if (step.kind === 'addMember' && members >= MAX_MEMBERS)
      return this.#void(step, 'the cluster is large enough');
    this.#told(step, leader.lane);
    this.counts[step.kind] = (this.counts[step.kind] ?? 0) + 1;
    await this.#attempt(step, async () => {
      if (step.kind === 'moveLeader') await this.#world.admin().moveLeader();
      else await this.#world.addMember();
    });
    this.#links.refresh();
    return false;
  }

  async #remove(step: FaultStep, node: SimNode): Promise<false> {
    const { id } = node;
    const { voters } = this.#members();
    // A cluster of three that loses one has no copy to spare while another one is damaged.
    if (voters <= 3) return this.#void(step, `the cluster has ${voters} voters`);
    if (this.#budget.damaged.size > 0) return this.#void(step, 'a node is damaged');
    this.#told(step, node.lane);
    this.counts[step.kind] = (this.counts[step.kind] ?? 0) + 1;
    await this.#attempt(step, async () => {
      await this.#world.removeMember(id);
      this.#keeper.retire(id);
    });
    return false;
  }

  /** A change may fail for all that goes on at the same time; it may even be without an end, when the node that it waits for crashes. */
  async #attempt(step: FaultStep, change: () => Promise<void>): Promise<void> {
    const failed = (error: unknown): void => {
      const why = error instanceof Error ? error.message : String(error);
      this.#world.trace.add('note', 'faults', 'failed', step.id, undefined, 0, `${step.kind} failed: ${why}`);
    };
    await Promise.race([change().catch(failed), this.#world.sleep(CHANGE_MS)]);
  }
}
