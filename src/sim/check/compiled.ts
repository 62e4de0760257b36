/**
 * One partition of a history as arrays of small integers: what the searches run on.
 *
 * Invariants: values (or states of a model that is no register) are interned, equal ones have equal numbers, and 0 is the initial one. Operations that
 * can't matter are gone: those that failed, and reads whose answer is not known. `events` holds `operation << 1` for a beginning and
 * `operation << 1 | 1` for an end, in the order of time, beginnings first among equals. An operation without an end is optional: it may never take effect.
 */
import type { Operation } from './history.ts';
import { canonical, type JsonValue } from './json_value.ts';
import type { Model } from './models.ts';

/** Possible when the state is `a`. */
export const READ = 0;
/** Possible when the state is not `a`. */
export const DIFFERS = 1;
/** Always possible; the state is `b` then. */
export const WRITE = 2;
/** Possible when the state is `a`; the state is `b` then. */
export const CAS = 3;
/** Stepped by the model; never changes the state. */
export const MODEL_READ = 4;
export const MODEL_STEP = 5;

export interface Compiled {
  readonly operations: readonly Operation[];
  readonly kind: Uint8Array;
  readonly a: Int32Array;
  readonly b: Int32Array;
  /** Equal for operations that are the same in all but their times. */
  readonly classOf: Int32Array;
  readonly events: Int32Array;
  /** The position in `events` of each operation's beginning and end; for an optional operation the end is `events.length`. */
  readonly invokedAt: Int32Array;
  readonly returnedAt: Int32Array;
  /** How many values there are (registers). */
  readonly values: number;
  /** Of models that are no registers: the state after operation `op` in `state`, or -1. */
  readonly step: ((state: number, op: number) => number) | undefined;
  /** The value or state behind a number. */
  valueOf(id: number): JsonValue;
}

class Interned {
  readonly values: JsonValue[] = [];
  readonly #ids = new Map<string, number>();

  id(value: JsonValue): number {
    // Most values are short strings and numbers, for which this is their JSON text.
    const text = canonical(value);
    let id = this.#ids.get(text);
    if (id === undefined) {
      id = this.values.length;
      this.#ids.set(text, id);
      this.values.push(value);
    }
    return id;
  }
}

/** Whether an operation may or may not have happened. */
export function isUnknown(operation: Operation): boolean {
  return operation.outcome === 'info' || operation.returnedAt === Number.POSITIVE_INFINITY;
}

/** Whether nothing can depend on an operation: it did not happen, or it reads and nobody knows what. */
export function isIdle(model: Model, operation: Operation): boolean {
  if (operation.outcome === 'fail') return true;
  return isUnknown(operation) && model.isRead?.(operation) === true;
}

/** @param operations of one partition; `initial` is the state before them. */
export function compile(
  model: Model,
  operations: readonly Operation[],
  initial: JsonValue = model.init,
): Compiled {
  const kept = operations.filter((operation) => !isIdle(model, operation));
  return model.register === undefined
    ? compileSteps(model, kept, initial)
    : compileRegister(model, kept, initial);
}

function compileRegister(model: Model, all: readonly Operation[], initial: JsonValue): Compiled {
  const interned = new Interned();
  interned.id(initial);
  const operations: Operation[] = [];
  const kinds: number[] = [];
  const as: number[] = [];
  const bs: number[] = [];
  for (const operation of all) {
    const action = model.register!(operation);
    let kind = READ;
    let a = 0;
    let b = 0;
    if (action.kind === 'cas') {
      a = interned.id(action.from);
      b = interned.id(action.to);
      // Setting what is already there is reading it.
      kind = a === b ? READ : CAS;
    } else if (action.kind === 'write') {
      kind = WRITE;
      b = interned.id(action.value);
    } else {
      kind = action.kind === 'read' ? READ : DIFFERS;
      a = interned.id(action.value);
    }
    if (isUnknown(operation) && kind <= DIFFERS) continue;
    operations.push(operation);
    kinds.push(kind);
    as.push(a);
    bs.push(b);
  }
  const classes = new Map<number, number>();
  const values = interned.values.length;
  const classOf = Int32Array.from(kinds, (kind, op) => {
    const id = (kind * values + as[op]!) * values + bs[op]!;
    const known = classes.get(id) ?? classes.size;
    classes.set(id, known);
    return known;
  });
  return {
    operations,
    kind: Uint8Array.from(kinds),
    a: Int32Array.from(as),
    b: Int32Array.from(bs),
    classOf,
    ...ordered(operations),
    values,
    step: undefined,
    valueOf: (id) => interned.values[id]!,
  };
}

function compileSteps(model: Model, operations: readonly Operation[], initial: JsonValue): Compiled {
  const states = new Interned();
  states.id(initial);
  const classes = new Interned();
  const classOf = Int32Array.from(
    operations,
    ({ process: who, f, key, input, output, outcome, succeeded, revision }) =>
      classes.id([
        who,
        f,
        key ?? null,
        input === undefined ? [] : [input],
        output === undefined ? [] : [output],
        outcome,
        succeeded ?? null,
        revision ?? null,
      ]),
  );
  const known = new Map<number, number>();
  const count = classes.values.length;
  const step = (state: number, op: number): number => {
    const at = state * count + classOf[op]!;
    let next = known.get(at);
    if (next === undefined) {
      const after = model.step(states.values[state]!, operations[op]!);
      next = after === undefined ? -1 : states.id(after);
      known.set(at, next);
    }
    return next;
  };
  return {
    operations,
    kind: Uint8Array.from(operations, (operation) =>
      model.isRead?.(operation) === true ? MODEL_READ : MODEL_STEP,
    ),
    a: new Int32Array(operations.length),
    b: new Int32Array(operations.length),
    classOf,
    ...ordered(operations),
    values: 0,
    step,
    valueOf: (id) => states.values[id]!,
  };
}

function ordered(operations: readonly Operation[]): Pick<Compiled, 'events' | 'invokedAt' | 'returnedAt'> {
  const events: number[] = [];
  operations.forEach((operation, op) => {
    events.push(op * 2);
    if (!isUnknown(operation)) events.push(op * 2 + 1);
  });
  const at = (event: number): number => {
    const operation = operations[event >> 1]!;
    return (event & 1) === 1 ? operation.returnedAt : operation.invokedAt;
  };
  events.sort((x, y) => at(x) - at(y) || (x & 1) - (y & 1) || x - y);
  const invokedAt = new Int32Array(operations.length);
  const returnedAt = new Int32Array(operations.length).fill(events.length);
  events.forEach((event, position) => {
    if ((event & 1) === 1) returnedAt[event >> 1] = position;
    else invokedAt[event >> 1] = position;
  });
  return { events: Int32Array.from(events), invokedAt, returnedAt };
}
