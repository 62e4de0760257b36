/**
 * What is left of a failing run for people: a smaller run that fails in the same way, its timeline as text, its timeline as a page.
 *
 * Invariant: the run that is shown is the run that is told of; one that fails no more when recorded is reported as such and not passed off as the failure.
 */

import type { TraceEvent } from './core/trace.ts';
import { formatFaultPlan } from './faults/fault_plan.ts';
import { describeShrink, type FailingRun, type FailureSeen, replayCommand, shrink } from './shrink.ts';
import { htmlTimeline } from './timeline/timeline_html.ts';
import { textTimeline } from './timeline/timeline_text.ts';

/** A run as the shrinker and the timelines need it: part of RunResult. */
export interface RunSeen {
  readonly failure?: FailureSeen | undefined;
  readonly trace?: readonly TraceEvent[] | undefined;
}

export interface FailureFilesOptions {
  readonly run: FailingRun;
  readonly failure: FailureSeen | undefined;
  readonly rerun: (run: FailingRun, record: boolean) => Promise<RunSeen>;
  /** Files to be written. */
  readonly timeline?: string | undefined;
  readonly html?: string | undefined;
  /** Shrinks first, and writes the smaller run's plan there. */
  readonly shrunkPlan?: string | undefined;
  readonly maxRuns?: number | undefined;
  readonly maxMs?: number | undefined;
  readonly nowMs?: (() => number) | undefined;
  /** Told of each smaller run that was found. */
  readonly onSmaller?: ((run: FailingRun, runs: number) => void) | undefined;
  readonly write: (file: string, text: string) => void;
}

/** Gives what there is to tell. A run that did not fail can be shown, too; it is not shrunk. */
export async function writeFailureFiles(options: FailureFilesOptions): Promise<string> {
  const { timeline, html, shrunkPlan, write } = options;
  let told = '';
  let { run, failure } = options;
  if (shrunkPlan !== undefined && failure !== undefined) {
    const { rerun, maxRuns, maxMs, nowMs, onSmaller } = options;
    const { invariant } = failure;
    const runner = async (candidate: FailingRun): Promise<FailureSeen | undefined> =>
      (await rerun(candidate, false)).failure;
    const result = await shrink({ run, runner, invariant, maxRuns, maxMs, nowMs, onSmaller });
    told += describeShrink(result, shrunkPlan);
    if (result.reproduced) {
      write(shrunkPlan, formatFaultPlan(result.run.plan));
      ({ run } = result);
      failure = result.failure;
    }
  }
  if (timeline === undefined && html === undefined) return told;
  const seen = await options.rerun(run, true);
  const events = seen.trace ?? [];
  if (seen.failure?.invariant !== failure?.invariant) {
    told += `When recorded the run ended otherwise: ${seen.failure?.message ?? 'nothing was violated'}\n`;
  }
  const header = headerOf(run, shrunkPlan);
  const shown = { failure: seen.failure, header };
  if (timeline !== undefined) write(timeline, textTimeline(events, shown));
  if (html !== undefined) {
    const title = `Seed ${run.seed}: ${seen.failure?.invariant ?? 'nothing was violated'}`;
    write(html, htmlTimeline(events, { title, notes: header, failure: seen.failure }));
  }
  for (const file of [timeline, html]) if (file !== undefined) told += `written: ${file}\n`;
  return told;
}

function headerOf(run: FailingRun, planFile = 'PLAN.json'): string[] {
  const plan = formatFaultPlan(run.plan).trimEnd().split('\n');
  return [
    `seed ${run.seed}, ${run.ops} calls, ${run.nodes} nodes, ${run.plan.steps.length} faults`,
    replayCommand(run, planFile),
    ...plan,
    '',
  ];
}
