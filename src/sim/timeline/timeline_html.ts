/**
 * A recorded run as one HTML page that needs nothing but a browser: lanes for faults, nodes and clients, arrows for messages, bars for calls; zoom, filters, search.
 *
 * Invariants: nothing is loaded from anywhere (the page's own policy forbids it); whatever keys, values and errors hold, it stays data: it is JSON in which `<`, `>`, `&`, `/` and
 * `=` are escapes, and reaches the document as text only; no more than `maxEvents` messages, calls and marks each, frequent noise first left out, then the oldest.
 */

import type { Lane, TraceEvent } from '../core/trace.ts';
import { MESSAGE_KINDS } from './frame_text.ts';
import { type Mark, type Timeline, type TimelineCall, timelineOf } from './timeline.ts';
import { paint, showTimeline } from './timeline_page.ts';
import {
  addArrow,
  addCalls,
  addFrame,
  addMarks,
  addMessages,
  addNodes,
  lanesIn,
  type PageData,
  shapeAt,
  shapesIn,
  ticksIn,
  timeSpan,
  zoomed,
} from './timeline_shapes.ts';

export interface HtmlTimelineOptions {
  readonly title?: string | undefined;
  /** Lines below the title. */
  readonly notes?: readonly string[] | undefined;
  /** Most messages, and most calls, and most marks. Default: 100,000. */
  readonly maxEvents?: number | undefined;
  /** What is marked as violated where the events have no violation of their own. */
  readonly failure?:
    | { readonly invariant: string; readonly message: string; readonly atMs: number }
    | undefined;
}

const DEFAULT_MAX_EVENTS = 100_000;
/** Of one text of an event. */
const MAX_TEXT = 500;
const MARK_KINDS: readonly Mark['kind'][] = [
  'fault',
  'start',
  'crash',
  'role',
  'commit',
  'invoke',
  'disk',
  'note',
  'violation',
];
const KINDS: readonly string[] = [...MESSAGE_KINDS, ...MARK_KINDS];
const FATES = { delivered: 0, repeated: 1, lost: 2, 'under way': 3 } as const;
const OUTCOMES = { ok: 0, fail: 1, info: 2, open: 3 } as const;
/** The script: these functions as they are, and a call. */
const SCRIPT_FUNCTIONS: readonly ((...args: never[]) => unknown)[] = [
  lanesIn,
  ticksIn,
  timeSpan,
  addFrame,
  addNodes,
  addCalls,
  addArrow,
  addMessages,
  addMarks,
  shapesIn,
  shapeAt,
  zoomed,
  paint,
  showTimeline,
];

/** Gives the page's text. */
export function htmlTimeline(events: readonly TraceEvent[], options: HtmlTimelineOptions = {}): string {
  const data = pageData(timelineOf(events), options);
  const script = SCRIPT_FUNCTIONS.map((part) => part.toString()).join('\n');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(data.title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1 id="title"></h1>
<pre id="notes"></pre>
<p class="bar"><button id="in">zoom in</button> <button id="out">zoom out</button> <button id="all">all</button>
<button id="last">to the violation</button> <input id="query" placeholder="find a key, a term, an error" aria-label="find"> <button id="find">find next</button>
<span id="found"></span></p>
<details><summary>lanes</summary><p id="lanes"></p></details>
<p id="kinds"></p>
<p id="status" aria-live="polite"></p>
<div class="stage"><canvas id="canvas" tabindex="0" aria-label="timeline: arrow keys move, plus and minus zoom"></canvas><div id="tip" hidden></div></div>
<p class="legend">${LEGEND}</p>
<noscript>This page draws with JavaScript.</noscript>
<script type="application/json" id="data">${escapeJson(JSON.stringify(data))}</script>
<script>'use strict';
${script}
showTimeline(document, window, JSON.parse(document.getElementById('data').textContent));
</script>
</body>
</html>
`;
}

/** The data of the page. */
export function pageData(timeline: Timeline, options: HtmlTimelineOptions = {}): PageData {
  const { title = 'A simulated run', notes = [], maxEvents = DEFAULT_MAX_EVENTS, failure } = options;
  const strings = new Strings();
  const { lanes } = timeline;
  const laneNumbers = new Map(lanes.map(({ name }, i) => [name, i]));
  const lane = (name: Lane): number => laneNumbers.get(name) ?? 0;
  const calls = bounded(timeline.calls, maxEvents, () => false);
  const rows = rowsOf(calls, timeline.endMs);
  const messages = bounded(
    timeline.messages,
    maxEvents,
    ({ kind, fate }) => fate === 'delivered' && (kind === 'heartbeat' || kind === 'client'),
  );
  const marks = bounded(marksWith(timeline, failure), maxEvents, ({ kind }) => kind === 'disk');
  const left =
    timeline.calls.length + timeline.messages.length - calls.length - messages.length + timeline.marks.length;
  const missing = Math.max(0, left - marks.length);
  const told =
    failure === undefined
      ? []
      : [`VIOLATION of ${failure.invariant} at ${ms(failure.atMs)} ms: ${failure.message}`];
  return {
    title,
    notes: [...notes, ...told, ...(missing === 0 ? [] : [`${missing} events are not in this page`])],
    beginMs: ms(timeline.beginMs),
    endMs: ms(Math.max(timeline.endMs, timeline.beginMs + 0.001)),
    lanes: lanes.map(({ name, kind }) => ({ name, kind, rows: rows.count.get(name) ?? 0 })),
    kinds: KINDS,
    messages: messages.map((message) => [
      lane(message.from),
      lane(message.to),
      ms(message.sentMs),
      message.endMs === undefined ? -1 : ms(message.endMs),
      KINDS.indexOf(message.kind),
      FATES[message.fate],
      strings.number(message.text),
    ]),
    calls: calls.map((call, i) => [
      lane(call.lane),
      ms(call.fromMs),
      call.toMs === undefined ? -1 : ms(call.toMs),
      OUTCOMES[call.outcome],
      rows.rows[i] ?? 0,
      strings.number(call.text),
    ]),
    spans: timeline.spans.map((span) => [
      lane(span.lane),
      ms(span.fromMs),
      ms(span.toMs),
      span.state,
      strings.number(span.text),
    ]),
    cuts: timeline.cuts.map((cut) => [
      lane(cut.lane),
      ms(cut.fromMs),
      ms(cut.toMs),
      cut.apart ? 1 : 0,
      strings.number(cut.text),
    ]),
    faults: timeline.faults.map((fault) => [
      lane(fault.lane),
      ms(fault.fromMs),
      ms(fault.toMs),
      strings.number(fault.text),
    ]),
    marks: marks.map((mark) => [
      lane(mark.lane),
      ms(mark.atMs),
      // Kinds of marks come after those of messages, some with the same name.
      MESSAGE_KINDS.length + MARK_KINDS.indexOf(mark.kind),
      strings.number(mark.text),
    ]),
    strings: strings.list,
  };
}

/** Each text once. */
class Strings {
  readonly list: string[] = [];
  readonly #numbers = new Map<string, number>();

  number(text: string): number {
    const short = text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}…`;
    let number = this.#numbers.get(short);
    if (number === undefined) {
      number = this.list.push(short) - 1;
      this.#numbers.set(short, number);
    }
    return number;
  }
}

function marksWith(
  { marks, lanes, endMs }: Timeline,
  failure: HtmlTimelineOptions['failure'],
): readonly Mark[] {
  const [first] = lanes;
  if (failure === undefined || first === undefined || marks.some(({ kind }) => kind === 'violation'))
    return marks;
  const { invariant, message } = failure;
  const atMs = Math.min(failure.atMs, endMs);
  const lane = lanes.some(({ name }) => name === 'world') ? 'world' : first.name;
  const seq = marks.at(-1)?.seq ?? 0;
  return [...marks, { seq, lane, atMs, kind: 'violation', text: `${invariant}: ${message}` }];
}

/** Not more than `max`: the noise goes first, then the oldest. */
function bounded<T>(list: readonly T[], max: number, isNoise: (item: T) => boolean): readonly T[] {
  let excess = list.length - max;
  if (excess <= 0) return list;
  const kept = list.filter((item) => excess <= 0 || !isNoise(item) || excess-- <= 0);
  return kept.length <= max ? kept : kept.slice(kept.length - max);
}

/** Which of the rows of its lane each call is drawn in, so that calls of one time do not cover each other. */
function rowsOf(calls: readonly TimelineCall[], endMs: number): { rows: number[]; count: Map<Lane, number> } {
  const busyUntil = new Map<Lane, number[]>();
  const rows = calls.map(({ lane, fromMs, toMs = endMs }) => {
    let taken = busyUntil.get(lane);
    if (taken === undefined) {
      taken = [];
      busyUntil.set(lane, taken);
    }
    const free = taken.findIndex((until) => until <= fromMs);
    const row = free < 0 ? taken.length : free;
    taken[row] = toMs;
    return row;
  });
  return { rows, count: new Map([...busyUntil].map(([lane, taken]) => [lane, taken.length])) };
}

function ms(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"'=/]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** JSON that no HTML parser takes for anything else, and that names no address. */
function escapeJson(json: string): string {
  return json.replace(
    /[<>&=/\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const LEGEND = [
  '<i class="leader"></i> leader',
  '<i class="follower"></i> follower',
  '<i class="candidate"></i> candidate',
  '<i class="paused"></i> paused',
  '<i class="apart"></i> cut off from most nodes',
  '<i class="cut"></i> some ways cut',
  '<i class="fault"></i> fault',
  '<i class="ok"></i> call done',
  '<i class="fail"></i> refused',
  '<i class="info"></i> unknown outcome',
  '<i class="lost"></i> lost message',
].join(' ');

/** Custom properties are the tones of the shapes. */
const STYLE = `
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#6a737d;--grid:#e3e6ea;--leader:#1f77d0;--onLeader:#fff;--follower:#b9cbdc;
--candidate:#f0b429;--preCandidate:#f6d98a;--starting:#dcdfe3;--paused:#9a86c9;--down:#c62828;--apart:#f9d5d3;--cut:#fbeedb;--fault:#d9480f;--start:#2e7d32;--crash:#c62828;
--role:#1f77d0;--disk:#8d99a6;--commit:#2e7d32;--invoke:#2e7d32;--violation:#d00000;--ok:#43a047;--fail:#e53935;--info:#fb8c00;--open:#8e24aa;--lost:#e53935;--vote:#b8860b;--append:#5c7cfa;
--heartbeat:#adb5bd;--read:#12908e;--snapshot:#8e24aa;--rpc:#37a05b;--client:#90a4ae;--other:#868e96;--note:#868e96}
@media (prefers-color-scheme:dark){:root{--paper:#14171b;--ink:#e6e9ed;--soft:#9aa4af;--grid:#2a3037;--leader:#4c9be8;--onLeader:#06121f;--follower:#3b4d60;--starting:#3a3f45;--paused:#6b5a99;
--down:#ff6b6b;--apart:#4a2320;--cut:#3d301c;--violation:#ff5252;--crash:#ff6b6b;--lost:#ff6b6b;--heartbeat:#5b6570;--client:#5f7480;--append:#8ea2ff;--vote:#e3b341}}
body{margin:12px;background:var(--paper);color:var(--ink);font:14px system-ui,sans-serif}h1{font-size:18px}pre{white-space:pre-wrap;overflow-wrap:anywhere}
.stage{position:relative}canvas{display:block;width:100%;touch-action:none}canvas:focus-visible{outline:2px solid var(--leader)}
#tip{position:absolute;max-width:400px;padding:4px 8px;background:var(--ink);color:var(--paper);border-radius:4px;pointer-events:none;overflow-wrap:anywhere;white-space:pre-wrap}
#tip[hidden]{display:none}label{margin-right:10px;white-space:nowrap}.legend i{display:inline-block;width:14px;height:10px;margin-left:8px}
.leader{background:var(--leader)}.follower{background:var(--follower)}.candidate{background:var(--candidate)}.paused{background:var(--paused)}.apart{background:var(--apart)}
.cut{background:var(--cut)}.fault{background:var(--fault)}.ok{background:var(--ok)}.fail{background:var(--fail)}.info{background:var(--info)}.lost{background:var(--lost)}
`;
