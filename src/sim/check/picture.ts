/**
 * A violation as one self-contained HTML page: a lane for each process, a bar for each operation, the order that explains the most, and where it ends.
 *
 * Invariants: no script, nothing from elsewhere; every text that comes from a history is escaped; works in light and dark.
 */
import type { Operation } from './history.ts';
import { linesText, type Scene, type SceneOperation } from './scene.ts';

const LANE_HEIGHT = 64;
const BAR_HEIGHT = 26;
const TOP = 30;
const LEFT = 120;
const MIN_UNIT = 26;
const MAX_UNIT = 150;
const LETTER = 7.2;
const LABEL_LETTERS = 28;

/** The page for a scene. */
export function pictureHtml(scene: Scene): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(scene.title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escaped(scene.title)}</h1>
${scene.sentences.map((sentence) => `<p>${escaped(sentence)}</p>`).join('\n')}
<div class="wide">${drawing(scene)}</div>
<p class="legend">A bar runs from the beginning of an operation to its end; only the order of beginnings and ends counts, not the distance. An open bar has no known
outcome. Numbers are an order that explains the most. Red can't be explained.</p>
${table(scene)}
</body>
</html>
`;
}

const STYLE = `
:root { color-scheme: light dark; --ink: #1d2733; --soft: #66717f; --paper: #fff; --bar: #cfe0f3; --edge: #4b77a8; --lane: #e6eaef; --bad: #c62828; --badbar: #f9d4d2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaef; --soft: #9aa5b1; --paper: #14191f; --bar: #23415f; --edge: #7fabdb; --lane: #2a323b; --bad: #ff7d75; --badbar: #5a2422; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: var(--ink); background: var(--paper); }
h1 { font-size: 1.3rem; margin: 0 0 .5rem; } p { margin: .25rem 0; max-width: 60rem; }
.legend { color: var(--soft); margin: .5rem 0 1.5rem; }
.wide { overflow-x: auto; padding: 1rem 0; }
svg text { font: 12px ui-monospace, monospace; fill: var(--ink); }
.lane { stroke: var(--lane); } .name { fill: var(--soft); }
.bar { fill: var(--bar); stroke: var(--edge); } .open { stroke-dasharray: 4 3; }
.stuck .bar { fill: var(--badbar); stroke: var(--bad); stroke-width: 2; } .stuck text { fill: var(--bad); font-weight: bold; }
.place { fill: var(--edge); } svg .number { fill: var(--paper); font-size: 10px; text-anchor: middle; }
.limit { stroke: var(--bad); stroke-dasharray: 2 4; }
.arrow { stroke: var(--bad); fill: none; stroke-width: 1.5; marker-end: url(#head); } .why { fill: var(--bad); font-size: 11px; } #head path { fill: var(--bad); }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--lane); font-size: 13px; }
td { font-family: ui-monospace, monospace; } tr.stuck td { color: var(--bad); font-weight: bold; }
`;

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

function cut(label: string): string {
  return label.length <= LABEL_LETTERS ? label : `${label.slice(0, LABEL_LETTERS - 3)}...`;
}

interface Layout {
  readonly unit: number;
  readonly width: number;
  readonly lanes: ReadonlyMap<number | string, number>;
}

function layoutOf(scene: Scene): Layout {
  let unit = MIN_UNIT;
  const lanes = new Map<number | string, number>();
  for (const one of scene.operations) {
    if (!lanes.has(one.operation.process)) lanes.set(one.operation.process, lanes.size);
    const span = (one.to ?? scene.positions) - one.from;
    const needed = (cut(one.label).length * LETTER + (one.place === undefined ? 12 : 32)) / Math.max(1, span);
    unit = Math.min(MAX_UNIT, Math.max(unit, needed));
  }
  return { unit, width: LEFT + (scene.positions + 1) * unit, lanes };
}

function drawing(scene: Scene): string {
  const layout = layoutOf(scene);
  const { unit, width, lanes } = layout;
  const height = TOP + lanes.size * LANE_HEIGHT;
  const parts = [
    `<svg width="${Math.ceil(width)}" height="${height}" role="img">`,
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>',
  ];
  for (const [name, lane] of lanes) {
    const y = TOP + lane * LANE_HEIGHT + BAR_HEIGHT / 2;
    parts.push(`<line class="lane" x1="${LEFT}" x2="${width}" y1="${y}" y2="${y}"/>`);
    parts.push(`<text class="name" x="0" y="${y + 4}">${escaped(cut(`process ${name}`))}</text>`);
  }
  for (const one of scene.operations) {
    parts.push(bar(one, layout, scene.positions));
    if (!one.stuck || one.to === undefined || scene.arrows.length > 0) continue;
    const x = LEFT + one.to * unit;
    parts.push(`<line class="limit" x1="${x}" x2="${x}" y1="0" y2="${height}"/>`);
  }
  parts.push(...arrows(scene, layout), '</svg>');
  return parts.join('\n');
}

function laneY(operation: Operation, { lanes }: Layout): number {
  return TOP + (lanes.get(operation.process) ?? 0) * LANE_HEIGHT;
}

function bar(one: SceneOperation, layout: Layout, positions: number): string {
  const { unit } = layout;
  const { operation, from, to, label, place } = one;
  const x = LEFT + from * unit;
  const y = laneY(operation, layout);
  const width = Math.max(6, ((to ?? positions) - from) * unit);
  const number =
    place === undefined
      ? ''
      : `<circle class="place" cx="${x + 14}" cy="${y + BAR_HEIGHT / 2}" r="9"/><text class="number" x="${x + 14}" y="${y + BAR_HEIGHT / 2 + 4}">${place}</text>`;
  const title = `process ${operation.process}: ${label}; ${linesText(operation)}`;
  return `<g class="${one.stuck ? 'stuck' : ''}"><title>${escaped(title)}</title><rect class="bar${to === undefined ? ' open' : ''}" x="${x}" y="${y}" width="${width}" height="${BAR_HEIGHT}" rx="4"/>${number}<text x="${x + (place === undefined ? 7 : 28)}" y="${y + BAR_HEIGHT / 2 + 4}">${escaped(cut(label))}</text></g>`;
}

function arrows(scene: Scene, layout: Layout): string[] {
  const middles = new Map(
    scene.operations.map(({ operation, from, to }) => [
      operation,
      LEFT + ((from + (to ?? scene.positions)) / 2) * layout.unit,
    ]),
  );
  return scene.arrows.map(({ from, to, label }) => {
    const [x1, x2] = [middles.get(from) ?? LEFT, middles.get(to) ?? LEFT];
    const [y1, y2] = [laneY(from, layout), laneY(to, layout)];
    const down = y2 > y1 || (y1 === y2 && x2 > x1);
    const startY = down ? y1 + BAR_HEIGHT : y1;
    const endY = y1 === y2 ? startY : down ? y2 : y2 + BAR_HEIGHT;
    const bend = down ? 22 : -22;
    const path = `M${x1} ${startY}C${x1} ${startY + bend} ${x2} ${endY - (y1 === y2 ? -bend : bend)} ${x2} ${endY}`;
    const labelY = (startY + endY) / 2 + (y1 === y2 ? bend : 4);
    return `<path class="arrow" d="${path}"/><text class="why" x="${(x1 + x2) / 2 + 6}" y="${labelY}">${escaped(label)}</text>`;
  });
}

function table(scene: Scene): string {
  const rows = scene.operations.map(({ operation, label, place, stuck, to }) => {
    const cells = [
      place === undefined ? '' : String(place),
      String(operation.process),
      label,
      to === undefined ? 'unknown by then' : operation.outcome,
      linesText(operation),
      timesText(operation),
    ];
    return `<tr${stuck ? ' class="stuck"' : ''}>${cells.map((cell) => `<td>${escaped(cell)}</td>`).join('')}</tr>`;
  });
  const heading = ['order', 'process', 'operation', 'outcome', 'lines', 'times'];
  return `<table><tr>${heading.map((cell) => `<th>${cell}</th>`).join('')}</tr>\n${rows.join('\n')}\n</table>`;
}

function timesText({ invokeTime, returnTime }: Operation): string {
  if (invokeTime === undefined) return '';
  return returnTime === undefined ? String(invokeTime) : `${invokeTime} - ${returnTime}`;
}
