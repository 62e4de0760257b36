/** A violation as people need it: the few operations that show it, how far an order of them comes, and why it comes no further. */
import { Budget, type Limits } from './budget.ts';
import { compile, isUnknown } from './compiled.ts';
import { searchFrontier } from './frontier.ts';
import type { Operation } from './history.ts';
import { canonical, type JsonValue, shownValue } from './json_value.ts';
import type { Model } from './models.ts';
import { shrink } from './shrink.ts';

export interface Violation {
  readonly key: string | number | undefined;
  /** How many operations the key (or partition) has in the whole history. */
  readonly operationsInAll: number;
  /** The shortest part that was found, in the order in which its operations began. */
  readonly operations: readonly Operation[];
  /** The operation whose end can't be explained. */
  readonly stuck: Operation;
  /** An order that explains everything before that end: the operations in the order in which they took effect. */
  readonly order: readonly Operation[];
  /** The states that are possible just before that end, in all such orders; undefined when they are not known. */
  readonly states: readonly JsonValue[] | undefined;
  /** From which values (or states) the operations were looked at: the initial one, or whatever could matter when earlier operations were left out. */
  readonly before: readonly JsonValue[];
  /** One sentence: what is wrong. */
  readonly reason: string;
  /** False when the limits kept it from being shortened further. */
  readonly shortest: boolean;
}

const EXPLAIN_STEPS = 200_000;

/** @param part the operations of one partition, which are not linearizable */
export function explainViolation(part: readonly Operation[], model: Model, limits: Limits): Violation {
  const { operations, stuck, before, shortest } = shrink(part, model, limits);
  const order = furthestOrder(operations, stuck, model, before) ?? [];
  const states = statesBefore(operations, model, before, limits);
  return {
    key: stuck.key,
    operationsInAll: part.length,
    operations,
    stuck,
    order,
    states,
    before,
    reason: reasonOf(part, stuck, model, states),
    shortest,
  };
}

/** The states that the search held when it found nothing that explains the last end. */
function statesBefore(
  operations: readonly Operation[],
  model: Model,
  before: readonly JsonValue[],
  limits: Limits,
): JsonValue[] | undefined {
  // Without what makes the search forget values that no longer matter: they are what a person asks for.
  const { register: _, ...plain } = model;
  const states = new Map<string, JsonValue>();
  for (const value of before) {
    const compiled = compile(plain, operations, value);
    const result = searchFrontier(compiled, new Budget({ ...limits, maxSteps: EXPLAIN_STEPS }));
    if (result.states === undefined) return undefined;
    // From a value that fails earlier no state comes that far.
    const last = compiled.events.length - 1;
    if (before.length > 1 && result.stuckAt !== last) continue;
    for (const id of result.states) states.set(canonical(compiled.valueOf(id)), compiled.valueOf(id));
  }
  return [...states.values()];
}

/**
 * An order of the operations that explains all ends but that of `stuck`, using as few operations of unknown outcome as it can: Wing and Gong's search with
 * Lowe's memory, on the few operations that are left. Undefined when it would take long.
 */
function furthestOrder(
  operations: readonly Operation[],
  stuck: Operation,
  model: Model,
  before: readonly JsonValue[],
): Operation[] | undefined {
  const needed = operations.filter((operation) => operation !== stuck && !isUnknown(operation));
  const spare = operations.filter((operation) => operation !== stuck && isUnknown(operation));
  const order: Operation[] = [];
  const taken = new Set<Operation>();
  const seen = new Set<string>();
  let steps = 0;
  const search = (state: JsonValue): boolean => {
    if (needed.every((operation) => taken.has(operation))) return true;
    const memory = `${operations.map((operation) => (taken.has(operation) ? 1 : 0)).join('')}${canonical(state)}`;
    if (seen.has(memory) || ++steps > EXPLAIN_STEPS / 10) return false;
    seen.add(memory);
    let deadline = Number.POSITIVE_INFINITY;
    for (const operation of needed)
      if (!taken.has(operation)) deadline = Math.min(deadline, operation.returnedAt);
    for (const operation of [...needed, ...spare]) {
      if (taken.has(operation) || operation.invokedAt > deadline) continue;
      const next = model.step(state, operation);
      if (next === undefined) continue;
      taken.add(operation);
      order.push(operation);
      if (search(next)) return true;
      order.pop();
      taken.delete(operation);
    }
    return false;
  };
  return before.some((value) => search(value)) ? order : undefined;
}

function reasonOf(
  part: readonly Operation[],
  stuck: Operation,
  model: Model,
  states: readonly JsonValue[] | undefined,
): string {
  const what = `process ${stuck.process}: ${model.describe?.(stuck) ?? stuck.f}`;
  const action = model.register?.(stuck);
  if (action !== undefined && (action.kind === 'read' || action.kind === 'cas')) {
    const value = canonical(action.kind === 'read' ? action.value : action.from);
    const writes = (operation: Operation): boolean => {
      if (model.isRead?.(operation) === true) return false;
      const one = model.register!(operation);
      return canonical(one.kind === 'cas' ? one.to : one.value) === value;
    };
    const mayHave = (operation: Operation): boolean =>
      operation.outcome !== 'fail' &&
      operation.invokedAt < stuck.returnedAt &&
      operation !== stuck &&
      writes(operation);
    if (value !== canonical(model.init) && !part.some(mayHave)) {
      const failed = part.find((operation) => operation.outcome === 'fail' && writes(operation));
      if (failed !== undefined)
        return `${what}: the only operation that would have set ${value} failed (process ${failed.process}${failed.invokeLine === undefined ? '' : `, line ${failed.invokeLine}`})`;
      const late = part.find((operation) => operation.invokedAt > stuck.returnedAt && writes(operation));
      const later =
        late === undefined
          ? ''
          : ` (process ${late.process} did later${late.invokeLine === undefined ? '' : `, line ${late.invokeLine}`})`;
      return `${what}: nobody had begun to write ${value} by then${later}`;
    }
  }
  if (states === undefined || states.length === 0) return `${what}: no order of these operations explains it`;
  const held = states.map((state) => shownValue(state)).sort();
  const list = held.length > 6 ? `${held.slice(0, 6).join(', ')}, ...` : held.join(' or ');
  if (action?.kind === 'read' || action?.kind === 'cas' || action?.kind === 'differs')
    return `${what}: by then the value can only be ${list}`;
  return `${what}: no order of these operations puts it before its end; by then the state can only be ${list}`;
}
