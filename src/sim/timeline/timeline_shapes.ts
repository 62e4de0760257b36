/**
 * From a timeline's data to what is drawn of it in a view: boxes, lines, arrows and crosses in pixels.
 *
 * These functions run in the page too: timeline_html.ts puts their source text there. So each of them may use the others and the language, and nothing else: no imports but types, no
 * constants outside of functions.
 *
 * Invariants: pure; only what is in the view becomes a shape; never more arrows than `maxArrows` and no two marks of one kind on one pixel (the rest is counted).
 */

/** Strings are numbers in `strings`; lanes are numbers in `lanes`; a time of -1 is none. */
export interface PageData {
  readonly title: string;
  readonly notes: readonly string[];
  readonly beginMs: number;
  readonly endMs: number;
  readonly lanes: readonly {
    readonly name: string;
    readonly kind: string;
    /** How many calls go on at once at most. */
    readonly rows: number;
  }[];
  readonly strings: readonly string[];
  /** What can be hidden: kinds of messages, then of marks. */
  readonly kinds: readonly string[];
  /** from, to, sent, end, kind, fate (0 delivered, 1 repeated, 2 lost, 3 under way), text */
  readonly messages: readonly (readonly [number, number, number, number, number, number, number])[];
  /** lane, from, to, outcome (0 ok, 1 fail, 2 info, 3 never answered), row, text */
  readonly calls: readonly (readonly [number, number, number, number, number, number])[];
  /** lane, from, to, tone (a state's name), text */
  readonly spans: readonly (readonly [number, number, number, string, number])[];
  /** lane, from, to, apart (1) or not, text */
  readonly cuts: readonly (readonly [number, number, number, number, number])[];
  /** lane, from, to, text */
  readonly faults: readonly (readonly [number, number, number, number])[];
  /** lane, at, kind, text */
  readonly marks: readonly (readonly [number, number, number, number])[];
}

export interface PageView {
  readonly fromMs: number;
  readonly toMs: number;
  /** Of the whole drawing. */
  readonly widthPx: number;
  /** Room for the lanes' names. */
  readonly leftPx: number;
  readonly hiddenLanes: ReadonlySet<number>;
  readonly hiddenKinds: ReadonlySet<number>;
  readonly maxArrows: number;
}

/** What is drawn: `tone` names a colour, `text` is told where the pointer is; 'note' forms write `text` itself. */
export interface Shape {
  readonly form: 'box' | 'line' | 'arrow' | 'cross' | 'tick' | 'note';
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
  readonly tone: string;
  readonly text: string;
}

export interface PageLane {
  readonly lane: number;
  readonly topPx: number;
  readonly heightPx: number;
}

/** Where the visible lanes lie, from top to bottom. */
export function lanesIn(data: PageData, hiddenLanes: ReadonlySet<number>): PageLane[] {
  const lanes: PageLane[] = [];
  let topPx = 24;
  data.lanes.forEach(({ kind, rows }, lane) => {
    if (hiddenLanes.has(lane)) return;
    const heightPx = kind === 'node' ? 56 : Math.max(30, Math.min(rows, 12) * 9 + 14);
    lanes.push({ lane, topPx, heightPx });
    topPx += heightPx;
  });
  return lanes;
}

/** Round instants for the axis: at most about ten. */
export function ticksIn(fromMs: number, toMs: number): number[] {
  const wantedMs = (toMs - fromMs) / 8;
  const scale = 10 ** Math.floor(Math.log10(Math.max(wantedMs, 1e-6)));
  const stepMs = [1, 2, 5, 10].map((factor) => factor * scale).find((ms) => ms >= wantedMs) ?? scale * 10;
  const ticks: number[] = [];
  for (let i = Math.ceil(fromMs / stepMs); i * stepMs <= toMs && ticks.length < 50; i++)
    ticks.push(i * stepMs);
  return ticks;
}

/** What the functions below draw on. */
export interface Stage {
  readonly data: PageData;
  readonly view: PageView;
  readonly byLane: ReadonlyMap<number, PageLane>;
  readonly bottomPx: number;
  readonly xOf: (ms: number) => number;
  /** Takes a shape: form, x1, y1, x2, y2, tone, text. */
  readonly add: (
    form: Shape['form'],
    x1: number,
    y1: number,
    x2: number,
    y2: number,
    tone: string,
    text: string,
  ) => void;
}

/** All that is in the view, in the order in which it is to be drawn, and how many arrows and marks were left out. */
export function shapesIn(data: PageData, view: PageView): { shapes: Shape[]; leftOut: number } {
  const { fromMs, toMs, widthPx, leftPx } = view;
  const scale = (widthPx - leftPx) / (toMs - fromMs);
  const lanes = lanesIn(data, view.hiddenLanes);
  const shapes: Shape[] = [];
  const stage: Stage = {
    data,
    view,
    byLane: new Map(lanes.map((lane) => [lane.lane, lane])),
    bottomPx: lanes.reduce((bottom, { topPx, heightPx }) => Math.max(bottom, topPx + heightPx), 24),
    xOf: (ms) => leftPx + (Math.max(fromMs, Math.min(toMs, ms)) - fromMs) * scale,
    add: (form, x1, y1, x2, y2, tone, text) => {
      shapes.push({ form, x1, y1, x2, y2, tone, text });
    },
  };
  addFrame(stage);
  addNodes(stage);
  addCalls(stage);
  const leftOut = addMessages(stage) + addMarks(stage);
  return { shapes, leftOut };
}

export function timeSpan(fromMs: number, toMs: number): string {
  return `${fromMs.toFixed(3)} – ${toMs.toFixed(3)} ms (${(toMs - fromMs).toFixed(1)} ms)`;
}

/** Axis, lanes and their names. */
export function addFrame({ data, view, byLane, bottomPx, xOf, add }: Stage): void {
  for (const ms of ticksIn(view.fromMs, view.toMs)) {
    add('line', xOf(ms), 20, xOf(ms), bottomPx, 'grid', '');
    add('note', xOf(ms) + 3, 14, 0, 0, 'soft', `${Number(ms.toPrecision(12))} ms`);
  }
  for (const { lane, topPx, heightPx } of byLane.values()) {
    add('line', 0, topPx, view.widthPx, topPx, 'grid', '');
    add('note', 6, topPx + heightPx / 2 + 4, 0, 0, 'ink', data.lanes[lane]?.name ?? '');
  }
}

/** Cuts as bands, states as boxes, faults that last. */
export function addNodes({ data, view, byLane, xOf, add }: Stage): void {
  const { fromMs, toMs } = view;
  for (const [lane, begin, end, apart, text] of data.cuts) {
    const at = byLane.get(lane);
    if (at === undefined || end < fromMs || begin > toMs) continue;
    const told = `cut, ${timeSpan(begin, end)}: ${data.strings[text]}`;
    const tone = apart === 1 ? 'apart' : 'cut';
    add('box', xOf(begin), at.topPx + 1, xOf(end), at.topPx + at.heightPx - 1, tone, told);
  }
  for (const [lane, begin, end, tone, text] of data.spans) {
    const at = byLane.get(lane);
    if (at === undefined || end < fromMs || begin > toMs) continue;
    const middle = at.topPx + at.heightPx / 2;
    const told = `${data.lanes[lane]?.name}: ${data.strings[text]}, ${timeSpan(begin, end)}`;
    // A node that is down leaves a gap in its lane, with a dotted line through it.
    if (tone === 'down') add('line', xOf(begin), middle, xOf(end), middle, 'down', told);
    else add('box', xOf(begin), middle - 8, xOf(end), middle + 8, tone, told);
    if (tone === 'leader' && xOf(end) - xOf(begin) > 100)
      add('note', xOf(begin) + 4, middle + 4, 0, 0, 'onLeader', data.strings[text] ?? '');
  }
  for (const [lane, begin, end, text] of data.faults) {
    const at = byLane.get(lane);
    if (at === undefined || end < fromMs || begin > toMs) continue;
    const told = `${data.strings[text]}, ${timeSpan(begin, end)}`;
    add('box', xOf(begin), at.topPx + 3, xOf(end), at.topPx + 9, 'fault', told);
  }
}

export function addCalls({ data, view, byLane, xOf, add }: Stage): void {
  const outcomes = ['ok', 'fail', 'info', 'open'];
  for (const [lane, begin, end, outcome, row, text] of data.calls) {
    const at = byLane.get(lane);
    const until = end < 0 ? data.endMs : end;
    if (at === undefined || until < view.fromMs || begin > view.toMs) continue;
    const top = at.topPx + 6 + (row % 12) * 9;
    const tone = outcomes[outcome] ?? 'open';
    const told = `${data.strings[text]}: ${end < 0 ? 'never answered' : tone}, ${timeSpan(begin, until)}`;
    add('box', xOf(begin), top, Math.max(xOf(until), xOf(begin) + 1.5), top + 7, tone, told);
  }
}

/** Arrows of the messages in view; with too many of them, every so many-th of those that arrived. Gives how many were left out. */
export function addMessages(stage: Stage): number {
  const { data, view, byLane } = stage;
  const { fromMs, toMs, hiddenKinds } = view;
  // All are looked at for every drawing: by index, since taking a tuple apart is many times slower.
  const inView = data.messages.filter((message) => {
    const sent = message[2];
    if (sent > toMs || (message[3] < 0 ? sent : message[3]) < fromMs) return false;
    return !hiddenKinds.has(message[4]) && byLane.has(message[0]) && byLane.has(message[1]);
  });
  const stride = Math.max(1, Math.ceil(inView.length / view.maxArrows));
  let drawn = 0;
  for (let i = 0; i < inView.length; i += stride) {
    // Of the ones that this arrow stands for, one that was lost says most.
    let message = inView[i];
    for (let j = i + 1; j < i + stride && j < inView.length; j++) {
      const other = inView[j];
      if (message !== undefined && message[5] < 2 && other !== undefined && other[5] >= 2) message = other;
    }
    if (message === undefined) continue;
    addArrow(stage, message);
    drawn++;
  }
  return inView.length - drawn;
}

/** One arrow. It is cut where it leaves the view; that of a lost message ends on its way. */
export function addArrow(
  { data, view, byLane, xOf, add }: Stage,
  [from, to, sent, end, kind, fate, text]: PageData['messages'][number],
): void {
  const a = byLane.get(from);
  const b = byLane.get(to);
  if (a === undefined || b === undefined) return;
  const lost = fate >= 2;
  const until = end < 0 ? sent : end;
  const fromY = a.topPx + a.heightPx / 2;
  const length = (b.topPx + b.heightPx / 2 - fromY) * (lost ? 0.55 : 1);
  const begins = Math.max(sent, view.fromMs);
  const ends = Math.min(until, view.toMs);
  const instant = until <= sent;
  const y1 = instant ? fromY : fromY + (length * (begins - sent)) / (until - sent);
  const y2 = instant ? fromY + length : fromY + (length * (ends - sent)) / (until - sent);
  const names = `${data.lanes[from]?.name} → ${data.lanes[to]?.name}`;
  const ending = [',', ', again', ', LOST', ', never arrived'][fate] ?? ',';
  const times = end < 0 ? `${sent.toFixed(3)} ms` : timeSpan(sent, until);
  const told = `${names}: ${data.strings[text]}${ending} ${times}`;
  add('arrow', xOf(begins), y1, xOf(ends), y2, lost ? 'lost' : (data.kinds[kind] ?? 'other'), told);
  if (lost) add('cross', xOf(ends), y2, 4, 0, 'lost', told);
}

/** Instants, one of a kind for each pixel of a lane. Gives how many were left out. */
export function addMarks({ data, view, byLane, bottomPx, xOf, add }: Stage): number {
  const taken = new Set<number>();
  let leftOut = 0;
  for (const mark of data.marks) {
    const atMs = mark[1];
    if (atMs < view.fromMs || atMs > view.toMs) continue;
    const [lane, , kind, text] = mark;
    const at = byLane.get(lane);
    if (at === undefined || view.hiddenKinds.has(kind)) continue;
    const x = xOf(atMs);
    const place = (lane * data.kinds.length + kind) * 100_000 + Math.round(x);
    if (taken.has(place)) {
      leftOut++;
      continue;
    }
    taken.add(place);
    const name = data.kinds[kind] ?? 'note';
    const told = `${data.lanes[lane]?.name}: ${name} ${data.strings[text]}, ${atMs.toFixed(3)} ms`;
    const middle = at.topPx + at.heightPx / 2;
    const bottom = at.topPx + at.heightPx - 3;
    if (name === 'violation') add('line', x, 20, x, bottomPx, 'violation', told);
    if (name === 'crash' || name === 'violation') add('cross', x, middle, 7, 0, name, told);
    else add('tick', x, bottom - 9, x, bottom, name, told);
  }
  return leftOut;
}

/** The topmost shape that tells something at a point; undefined: none. */
export function shapeAt(shapes: readonly Shape[], x: number, y: number): Shape | undefined {
  for (let i = shapes.length - 1; i >= 0; i--) {
    const shape = shapes[i];
    if (shape === undefined || shape.text === '' || shape.form === 'note') continue;
    const { form, x1, y1, x2, y2 } = shape;
    if (form === 'box') {
      if (x >= x1 - 2 && x <= x2 + 2 && y >= y1 && y <= y2) return shape;
    } else if (form === 'cross') {
      if (Math.abs(x - x1) <= x2 + 2 && Math.abs(y - y1) <= x2 + 2) return shape;
    } else {
      const length = (x2 - x1) ** 2 + (y2 - y1) ** 2;
      const along =
        length === 0 ? 0 : Math.max(0, Math.min(1, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length));
      const dx = x - (x1 + along * (x2 - x1));
      const dy = y - (y1 + along * (y2 - y1));
      if (dx * dx + dy * dy <= 9) return shape;
    }
  }
  return undefined;
}

/** A view that shows less (factor below 1) or more of the time around an instant, kept within the run. */
export function zoomed(
  data: PageData,
  fromMs: number,
  toMs: number,
  aroundMs: number,
  factor: number,
): [number, number] {
  const wholeMs = Math.max(data.endMs - data.beginMs, 0.001);
  const lengthMs = Math.min(wholeMs, Math.max(0.001, (toMs - fromMs) * factor));
  const share = (aroundMs - fromMs) / (toMs - fromMs);
  const from = Math.max(
    data.beginMs,
    Math.min(data.beginMs + wholeMs - lengthMs, aroundMs - share * lengthMs),
  );
  return [from, from + lengthMs];
}
