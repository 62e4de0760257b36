/**
 * The end of a history of a register, without what went before it.
 *
 * If a history is linearizable then so is its part from a moment on, from some value that the register may have held at that moment, with the operations that
 * were under way then made optional: each took effect before (and is left out), or does so later. So a part that is not linearizable from any value proves that the history is not.
 * Values that no operation of the part needs are alike: one that nobody uses stands for all of them.
 */
import { isUnknown } from './compiled.ts';
import type { Operation } from './history.ts';
import { canonical, type JsonValue } from './json_value.ts';
import type { Model, RegisterAction } from './models.ts';

/** What nobody writes or reads: the value before the window where it does not matter. */
export const ANY_OTHER: JsonValue = { 'any other value': [] };

/** The operations from a moment on. */
export function operationsFrom(
  operations: readonly Operation[],
  moment: number,
  model: Model,
): readonly Operation[] {
  const part: Operation[] = [];
  for (const operation of operations) {
    if (operation.invokedAt >= moment || isUnknown(operation)) part.push(operation);
    else if (operation.returnedAt > moment && model.isRead?.(operation) !== true)
      part.push({
        ...operation,
        outcome: 'info',
        output: undefined,
        succeeded: undefined,
        returnedAt: Number.POSITIVE_INFINITY,
      });
  }
  return part;
}

/** The values from which a part has to be looked at: those that it needs, and one more. */
export function valuesBefore(
  part: readonly Operation[],
  register: (operation: Operation) => RegisterAction,
): JsonValue[] {
  const needed = new Map<string, JsonValue>();
  for (const operation of part) {
    const action = register(operation);
    if (action.kind === 'write') continue;
    const value = action.kind === 'cas' ? action.from : action.value;
    needed.set(canonical(value), value);
  }
  return [ANY_OTHER, ...needed.values()];
}
