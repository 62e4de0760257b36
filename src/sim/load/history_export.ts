/**
 * A run's single-key traffic as a history in JSON lines, for `kvorum check-history --model kv`: what the search for a linearization judges.
 *
 * Only keys of the room r/ (choices.ts), which nothing but single-key calls touches, and only linearizable reads. Lines stand in the order in which things happened.
 */
import type { HistoryEvent } from '../check/history.ts';
import type { OperationRecord } from '../check/observations.ts';
import type { JournalLine } from './recorder.ts';

type Shape = Pick<HistoryEvent, 'f' | 'key' | 'value'>;

/** The events of all register calls. */
export function registerEvents(journal: readonly JournalLine[]): HistoryEvent[] {
  const events: HistoryEvent[] = [];
  for (const { operation, ends } of journal) {
    const shape = shapeOf(operation);
    if (shape === undefined) continue;
    const { client: process, outcome } = operation;
    if (!ends) events.push({ process, type: 'invoke', time: operation.invokedMs, ...shape });
    else if (outcome === 'ok') events.push(answer(operation, shape));
    else events.push({ process, type: outcome, time: operation.settledMs, f: shape.f, key: shape.key });
  }
  return events;
}

/** The same as text, a line for each event. */
export function registerLines(journal: readonly JournalLine[]): string {
  return registerEvents(journal)
    .map((event) => `${JSON.stringify(event)}\n`)
    .join('');
}

function shapeOf(operation: OperationRecord): Shape | undefined {
  const [step] = operation.steps;
  if (step === undefined || !('key' in step) || !step.key.startsWith('r/')) return undefined;
  const { key } = step;
  switch (operation.kind) {
    case 'get':
      return operation.level === 'linearizable' && operation.atRevision === 0 ? { f: 'get', key } : undefined;
    case 'put':
      return step.type === 'put' ? { f: 'put', key, value: step.value } : undefined;
    case 'delete':
      return { f: 'delete', key };
    case 'txn': {
      const [compare] = operation.compares;
      if (step.type !== 'put' || compare === undefined) return undefined;
      return { f: 'cas', key, value: ['value' in compare ? compare.value : null, step.value] };
    }
    default:
      return undefined;
  }
}

function answer(operation: OperationRecord, { f, key, value }: Shape): HistoryEvent {
  const { client: process, settledMs: time } = operation;
  const base = { process, type: 'ok', time, f, key } as const;
  if (f === 'cas') return { ...base, value, succeeded: operation.succeeded };
  const [result] = operation.results;
  if (f === 'get') return { ...base, value: result?.type === 'get' ? (result.entry?.value ?? null) : null };
  return f === 'put' ? { ...base, value } : base;
}
