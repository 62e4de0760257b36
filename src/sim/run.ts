/**
 * One run of the simulator: a world from a seed, clients that work in it, faults that break it, and every check that must hold all the same.
 *
 * Invariants: the outcome depends on the options alone, the trace hash included; a run always ends (bounds on events and on virtual time); it never rejects for what it
 * finds; nothing of it is left in the process.
 */
import type { ConfigInput } from '../config.ts';
import type { Violation } from './check/observations.ts';
import { SimulationError } from './core/scheduler.ts';
import { SeededRandom } from './core/seeded_random.ts';
import { WORLD_BEGINS_MS } from './core/sim_process.ts';
import type { TraceEvent } from './core/trace.ts';
import { Disturbances } from './faults/disturbances.ts';
import { drawFaultPlan } from './faults/draw_fault_plan.ts';
import type { FaultKind, FaultPlan } from './faults/fault_plan.ts';
import { Hazards } from './faults/hazards.ts';
import { InvariantViolated } from './invariants/checks.ts';
import { compareHashes } from './invariants/cluster_hash.ts';
import { judge } from './judge.ts';
import type { LoadPart } from './load/model_choices.ts';
import type { Recorder } from './load/recorder.ts';
import { ROOT_LOGIN } from './load/rights_load.ts';
import { Workload } from './load/workload.ts';
import { drawConfig, drawNodes, drawPace, drawParts } from './run_config.ts';
import { World } from './world.ts';

export interface RunOptions {
  readonly seed: number | string;
  /** Calls of clients. Default 2,000. */
  readonly ops?: number | undefined;
  /** Founding members. Default: drawn from the seed. */
  readonly nodes?: number | undefined;
  /** Default: drawn from the seed. */
  readonly faults?: FaultPlan | undefined;
  /** Kinds that a drawn plan is made of, mostly all of them together. Default: some of all kinds. A run whose kinds are named has no lulls. */
  readonly kinds?: readonly FaultKind[] | undefined;
  /** What of the data model the workload uses beside the plain calls. Default: drawn from the seed; nothing in a run whose kinds are named. */
  readonly parts?: readonly LoadPart[] | undefined;
  /** Over what the seed draws. */
  readonly config?: ConfigInput | undefined;
  /** Keeps the events for the timeline. */
  readonly record?: boolean | undefined;
  /** false: what the clients saw is not checked: enough to compare the hash with that of a run that passed. The invariants are. Default true. */
  readonly judged?: boolean | undefined;
  /** Most events of a run. Default: 3 million and 500 for each call. */
  readonly maxEvents?: number | undefined;
}

export interface RunFailure {
  /** What was broken: the name of an invariant or of a check, or 'simulation' when the world could not go on. */
  readonly invariant: string;
  readonly message: string;
  /** Virtual time; the end of the run for what is checked afterwards. */
  readonly atMs: number;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface RunStats {
  /** Calls that were made, and how they ended: done, refused, outcome unknown. */
  readonly ops: number;
  readonly ok: number;
  readonly failed: number;
  readonly unknown: number;
  readonly events: number;
  readonly simulatedMs: number;
  /** Lives of nodes that were begun. */
  readonly starts: number;
  /** Steps of the fault plan that had an effect, by kind. */
  readonly faults: Readonly<Record<string, number>>;
}

export interface RunResult {
  readonly seed: string;
  readonly nodes: number;
  readonly ok: boolean;
  /** The first thing that went wrong. */
  readonly failure?: RunFailure | undefined;
  /** All that the checks of the clients' record found. */
  readonly violations: readonly Violation[];
  /** Of everything that happened: equal for equal options. */
  readonly hash: string;
  readonly plan: FaultPlan;
  readonly stats: RunStats;
  /** Where events were recorded. */
  readonly trace?: readonly TraceEvent[] | undefined;
  /** What the clients saw. */
  readonly recorder: Recorder;
}

const DEFAULT_OPS = 2_000;
/** Faults in a run with lulls, more or less: as many as in a dense one of a thousand calls or two, which then have time to be long. */
const STEPS_OF_LONG_RUNS = 20;
/** Virtual time for each call, at most: with lulls, and with calls that take long. */
const WORK_MS = 240;
/** Virtual time after the work for healing, recovery and agreement: liveness.ts has its own, tighter bounds. */
const EPILOGUE_MS = 600_000;
/** Between what is due and the leader's next look for what has expired. */
const EXPIRY_LOOK_MS = 500;

/** Runs a seed. */
export async function runSeed(options: RunOptions): Promise<RunResult> {
  const run = new Run(options);
  const failure = await run.live();
  return run.result(failure);
}

class Run {
  readonly #options: RunOptions;
  readonly #nodes: number;
  readonly #plan: FaultPlan;
  readonly #world: World;
  readonly #hazards: Hazards;
  readonly #workload: Workload;
  readonly #disturbances: Disturbances;
  readonly #chance: SeededRandom;
  #mustReach = 0;
  #violations: readonly Violation[] = [];

  constructor(options: RunOptions) {
    const { seed, ops = DEFAULT_OPS } = options;
    this.#options = options;
    const chance = new SeededRandom(seed).fork('run');
    this.#chance = chance;
    this.#nodes = options.nodes ?? drawNodes(chance.fork('nodes'));
    const pace = drawPace(chance.fork('spread'));
    const spreadMs = ops * pace.busyMs;
    // Who names kinds is after something: then time is spent on calls and faults alone.
    const lullMs = options.kinds === undefined ? ops * pace.lullMs : 0;
    this.#plan =
      options.faults ??
      drawFaultPlan({
        nodes: this.#nodes,
        horizonMs: spreadMs + lullMs,
        meanGapMs: lullMs === 0 ? undefined : (spreadMs + lullMs) / STEPS_OF_LONG_RUNS,
        random: chance.fork('plan'),
        ...(options.kinds === undefined ? {} : { kinds: options.kinds }),
      });
    const config = overridden(drawConfig(chance.fork('config')), options.config);
    const parts = new Set(
      options.parts ?? (options.kinds === undefined ? drawParts(chance.fork('parts')) : []),
    );
    const admin = parts.has('rights') ? ROOT_LOGIN : undefined;
    const world = new World({ seed, nodes: this.#nodes, config, record: options.record, admin });
    this.#world = world;
    this.#hazards = new Hazards(world);
    const nowMs = (): number => WORLD_BEGINS_MS + world.nowMs;
    this.#disturbances = new Disturbances(world, nowMs);
    this.#workload = new Workload({
      ops,
      spreadMs,
      lullMs,
      random: chance.fork('workload'),
      nowMs,
      sleep: (delayMs) => world.sleep(delayMs),
      connect: (name, overhear, login) => world.client(name, { overhear, ...login }),
      upkeep: () => world.admin().upkeep,
      limits: world.config.limits,
      parts,
    });
  }

  /** Gives what went wrong. */
  async live(): Promise<RunFailure | undefined> {
    const { ops = DEFAULT_OPS } = this.#options;
    const maxEvents = this.#options.maxEvents ?? 3_000_000 + 500 * ops;
    try {
      const deadlineMs = ops * WORK_MS + EPILOGUE_MS;
      await this.#world.run(() => this.#script(), { maxEvents, deadlineMs });
      if (this.#options.judged !== false) this.#violations = this.#judge();
    } catch (error) {
      return this.#failureOf(error);
    }
    const [first] = this.#violations;
    if (first === undefined) return undefined;
    const { check: invariant, message, details } = first;
    const atMs = this.#world.nowMs;
    this.#world.trace.add('violation', 'world', invariant, 0, undefined, 0, `${invariant}: ${message}`);
    return { invariant, message, atMs, details };
  }

  async #script(): Promise<void> {
    const hazards = this.#hazards;
    const workload = this.#workload;
    await hazards.start(this.#plan);
    this.#disturbances.start(this.#plan);
    workload.start();
    await workload.done;
    const quiet = this.#disturbances.begin();
    await hazards.end({
      majorityFirst: this.#chance.fork('majority').chance(0.5),
      pending: () => workload.pending(),
      probe: () => workload.probe(),
    });
    quiet();
    this.#mustReach = await workload.settle();
    // Who names kinds is after something else.
    if (this.#options.kinds === undefined) await compareHashes(this.#world, hazards.checks.report);
  }

  #judge(): readonly Violation[] {
    const world = this.#world;
    const { tickMs, electionTicks } = world.config.raft;
    const { historyRevisions } = world.config.node;
    // Who is short of room drops all the history that it may drop at all.
    const keeps = this.#hazards.faults.counts['noSpace'] === undefined ? historyRevisions : 0;
    return judge(this.#workload.recorder, {
      mustReach: this.#mustReach,
      nodes: [...world.nodes.keys()],
      clocks: world.clockSettings.map((setting) => ({
        ...setting,
        fromMs: setting.fromMs + WORLD_BEGINS_MS,
      })),
      graceMs: 2 * tickMs * electionTicks + EXPIRY_LOOK_MS,
      disturbances: this.#disturbances.list,
      starts: world.starts.map((atMs) => atMs + WORLD_BEGINS_MS),
      keptRevisions: historyRevisions === 0 ? undefined : keeps,
    });
  }

  #failureOf(error: unknown): RunFailure {
    const atMs = this.#world.nowMs;
    if (error instanceof InvariantViolated) {
      const { invariant, message, details } = error.violation;
      return { invariant, message, atMs, details };
    }
    const told = error instanceof Error ? error : new Error(String(error));
    const cause = told.cause instanceof Error ? told.cause : told;
    const invariant = error instanceof SimulationError ? 'simulation' : 'error';
    return { invariant, message: told.message, atMs, details: { stack: cause.stack ?? '' } };
  }

  result(failure: RunFailure | undefined): RunResult {
    const world = this.#world;
    const { recorder } = this.#workload;
    const { hash, recording } = world.trace;
    // Without what closing the world adds.
    const trace = recording ? [...world.trace.events] : undefined;
    const { operations } = recorder;
    const ended = (outcome: string): number =>
      operations.filter((operation) => operation.outcome === outcome).length;
    const starts = [...world.nodes.values()].reduce((sum, { lives }) => sum + lives, 0);
    const stats: RunStats = {
      ops: operations.length,
      ok: ended('ok'),
      failed: ended('fail'),
      unknown: ended('info'),
      events: world.scheduler.events,
      simulatedMs: Math.round(world.nowMs),
      starts,
      faults: this.#hazards.faults.counts,
    };
    world.close();
    return {
      seed: String(this.#options.seed),
      nodes: this.#nodes,
      ok: failure === undefined,
      failure,
      violations: this.#violations,
      hash,
      plan: this.#plan,
      stats,
      trace,
      recorder,
    };
  }
}

function overridden(drawn: ConfigInput, given: ConfigInput = {}): ConfigInput {
  return {
    limits: { ...drawn.limits, ...given.limits },
    storage: { ...drawn.storage, ...given.storage },
    raft: { ...drawn.raft, ...given.raft },
    door: { ...drawn.door, ...given.door },
    node: { ...drawn.node, ...given.node },
  };
}
