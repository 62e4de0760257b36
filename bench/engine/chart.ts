/**
 * The engine benchmark as an SVG: a group of horizontal bars for each case, a bar for each peer, operations per second on a logarithmic scale, values as labels.
 *
 * Invariants: the text is XML whatever names the rows bring; no fonts, scripts or files from elsewhere; readable on a light and on a dark page (the colours of text and lines
 * follow `prefers-color-scheme`, those of the bars stand out from both).
 */
import type { BenchResult } from '../result.ts';

/** Cases in the order in which they are drawn; what was not measured is left out. */
const CASES: readonly (readonly [name: string, label: string])[] = [
  ['embedded put os', 'put'],
  ['embedded batch10', 'put, batches of 10'],
  ['embedded get 100k', 'get, 100 k keys'],
  ['embedded get 1m', 'get, 1 M keys'],
  ['embedded get absent', 'get, absent key'],
  ['embedded scan', 'full scan'],
  ['embedded load sorted', 'sorted load'],
  ['embedded overwrite', 'random overwrite'],
  ['embedded mixed 8 threads', 'mixed, 8 threads'],
];

const COLORS: Readonly<Record<string, string>> = {
  kvorum: '#e8590c',
  lmdb: '#3b82c4',
  'classic-level': '#2f9e77',
  'level-rocksdb': '#9c6ade',
  'js-map': '#8b949e',
};
const OTHER_COLOR = '#b08d2e';

const WIDTH = 880;
const LEFT = 160;
/** Room for the longest label behind a bar. */
const RIGHT = 150;
const TOP = 84;
const BAR = 13;
const BAR_GAP = 3;
const GROUP_GAP = 16;
const BOTTOM = 44;

interface Group {
  readonly label: string;
  readonly rows: readonly BenchResult[];
}

const STYLE = `
    text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
    .title { font-size: 16px; font-weight: 600; }
    .quiet { font-size: 11px; fill: #59636e; }
    .value { font-size: 11px; font-variant-numeric: tabular-nums; }
    .grid { stroke: #d1d9e0; stroke-width: 1; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .quiet { fill: #9198a1; }
      .grid { stroke: #3d444d; }
    }`;

export function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

/** 1234567 as "1.23 M": three digits, and the letter that says how many more. */
export function shortNumber(value: number): string {
  const [size, letter] = value >= 999_500 ? [1e6, ' M'] : value >= 999.5 ? [1e3, ' K'] : [1, ''];
  const scaled = value / size;
  return `${scaled.toFixed(scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2)}${letter}`;
}

/** Where on a logarithmic scale a value stands, 0 to 1. It begins at a power of ten that is clearly below the least value and ends at the greatest. */
export class LogScale {
  /** The powers of ten on it. */
  readonly decades: readonly number[];
  readonly #low: number;
  readonly #high: number;

  constructor(values: readonly number[]) {
    this.#low = Math.floor(Math.log10(Math.min(...values) / 1.5));
    this.#high = Math.max(this.#low + 1, Math.log10(Math.max(...values)));
    const count = Math.floor(this.#high) - this.#low + 1;
    this.decades = Array.from({ length: count }, (_, i) => 10 ** (this.#low + i));
  }

  at(value: number): number {
    return (Math.log10(value) - this.#low) / (this.#high - this.#low);
  }
}

function rate(row: BenchResult): number {
  return row.opsPerSecond ?? 0;
}

function groupsOf(results: readonly BenchResult[]): Group[] {
  return CASES.flatMap(([name, label]) => {
    const rows = results.filter((row) => row.case === name && rate(row) > 0);
    return rows.length > 0 ? [{ label, rows }] : [];
  });
}

function text(x: number, y: number, content: string, attributes = ''): string {
  return `  <text x="${x}" y="${y}"${attributes}>${escapeXml(content)}</text>`;
}

function legend(peers: readonly string[]): string[] {
  let x = LEFT;
  return peers.flatMap((peer) => {
    const mark = `  <rect x="${x}" y="57" width="11" height="11" rx="2" fill="${COLORS[peer] ?? OTHER_COLOR}"/>`;
    const name = text(x + 16, 67, peer);
    x += 34 + peer.length * 7;
    return [mark, name];
  });
}

function grid(scale: LogScale, x: (value: number) => number, bottom: number): string[] {
  return scale.decades.flatMap((decade) => {
    const at = x(decade).toFixed(1);
    const label = shortNumber(decade).replace(/\.0+(?= |$)/, '');
    return [
      `  <line class="grid" x1="${at}" y1="${TOP - 6}" x2="${at}" y2="${bottom}"/>`,
      `  <text class="quiet" x="${at}" y="${bottom + 16}" text-anchor="middle">${label}</text>`,
    ];
  });
}

function bar(row: BenchResult, y: number, width: number): string[] {
  const megabytes = row.mbPerSecond === undefined ? '' : `  (${Math.round(row.mbPerSecond)} MB/s)`;
  const value = `${shortNumber(rate(row))}/s${megabytes}`;
  const fill = COLORS[row.peer] ?? OTHER_COLOR;
  const weight = row.peer === 'kvorum' ? ' font-weight="600"' : '';
  return [
    `  <rect x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="2" fill="${fill}">` +
      `<title>${escapeXml(`${row.peer}: ${value}`)}</title></rect>`,
    text(Math.round(LEFT + width + 6), y + BAR - 3, value, ` class="value"${weight}`),
  ];
}

/** The chart of a run's rows. `machine` is shown below its title. Without any row to draw it holds the title only. */
export function drawChart(results: readonly BenchResult[], machine: string): string {
  const groups = groupsOf(results);
  const rows = groups.flatMap((group) => group.rows);
  const peers = [...new Set(rows.map((row) => row.peer))];
  const scale = new LogScale(rows.length > 0 ? rows.map(rate) : [1, 10]);
  const x = (value: number): number => LEFT + scale.at(value) * (WIDTH - LEFT - RIGHT);
  const bars: string[] = [];
  let y = TOP;
  for (const group of groups) {
    const height = group.rows.length * (BAR + BAR_GAP) - BAR_GAP;
    bars.push(text(LEFT - 12, Math.round(y + height / 2 + 4), group.label, ' text-anchor="end"'));
    for (const row of group.rows) {
      bars.push(...bar(row, y, Math.max(1, x(rate(row)) - LEFT)));
      y += BAR + BAR_GAP;
    }
    y += GROUP_GAP - BAR_GAP;
  }
  const bottom = y - GROUP_GAP + 8;
  const height = bottom + BOTTOM;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-labelledby="title">`,
    `  <title id="title">Operations per second of embedded engines</title>`,
    `  <style>${STYLE}\n  </style>`,
    text(LEFT, 24, 'Embedded, 1 KiB values, no fsync: operations per second', ' class="title"'),
    text(
      LEFT,
      43,
      `Logarithmic scale. ${machine}. Medians of one run, peers taking turns.`,
      ' class="quiet"',
    ),
    ...legend(peers),
    ...grid(scale, x, bottom),
    ...bars,
    '</svg>',
  ].join('\n')}\n`;
}
