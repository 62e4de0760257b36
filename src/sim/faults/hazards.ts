/**
 * Faults, and the checks that must hold in spite of them, around one world:
 *
 *     const hazards = new Hazards(world);
 *     await world.run(async () => {
 *       await hazards.start(plan);
 *       … clients work …
 *       await hazards.end({ pending, probe, majorityFirst });
 *     });
 *
 * `world.run` rejects with InvariantViolated at the first violation.
 */

import { Checks } from '../invariants/checks.ts';
import type { World } from '../world.ts';
import { DamageBudget } from './damage_budget.ts';
import type { FaultPlan } from './fault_plan.ts';
import { Faults } from './faults.ts';
import { Keeper } from './keeper.ts';
import { checkLiveness, type LivenessOptions } from './liveness.ts';

export class Hazards {
  readonly world: World;
  readonly budget: DamageBudget = new DamageBudget();
  readonly checks: Checks;
  readonly keeper: Keeper;
  readonly faults: Faults;

  constructor(world: World) {
    this.world = world;
    const { budget } = this;
    this.checks = new Checks(world, (id) => budget.isDamaged(id));
    this.keeper = new Keeper(world, this.checks, budget);
    this.faults = new Faults({ world, budget, keeper: this.keeper });
    this.checks.onPromise = (from, type) => this.faults.promised(from, type);
    world.scheduler.afterEvent = () => {
      this.faults.afterEvent();
      this.checks.look();
    };
  }

  /** Starts the world; the plan's time begins when there is a leader. */
  async start(plan: FaultPlan): Promise<void> {
    await this.world.start();
    this.keeper.start();
    this.faults.start(plan);
  }

  /** Ends all faults, and checks that everything comes to its end (liveness.ts). */
  async end(options: Pick<LivenessOptions, 'majorityFirst' | 'pending' | 'probe'>): Promise<void> {
    const { world, checks, faults, keeper, budget } = this;
    const random = world.random.fork('liveness');
    await checkLiveness({ ...options, world, checks, faults, keeper, budget, random });
    keeper.close();
  }
}
