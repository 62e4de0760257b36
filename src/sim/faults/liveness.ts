/**
 * The end of every run: enough is healed, and then everything must come to an end within a bounded virtual time.
 *
 * In two steps. First a majority only: the other members stay cut off, crashed or paused for good. All that clients still wait for must be answered, and new writes and reads
 * must succeed. Then all the rest: lost nodes are replaced, all members apply the same entries, and hold the same state, record by record.
 *
 * A cluster that has lost nothing and can talk must work: a run that only waits is as broken as one that loses data (a leader that nobody can unseat, a repair that two nodes
 * expect from each other, a client that waits for an answer that never comes).
 */
import { isDamage, KvError } from '../../errors.ts';
import type { NodeId } from '../../raft/types.ts';
import type { SeededRandom } from '../core/seeded_random.ts';
import type { Checks } from '../invariants/checks.ts';
import { compareStates } from '../invariants/full_state.ts';
import { recountQuotas } from '../invariants/quota_rules.ts';
import type { SimNode } from '../machines/sim_node.ts';
import type { World } from '../world.ts';
import type { DamageBudget } from './damage_budget.ts';
import type { Faults } from './faults.ts';
import type { Keeper } from './keeper.ts';

/** Election after election may fail to be won, snapshots have to be sent, clients wait between attempts: but not for longer. */
const RECOVER_MS = 60_000;
/** After all is healed: lost nodes are replaced, one change after the other, and stores are fetched whole. */
const AGREE_MS = 180_000;
const LOOK_MS = 20;

export interface LivenessOptions {
  readonly world: World;
  readonly checks: Checks;
  readonly faults: Faults;
  readonly keeper: Keeper;
  readonly budget: DamageBudget;
  readonly random: SeededRandom;
  /** Whether a majority alone comes first. */
  readonly majorityFirst: boolean;
  /** Client operations that wait for an answer, in words; empty: none. */
  readonly pending: () => readonly string[];
  /** A write and a linearizable read through the cluster by a client that knows every node. */
  readonly probe: () => Promise<void>;
}

/** Heals and waits. A violation of invariant 'liveness' says what did not come to its end. */
export async function checkLiveness(options: LivenessOptions): Promise<void> {
  const { world, faults, checks, majorityFirst } = options;
  faults.endAll();
  for (const node of world.nodes.values()) if (node.isPaused) world.resume(node.id);
  const kept = majorityFirst ? await keepMajority(options) : undefined;
  await work(
    options,
    kept === undefined ? 'all is healed' : `a majority is healed (nodes ${kept.others} stay away)`,
  );
  kept?.end();
  if (checks.violations.length > 0) return;
  await agree(options);
}

/** Members as the newest leader sees them. */
function votersNow(world: World): readonly NodeId[] {
  let newest = -1;
  let voters: readonly NodeId[] = [];
  for (const { node } of world.nodes.values()) {
    const status = node?.parts.consensus.raft.status();
    if (status === undefined || status.commit < newest) continue;
    newest = status.commit;
    const { configuration } = status;
    // In the middle of a change, both majorities count: then nobody is kept away.
    voters = configuration.votersOutgoing.length > 0 ? [] : configuration.voters;
  }
  return voters;
}

/** Keeps a minority of the voters away. undefined: there is none to keep away. */
async function keepMajority(options: LivenessOptions): Promise<{ others: string; end(): void } | undefined> {
  const { world, keeper, budget, random } = options;
  if (budget.damaged.size > 0 || keeper.replacing) return undefined;
  await settle(world, () => votersNow(world).length > 0);
  const voters = votersNow(world);
  const spare = Math.floor((voters.length - 1) / 2);
  if (spare === 0) return undefined;
  const away = [...voters].sort((a, b) => a - b);
  // Whoever leads is missed most.
  const leader = random.chance(0.5) ? world.leader()?.id : undefined;
  while (away.length > spare) {
    const at = random.int(0, away.length - 1);
    if (away[at] !== leader) away.splice(at, 1);
  }
  const others = [...world.nodes.keys()].filter((id) => !away.includes(id));
  const undos: (() => void)[] = [];
  for (const id of away) undos.push(keepAway(options, world.node(id), others));
  return {
    others: away.join(', '),
    end: () => {
      for (const undo of undos) undo();
    },
  };
}

function keepAway(
  { world, keeper, random }: LivenessOptions,
  node: SimNode,
  others: readonly NodeId[],
): () => void {
  const { id } = node;
  switch (random.int(0, 4)) {
    case 0:
      keeper.hold(id);
      world.crash(id, 'random');
      return () => keeper.release(id);
    case 1:
      world.pause(id);
      return () => world.resume(id);
    case 2:
      // It speaks and hears nothing: nobody may wait for what such a leader says.
      world.partitionOneWay(others, [id]);
      return () => world.heal();
    case 3: {
      // Half cut off: whoever still hears it must not stay with it for the others' loss (known as a partial partition).
      const friend = random.pick(others);
      world.partition(
        [id],
        others.filter((other) => other !== friend),
      );
      return () => world.heal();
    }
    default:
      world.partition([id], others);
      return () => world.heal();
  }
}

/** What waits must be answered, and new work done. */
async function work({ world, checks, pending, probe }: LivenessOptions, state: string): Promise<void> {
  const beganMs = world.nowMs;
  let probed = false;
  let failure: unknown;
  void attempt(world, probe, beganMs + RECOVER_MS).then(
    () => {
      probed = true;
    },
    (error: unknown) => {
      failure = error;
    },
  );
  const done = await settle(
    world,
    () => (probed && pending().length === 0) || failure !== undefined,
    RECOVER_MS,
  );
  if (done && failure === undefined) return;
  const waits = pending();
  const what = [
    ...(probed
      ? []
      : [`a new write and read do not succeed (${failure === undefined ? 'no answer' : told(failure)})`]),
    ...(waits.length > 0
      ? [`${waits.length} operations wait for an answer: ${waits.slice(0, 3).join(', ')}`]
      : []),
  ].join('; ');
  const message = `${Math.round(world.nowMs - beganMs)} ms after ${state}: ${what}. ${statusOf(world)}`;
  checks.report('liveness', undefined, message, { state, pending: waits.length });
}

/** Again, as a client's user would, until it succeeds. */
async function attempt(world: World, probe: () => Promise<void>, deadlineMs: number): Promise<void> {
  for (;;) {
    try {
      return await probe();
    } catch (error) {
      if (!(error instanceof KvError) || world.nowMs > deadlineMs) throw error;
      await world.sleep(100);
    }
  }
}

/** All members come to the same entry, and hold the same. */
async function agree(options: LivenessOptions): Promise<void> {
  const { world, checks } = options;
  const beganMs = world.nowMs;
  const deadlineMs = beganMs + AGREE_MS;
  while (world.nowMs < deadlineMs) {
    const members = await settledMembers(options, deadlineMs - world.nowMs);
    if (members === undefined) break;
    const { id } = members[0]!;
    const first = partsOf(members[0]!);
    const { revision } = first.storage.stateMachine;
    const nodes = members.map((member) => ({ id: member.id, engine: partsOf(member).storage.engine }));
    try {
      await Promise.race([compareStates(nodes, revision, checks.report), world.sleep(AGREE_MS)]);
      for (const member of members) {
        const { stateMachine, engine } = partsOf(member).storage;
        if (stateMachine.quotas.active) await recountQuotas(member.id, stateMachine, engine, checks.report);
      }
    } catch (error) {
      // Damage that nobody had read so far: now it is known, and is mended.
      if (!isDamage(error)) throw error;
      await world.sleep(1_000);
      continue;
    }
    // Whatever has compacted the revision meanwhile has made the comparison void.
    if (members.some((member) => partsOf(member).storage.stateMachine.compactRevision > revision)) continue;
    checkCommitted(options, id);
    return;
  }
  if (checks.violations.length > 0) return;
  const message = `${Math.round(world.nowMs - beganMs)} ms after all is healed, the members have not come to the same entry. ${statusOf(world)}`;
  checks.report('liveness', undefined, message);
}

/** Every entry that was ever decided is there. */
function checkCommitted({ world, checks }: LivenessOptions, id: NodeId): void {
  const { appliedIndex } = partsOf(world.node(id)).consensus.applier;
  if (appliedIndex >= checks.log.lastIndex) return;
  checks.report(
    'durability',
    id,
    `all members have applied entries up to ${appliedIndex}, but entry ${checks.log.lastIndex} was decided once`,
    { appliedIndex, decided: checks.log.lastIndex },
  );
}

/** The members of the cluster, once all of them run, are whole, and have applied the same. */
async function settledMembers(
  { world, keeper, checks }: LivenessOptions,
  withinMs: number,
): Promise<SimNode[] | undefined> {
  let members: SimNode[] = [];
  const settled = await settle(
    world,
    () => {
      if (keeper.replacing) return false;
      const leader = world.leader();
      if (leader === undefined) return false;
      const { configuration, commit } = partsOf(leader).consensus.raft.status();
      if (configuration.votersOutgoing.length > 0) return false;
      // A learner that was added by a change without an answer has no machine.
      const nodes = configuration.members.map(({ id }) => world.nodes.get(id));
      const missing = configuration.voters.some((id) => world.nodes.get(id)?.isUp !== true);
      if (missing || nodes.some((node) => node !== undefined && !node.isUp && !keeper.isGone(node.id)))
        return false;
      members = nodes.filter((node) => node?.isUp === true) as SimNode[];
      return members.every((member) => {
        const { applier, health } = partsOf(member).consensus;
        return applier.appliedIndex === commit && health.state === 'ok';
      });
    },
    withinMs,
  );
  if (!settled || checks.violations.length > 0) return undefined;
  for (const member of members)
    checks.state.sumAt(
      member.id,
      partsOf(member).consensus.applier.appliedIndex,
      checks.monitor(member.id)!.stateSum(),
    );
  return members;
}

function partsOf(node: SimNode): NonNullable<SimNode['node']>['parts'] {
  if (node.node === undefined) throw new Error(`${node.lane} does not run`);
  return node.node.parts;
}

async function settle(world: World, test: () => boolean, withinMs = RECOVER_MS): Promise<boolean> {
  const deadlineMs = world.nowMs + withinMs;
  while (!test()) {
    if (world.nowMs >= deadlineMs) return false;
    await world.sleep(LOOK_MS);
  }
  return true;
}

/** How each node is, in a line: what one looks for first when nothing moves. */
function statusOf(world: World): string {
  const lines = [...world.nodes.values()].map((node) => {
    if (node.node === undefined || !node.isUp) return `${node.lane} is ${node.state}`;
    const { role, term, leader, commitIndex, appliedIndex, health } = node.node.service.status();
    const paused = node.isPaused ? ', paused' : '';
    return `${node.lane} is ${role} in term ${term} of leader ${leader}, commit ${commitIndex}, applied ${appliedIndex}, ${health}${paused}`;
  });
  return lines.join('; ');
}

function told(error: unknown): string {
  return error instanceof KvError ? `${error.code} ${error.message}` : String(error);
}
