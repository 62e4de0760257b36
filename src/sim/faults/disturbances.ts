/**
 * When a cluster could not be expected to be on time: while faults of the plan were at work and shortly after, around every change of its leader, and while its
 * leader mends what a fault has damaged.
 *
 * Invariants: looking changes nothing in the world; stretches are in the recorder's milliseconds, in the order in which they began.
 */
import type { Disturbance } from '../check/lease_check.ts';
import type { World } from '../world.ts';
import type { FaultPlan } from './fault_plan.ts';

const LOOK_MS = 50;
/** A cluster comes back from a fault (a node is started again, a leader is elected) within so long, or shows by its leader that it has not. */
const AFTER_FAULT_MS = 2_000;
const AROUND_CHANGE_MS = 1_000;

export class Disturbances {
  readonly list: Disturbance[] = [];
  readonly #world: World;
  readonly #nowMs: () => number;
  #leader = '';

  constructor(world: World, nowMs: () => number) {
    this.#world = world;
    this.#nowMs = nowMs;
  }

  /** Looks at the leader from now on. The plan's time begins now. */
  start(plan: FaultPlan): void {
    const beginMs = this.#nowMs();
    for (const { atMs, durationMs } of plan.steps) {
      this.list.push({ fromMs: beginMs + atMs, toMs: beginMs + atMs + durationMs + AFTER_FAULT_MS });
    }
    this.#world.ports.timers.every(LOOK_MS, () => this.#look());
  }

  #look(): void {
    const node = this.#world.leader();
    const leader = node === undefined ? '' : `${node.id} ${node.node?.parts.consensus.raft.term}`;
    const mends = node?.node?.parts.consensus.health.state === 'CORRUPT';
    if (leader !== '' && leader === this.#leader && !mends) return;
    this.#leader = leader;
    const nowMs = this.#nowMs();
    this.list.push({ fromMs: nowMs - AROUND_CHANGE_MS, toMs: nowMs + AROUND_CHANGE_MS });
  }

  /** Until `end` is called, all is disturbed. */
  begin(): () => void {
    const fromMs = this.#nowMs();
    return () => {
      this.list.push({ fromMs, toMs: this.#nowMs() + AFTER_FAULT_MS });
    };
  }
}
