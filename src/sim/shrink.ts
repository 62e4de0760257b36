/**
 * Makes a failing run small: fewer calls, steps of the fault plan, nodes, and shorter faults, as long as the same invariant is violated.
 *
 * Steps are dropped by delta debugging (ddmin: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002); calls, durations and nodes by halving, then
 * by smaller amounts. All of it is tried again after any of it helped, since one makes room for the other.
 *
 * Invariants: the result was seen to violate the same invariant (another violation counts as none, and is reported); the same input and runner give the same result,
 * unless time runs out; no more than `maxRuns` runs; nothing is run twice.
 */
import { type FaultPlan, type FaultStep, formatFaultPlan, type NodeTarget } from './faults/fault_plan.ts';

/** What decides a run. */
export interface FailingRun {
  readonly seed: number | string;
  readonly ops: number;
  readonly nodes: number;
  readonly plan: FaultPlan;
}

export interface FailureSeen {
  readonly invariant: string;
  readonly message: string;
  /** Virtual time of the violation; the end of the run for what is found afterwards. */
  readonly atMs: number;
}

/** Runs it; undefined: nothing was violated. */
export type ShrinkRunner = (run: FailingRun) => Promise<FailureSeen | undefined>;

export interface ShrinkOptions {
  readonly run: FailingRun;
  readonly runner: ShrinkRunner;
  /** What must be violated. Default: what the first run violates. */
  readonly invariant?: string | undefined;
  /** Most runs. Default: 500. */
  readonly maxRuns?: number | undefined;
  /** Most time. Default: no bound. */
  readonly maxMs?: number | undefined;
  /** The clock for `maxMs`. */
  readonly nowMs?: (() => number) | undefined;
  /** Told whenever a smaller run was found. */
  readonly onSmaller?: ((run: FailingRun, runs: number) => void) | undefined;
}

export interface ShrinkResult {
  /** false: the run as given did not violate the invariant, and nothing was shrunk. */
  readonly reproduced: boolean;
  readonly run: FailingRun;
  readonly failure: FailureSeen | undefined;
  readonly removed: {
    readonly ops: number;
    readonly nodes: number;
    readonly steps: readonly FaultStep[];
    /** Ids of the steps that are shorter now. */
    readonly shortened: readonly number[];
  };
  readonly runs: number;
  /** What else runs violated, with the first run that did. */
  readonly others: readonly {
    readonly failure: FailureSeen;
    readonly run: FailingRun;
    readonly times: number;
  }[];
  /** What ended it: nothing smaller fails, or a bound. */
  readonly ended: 'smallest' | 'runs' | 'time' | 'not reproduced';
}

const DEFAULT_MAX_RUNS = 500;
/** A duration below this is not shortened any more. */
const MIN_DURATION_MS = 1;

/** Finds a smaller run that fails in the same way. Rejects only when the runner does. */
export async function shrink(options: ShrinkOptions): Promise<ShrinkResult> {
  return new Shrinker(options).shrink();
}

/** The command that runs it again, given where its plan is kept. */
export function replayCommand({ seed, ops, nodes }: FailingRun, planFile: string): string {
  return `npm run sim -- --seed ${seed} --ops ${ops} --nodes ${nodes} --plan ${planFile}`;
}

/** What was found, for people. */
export function describeShrink(result: ShrinkResult, planFile: string): string {
  const { run, removed, failure, runs, others, ended } = result;
  const lines: string[] = [];
  if (!result.reproduced)
    lines.push(`The run did not fail in this way when it was run again (${runs} runs).`);
  else {
    const steps = run.plan.steps.length;
    const why = ended === 'smallest' ? 'nothing smaller found' : `ended by the bound on ${ended}`;
    lines.push(`Shrunk in ${runs} runs (${why}): ${run.ops} calls, ${run.nodes} nodes, ${steps} faults.`);
    lines.push(
      `Left out: ${removed.ops} calls, ${removed.nodes} nodes, ${removed.steps.length} faults; shorter: ${removed.shortened.length} faults.`,
    );
    if (failure !== undefined) lines.push(`${failure.invariant}: ${failure.message}`);
    lines.push(replayCommand(run, planFile), formatFaultPlan(run.plan).trimEnd());
  }
  for (const { failure: other, run: its, times } of others) {
    lines.push(
      `On the way ${times} of the runs failed otherwise, the first with ${its.ops} calls, ${its.nodes} nodes and this plan: ${other.invariant}: ${other.message}`,
      formatFaultPlan(its.plan).trimEnd(),
    );
  }
  return `${lines.join('\n')}\n`;
}

class Shrinker {
  readonly #options: ShrinkOptions;
  readonly #maxRuns: number;
  readonly #startMs: number;
  readonly #seen = new Map<string, boolean>();
  readonly #others = new Map<string, { failure: FailureSeen; run: FailingRun; times: number }>();
  #best: FailingRun;
  #failure: FailureSeen | undefined;
  #invariant: string | undefined;
  #runs = 0;
  #ended: ShrinkResult['ended'] = 'smallest';

  constructor(options: ShrinkOptions) {
    this.#options = options;
    this.#maxRuns = options.maxRuns ?? DEFAULT_MAX_RUNS;
    this.#startMs = options.nowMs?.() ?? 0;
    this.#best = options.run;
    this.#invariant = options.invariant;
  }

  async shrink(): Promise<ShrinkResult> {
    if (!(await this.#fails(this.#options.run))) {
      if (this.#ended === 'smallest') this.#ended = 'not reproduced';
      return this.#result(false);
    }
    // Any of these can make room for the others: all of them again, until none helps.
    for (let before = ''; before !== keyOf(this.#best) && !this.#over(); ) {
      before = keyOf(this.#best);
      // Calls first: they make every later run cheaper, and end before some of the steps begin.
      await this.#fewerOps();
      await this.#dropLateSteps();
      await this.#fewerSteps();
      await this.#fewerNodes();
      await this.#shorterSteps();
    }
    return this.#result(true);
  }

  #over(): boolean {
    const { nowMs, maxMs } = this.#options;
    if (this.#runs >= this.#maxRuns) this.#ended = 'runs';
    else if (nowMs !== undefined && maxMs !== undefined && nowMs() - this.#startMs >= maxMs)
      this.#ended = 'time';
    else return false;
    return true;
  }

  /** True when the candidate violates the invariant: it is the best one from then on. */
  async #fails(candidate: FailingRun): Promise<boolean> {
    const key = keyOf(candidate);
    const known = this.#seen.get(key);
    // What failed before was the best one then, and is greater than what is the best one now.
    if (known !== undefined) return known && key === keyOf(this.#best);
    if (this.#over()) return false;
    this.#runs++;
    const failure = await this.#options.runner(candidate);
    this.#invariant ??= failure?.invariant;
    const same = failure !== undefined && failure.invariant === this.#invariant;
    this.#seen.set(key, same);
    if (same) {
      this.#best = candidate;
      this.#failure = failure;
      this.#options.onSmaller?.(candidate, this.#runs);
    } else if (failure !== undefined) this.#sawOther(failure, candidate);
    return same;
  }

  #sawOther(failure: FailureSeen, run: FailingRun): void {
    const other = this.#others.get(failure.invariant);
    if (other === undefined) this.#others.set(failure.invariant, { failure, run, times: 1 });
    else other.times++;
  }

  #withSteps(steps: readonly FaultStep[]): FailingRun {
    return { ...this.#best, plan: { version: 1, steps: [...steps] } };
  }

  /** What would begin after the violation can't matter (the plan's time begins later than the run's). */
  async #dropLateSteps(): Promise<void> {
    const atMs = this.#failure?.atMs;
    const { steps } = this.#best.plan;
    if (atMs === undefined) return;
    const early = steps.filter((step) => step.atMs <= atMs);
    if (early.length < steps.length) await this.#fails(this.#withSteps(early));
  }

  /** ddmin over the steps. */
  async #fewerSteps(): Promise<void> {
    if (this.#best.plan.steps.length === 0 || (await this.#fails(this.#withSteps([])))) return;
    let parts = 2;
    for (;;) {
      const { steps } = this.#best.plan;
      if (steps.length < 2 || this.#over()) return;
      parts = Math.min(parts, steps.length);
      const chunks = chunksOf(steps, parts);
      if (await this.#firstFailing(chunks)) {
        parts = 2;
        continue;
      }
      const complements = chunks.map((chunk) => steps.filter((step) => !chunk.includes(step)));
      if (parts > 2 && (await this.#firstFailing(complements))) {
        parts = Math.max(parts - 1, 2);
        continue;
      }
      if (parts === steps.length) return;
      parts *= 2;
    }
  }

  async #firstFailing(subsets: readonly (readonly FaultStep[])[]): Promise<boolean> {
    for (const subset of subsets) {
      if (await this.#fails(this.#withSteps(subset))) return true;
    }
    return false;
  }

  /** Halves the distance to the greatest number that was seen to pass, then takes single calls away. */
  async #fewerOps(): Promise<void> {
    const tryOps = (ops: number): Promise<boolean> => this.#fails({ ...this.#best, ops });
    let passes = 0;
    while (this.#best.ops - passes > 1 && !this.#over()) {
      const middle = Math.floor((passes + this.#best.ops) / 2);
      if (!(await tryOps(middle))) passes = middle;
    }
    // Fewer calls do not always fail less: some steps below what the search took for the bound.
    for (const share of [0.75, 0.5, 0.25]) {
      const ops = Math.floor(this.#best.ops * share);
      if (ops >= 1) await tryOps(ops);
    }
    for (let less = 1; less <= 3; less++) {
      if (this.#best.ops > less) await tryOps(this.#best.ops - less);
    }
  }

  async #fewerNodes(): Promise<void> {
    for (let nodes = 1; nodes < this.#best.nodes; nodes++) {
      if (!this.#best.plan.steps.every((step) => fits(step, nodes))) continue;
      if (await this.#fails({ ...this.#best, nodes })) return;
    }
  }

  /** All steps half as long, as long as that works; then each by itself. */
  async #shorterSteps(): Promise<void> {
    const half = (step: FaultStep): FaultStep =>
      step.durationMs < 2 * MIN_DURATION_MS ? step : { ...step, durationMs: Math.floor(step.durationMs / 2) };
    const shorten = (ids: ReadonlySet<number>): Promise<boolean> => {
      const { steps } = this.#best.plan;
      const shorter = steps.map((step) => (ids.has(step.id) ? half(step) : step));
      if (shorter.every((step, i) => step === steps[i])) return Promise.resolve(false);
      return this.#fails(this.#withSteps(shorter));
    };
    const all = new Set(this.#best.plan.steps.map(({ id }) => id));
    while (!this.#over() && (await shorten(all)));
    for (const id of all) while (!this.#over() && (await shorten(new Set([id]))));
  }

  #result(reproduced: boolean): ShrinkResult {
    const { run } = this.#options;
    const best = this.#best;
    const kept = new Map(best.plan.steps.map((step) => [step.id, step]));
    const shortened = run.plan.steps.filter(
      ({ id, durationMs }) => (kept.get(id)?.durationMs ?? durationMs) < durationMs,
    );
    return {
      reproduced,
      run: best,
      failure: this.#failure,
      removed: {
        ops: run.ops - best.ops,
        nodes: run.nodes - best.nodes,
        steps: run.plan.steps.filter(({ id }) => !kept.has(id)),
        shortened: shortened.map(({ id }) => id),
      },
      runs: this.#runs,
      others: [...this.#others.values()],
      ended: this.#ended,
    };
  }
}

/** Nearly equal parts, in order. */
function chunksOf(steps: readonly FaultStep[], parts: number): FaultStep[][] {
  return Array.from({ length: parts }, (_, i) =>
    steps.slice(Math.floor((i * steps.length) / parts), Math.floor(((i + 1) * steps.length) / parts)),
  );
}

/** Whether a step makes sense in a cluster of so many founders. */
function fits(step: FaultStep, nodes: number): boolean {
  const known = (target: NodeTarget): boolean => typeof target !== 'number' || target <= nodes;
  if (step.kind === 'partition') return step.minority.length < nodes && step.minority.every(known);
  if (step.kind === 'cutLink' && !known(step.to)) return false;
  return 'node' in step ? known(step.node) : true;
}

function keyOf({ ops, nodes, plan }: FailingRun): string {
  return JSON.stringify([ops, nodes, plan.steps]);
}
