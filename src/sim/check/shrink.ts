/**
 * The shortest part of a history that still shows the violation.
 *
 * Invariants: whatever is left is not linearizable, and proves that the whole history is not: only such operations go whose removal can never make a
 * linearizable history into one that is not. Those are
 * - all that happens after the first end that can't be explained (what had begun by then stays, its outcome unknown);
 * - operations that only read;
 * - on registers without a comparison that did not hold: all operations on a set of values that no compare-and-set ties to other values. Where such a value stood in a
 *   linearization, the value before it may stand as well: what is left never looks at it there;
 * - on registers: a write with all that may have seen its value (dependents.ts);
 * - on registers, where much is left: all that ended before some moment, when what is left is impossible whatever the value was then (window.ts).
 */
import { Budget, type Limits } from './budget.ts';
import { compile, DIFFERS, isIdle, isUnknown } from './compiled.ts';
import { dependents } from './dependents.ts';
import { checkDistinct } from './distinct_values.ts';
import { searchFrontier } from './frontier.ts';
import type { Operation } from './history.ts';
import { canonical, type JsonValue } from './json_value.ts';
import type { Model, RegisterAction } from './models.ts';
import { operationsFrom, valuesBefore } from './window.ts';

const SHRINK_STEPS = 20_000_000;
const SHRINK_MS = 5_000;
/** What one more look at an operation costs, beside the steps of a search. */
const STEPS_PER_OPERATION = 16;
/** Their number grows with the square. */
const MAX_DEPENDENTS = 5_000;
/** So many operations are easily seen at once. */
const FEW = 8;

export interface Shrunk {
  /** In the order in which they began. */
  readonly operations: readonly Operation[];
  /** The one whose end can't be explained. */
  readonly stuck: Operation;
  /** The values that the register may have had before them all; what is left is impossible from each. */
  readonly before: readonly JsonValue[];
  /** False when the limits ended the search: it may be shorter still. */
  readonly shortest: boolean;
}

class Shrinker {
  readonly #model: Model;
  readonly #limits: Limits;
  #steps = 0;
  shortest = true;
  before: readonly JsonValue[];

  constructor(model: Model, limits: Limits) {
    this.#model = model;
    this.before = [model.init];
    const endMs = limits.now === undefined ? undefined : limits.now() + SHRINK_MS;
    this.#limits = { ...limits, maxSteps: SHRINK_STEPS, endMs };
  }

  /** Where a history is first inexplicable: the end of which operation; undefined when it is not, or that could not be decided. */
  stuck(operations: readonly Operation[]): Operation | undefined {
    const compiled = compile(this.#model, operations);
    const budget = new Budget({ ...this.#limits, maxSteps: Math.max(1, SHRINK_STEPS - this.#steps) });
    const distinct = checkDistinct(compiled);
    if (distinct === 'linearizable') return undefined;
    if (distinct === 'not linearizable') return this.#firstEnd(operations);
    const result = searchFrontier(compiled, budget);
    this.#steps += budget.steps;
    if (result.verdict === 'undecided') this.shortest = false;
    if (result.stuckAt === undefined) return undefined;
    return compiled.operations[compiled.events[result.stuckAt]! >> 1];
  }

  /** Counts steps; true when there are none left. */
  #isLate(steps: number): boolean {
    this.#steps += steps;
    const { now, endMs } = this.#limits;
    if (this.#steps > SHRINK_STEPS || (now !== undefined && now() > (endMs ?? 0))) this.shortest = false;
    return !this.shortest;
  }

  isBad(operations: readonly Operation[], before = this.before): boolean {
    return before.every((value) => this.#isBadFrom(value, operations));
  }

  #isBadFrom(value: JsonValue, operations: readonly Operation[]): boolean {
    if (this.#isLate(operations.length * STEPS_PER_OPERATION)) return false;
    const compiled = compile(this.#model, operations, value);
    const distinct = checkDistinct(compiled);
    if (distinct !== 'does not apply') return distinct === 'not linearizable';
    const budget = new Budget({ ...this.#limits, maxSteps: Math.max(1, SHRINK_STEPS - this.#steps) });
    const { verdict } = searchFrontier(compiled, budget);
    this.#steps += budget.steps;
    if (verdict === 'undecided') this.shortest = false;
    return verdict === 'not linearizable';
  }

  /** By halving: a beginning of a history that is linearizable is linearizable. */
  #firstEnd(operations: readonly Operation[]): Operation | undefined {
    const ended = operations.filter((operation) => !isUnknown(operation));
    ended.sort((x, y) => x.returnedAt - y.returnedAt);
    let low = 0;
    let high = ended.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.isBad(until(operations, ended[middle]!.returnedAt, this.#model))) high = middle;
      else low = middle + 1;
    }
    return ended[low];
  }

  /** Takes away what can be spared of `units`, in ever smaller pieces (Zeller's delta debugging). */
  spare(
    operations: readonly Operation[],
    stuck: Operation,
    units: readonly (readonly Operation[])[],
    isClear: (left: readonly Operation[]) => boolean = () => true,
  ): readonly Operation[] {
    let left = operations;
    // Without the one that is stuck all is explained: this is the first end that is not.
    let rest = units.filter((unit) => !unit.includes(stuck));
    for (let size = Math.ceil(rest.length / 2); size >= 1 && rest.length > 0; ) {
      const kept: (readonly Operation[])[] = [];
      for (let i = 0; i < rest.length; i += size) {
        const piece = rest.slice(i, i + size);
        const gone = new Set(piece.flat());
        const without = left.filter((operation) => !gone.has(operation));
        if (this.shortest && isClear(without) && this.isBad(without)) left = without;
        else kept.push(...piece);
      }
      rest = kept;
      if (size === 1) break;
      size = Math.ceil(size / 2);
    }
    return left;
  }

  /** Takes away all that ended before some moment: the last that will do, by halving. */
  window(operations: readonly Operation[]): readonly Operation[] {
    const { register } = this.#model;
    if (register === undefined) return operations;
    const moments = operations.map(({ invokedAt }) => invokedAt).sort((x, y) => x - y);
    let best = operations;
    let low = 1;
    let high = moments.length - 1;
    while (low <= high && this.shortest) {
      const middle = (low + high) >> 1;
      const part = operationsFrom(operations, moments[middle]!, this.#model);
      const before = valuesBefore(part, register);
      if (this.isBad(part, before)) {
        best = part;
        this.before = before;
        low = middle + 1;
      } else high = middle - 1;
    }
    return best;
  }

  reads(operations: readonly Operation[]): Operation[][] {
    return operations
      .filter((operation) => this.#model.isRead?.(operation) === true)
      .map((operation) => [operation]);
  }

  /** The operations of each set of values that compare-and-sets tie together; undefined where they can't be spared. */
  valueSets(operations: readonly Operation[]): Operation[][] | undefined {
    const { register } = this.#model;
    if (register === undefined || compile(this.#model, operations).kind.includes(DIFFERS)) return undefined;
    const parent = new Map<string, string>();
    const find = (value: string): string => {
      let root = value;
      for (let up = parent.get(root); up !== undefined; up = parent.get(root)) root = up;
      return root;
    };
    const actions = operations.map((operation) => register(operation));
    for (const action of actions) {
      if (action.kind !== 'cas') continue;
      const from = find(canonical(action.from));
      const to = find(canonical(action.to));
      if (from !== to) parent.set(from, to);
    }
    const sets = new Map<string, Operation[]>();
    actions.forEach((action, i) => {
      const root = find(canonical(action.kind === 'cas' ? action.from : action.value));
      const set = sets.get(root);
      if (set === undefined) sets.set(root, [operations[i]!]);
      else set.push(operations[i]!);
    });
    return [...sets.values()];
  }
}

/** The part of a history up to a moment: what ends later has an unknown outcome; if it turned out to be a read it is left out, as reads can be. */
function until(operations: readonly Operation[], moment: number, model: Model): Operation[] {
  const part: Operation[] = [];
  for (const operation of operations) {
    if (operation.invokedAt > moment) continue;
    if (operation.returnedAt <= moment || isUnknown(operation)) part.push(operation);
    else if (model.isRead?.(operation) !== true)
      part.push({
        ...operation,
        outcome: 'info',
        output: undefined,
        returnedAt: Number.POSITIVE_INFINITY,
        succeeded: undefined,
      });
  }
  return part;
}

/**
 * Whether what is left can be understood: of each value that an operation needs, and that somebody wrote, one write is left. (That the write can't be the one whose value
 * was found is for the rest to show.)
 */
function clearness(
  operations: readonly Operation[],
  register: (operation: Operation) => RegisterAction,
  initial: JsonValue,
): (left: readonly Operation[]) => boolean {
  const needs = new Map<Operation, string>();
  const sets = new Map<Operation, string>();
  for (const operation of operations) {
    const action = register(operation);
    if (action.kind === 'read') needs.set(operation, canonical(action.value));
    if (action.kind === 'write') sets.set(operation, canonical(action.value));
    if (action.kind !== 'cas') continue;
    needs.set(operation, canonical(action.from));
    sets.set(operation, canonical(action.to));
  }
  const written = new Set(sets.values());
  written.delete(canonical(initial));
  return (left) => {
    const kept = new Set(left.map((operation) => sets.get(operation)));
    return left.every((operation) => {
      const value = needs.get(operation);
      return value === undefined || !written.has(value) || kept.has(value);
    });
  };
}

/** Shrinks the operations of one partition, which are known not to be linearizable. */
export function shrink(part: readonly Operation[], model: Model, limits: Limits): Shrunk {
  const all = part.filter((operation) => !isIdle(model, operation));
  const shrinker = new Shrinker(model, limits);
  const stuck = shrinker.stuck(all);
  if (stuck === undefined)
    return { operations: all, stuck: part[part.length - 1]!, before: [model.init], shortest: false };
  const whole = until(all, stuck.returnedAt, model);
  let operations = spareAll(whole, stuck, model, shrinker);
  let { before } = shrinker;
  if (operations.length > FEW) {
    const window = spareAll(shrinker.window(whole), stuck, model, shrinker);
    if (window.length < operations.length) {
      operations = window;
      before = shrinker.before;
    }
  }
  operations = [...operations].sort((x, y) => x.invokedAt - y.invokedAt);
  return { operations, stuck, before, shortest: shrinker.shortest };
}

function spareAll(
  from: readonly Operation[],
  stuck: Operation,
  model: Model,
  shrinker: Shrinker,
): readonly Operation[] {
  let operations = from;
  for (let before = -1; before !== operations.length && shrinker.shortest; ) {
    before = operations.length;
    const sets = shrinker.valueSets(operations);
    if (sets !== undefined) operations = shrinker.spare(operations, stuck, sets);
    operations = shrinker.spare(operations, stuck, shrinker.reads(operations));
    if (model.register !== undefined && operations.length <= MAX_DEPENDENTS)
      operations = shrinker.spare(
        operations,
        stuck,
        dependents(operations, model.register),
        clearness(operations, model.register, model.init),
      );
  }
  return operations;
}
