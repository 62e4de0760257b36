/**
 * Draws a fault plan from a seed.
 *
 * Swarm testing (Groce et al., ISSTA '12): each seed switches a random subset of the kinds on, sometimes a single one and sometimes none. A run with every
 * fault at once mostly shows that nothing works then; bugs hide in runs where one thing goes wrong often and the rest is well.
 */
import type { Random } from '../../ports.ts';
import { LOSS_RULES, type LossRule } from '../../storage/memory_disk_nodes.ts';
import {
  type DamageArea,
  FAULT_KINDS,
  type FaultKind,
  type FaultPlan,
  type FaultStep,
  type NodeTarget,
} from './fault_plan.ts';

export interface DrawOptions {
  /** Founding nodes. */
  readonly nodes: number;
  /** Steps begin before this moment of virtual time. */
  readonly horizonMs: number;
  /** Between two steps of a plan of middling roughness. Default: 1,200. */
  readonly meanGapMs?: number | undefined;
  readonly random: Random;
  /** Only these kinds, mostly all of them. Default: some of all that make sense for so many nodes. */
  readonly kinds?: readonly FaultKind[];
}

/** How often a kind is drawn beside the others of its plan. What comes of a crash is worth more than another slow link. */
const WEIGHTS: Partial<Record<FaultKind, number>> = {
  partition: 3,
  crash: 4,
  crashAll: 2,
  powerCutAt: 3,
  powerCutAfter: 3,
  pause: 2,
  bitRot: 2,
  addMember: 2,
  removeMember: 2,
  moveLeader: 2,
};

/** Kinds that a node alone has no use for: it has no peers, and nobody to be rebuilt from. */
const NEED_PEERS: readonly FaultKind[] = [
  'partition',
  'oneWay',
  'bridge',
  'leaderChurn',
  'cutLink',
  'powerCutAfter',
  'drop',
  'duplicate',
  'reorder',
  'delay',
  'hold',
  'bitRot',
  'misdirectedWrite',
  'truncation',
  'lostFile',
  'lostTree',
  'removeMember',
  'moveLeader',
  'addMember',
];

/** What takes most of what was not synced. */
const HARSH: readonly LossRule[] = ['all', 'all', 'random', 'torn512'];

const MEAN_GAP_MS = 1_200;
const ROUGHNESS: readonly number[] = [0.25, 0.5, 1, 2, 4];

export function drawFaultPlan(options: DrawOptions): FaultPlan {
  const { horizonMs, random } = options;
  const kinds = chooseKinds(options);
  const steps: FaultStep[] = [];
  if (kinds.length === 0) return { version: 1, steps };
  // Some runs are rough, some are quiet.
  const gapMs = (options.meanGapMs ?? MEAN_GAP_MS) * pick(ROUGHNESS, random);
  let atMs = 200 + random.next() * 1_000;
  while (atMs < horizonMs) {
    const kind = weighted(kinds, random);
    const step = drawStep(kind, steps.length, Math.round(atMs * 10) / 10, options);
    steps.push(step);
    // Nobody votes while all is well.
    if (step.kind === 'powerCutAfter' && step.promise === 'vote' && step.atMs + 20 < horizonMs)
      steps.push({ kind: 'moveLeader', id: steps.length, atMs: step.atMs + 20, durationMs: 0 });
    // Bursts, and quiet in between.
    atMs += gapMs * (random.next() < 0.5 ? 0.2 : 1.8) * 2 * random.next();
  }
  return { version: 1, steps: steps.sort((a, b) => a.atMs - b.atMs) };
}

function chooseKinds({ nodes, kinds, random }: DrawOptions): readonly FaultKind[] {
  const possible = (kinds ?? FAULT_KINDS).filter((kind) => nodes > 1 || !NEED_PEERS.includes(kind));
  // A node alone, and only kinds that need others.
  if (possible.length === 0) return [];
  const dice = random.next();
  // Who names kinds is after what they do together as well.
  if (kinds !== undefined && dice < 0.6) return possible;
  if (dice < 0.04) return [];
  if (dice < 0.3) return [pick(possible, random)];
  if (dice < 0.4) return [pick(possible, random), pick(possible, random)];
  const share = 0.1 + random.next() * 0.5;
  const some = possible.filter(() => random.next() < share);
  return some.length > 0 ? some : [pick(possible, random)];
}

function weighted(kinds: readonly FaultKind[], random: Random): FaultKind {
  let total = 0;
  for (const kind of kinds) total += WEIGHTS[kind] ?? 1;
  let at = random.next() * total;
  for (const kind of kinds) {
    at -= WEIGHTS[kind] ?? 1;
    if (at < 0) return kind;
  }
  return kinds.at(-1)!;
}

function drawStep(kind: FaultKind, id: number, atMs: number, { nodes, random }: DrawOptions): FaultStep {
  const common = { id, atMs };
  const one = (): { node: NodeTarget } => ({ node: drawTarget(nodes, random) });
  const loss = (): LossRule => pick(LOSS_RULES, random);
  const away = { ...common, durationMs: between(50, 6_000, random) };
  const episode = { ...common, durationMs: between(100, 8_000, random) };
  const short = { ...common, durationMs: between(50, 2_500, random) };
  const rate = (): number => round3(random.next() * random.next() * 0.6);
  switch (kind) {
    case 'partition':
      return { kind, ...episode, minority: drawMinority(nodes, random) };
    case 'oneWay':
      return { kind, ...episode, ...one(), direction: random.next() < 0.5 ? 'in' : 'out' };
    case 'bridge':
    case 'hold':
    case 'clientSilence':
    case 'clientRefused':
      return { kind, ...episode, ...one() };
    case 'leaderChurn':
      return {
        kind,
        ...common,
        durationMs: between(1_500, 8_000, random),
        cutMs: between(250, 1_200, random),
        gapMs: between(1, 400, random),
      };
    case 'cutLink':
      return { kind, ...episode, ...one(), to: drawTarget(nodes, random) };
    case 'drop':
    case 'duplicate':
    case 'reorder':
      return { kind, ...episode, ...one(), rate: rate() };
    case 'delay':
    case 'clientDelay':
      return { kind, ...episode, ...one(), delayMs: drawRange(300, random) };
    case 'clientReset':
      return { kind, ...common, durationMs: 0, ...one() };
    case 'crash':
      return { kind, ...away, ...one(), loss: loss() };
    case 'crashAll':
      return { kind, ...short, loss: loss() };
    case 'powerCutAt':
      return { kind, ...away, ...one(), operations: between(1, 400, random), loss: loss() };
    case 'powerCutAfter': {
      const promise = random.next() < 0.5 ? 'vote' : 'holds';
      const nth = promise === 'vote' ? 1 : 1 + Math.floor(random.next() * 40);
      return { kind, ...episode, ...one(), promise, nth, loss: pick(HARSH, random) };
    }
    case 'stop':
      return { kind, ...away, ...one() };
    case 'pause':
      return { kind, ...common, durationMs: between(300, 60_000, random), ...one() };
    case 'clockJump':
      return {
        kind,
        ...common,
        durationMs: between(500, 30_000, random),
        ...one(),
        offsetMs: signed(between(50, 120_000, random), random),
      };
    case 'clockDrift':
      return {
        kind,
        ...common,
        durationMs: between(1_000, 30_000, random),
        ...one(),
        rate: round3(0.9 + random.next() * 0.2),
      };
    case 'writeError':
    case 'syncError':
    case 'readError':
      return { kind, ...away, ...one(), nth: between(1, 200, random), loss: loss() };
    case 'noSpace':
      return { kind, ...episode, ...one(), freeBytes: between(1, 400_000, random) };
    case 'shortWrites':
      return { kind, ...episode, ...one(), bytes: between(1, 4_096, random) };
    case 'slowDisk':
      return { kind, ...episode, ...one(), delayMs: drawRange(200, random) };
    case 'stuckDisk':
      return { kind, ...short, ...one() };
    case 'bitRot':
      return { kind, ...away, ...one(), ...drawPlace(random), mask: 1 << Math.floor(random.next() * 8) };
    case 'misdirectedWrite':
      return {
        kind,
        ...away,
        ...one(),
        ...drawPlace(random),
        from: round3(random.next()),
        bytes: between(8, 8_192, random),
      };
    case 'truncation':
      return { kind, ...away, ...one(), ...drawPlace(random) };
    case 'lostFile': {
      const { area, file } = drawPlace(random);
      return { kind, ...away, ...one(), area, file };
    }
    case 'lostTree':
      return { kind, ...away, ...one() };
    case 'addMember':
    case 'moveLeader':
      return { kind, ...common, durationMs: 0 };
    case 'removeMember':
      return { kind, ...common, durationMs: 0, ...one() };
  }
}

function drawPlace(random: Random): { area: DamageArea; file: number; place: number } {
  const dice = random.next();
  const area: DamageArea = dice < 0.5 ? 'tree' : dice < 0.8 ? 'log' : dice < 0.95 ? 'snapshots' : 'identity';
  return { area, file: round3(random.next()), place: round6(random.next()) };
}

/** Nodes that joined later have the ids after the founders': they are meant now and then, whether they are there or not. */
function drawTarget(nodes: number, random: Random): NodeTarget {
  const dice = random.next();
  if (dice < 0.35) return 'leader';
  if (dice < 0.5) return 'follower';
  return 1 + Math.floor(random.next() * (dice < 0.6 ? nodes + 3 : nodes));
}

function drawMinority(nodes: number, random: Random): NodeTarget[] {
  if (random.next() < 0.3) return ['leader'];
  const chosen: NodeTarget[] = [];
  for (let id = 1; id <= nodes; id++) if (random.next() < 0.5) chosen.push(id);
  if (chosen.length === 0 || chosen.length === nodes) return [1 + Math.floor(random.next() * nodes)];
  return chosen;
}

function drawRange(topMs: number, random: Random): [number, number] {
  const highMs = between(1, topMs, random);
  return [between(0, highMs, random), highMs];
}

/** Whole numbers; each doubling from `low` to `high` as likely as the next. No logarithm: its last bit differs between versions of the engine. */
function between(low: number, high: number, random: Random): number {
  let doublings = 1;
  while ((low + 1) * 2 ** doublings < high + 1) doublings++;
  const from = (low + 1) * 2 ** Math.floor(random.next() * doublings) - 1;
  const to = Math.min(high, 2 * (from + 1) - 1);
  return from + Math.floor(random.next() * (to - from + 1));
}

function signed(value: number, random: Random): number {
  return random.next() < 0.5 ? -value : value;
}

function pick<T>(list: readonly T[], random: Random): T {
  return list[Math.floor(random.next() * list.length)]!;
}

function round3(value: number): number {
  return Math.round(value * 1e3) / 1e3;
}

function round6(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}
