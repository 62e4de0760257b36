/**
 * `kvorum/sim`: the deterministic simulator, for testing code that uses a store. docs/testing_your_app.md shows how.
 */
export type { ConfigInput } from './config.ts';
export { KvError } from './errors.ts';
export type { CheckResult, Undecided, Verdict } from './sim/check/check_result.ts';
export {
  type EventType,
  type HistoryEvent,
  type Operation,
  operationsOf,
  parseHistory,
} from './sim/check/history.ts';
export { type CheckOptions, checkHistory } from './sim/check/linearizability.ts';
export { MODEL_NAMES, MODELS, type Model } from './sim/check/models.ts';
export { pictureHtml } from './sim/check/picture.ts';
export { resultText, sceneOfResult } from './sim/check/report.ts';
export type { Scene } from './sim/check/scene.ts';
export { type SchedulerLimits, SimulationError } from './sim/core/scheduler.ts';
export { SeededRandom } from './sim/core/seeded_random.ts';
export type { Lane, TraceEvent, TraceKind } from './sim/core/trace.ts';
export { type DrawOptions, drawFaultPlan } from './sim/faults/draw_fault_plan.ts';
export {
  FAULT_KINDS,
  type FaultKind,
  type FaultPlan,
  type FaultStep,
  formatFaultPlan,
  NO_FAULTS,
  parseFaultPlan,
} from './sim/faults/fault_plan.ts';
export { Hazards } from './sim/faults/hazards.ts';
export { InvariantViolated } from './sim/invariants/checks.ts';
export type { LinkFault } from './sim/machines/peer_network.ts';
export type { SimDisk } from './sim/machines/sim_disk.ts';
export type { NodeStateName, SimNode } from './sim/machines/sim_node.ts';
export type { StreamFault } from './sim/machines/streams.ts';
export { type RunFailure, type RunOptions, type RunResult, type RunStats, runSeed } from './sim/run.ts';
export { type FailingRun, type ShrinkOptions, type ShrinkResult, shrink } from './sim/shrink.ts';
export { type HtmlTimelineOptions, htmlTimeline } from './sim/timeline/timeline_html.ts';
export { type TextTimelineOptions, textTimeline } from './sim/timeline/timeline_text.ts';
export { type ClientOptions, type SimClient, World, type WorldOptions } from './sim/world.ts';
export type { LossRule } from './storage/memory_disk.ts';
