/**
 * A round's operations as histories in JSON lines, as `kvorum check-history` reads them: those on single keys (`--model kv`), and transactions (`--model txn`); one line for each
 * beginning and end, in the order of time.
 *
 * A client that has several calls under way counts as several processes; after an operation of unknown outcome its process begins no other.
 */
import { type OperationRecord, takenSteps } from '../../src/sim/check/observations.ts';

interface Line {
  readonly process: number;
  readonly type: 'invoke' | 'ok' | 'fail' | 'info';
  readonly f: 'get' | 'put' | 'delete' | 'cas' | 'txn';
  readonly key?: string;
  readonly revision?: number;
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
  return linesOf(operations, (operation) => {
    const told = toldOf(operation);
    if (told === undefined || !wanted(told.key)) return undefined;
    const { result, succeeded, ...asked } = told;
    const answer = asked.f === 'get' ? { value: result } : {};
    const compared = asked.f === 'cas' ? { succeeded } : {};
    return { asked, answered: { f: asked.f, key: asked.key, ...answer, ...compared } };
  });
}

type Micro = readonly ['r' | 'w', string, string | null];

/** Transactions and batches whose keys `wanted` takes, as reads and writes of registers. */
export function transactionLines(
  operations: readonly OperationRecord[],
  wanted: (key: string) => boolean,
): string[] {
  return linesOf(operations, (operation) => {
    const steps = takenSteps(operation);
    if (operation.kind !== 'txn' && operation.kind !== 'batch') return undefined;
    const micros = (answered: boolean): Micro[] =>
      steps.flatMap((step, at): Micro[] => {
        const result = operation.results[at];
        if (step.type === 'put') return [['w', step.key, step.value]];
        if (step.type !== 'get') return [];
        return [['r', step.key, answered && result?.type === 'get' ? (result.entry?.value ?? null) : null]];
      });
    if (steps.length === 0 || !micros(false).every(([, key]) => wanted(key))) return undefined;
    const { revision } = operation;
    return {
      asked: { f: 'txn', value: micros(false) },
      answered: { f: 'txn', value: micros(true), revision },
    };
  });
}

type Told = Omit<Line, 'process' | 'type' | 'time'>;

function linesOf(
  operations: readonly OperationRecord[],
  tell: (operation: OperationRecord) => { readonly asked: Told; readonly answered: Told } | undefined,
): string[] {
  const lines: { readonly atMs: number; readonly order: number; readonly line: Line }[] = [];
  const beganMs = operations[0]?.invokedMs ?? 0;
  const micros = (ms: number): number => Math.round((ms - beganMs) * 1000);
  let process = 0;
  for (const operation of operations) {
    const told = tell(operation);
    if (told === undefined) continue;
    process++;
    const { invokedMs, settledMs, outcome: type } = operation;
    const add = (atMs: number, line: Omit<Line, 'process' | 'time'>): void =>
      void lines.push({ atMs, order: lines.length, line: { process, ...line, time: micros(atMs) } });
    add(invokedMs, { type: 'invoke', ...told.asked });
    if (type === 'ok') add(settledMs, { type, ...told.answered });
    else if (type === 'fail') add(settledMs, { type, f: told.asked.f });
  }
  lines.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
  return lines.map(({ line }) => JSON.stringify(line));
}

function toldOf(
  operation: OperationRecord,
): (Pick<Line, 'f' | 'value'> & { key: string; result?: string | null; succeeded?: boolean }) | undefined {
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
