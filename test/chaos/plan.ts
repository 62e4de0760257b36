/**
 * What happens in a round of chaos: drawn from a seed, before anything runs.
 *
 * The plan is plain data and the same for the same seed; when a step falls due within the course of a cluster's work is up to the machine. Nodes are named by slot (founders are
 * 1 to N, joiners follow) or as whoever leads at that moment.
 *
 * Invariant: every fault ends by itself within the round; the heal at the round's end lifts what is left.
 */
import type { ConfigInput } from '../../src/config.ts';
import { SeededRandom } from '../raft/random.ts';
import type { LinkFault } from './link.ts';

/** A slot, or the leader of the moment. A slot without a running node stands for the next one that has. */
export type Target = number | 'leader';

export type Fault =
  /** kill -9; started again afterwards. */
  | { readonly kind: 'kill'; readonly node: Target }
  | { readonly kind: 'killAll' }
  /** SIGTERM; started again afterwards. */
  | { readonly kind: 'restart'; readonly node: Target }
  /** SIGSTOP, then SIGCONT. */
  | { readonly kind: 'pause'; readonly node: Target }
  /** All links of one node to other nodes: into it, out of it, or both. */
  | {
      readonly kind: 'isolate';
      readonly node: Target;
      readonly how: LinkFault;
      readonly ways: 'in' | 'out' | 'both';
    }
  /** Nodes whose bit (by slot) is set against the others. */
  | { readonly kind: 'split'; readonly mask: number; readonly how: LinkFault }
  /** Two nodes do not hear each other (or one not the other), both hear the rest. */
  | {
      readonly kind: 'pair';
      readonly a: Target;
      readonly b: Target;
      readonly how: LinkFault;
      readonly oneWay: boolean;
    }
  /** Every link between nodes. */
  | { readonly kind: 'everywhere'; readonly how: LinkFault }
  /** Connections of a node are broken again and again while what was under way on them arrives late. */
  | { readonly kind: 'overtake'; readonly node: Target; readonly lateMs: number }
  /** Links between clients and a node; client 0 stands for all of them. */
  | {
      readonly kind: 'clients';
      readonly client: number;
      readonly node: Target;
      readonly how: LinkFault;
      readonly ways: 'in' | 'out' | 'both';
    }
  | { readonly kind: 'fullDisk'; readonly node: number }
  /** The wall clock of a node jumps, and jumps back at the end. */
  | { readonly kind: 'clock'; readonly node: Target; readonly offsetMs: number }
  | { readonly kind: 'moveLeader' }
  | { readonly kind: 'addNode' }
  | { readonly kind: 'removeNode'; readonly node: Target };

export type Step = Fault & { readonly atMs: number; readonly forMs: number };

export interface Plan {
  readonly seed: number;
  readonly nodes: number;
  readonly faultsMs: number;
  /** Namespaces where the machine allows them, else the proxy as well. */
  readonly network: 'proxy' | 'namespaces';
  readonly clients: number;
  readonly watchers: number;
  readonly config: ConfigInput;
  readonly steps: readonly Step[];
}

export interface PlanOptions {
  readonly seed: number;
  readonly nodes?: number | undefined;
  readonly seconds: number;
  readonly network?: 'proxy' | 'namespaces' | undefined;
  /** Only these kinds of faults; all when left out. */
  readonly faults?: readonly string[] | undefined;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const MOST_MEMBERSHIP_STEPS = 4;

/** Kinds and how often they are drawn. */
const KINDS: readonly (readonly [Fault['kind'], number])[] = [
  ['kill', 14],
  ['killAll', 3],
  ['restart', 6],
  ['pause', 12],
  ['isolate', 14],
  ['split', 8],
  ['pair', 8],
  ['everywhere', 5],
  ['overtake', 7],
  ['clients', 10],
  ['fullDisk', 6],
  ['clock', 5],
  ['moveLeader', 7],
  ['addNode', 4],
  ['removeNode', 4],
];

export function drawPlan(options: PlanOptions): Plan {
  const random = new SeededRandom(Math.imul(options.seed, 0x9e3779b1) ^ 0x5bd1e995);
  const nodes = options.nodes ?? (random.chance(0.75) ? 3 : 5);
  const faultsMs = options.seconds * 1000;
  const network = options.network ?? (options.seed % 4 === 3 ? 'namespaces' : 'proxy');
  const config = drawConfig(random);
  const kinds = KINDS.filter(([kind]) => options.faults?.includes(kind) ?? true);
  // Some rounds give the cluster time to breathe between faults, others none.
  const pace = random.pick([0.6, 1, 2]);
  const steps: Step[] = [];
  let membershipSteps = 0;
  for (let atMs = 500 + random.below(1000); atMs < faultsMs - 500; ) {
    const fault = drawFault(random, nodes, kinds);
    const membership = fault.kind === 'addNode' || fault.kind === 'removeNode';
    // Time goes on here too: a plan of such steps alone comes to an end.
    atMs += 50;
    if (membership && ++membershipSteps > MOST_MEMBERSHIP_STEPS) continue;
    steps.push({ ...fault, atMs, forMs: Math.min(drawLengthMs(random, fault), faultsMs - atMs) });
    // Often one fault in the middle of another.
    atMs += random.chance(0.35) ? random.below(300) : Math.round((400 + random.below(2500)) * pace);
  }
  return {
    seed: options.seed,
    nodes,
    faultsMs,
    network,
    clients: 4 + random.below(4),
    watchers: 3,
    config,
    steps,
  };
}

function drawConfig(random: SeededRandom): ConfigInput {
  return {
    raft: { tickMs: random.pick([20, 30, 50]), heartbeatTicks: 2, electionTicks: random.pick([10, 16]) },
    limits: random.chance(0.2) ? { sessionIdleMs: 2_000 } : {},
    storage: {
      durability: random.chance(0.7) ? 'fsync' : 'os',
      memtableSizeBytes: MIB,
      segmentSizeBytes: random.pick([64 * KIB, 256 * KIB, MIB]),
      preallocateBytes: random.pick([4 * KIB, 64 * KIB]),
      logCacheBytes: MIB,
      checkpointLogBytes: MIB,
      tableSizeBytes: MIB,
      blockCacheBytes: random.pick([0, 2 * MIB]),
      compression: random.pick(['none', 'lz4'] as const),
      logRetainBytes: random.chance(0.6) ? 0 : MIB,
    },
    node: { historyRevisions: random.pick([0, 0, 100_000, 400]), logLevel: 'info' },
  };
}

type Kinds = typeof KINDS;

function drawFault(random: SeededRandom, nodes: number, kinds: Kinds): Fault {
  const target = (): Target => (random.chance(0.4) ? 'leader' : 1 + random.below(nodes + 1));
  const ways = (): 'in' | 'out' | 'both' => random.pick(['in', 'out', 'both', 'both']);
  const kind = drawKind(random, kinds);
  switch (kind) {
    case 'kill':
    case 'restart':
    case 'pause':
    case 'removeNode':
      return { kind, node: target() };
    case 'killAll':
    case 'moveLeader':
    case 'addNode':
      return { kind };
    case 'isolate':
      return { kind, node: target(), how: drawHow(random), ways: ways() };
    case 'split':
      return { kind, mask: 1 + random.below(2 ** nodes - 2), how: drawHow(random) };
    case 'pair':
      return {
        kind,
        a: target(),
        b: 1 + random.below(nodes + 1),
        how: drawHow(random),
        oneWay: random.chance(0.5),
      };
    case 'everywhere':
      return { kind, how: drawSlowness(random) };
    case 'overtake':
      return { kind, node: target(), lateMs: 20 + random.below(1500) };
    case 'clients':
      return {
        kind,
        client: random.chance(0.3) ? 0 : 1 + random.below(6),
        node: target(),
        how: random.chance(0.3) ? drawSlowness(random) : drawHow(random),
        ways: ways(),
      };
    case 'fullDisk':
      return { kind, node: 1 + random.below(nodes) };
    case 'clock':
      return {
        kind,
        node: target(),
        offsetMs: Math.round((random.next() - 0.5) * random.pick([1_000, 20_000, 7_200_000])),
      };
  }
}

function drawKind(random: SeededRandom, kinds: Kinds): Fault['kind'] {
  let dice = random.next() * kinds.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [kind, weight] of kinds) {
    dice -= weight;
    if (dice < 0) return kind;
  }
  return 'kill';
}

export const FAULT_KINDS: readonly string[] = KINDS.map(([kind]) => kind);

function drawHow(random: SeededRandom): LinkFault {
  const dice = random.next();
  if (dice < 0.3) return { kind: 'cut' };
  if (dice < 0.65) return { kind: 'silent' };
  if (dice < 0.85) return { kind: 'held' };
  return drawSlowness(random);
}

function drawSlowness(random: SeededRandom): LinkFault {
  if (random.chance(0.7)) {
    const delayMs = random.pick([5, 30, 100, 400]);
    return { kind: 'delayed', delayMs, jitterMs: delayMs };
  }
  return { kind: 'throttled', bytesPerSecond: random.pick([20_000, 100_000, 500_000]) };
}

function drawLengthMs(random: SeededRandom, fault: Fault): number {
  switch (fault.kind) {
    case 'moveLeader':
    case 'addNode':
    case 'removeNode':
      return 0;
    case 'pause':
      // Most below an election time-out or a few of them, some far above every time-out there is.
      return random.chance(0.15) ? 5_000 + random.below(15_000) : 200 + random.below(3_000);
    case 'kill':
    case 'killAll':
    case 'restart':
      return random.below(2_500);
    default:
      return 300 + random.below(random.chance(0.2) ? 9_000 : 3_500);
  }
}

/** A step in one line. */
export function shownStep(step: Step): string {
  const { kind, atMs, forMs, ...facts } = step;
  const shown = Object.entries(facts).map(
    ([name, value]) => `${name}=${typeof value === 'object' ? JSON.stringify(value) : value}`,
  );
  return `${String(atMs).padStart(6)} ms  ${kind} ${shown.join(' ')}${forMs > 0 ? ` for ${forMs} ms` : ''}`;
}
