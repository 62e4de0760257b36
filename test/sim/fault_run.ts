/** A run with faults and a simple load: enough to show what the faults do and that the invariants hold, without the checkers of histories. */
import type { ConfigInput } from '../../src/config.ts';
import { KvError } from '../../src/errors.ts';
import { SimulationError } from '../../src/sim/core/scheduler.ts';
import { SeededRandom } from '../../src/sim/core/seeded_random.ts';
import { drawFaultPlan } from '../../src/sim/faults/draw_fault_plan.ts';
import type { FaultKind, FaultPlan } from '../../src/sim/faults/fault_plan.ts';
import { Hazards } from '../../src/sim/faults/hazards.ts';
import { InvariantViolated } from '../../src/sim/invariants/checks.ts';
import type { Violation } from '../../src/sim/invariants/violation.ts';
import { World } from '../../src/sim/world.ts';

export interface FaultRunOptions {
  readonly seed: number;
  readonly nodes?: number;
  readonly horizonMs?: number;
  readonly plan?: FaultPlan;
  readonly kinds?: readonly FaultKind[];
  readonly record?: boolean;
  readonly clients?: number;
  readonly config?: ConfigInput;
  readonly majorityFirst?: boolean;
}

export interface FaultRunResult {
  readonly plan: FaultPlan;
  readonly world: World;
  readonly hazards: Hazards;
  readonly hash: string;
  readonly violation: Violation | undefined;
  /** The world could not go on. */
  readonly stuck: Error | undefined;
  readonly simulatedMs: number;
  readonly events: number;
  readonly done: number;
  readonly failed: number;
}

export async function runFaults(options: FaultRunOptions): Promise<FaultRunResult> {
  const { seed, nodes = 3, horizonMs = 8_000, clients = 6, record = false } = options;
  const chance = new SeededRandom(seed).fork('fault run');
  const plan =
    options.plan ??
    drawFaultPlan({
      nodes,
      horizonMs,
      random: chance.fork('plan'),
      ...(options.kinds === undefined ? {} : { kinds: options.kinds }),
    });
  const world = new World({ seed, nodes, record, config: options.config });
  const hazards = new Hazards(world);
  const counts = { done: 0, failed: 0 };
  const pending = new Map<number, string>();
  let violation: Violation | undefined;
  let stuck: Error | undefined;
  try {
    await world.run(
      async () => {
        await hazards.start(plan);
        const endMs = world.nowMs + horizonMs;
        const loads = Array.from({ length: clients }, (_, i) =>
          load(world, i, chance.fork(`client ${i}`), endMs, counts, pending),
        );
        await world.sleep(horizonMs);
        const prober = world.client('prober').store;
        await hazards.end({
          majorityFirst: options.majorityFirst ?? chance.chance(0.5),
          pending: () => [...pending.values()],
          probe: async () => {
            await prober.put('probe', String(world.nowMs), { timeoutMs: 3_000 });
            await prober.get('probe', { timeoutMs: 3_000 });
          },
        });
        await Promise.all(loads);
      },
      { maxEvents: 6_000_000, deadlineMs: horizonMs + 400_000 },
    );
  } catch (error) {
    if (error instanceof InvariantViolated) violation = error.violation;
    else if (error instanceof SimulationError || error instanceof Error) stuck = error;
    else throw error;
  }
  const { nowMs: simulatedMs, events } = world.scheduler;
  const { hash } = world.trace;
  world.close();
  return { plan, world, hazards, hash, violation, stuck, simulatedMs, events, ...counts };
}

async function load(
  world: World,
  number: number,
  random: SeededRandom,
  endMs: number,
  counts: { done: number; failed: number },
  pending: Map<number, string>,
): Promise<void> {
  const client = world.client(`client-${number}`);
  const { store } = client;
  while (world.nowMs < endMs) {
    const key = `key-${random.int(0, 39)}`;
    const dice = random.next();
    const timeoutMs = random.int(200, 3_000);
    const what = dice < 0.5 ? 'put' : dice < 0.6 ? 'delete' : dice < 0.7 ? 'put with ttl' : 'get';
    pending.set(number, `${what} ${key} of client ${number}`);
    try {
      if (what === 'put') await store.put(key, 'v'.repeat(random.int(1, 3_000)), { timeoutMs });
      else if (what === 'put with ttl')
        await store.put(key, 'short', { ttlMs: random.int(200, 3_000), timeoutMs });
      else if (what === 'delete') await store.delete(key, { timeoutMs });
      else await store.get(key, { timeoutMs });
      counts.done++;
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      counts.failed++;
      await client.process.sleep(20);
    }
    pending.delete(number);
    await client.process.sleep(random.int(0, 30));
  }
}
