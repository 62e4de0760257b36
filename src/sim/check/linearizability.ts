/**
 * Is a history linearizable? The entry to the checkers, for programs; `kvorum check-history` is it for people.
 *
 * Invariants: pure (a clock only when one is given, for the time limit); `not linearizable` and `linearizable` are certain; what could not be decided within
 * the limits is `undecided`, which callers treat as a failure. Each partition is checked by itself; a violation in one decides, whatever the others would say.
 */
import { Budget, type Limits, reasonText } from './budget.ts';
import type { CheckResult, Undecided, Verdict } from './check_result.ts';
import { compile } from './compiled.ts';
import { checkDistinct } from './distinct_values.ts';
import { searchFrontier } from './frontier.ts';
import { type HistoryEvent, isOperations, type Operation, operationsOf } from './history.ts';
import { detectModel, type Model, modelNamed, TXN } from './models.ts';
import { checkTransactions } from './txn_check.ts';
import { explainViolation } from './violation.ts';

export interface CheckOptions {
  /** The name of a model (register, cas-register, kv, txn), or one of your own. Without it: the narrowest that has all operations. */
  readonly model?: string | Model | undefined;
  /** How long to search, on the clock `now` (milliseconds); without `now` there is no limit of time. */
  readonly timeLimitMs?: number | undefined;
  readonly now?: (() => number) | undefined;
  /** How long to search in steps, which are the same everywhere. Default 50 million. */
  readonly maxSteps?: number | undefined;
  /** How many configurations to hold at once. Default 2 million. */
  readonly maxConfigurations?: number | undefined;
}

const DEFAULT_MAX_STEPS = 50_000_000;
const DEFAULT_MAX_CONFIGURATIONS = 2_000_000;
/** What each partition gets before any gets more: a hard one does not keep the others from being looked at. */
const FIRST_ROUND_STEPS = 200_000;

/**
 * Checks a history, given as events or as operations.
 * @throws KvError INVALID_ARGUMENT when it is not a history, or has operations that the model has not
 */
export function checkHistory(
  history: readonly HistoryEvent[] | readonly Operation[],
  options: CheckOptions = {},
): CheckResult {
  const operations = isOperations(history) ? history : operationsOf(history);
  const { model = detectModel(operations), now, timeLimitMs } = options;
  const limits: Limits = {
    maxSteps: options.maxSteps ?? DEFAULT_MAX_STEPS,
    maxConfigurations: options.maxConfigurations ?? DEFAULT_MAX_CONFIGURATIONS,
    now,
    endMs: now !== undefined && timeLimitMs !== undefined ? now() + timeLimitMs : undefined,
  };
  if (model === TXN) return checkTransactions(operations, limits);
  return checkModel(operations, typeof model === 'string' ? modelNamed(model) : model, limits);
}

/** Checks operations against a model, partition by partition. */
export function checkModel(operations: readonly Operation[], model: Model, limits: Limits): CheckResult {
  for (const operation of operations) model.check?.(operation);
  const partitions = partitionsOf(operations, model);
  const base = { model: model.name, operations: operations.length, partitions: partitions.length };
  let steps = 0;
  let waiting = partitions;
  let undecided: Undecided[] = [];
  for (const roundSteps of [FIRST_ROUND_STEPS, limits.maxSteps]) {
    const hard: Operation[][] = [];
    undecided = [];
    for (const part of waiting) {
      const round = new Budget({
        ...limits,
        maxSteps: Math.max(1, Math.min(roundSteps, limits.maxSteps - steps)),
      });
      const verdict = checkPartition(part, model, round);
      steps += round.steps;
      if (verdict === 'not linearizable') {
        const violation = explainViolation(part, model, limits);
        return { ...base, verdict, steps, violation };
      }
      if (verdict === 'linearizable') continue;
      hard.push(part);
      undecided.push(undecidedOf(part, round, limits));
    }
    waiting = hard;
  }
  if (undecided.length === 0) return { ...base, verdict: 'linearizable', steps };
  return { ...base, verdict: 'undecided', steps, undecided };
}

/** The verdict over one partition; `budget.exhausted` says why there is none. */
export function checkPartition(operations: readonly Operation[], model: Model, budget: Budget): Verdict {
  const compiled = compile(model, operations);
  const distinct = checkDistinct(compiled);
  budget.take(compiled.events.length >> 3);
  if (distinct !== 'does not apply') return distinct;
  return searchFrontier(compiled, budget).verdict;
}

function undecidedOf(part: readonly Operation[], budget: Budget, limits: Limits): Undecided {
  return {
    key: part[0]?.key,
    operations: part.length,
    unknown: part.filter(({ outcome }) => outcome === 'info').length,
    reason: reasonText(budget.exhausted, limits),
  };
}

/** The operations of each partition; the smallest first, as they may decide soonest. */
function partitionsOf(operations: readonly Operation[], model: Model): Operation[][] {
  const parts = new Map<string, Operation[]>();
  for (const operation of operations) {
    const name = model.partition?.(operation) ?? '';
    const part = parts.get(name);
    if (part === undefined) parts.set(name, [operation]);
    else part.push(operation);
  }
  return [...parts.values()].sort((x, y) => x.length - y.length);
}
