/**
 * What goes wrong in a run, and when: plain data, so that a plan can be printed, kept as a test, edited by hand and shrunk.
 *
 *     plan := { version: 1, steps: [{ id, atMs, kind, durationMs, …what the kind needs }] }
 *
 * A step begins at `atMs` of virtual time and ends by itself after `durationMs`. Steps are independent of each other: any of them may be left out and
 * the rest still makes sense, which is what shrinking does. A step that cannot be carried out when its time comes (the node is down already, the budget of damage
 * is used up) does nothing, and the run's trace says so.
 *
 * Nodes are named by id, or as whoever leads (or follows) when the step begins: faults that hit the leader find more.
 */
import { z } from 'zod';
import { KvError } from '../../errors.ts';
import type { LOSS_RULES } from '../../storage/memory_disk_nodes.ts';

const MAX_STEPS = 10_000;
const MAX_MS = 24 * 3_600_000;

const ms = z.number().min(0).max(MAX_MS);
const share = z.number().min(0).max(1);
const range = z.tuple([ms, ms]);
const target = z.union([z.number().int().min(1), z.literal('leader'), z.literal('follower')]);
const loss = z.enum(['all', 'none', 'random', 'torn1', 'torn512'] satisfies typeof LOSS_RULES);
/** Which part of a node's directory is damaged. */
const area = z.enum(['log', 'tree', 'snapshots', 'identity']);
const common = {
  /** Names the step: unique in its plan, kept when the plan is shrunk. */
  id: z.number().int().min(0),
  atMs: ms,
  durationMs: ms,
};
const node = { ...common, node: target };

const stepSchema = z.discriminatedUnion('kind', [
  // Links between nodes.
  z.strictObject({ kind: z.literal('partition'), ...common, minority: z.array(target).min(1).max(100) }),
  z.strictObject({ kind: z.literal('oneWay'), ...node, direction: z.enum(['in', 'out']) }),
  z.strictObject({ kind: z.literal('bridge'), ...node }),
  // Whoever leads is cut off, and comes back when its successor is: entries that were not decided pile up everywhere (Raft paper, figure 8).
  z.strictObject({
    kind: z.literal('leaderChurn'),
    ...common,
    cutMs: z.number().min(1).max(MAX_MS),
    gapMs: z.number().min(0).max(MAX_MS),
  }),
  z.strictObject({ kind: z.literal('cutLink'), ...node, to: target }),
  z.strictObject({ kind: z.literal('drop'), ...node, rate: share }),
  z.strictObject({ kind: z.literal('duplicate'), ...node, rate: share }),
  z.strictObject({ kind: z.literal('reorder'), ...node, rate: share }),
  z.strictObject({ kind: z.literal('delay'), ...node, delayMs: range }),
  z.strictObject({ kind: z.literal('hold'), ...node }),
  // Connections of clients.
  z.strictObject({ kind: z.literal('clientSilence'), ...node }),
  z.strictObject({ kind: z.literal('clientReset'), ...node }),
  z.strictObject({ kind: z.literal('clientRefused'), ...node }),
  z.strictObject({ kind: z.literal('clientDelay'), ...node, delayMs: range }),
  // Nodes: `durationMs` is how long a node is away.
  z.strictObject({ kind: z.literal('crash'), ...node, loss }),
  z.strictObject({ kind: z.literal('crashAll'), ...common, loss }),
  z.strictObject({
    kind: z.literal('powerCutAt'),
    ...node,
    operations: z.number().int().min(1).max(1e6),
    loss,
  }),
  // The power goes right after a node has promised something to another one: its vote, or that its disk holds entries.
  z.strictObject({
    kind: z.literal('powerCutAfter'),
    ...node,
    promise: z.enum(['vote', 'holds']),
    nth: z.number().int().min(1).max(1e6),
    loss,
  }),
  z.strictObject({ kind: z.literal('stop'), ...node }),
  z.strictObject({ kind: z.literal('pause'), ...node }),
  z.strictObject({ kind: z.literal('clockJump'), ...node, offsetMs: z.number().min(-MAX_MS).max(MAX_MS) }),
  z.strictObject({ kind: z.literal('clockDrift'), ...node, rate: z.number().min(0.5).max(2) }),
  // Disks that fail: the node ends, and is started again after `durationMs` on what its disk kept.
  z.strictObject({ kind: z.literal('writeError'), ...node, nth: z.number().int().min(1).max(1e6), loss }),
  z.strictObject({ kind: z.literal('syncError'), ...node, nth: z.number().int().min(1).max(1e6), loss }),
  z.strictObject({ kind: z.literal('readError'), ...node, nth: z.number().int().min(1).max(1e6), loss }),
  // Disks that are in the way.
  z.strictObject({ kind: z.literal('noSpace'), ...node, freeBytes: z.number().int().min(0).max(1e12) }),
  z.strictObject({ kind: z.literal('shortWrites'), ...node, bytes: z.number().int().min(1).max(1e9) }),
  z.strictObject({ kind: z.literal('slowDisk'), ...node, delayMs: range }),
  z.strictObject({ kind: z.literal('stuckDisk'), ...node }),
  // Disks that lie: within the damage budget only (damage_budget.ts). `place`: where, as a share of what is there.
  z.strictObject({
    kind: z.literal('bitRot'),
    ...node,
    area,
    file: share,
    place: share,
    mask: z.number().int().min(1).max(255),
  }),
  z.strictObject({
    kind: z.literal('misdirectedWrite'),
    ...node,
    area,
    file: share,
    from: share,
    place: share,
    bytes: z.number().int().min(1).max(1e6),
  }),
  z.strictObject({ kind: z.literal('truncation'), ...node, area, file: share, place: share }),
  z.strictObject({ kind: z.literal('lostFile'), ...node, area, file: share }),
  z.strictObject({ kind: z.literal('lostTree'), ...node }),
  // Changes of the cluster, in the middle of all that.
  z.strictObject({ kind: z.literal('addMember'), ...common }),
  z.strictObject({ kind: z.literal('removeMember'), ...node }),
  z.strictObject({ kind: z.literal('moveLeader'), ...common }),
]);

const planSchema = z
  .strictObject({ version: z.literal(1), steps: z.array(stepSchema).max(MAX_STEPS) })
  .refine(({ steps }) => new Set(steps.map(({ id }) => id)).size === steps.length, 'two steps have one id');

export type FaultStep = z.infer<typeof stepSchema>;
export type FaultKind = FaultStep['kind'];
export type NodeTarget = z.infer<typeof target>;
export type DamageArea = z.infer<typeof area>;
export type FaultPlan = z.infer<typeof planSchema>;

/** Every kind there is, in the order of the schema. */
export const FAULT_KINDS: readonly FaultKind[] = stepSchema.options.map(({ shape }) => shape.kind.value);

/** The kinds that take or change what a disk has promised to keep. */
export const DAMAGE_KINDS: readonly FaultKind[] = [
  'bitRot',
  'misdirectedWrite',
  'truncation',
  'lostFile',
  'lostTree',
];

/** A run in which nothing goes wrong. */
export const NO_FAULTS: FaultPlan = { version: 1, steps: [] };

/**
 * A plan from the text of a file, which nobody trusts.
 * @throws KvError INVALID_ARGUMENT naming what is wrong with it
 */
export function parseFaultPlan(text: string): FaultPlan {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw new KvError('INVALID_ARGUMENT', 'the fault plan is no JSON', { cause });
  }
  const result = planSchema.safeParse(document);
  if (result.success) return result.data;
  throw new KvError('INVALID_ARGUMENT', `the fault plan is wrong: ${z.prettifyError(result.error)}`);
}

/** The plan as it is printed and kept: one step a line. */
export function formatFaultPlan(plan: FaultPlan): string {
  const steps = plan.steps.map((step) => `  ${JSON.stringify(step)}`);
  return steps.length === 0
    ? '{"version":1,"steps":[]}\n'
    : `{"version":1,"steps":[\n${steps.join(',\n')}\n]}\n`;
}

/** The plan without some of its steps. */
export function withoutSteps(plan: FaultPlan, ids: ReadonlySet<number>): FaultPlan {
  return { version: 1, steps: plan.steps.filter(({ id }) => !ids.has(id)) };
}

/** A step in a few words, for timelines. */
export function describeStep(step: FaultStep): string {
  const { id, atMs, kind, durationMs, ...rest } = step;
  const facts = Object.entries(rest).map(([name, value]) => `${name} ${shown(value)}`);
  return `${kind} ${[...facts, `for ${Math.round(durationMs)} ms`].join(', ')}`;
}

function shown(value: unknown): string {
  if (typeof value === 'number') return String(Math.round(value * 1000) / 1000);
  return typeof value === 'string' ? value : JSON.stringify(value);
}
