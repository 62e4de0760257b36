/** The result of a check for people: the scene of a violation, and the lines that the command prints. */
import type { CheckResult } from './check_result.ts';
import type { Operation } from './history.ts';
import { canonical, isList } from './json_value.ts';
import { MODELS, type Model, TXN } from './models.ts';
import { linesText, type Scene, sceneOf, sceneText } from './scene.ts';
import { microText } from './txn_history.ts';

/** The scene of a violation; undefined when there is none. @param model the model that was checked, when it is one of your own */
export function sceneOfResult(result: CheckResult, model?: Model): Scene | undefined {
  const { violation } = result;
  if (violation !== undefined) {
    const known = model ?? MODELS[result.model];
    const { key, operations, operationsInAll, stuck, order, before, shortest } = violation;
    const where = key === undefined ? '' : ` Key ${JSON.stringify(key)}:`;
    const few = `${operations.length} of its ${operationsInAll} operations`;
    const enough = shortest ? 'show it' : 'show it (the search for fewer was cut off)';
    return sceneOf({
      title: `Not linearizable.${where} ${violation.reason}`,
      sentences: [
        operations.length === operationsInAll ? `${operations.length} operations:` : `${few} ${enough}:`,
        ...(before.length > 1 ? ['(whatever the value was before them)'] : []),
      ],
      operations,
      label: (operation) => known?.describe?.(operation) ?? describePlainly(operation),
      order,
      stuck: new Set([stuck]),
    });
  }
  const anomaly = result.anomalies?.[0];
  if (anomaly === undefined) return undefined;
  const { operations, because } = anomaly;
  return sceneOf({
    title: `Not strictly serializable: ${anomaly.name}: ${anomaly.text}`,
    sentences: [
      ...(because ?? []).map((why, i) => `${i + 1}. ${who(operations[i]!)}: ${why}`),
      ...(result.anomalies ?? []).slice(1, 6).map(({ name, text }) => `Also ${name}: ${text}`),
    ],
    operations: [...new Set(operations)],
    label: describePlainly,
    stuck: new Set(because === undefined ? operations.slice(0, 1) : operations),
    arrows: (because ?? []).map((label, i) => ({
      from: operations[i]!,
      to: operations[(i + 1) % operations.length]!,
      label,
    })),
  });
}

function who(operation: Operation): string {
  const lines = linesText(operation);
  return `process ${operation.process}${lines === '' ? '' : ` (${lines})`}`;
}

/** An operation of which no model says how to show it. */
export function describePlainly({ f, input, output }: Operation): string {
  const value = output ?? input;
  if (value === undefined) return f;
  if (f === TXN && isList(value)) return value.map(microText).join(', ');
  return `${f} ${canonical(value)}`;
}

/** What a check found, for a person. */
export function resultText(result: CheckResult, model?: Model): string {
  const { verdict, operations, partitions, undecided = [] } = result;
  const size = `${operations} operations, ${partitions} ${partitions === 1 ? 'part' : 'keys'}, model ${result.model}`;
  if (verdict === 'linearizable') return `linearizable (${size})`;
  const scene = sceneOfResult(result, model);
  if (scene !== undefined) return `${sceneText(scene)}\n\nnot linearizable (${size})`;
  const shown = undecided.slice(0, 10).map(({ key, operations: count, unknown, reason }) => {
    const which = key === undefined ? 'the history' : `key ${JSON.stringify(key)}`;
    return `  ${which}: ${count} operations, ${unknown} of unknown outcome: ${reason}`;
  });
  const more = undecided.length > shown.length ? [`  and ${undecided.length - shown.length} more`] : [];
  return [`undecided (${size})`, ...shown, ...more, ADVICE].join('\n');
}

const ADVICE =
  'Undecided counts as a failure. What makes a search long is operations of unknown outcome on one key: use more keys, or a longer --time-limit.';
