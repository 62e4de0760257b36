/** The timeline page: what it draws, that it needs nothing from elsewhere, and that its script works in a document (a small one made here). */
import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { TraceEvent } from '../../src/sim/core/trace.ts';
import { timelineOf } from '../../src/sim/timeline/timeline.ts';
import { htmlTimeline, pageData } from '../../src/sim/timeline/timeline_html.ts';
import {
  lanesIn,
  type PageData,
  type PageView,
  shapeAt,
  shapesIn,
  ticksIn,
  zoomed,
} from '../../src/sim/timeline/timeline_shapes.ts';
import { test } from '../suite.ts';
import { eventsOfLife } from './life.ts';

type Bare = Partial<TraceEvent> & Pick<TraceEvent, 'atMs' | 'kind' | 'lane'>;

function events(...bare: readonly Bare[]): TraceEvent[] {
  return bare.map((event, seq) => ({ label: event.kind, ...event, seq }));
}

const cut = (from: number, to: number, atMs: number): Bare => ({
  atMs,
  kind: 'fault',
  lane: `node-${from}`,
  to: `node-${to}`,
  label: '{"blocked":true}',
});

/** A little of everything in 100 ms. */
const SHORT = events(
  { atMs: 0, kind: 'start', lane: 'node-1' },
  { atMs: 0, kind: 'start', lane: 'node-2' },
  { atMs: 5, kind: 'role', lane: 'node-1', label: 'leader in term 1' },
  { atMs: 5, kind: 'role', lane: 'node-2', label: 'follower in term 1' },
  { atMs: 10, kind: 'send', lane: 'node-1', to: 'node-2', id: 1, label: 'append 1 after 0' },
  { atMs: 20, kind: 'deliver', lane: 'node-2', to: 'node-1', id: 1, label: 'raft' },
  { atMs: 20, kind: 'invoke', lane: 'client-1', id: 1, label: 'put "a"' },
  { atMs: 22, kind: 'invoke', lane: 'client-1', id: 2, label: 'get "a"' },
  { atMs: 25, kind: 'ok', lane: 'client-1', id: 2, label: 'get "a"' },
  { atMs: 30, kind: 'send', lane: 'node-2', to: 'node-1', id: 1, label: 'appended up to 1' },
  { atMs: 32, kind: 'drop', lane: 'node-2', to: 'node-1', id: 1, label: 'lost' },
  cut(1, 2, 35),
  cut(2, 1, 35),
  { atMs: 36, kind: 'fault', lane: 'faults', label: 'stuckDisk for 9 ms' },
  { atMs: 40, kind: 'crash', lane: 'node-1', label: 'torn1' },
  { atMs: 45, kind: 'fault', lane: 'faults', label: 'end of stuckDisk' },
  { atMs: 60, kind: 'start', lane: 'node-1' },
  { atMs: 80, kind: 'note', lane: 'node-1', label: 'something' },
  { atMs: 100, kind: 'violation', lane: 'world', label: 'log matching: entry 1 differs' },
);

function view(data: PageData, change: Partial<PageView> = {}): PageView {
  const { beginMs: fromMs, endMs: toMs } = data;
  return {
    fromMs,
    toMs,
    widthPx: 1_100,
    leftPx: 100,
    hiddenLanes: new Set(),
    hiddenKinds: new Set(),
    maxArrows: 4_000,
    ...change,
  };
}

test('nodes, messages, calls, faults and the violation are where and what they were', () => {
  const data = pageData(timelineOf(SHORT));
  const { shapes, leftOut } = shapesIn(data, view(data));
  assert.is(leftOut, 0);
  const lanes = new Map(lanesIn(data, new Set()).map((at) => [data.lanes[at.lane]!.name, at]));
  const middle = (name: string): number => lanes.get(name)!.topPx + lanes.get(name)!.heightPx / 2;
  const find = (tone: string, form = 'box') =>
    shapes.filter((shape) => shape.tone === tone && shape.form === form && shape.text !== '');
  // 10 pixels are a millisecond.
  const [leader] = find('leader');
  assert.equal([leader?.x1, leader?.x2], [150, 500]);
  const [down] = find('down', 'line');
  assert.equal([down?.x1, down?.x2, down?.y1], [500, 700, middle('node-1')]);
  assert.is(
    shapes.filter(({ form, x1, x2, y1, y2 }) => {
      return (
        form === 'box' &&
        y1 < middle('node-1') &&
        y2 > middle('node-1') &&
        y2 - y1 < 20 &&
        x1 < 690 &&
        x2 > 510
      );
    }).length,
    0,
    'nothing runs where the node is down',
  );
  const [append] = find('append', 'arrow');
  assert.equal(
    [append?.x1, append?.y1, append?.x2, append?.y2],
    [200, middle('node-1'), 300, middle('node-2')],
  );
  assert.ok(append?.text.startsWith('node-1 → node-2: append 1 after 0'));
  const [lost] = find('lost', 'arrow');
  assert.ok(lost!.y2 > middle('node-1') && lost!.y2 < middle('node-2'), 'a lost message ends on its way');
  assert.is(find('lost', 'cross').length, 1);
  const [ok] = find('ok');
  const [open] = find('open');
  assert.equal([ok?.x1, ok?.x2], [320, 350]);
  assert.equal([open?.x1, open?.x2], [300, 1_100]);
  assert.is.not(ok?.y1, open?.y1, 'calls of one time do not cover each other');
  assert.equal([find('fault')[0]?.x1, find('fault')[0]?.x2], [460, 550]);
  assert.is(find('apart').length, 1, 'one of two nodes is apart');
  assert.is(find('cut').length, 1);
  assert.is(find('crash', 'cross').length, 1);
  assert.ok(find('violation', 'line')[0]?.text.includes('log matching: entry 1 differs'));
});

test('hidden lanes and kinds are not drawn, nor what is out of view', () => {
  const data = pageData(timelineOf(SHORT));
  const append = data.kinds.indexOf('append');
  const arrows = (change: Partial<PageView>): number =>
    shapesIn(data, view(data, change)).shapes.filter(({ form }) => form === 'arrow').length;
  assert.is(arrows({}), 2);
  assert.is(arrows({ hiddenKinds: new Set([append]) }), 0);
  const node2 = data.lanes.findIndex(({ name }) => name === 'node-2');
  assert.is(arrows({ hiddenLanes: new Set([node2]) }), 0);
  assert.is(arrows({ fromMs: 12, toMs: 15 }), 1, 'a message under way crosses the view');
  assert.is(arrows({ fromMs: 21, toMs: 29 }), 0);
  const whole = shapesIn(data, view(data)).shapes;
  for (const { form, x1, x2 } of whole) if (form !== 'note') assert.ok(x1 >= 0 && x1 <= 1_100 && x2 <= 1_100);
});

test('what the pointer is at: the topmost shape', () => {
  const data = pageData(timelineOf(SHORT));
  const { shapes } = shapesIn(data, view(data));
  const crash = shapes.find(({ tone }) => tone === 'crash')!;
  assert.ok(shapeAt(shapes, crash.x1 + 3, crash.y1 - 3)?.text.includes('crash torn1'));
  const arrow = shapes.find(({ form, tone }) => form === 'arrow' && tone === 'append')!;
  const between = shapeAt(shapes, (arrow.x1 + arrow.x2) / 2, (arrow.y1 + arrow.y2) / 2);
  assert.is(between, arrow);
  assert.is(shapeAt(shapes, 50, 5), undefined);
  const point = { form: 'tick', x1: 5, y1: 5, x2: 5, y2: 5, tone: 'note', text: 'point' } as const;
  assert.is(shapeAt([point], 6, 6), point);
});

test('the axis and zooming', () => {
  assert.equal(ticksIn(0, 100), [0, 20, 40, 60, 80, 100]);
  assert.equal(ticksIn(1_001.6, 1_005.4), [1_002, 1_002.5, 1_003, 1_003.5, 1_004, 1_004.5, 1_005]);
  const data = pageData(timelineOf(SHORT));
  assert.equal(zoomed(data, 0, 100, 50, 0.5), [25, 75]);
  assert.equal(zoomed(data, 25, 75, 50, 8), [0, 100], 'never more than the run');
  assert.equal(zoomed(data, 90, 110, 90, 1), [80, 100], 'never beyond its end');
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 100, noNaN: true }),
      fc.double({ min: 0.01, max: 50, noNaN: true }),
      (at, factor) => {
        const [from, to] = zoomed(data, 20, 70, at, factor);
        assert.ok(from >= 0 && to <= 100.001 && to > from);
      },
    ),
  );
});

/** So many messages, every hundredth of them lost. */
function crowd(count: number): TraceEvent[] {
  const bare: Bare[] = [];
  for (let i = 0; i < count; i++) {
    const way = { lane: 'node-1', to: 'node-2', id: i + 1 };
    bare.push({ atMs: i, kind: 'send', ...way, label: `append ${i} after ${i - 1}` });
    if (i % 100 === 50) bare.push({ atMs: i + 0.4, kind: 'drop', ...way, label: 'lost' });
    else
      bare.push({ atMs: i + 0.4, kind: 'deliver', lane: 'node-2', to: 'node-1', id: i + 1, label: 'raft' });
  }
  return events(...bare);
}

test('50,000 events: a view draws a bounded part of them, and never hides losses behind others', () => {
  const data = pageData(timelineOf(crowd(25_000)));
  const { shapes, leftOut } = shapesIn(data, view(data, { maxArrows: 1_000 }));
  const arrows = shapes.filter(({ form }) => form === 'arrow');
  assert.is(arrows.length, 1_000);
  assert.is(leftOut, 24_000);
  assert.is(shapes.filter(({ form }) => form === 'cross').length, 250);
  const near = shapesIn(data, view(data, { fromMs: 1_000, toMs: 1_100 }));
  assert.is(near.leftOut, 0);
  assert.is(near.shapes.filter(({ form }) => form === 'arrow').length, 101);
});

test('the page is bounded, noise goes first', () => {
  const noise = events(
    ...Array.from(
      { length: 50 },
      (_, i): Bare => ({ atMs: i, kind: 'disk', lane: 'node-1', label: `sync ${i}` }),
    ),
    ...Array.from(
      { length: 10 },
      (_, i): Bare => ({ atMs: 50 + i, kind: 'note', lane: 'node-1', label: `note ${i}` }),
    ),
  );
  const disk = (data: PageData): number =>
    data.marks.filter(([, , kind]) => data.kinds[kind] === 'disk').length;
  const data = pageData(timelineOf(noise), { maxEvents: 15 });
  assert.is(data.marks.length, 15);
  assert.is(disk(data), 5);
  assert.equal(data.notes, ['45 events are not in this page']);
  const less = pageData(timelineOf(noise), { maxEvents: 4 });
  assert.is(disk(less), 0);
  assert.is(less.strings.at(-1), 'note 9', 'the newest are kept');
});

const HOSTILE = `</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> https://example.org/ \u2028 ]]> \${x} \\ "'`;

test('whatever keys and errors hold, the page loads nothing and has two scripts', () => {
  const trace = events(
    { atMs: 0, kind: 'invoke', lane: `client-${HOSTILE}`, id: 1, label: `put ${HOSTILE}` },
    { atMs: 1, kind: 'note', lane: 'node-1', label: HOSTILE },
  );
  const failure = { invariant: HOSTILE, message: HOSTILE, atMs: 1 };
  const page = htmlTimeline(trace, { title: HOSTILE, notes: [HOSTILE], failure });
  assert.not.match(page, /https?:\/\//);
  assert.not.match(page, /\bsrc\s*=/);
  assert.not.match(page, /@import|url\(/);
  assert.is(page.match(/<script/g)?.length, 2);
  assert.is(page.match(/<\/script/g)?.length, 2);
  assert.not.match(page, /<!--|<img/);
  assert.match(page, /default-src 'none'/);
  const data = dataOf(page);
  assert.ok(data.strings.includes(HOSTILE), 'and is told as it was');
  assert.is(data.title, HOSTILE);
  assert.ok(data.lanes.some(({ name }) => name === `client-${HOSTILE}`));
});

test('every tag is closed, every id that the script asks for is there', () => {
  const page = htmlTimeline(SHORT);
  const markup = page
    .replace(/<script[^>]*>[\s\S]*?<\/script>/g, '')
    .replace(/<style>[\s\S]*?<\/style>/g, '');
  const open: string[] = [];
  for (const [, slash, name = ''] of markup.matchAll(/<(\/?)([a-z][a-z0-9]*)[^>]*>/g)) {
    if (['meta', 'input'].includes(name)) continue;
    if (slash === '') open.push(name);
    else assert.is(open.pop(), name);
  }
  assert.equal(open, []);
  const asked = [...page.matchAll(/getElementById\('(\w+)'\)/g)].map(([, id]) => id);
  assert.ok(asked.length > 8);
  for (const id of asked) assert.ok(page.includes(` id="${id}"`), `no ${id}`);
  const tones = [...page.matchAll(/--(\w+):#/g)].map(([, tone]) => tone);
  const data = dataOf(page);
  const states = ['starting', 'follower', 'preCandidate', 'candidate', 'leader', 'paused', 'down'];
  for (const tone of [...data.kinds, ...states, 'ok', 'fail', 'info', 'open', 'lost', 'apart', 'cut'])
    assert.ok(tones.includes(tone), `no colour for ${tone}`);
});

function dataOf(page: string): PageData {
  const text = /<script type="application\/json" id="data">([\s\S]*?)<\/script>/.exec(page)?.[1];
  return JSON.parse(text ?? '') as PageData;
}

type Listener = (event: object) => void;

/** As much of a document as the page's script needs. */
class Element {
  textContent = '';
  type = '';
  value = '';
  checked = false;
  hidden = false;
  width = 0;
  height = 0;
  clientWidth = 1_000;
  readonly style: Record<string, string> = {};
  readonly children: (Element | string)[] = [];
  readonly listeners = new Map<string, Listener[]>();
  readonly calls: string[] = [];
  readonly notes: string[] = [];

  append(...children: (Element | string)[]): void {
    this.children.push(...children);
  }

  addEventListener(type: string, listener: Listener): void {
    this.listeners.set(type, [...(this.listeners.get(type) ?? []), listener]);
  }

  emit(type: string, event: object = {}): void {
    const listeners = this.listeners.get(type);
    assert.ok(listeners, `nobody listens for ${type}`);
    for (const listener of listeners) listener({ preventDefault: () => undefined, ...event });
  }

  getContext(): object {
    const record = (name: string) => (text: unknown) => {
      this.calls.push(name);
      if (name === 'fillText') this.notes.push(String(text));
    };
    const names = ['setTransform', 'clearRect', 'fillRect', 'fillText', 'setLineDash', 'beginPath', 'moveTo'];
    return Object.fromEntries([...names, 'lineTo', 'stroke'].map((name) => [name, record(name)]));
  }
}

/** Runs the page's script in a document of its own. */
function open(page: string) {
  const elements = new Map<string, Element>();
  for (const [, id = ''] of page.matchAll(/ id="(\w+)"/g)) elements.set(id, new Element());
  elements.get('data')!.textContent = JSON.stringify(dataOf(page));
  let frames: (() => void)[] = [];
  const document = {
    getElementById: (id: string) => elements.get(id),
    createElement: () => new Element(),
    documentElement: new Element(),
  };
  const window = {
    devicePixelRatio: 2,
    requestAnimationFrame: (draw: () => void) => void frames.push(draw),
    addEventListener: () => undefined,
    getComputedStyle: () => ({ getPropertyValue: () => ' #123456' }),
    matchMedia: () => ({ addEventListener: () => undefined }),
  };
  const script = /<script>'use strict';([\s\S]*?)<\/script>/.exec(page)?.[1] ?? '';
  runInNewContext(`'use strict';${script}`, { document, window });
  const draw = (): Element => {
    const canvas = elements.get('canvas')!;
    canvas.calls.length = 0;
    canvas.notes.length = 0;
    assert.is(frames.length, 1, 'one drawing for all that changed');
    const [first] = frames;
    frames = [];
    first?.();
    return canvas;
  };
  return { get: (id: string): Element => elements.get(id)!, draw };
}

test('the script draws, zooms, moves, filters, finds and tells', () => {
  const page = open(htmlTimeline(SHORT, { title: 'Seed 7', notes: ['a note'] }));
  const canvas = page.draw();
  assert.is(page.get('title').textContent, 'Seed 7');
  assert.is(page.get('notes').textContent, 'a note');
  assert.ok(canvas.notes.includes('node-2') && canvas.notes.includes('leader in term 1'));
  assert.is(canvas.width, 2_000);
  const status = (): string => page.get('status').textContent;
  assert.match(status(), /^0\.000 – 100\.000 ms/);

  canvas.emit('wheel', { offsetX: 548, offsetY: 50, deltaX: 0, deltaY: -400 * Math.log(2) });
  canvas.emit('wheel', { offsetX: 548, offsetY: 50, deltaX: 100, deltaY: 0 });
  page.draw();
  assert.match(status(), /^30\.000 – 80\.000 ms/);
  canvas.emit('pointerdown', { offsetX: 548, offsetY: 50 });
  canvas.emit('pointermove', { offsetX: 548 + 904 / 5, offsetY: 50 });
  canvas.emit('pointerup', {});
  page.draw();
  assert.match(status(), /^20\.000 – 70\.000 ms/);
  for (const key of ['ArrowRight', 'ArrowLeft', '+', '-', 'x']) canvas.emit('keydown', { key });
  page.get('in').emit('click');
  page.get('out').emit('click');
  page.draw();
  assert.match(status(), /^20\.000 – 70\.000 ms/);
  page.get('last').emit('click');
  page.draw();
  assert.match(status(), /– 100\.000 ms/);
  page.get('all').emit('click');
  page.draw();

  const data = dataOf(htmlTimeline(SHORT));
  const { shapes } = shapesIn(data, view(data, { widthPx: 1_000, leftPx: 96 }));
  const crash = shapes.find(({ tone }) => tone === 'crash')!;
  canvas.emit('pointermove', { offsetX: crash.x1, offsetY: crash.y1 });
  assert.is(page.get('tip').hidden, false);
  assert.match(page.get('tip').textContent, /node-1: crash torn1, 40\.000 ms/);
  canvas.emit('pointermove', { offsetX: 50, offsetY: 5 });
  assert.is(page.get('tip').hidden, true);

  const lanes = page.get('lanes').children as Element[];
  const names = lanes.map((label) => label.children[1]);
  assert.equal(names, [' faults', ' node-1', ' node-2', ' client-1', ' world']);
  const [box] = lanes[2]!.children as Element[];
  box!.checked = false;
  box!.emit('change');
  assert.not.ok(page.draw().notes.includes('node-2'));
  box!.checked = true;
  box!.emit('change');
  assert.ok(page.draw().notes.includes('node-2'));

  const query = page.get('query');
  query.value = 'PUT "A"';
  query.emit('input');
  query.emit('keydown', { key: 'Enter' });
  page.draw();
  assert.is(page.get('found').textContent, '20.000 ms: put "a"');
  page.get('find').emit('click');
  assert.match(page.get('found').textContent, /^no more/);
  query.value = 'nowhere';
  page.get('find').emit('click');
  assert.is(page.get('found').textContent, 'not found');
});

test('a run without a violation has no button for it; one without events has a page', () => {
  const page = open(htmlTimeline(events({ atMs: 1, kind: 'note', lane: 'world' })));
  page.draw();
  assert.is(page.get('last').hidden, true);
  open(htmlTimeline([])).draw();
  const failure = { invariant: 'liveness', message: 'stuck', atMs: 1 };
  const failed = open(htmlTimeline(events({ atMs: 1, kind: 'note', lane: 'world' }), { failure }));
  failed.draw();
  assert.is(failed.get('last').hidden, false);
  assert.match(failed.get('notes').textContent, /VIOLATION of liveness at 1 ms: stuck/);
});

test('a real run has its page, and quiet kinds are off at first', async () => {
  const trace = await eventsOfLife(1);
  const text = htmlTimeline(trace, { title: 'A life' });
  assert.not.match(text, /https?:\/\//);
  assert.ok(text.length < 200 * trace.length);
  const data = dataOf(text);
  assert.ok(data.cuts.some(([, , , apart]) => apart === 1));
  assert.ok(data.spans.some(([, , , state]) => state === 'paused'));
  const states = new Set(data.spans.map(([, , , state]) => state));
  for (const state of ['starting', 'follower', 'candidate', 'leader', 'down'])
    assert.ok(states.has(state), state);
  const page = open(text);
  const canvas = page.draw();
  assert.ok(canvas.calls.length > 500);
  const kinds = (page.get('kinds').children as Element[]).filter(
    (label) => !(label.children[0] as Element).checked,
  );
  assert.equal(
    kinds.map((label) => label.children[1]),
    [' heartbeat', ' client', ' disk'],
  );
});

test.run();
