/** How long values matter: when the last operation ends that can observe each. */
import { CAS, type Compiled, DIFFERS, MODEL_READ, READ } from './compiled.ts';

/**
 * Of each value, the position in `events` at which the last operation ends that is possible only in it: -1 when there is none. An optional compare-and-set
 * observes its value for as long as anything observes what it sets. Undefined for histories in which this says nothing: those with a comparison that did not
 * hold, and models that are no registers.
 */
export function lastObserved(compiled: Compiled): Int32Array | undefined {
  const { kind, a, b, returnedAt, invokedAt, events, values } = compiled;
  const last = new Int32Array(values).fill(-1);
  const optionalTo = new Map<number, number[]>();
  for (let op = 0; op < kind.length; op++) {
    if (kind[op] === DIFFERS || kind[op]! >= MODEL_READ) return undefined;
    if (kind[op] !== READ && kind[op] !== CAS) continue;
    if (returnedAt[op]! < events.length) last[a[op]!] = Math.max(last[a[op]!]!, returnedAt[op]!);
    else optionalTo.set(b[op]!, [...(optionalTo.get(b[op]!) ?? []), op]);
  }
  const changed = [...optionalTo.keys()];
  for (let value = changed.pop(); value !== undefined; value = changed.pop()) {
    const until = last[value]!;
    for (const op of optionalTo.get(value) ?? []) {
      if (until <= invokedAt[op]! || until <= last[a[op]!]!) continue;
      last[a[op]!] = until;
      changed.push(a[op]!);
    }
  }
  return last;
}
