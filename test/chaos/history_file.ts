/**
 * A round's operations on single keys as a history in JSON lines, as `kvorum check-history --model kv` reads it: one line for each beginning and end,
 * in the order of time.
 *
 * A client that has several calls under way counts as several processes; after an operation of unknown outcome its process begins no other.
 */
import type { OperationRecord } from '../../src/sim/check/observations.ts';

interface Line {
  readonly process: number;
  readonly type: 'invoke' | 'ok' | 'fail' | 'info';
  readonly f: 'get' | 'put' | 'delete' | 'cas';
  readonly key: string;
  readonly value?: unknown;
  readonly succeeded?: boolean | undefined;
  readonly time: number;
}

/** Whether an operation belongs into a history of single keys: reads at any other level or revision say nothing about now. */
export function isSingleKey({ kind, steps, level, atRevision }: OperationRecord): boolean {
  if (kind === 'get') return level === 'linearizable' && atRevision === 0;
  if (kind === 'put' || kind === 'delete')
    return steps.every((step) => step.type !== 'put' || step.ttlMs === 0);
  return false;
}

/** A compare-and-set as the register clients make it: one comparison of a value (or of absence), one put of the same key. */
export function casOf(
  operation: OperationRecord,
): { key: string; from: string | null; to: string } | undefined {
  const { kind, compares, steps } = operation;
  const [compare, step] = [compares[0], steps[0]];
  if (kind !== 'txn' || compares.length !== 1 || steps.length !== 1 || step?.type !== 'put') return undefined;
  if (compare?.key !== step.key) return undefined;
  if ('exists' in compare && !compare.exists) return { key: step.key, from: null, to: step.value };
  if ('value' in compare) return { key: step.key, from: compare.value, to: step.value };
  return undefined;
}

/** The lines for the keys that `wanted` takes. Every operation on such a key must be one that a history of single keys can tell. */
export function historyLines(
  operations: readonly OperationRecord[],
  wanted: (key: string) => boolean,
): string[] {
  const lines: { readonly atMs: number; readonly order: number; readonly line: Line }[] = [];
  const beganMs = operations[0]?.invokedMs ?? 0;
  const micros = (ms: number): number => Math.round((ms - beganMs) * 1000);
  let process = 0;
  for (const operation of operations) {
    const told = toldOf(operation);
    if (told === undefined || !wanted(told.key)) continue;
    process++;
    const { invokedMs, settledMs, outcome } = operation;
    const { result, succeeded, ...asked } = told;
    lines.push({
      atMs: invokedMs,
      order: lines.length,
      line: { process, type: 'invoke', ...asked, time: micros(invokedMs) },
    });
    const type = outcome;
    if (type === 'info') continue;
    const answer = type === 'ok' && asked.f === 'get' ? { value: result } : {};
    const compared = type === 'ok' && asked.f === 'cas' ? { succeeded } : {};
    const end: Line = {
      process,
      type,
      f: asked.f,
      key: asked.key,
      ...answer,
      ...compared,
      time: micros(settledMs),
    };
    lines.push({ atMs: settledMs, order: lines.length, line: end });
  }
  lines.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
  return lines.map(({ line }) => JSON.stringify(line));
}

function toldOf(
  operation: OperationRecord,
): (Pick<Line, 'f' | 'key' | 'value'> & { result?: string | null; succeeded?: boolean }) | undefined {
  const cas = casOf(operation);
  if (cas !== undefined)
    return { f: 'cas', key: cas.key, value: [cas.from, cas.to], succeeded: operation.succeeded };
  if (!isSingleKey(operation)) return undefined;
  const [step] = operation.steps;
  const [result] = operation.results;
  if (step?.type === 'get') {
    const value = result?.type === 'get' ? (result.entry?.value ?? null) : null;
    return { f: 'get', key: step.key, result: value };
  }
  if (step?.type === 'put') return { f: 'put', key: step.key, value: step.value };
  if (step?.type === 'delete') return { f: 'delete', key: step.key };
  return undefined;
}
