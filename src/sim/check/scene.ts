/** What a picture of a violation shows, in text and in HTML alike: operations on an axis on which only their order counts. */
import { isUnknown } from './compiled.ts';
import type { Operation } from './history.ts';

export interface SceneOperation {
  readonly operation: Operation;
  readonly label: string;
  /** Its place in the order that explains the most, from 1; undefined: it is not in it. */
  readonly place?: number | undefined;
  /** What can't be explained. */
  readonly stuck: boolean;
  /** Positions of its beginning and end among those of all that is shown; no end: it may be under way for ever. */
  readonly from: number;
  readonly to: number | undefined;
}

export interface SceneArrow {
  readonly from: Operation;
  readonly to: Operation;
  readonly label: string;
}

export interface Scene {
  readonly title: string;
  /** What is wrong, a sentence a line. */
  readonly sentences: readonly string[];
  /** In the order in which they began. */
  readonly operations: readonly SceneOperation[];
  readonly arrows: readonly SceneArrow[];
  /** How many positions there are. */
  readonly positions: number;
}

export interface SceneParts {
  readonly title: string;
  readonly sentences: readonly string[];
  readonly operations: readonly Operation[];
  readonly label: (operation: Operation) => string;
  readonly order?: readonly Operation[];
  readonly stuck?: ReadonlySet<Operation>;
  readonly arrows?: readonly SceneArrow[];
}

export function sceneOf(parts: SceneParts): Scene {
  const { title, sentences, label, order = [], stuck = new Set(), arrows = [] } = parts;
  const operations = [...parts.operations].sort((x, y) => x.invokedAt - y.invokedAt);
  const moments: { at: number; isEnd: boolean; operation: Operation }[] = [];
  for (const operation of operations) {
    moments.push({ at: operation.invokedAt, isEnd: false, operation });
    if (!isUnknown(operation)) moments.push({ at: operation.returnedAt, isEnd: true, operation });
  }
  moments.sort((x, y) => x.at - y.at || Number(x.isEnd) - Number(y.isEnd));
  const from = new Map<Operation, number>();
  const to = new Map<Operation, number>();
  moments.forEach(({ isEnd, operation }, position) => {
    (isEnd ? to : from).set(operation, position);
  });
  const places = new Map(order.map((operation, i) => [operation, i + 1]));
  return {
    title,
    sentences,
    arrows,
    positions: moments.length,
    operations: operations.map((operation) => ({
      operation,
      label: label(operation),
      place: places.get(operation),
      stuck: stuck.has(operation),
      from: from.get(operation) ?? 0,
      to: to.get(operation),
    })),
  };
}

/** Where an operation stands in the file. */
export function linesText({ invokeLine, returnLine }: Operation): string {
  if (invokeLine === undefined) return '';
  if (returnLine === undefined || returnLine === invokeLine) return `line ${invokeLine}`;
  return `lines ${invokeLine}-${returnLine}`;
}

const TEXT_COLUMNS = 56;
const TEXT_OPERATIONS = 60;

/** The scene in plain text: an operation a line, its bar where it stood in time. */
export function sceneText(scene: Scene): string {
  const shown = scene.operations.slice(-TEXT_OPERATIONS);
  const first = Math.min(...shown.map(({ from }) => from));
  const span = Math.max(1, scene.positions - first);
  const columns = Math.min(TEXT_COLUMNS, span * 6);
  const column = (position: number): number =>
    Math.max(0, Math.floor(((position - first) * (columns - 1)) / span));
  const names = shown.map(({ operation }) => `process ${operation.process}`);
  const nameWidth = Math.max(...names.map((name) => name.length));
  const labels = shown.map(({ label }) => (label.length > 40 ? `${label.slice(0, 37)}...` : label));
  const labelWidth = Math.max(...labels.map((label) => label.length));
  const lines = [scene.title, ...scene.sentences.map((sentence) => `  ${sentence}`), ''];
  const left = scene.operations.length - shown.length;
  if (left > 0) lines.push(`  (${left} earlier operations are not shown here)`);
  shown.forEach((one, i) => {
    const start = column(one.from);
    const end = one.to === undefined ? columns : Math.max(start + 1, column(one.to));
    const bar = `${' '.repeat(start)}|${'-'.repeat(Math.max(0, end - start - 1))}${one.to === undefined ? '...' : '|'}`;
    const mark = one.stuck ? '!' : ' ';
    const place = one.place === undefined ? '' : `#${one.place}  `;
    const row = `${mark} ${names[i]!.padEnd(nameWidth)}  ${labels[i]!.padEnd(labelWidth)}  ${bar.padEnd(columns + 4)} ${place}${linesText(one.operation)}`;
    lines.push(row.trimEnd());
  });
  return lines.join('\n');
}
