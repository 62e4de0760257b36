/**
 * JSON values and the one text that stands for each: two values are equal exactly when their canonical texts are.
 *
 * Invariants: object keys are sorted, so their order does not matter; -0 is 0; a value that is nested deeper than MAX_DEPTH, or holds a whole number that
 * a double can't hold exactly (two different numbers in the file could become one), has a problem and no canonical text.
 */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

export const MAX_DEPTH = 64;

/** Why `value` can't be compared exactly, or undefined when it can. */
export function valueProblem(value: unknown, depth = 0): string | undefined {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return undefined;
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) return 'a number that is not finite';
    if (Number.isInteger(value) && !Number.isSafeInteger(value))
      return `the number ${value} is too large to be exact: write it as a string`;
    return undefined;
  }
  if (typeof value !== 'object') return `a value of type ${typeof value}, which JSON does not have`;
  if (depth >= MAX_DEPTH) return `a value nested deeper than ${MAX_DEPTH}`;
  for (const part of Object.values(value)) {
    const problem = valueProblem(part, depth + 1);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** The canonical text of a value that has no problem (valueProblem). */
export function canonical(value: JsonValue): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value === 0 ? 0 : value);
  if (isList(value)) return `[${value.map(canonical).join(',')}]`;
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name]!)}`).join(',')}}`;
}

export function isList(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

export function isObject(value: JsonValue): value is { readonly [name: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A value as a person reads it: its canonical text, cut when it is long. */
export function shownValue(value: JsonValue, maxLength = 40): string {
  const text = canonical(value);
  return text.length <= maxLength ? text : `${text.slice(0, maxLength - 3)}...`;
}
