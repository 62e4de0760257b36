/**
 * The script of the timeline page: draws the shapes of the view on a canvas, and moves the view. It runs in a browser, where timeline_html.ts puts its source text:
 * the rules of timeline_shapes.ts hold here too.
 *
 * Invariants: text of the run reaches the document by `textContent` and the canvas only, never as markup; one drawing for each frame at most, however many events come.
 */
import { lanesIn, type PageData, type Shape, shapeAt, shapesIn, zoomed } from './timeline_shapes.ts';

/** What of a browser's document the script uses. */
export interface PageElement {
  textContent: string | null;
  className: string;
  type: string;
  checked: boolean;
  value: string;
  hidden: boolean;
  width: number;
  height: number;
  readonly clientWidth: number;
  readonly style: Record<string, string>;
  append(...children: readonly (PageElement | string)[]): void;
  addEventListener(type: string, listener: (event: PageEvent) => void, options?: { passive: boolean }): void;
  getContext(kind: string): Canvas;
}

export interface PageEvent {
  readonly offsetX: number;
  readonly offsetY: number;
  readonly deltaX: number;
  readonly deltaY: number;
  readonly key: string;
  readonly ctrlKey: boolean;
  preventDefault(): void;
}

export interface Canvas {
  fillStyle: string;
  strokeStyle: string;
  lineWidth: number;
  font: string;
  setTransform(a: number, b: number, c: number, d: number, e: number, f: number): void;
  clearRect(x: number, y: number, width: number, height: number): void;
  fillRect(x: number, y: number, width: number, height: number): void;
  fillText(text: string, x: number, y: number): void;
  setLineDash(dash: readonly number[]): void;
  beginPath(): void;
  moveTo(x: number, y: number): void;
  lineTo(x: number, y: number): void;
  stroke(): void;
}

export interface PageDocument {
  getElementById(id: string): PageElement;
  createElement(name: string): PageElement;
  readonly documentElement: PageElement;
}

export interface PageWindow {
  readonly devicePixelRatio: number;
  requestAnimationFrame(draw: () => void): void;
  addEventListener(type: string, listener: () => void): void;
  getComputedStyle(element: PageElement): { getPropertyValue(name: string): string };
  matchMedia(query: string): { addEventListener(type: string, listener: () => void): void };
}

/** Draws shapes on a canvas; `colour` gives a tone's colour. */
export function paint(canvas: Canvas, shapes: readonly Shape[], colour: (tone: string) => string): void {
  canvas.font = '12px system-ui, sans-serif';
  for (const { form, x1, y1, x2, y2, tone, text } of shapes) {
    const paintColour = colour(tone);
    canvas.fillStyle = paintColour;
    canvas.strokeStyle = paintColour;
    canvas.lineWidth = tone === 'violation' || form === 'cross' ? 2 : 1;
    if (form === 'box') canvas.fillRect(x1, y1, Math.max(1, x2 - x1), y2 - y1);
    else if (form === 'note') canvas.fillText(text, x1, y1);
    else {
      canvas.setLineDash(tone === 'down' ? [2, 5] : tone === 'lost' && form === 'arrow' ? [4, 3] : []);
      canvas.beginPath();
      if (form === 'cross') {
        canvas.moveTo(x1 - x2, y1 - x2);
        canvas.lineTo(x1 + x2, y1 + x2);
        canvas.moveTo(x1 - x2, y1 + x2);
        canvas.lineTo(x1 + x2, y1 - x2);
      } else {
        canvas.moveTo(x1, y1);
        canvas.lineTo(x2, y2);
        const length = Math.hypot(x2 - x1, y2 - y1);
        if (form === 'arrow' && tone !== 'lost' && length > 6) {
          const dx = (x2 - x1) / length;
          const dy = (y2 - y1) / length;
          canvas.moveTo(x2 - 6 * dx - 3 * dy, y2 - 6 * dy + 3 * dx);
          canvas.lineTo(x2, y2);
          canvas.lineTo(x2 - 6 * dx + 3 * dy, y2 - 6 * dy - 3 * dx);
        }
      }
      canvas.stroke();
    }
  }
}

/** Sets the page up. @param document @param window the browser's own */
export function showTimeline(document: PageDocument, window: PageWindow, data: PageData): void {
  const surface = document.getElementById('canvas');
  const canvas = surface.getContext('2d');
  const tip = document.getElementById('tip');
  const status = document.getElementById('status');
  const found = document.getElementById('found');
  const query = document.getElementById('query');
  const hiddenLanes = new Set<number>();
  const hiddenKinds = new Set<number>();
  const quietKinds = ['heartbeat', 'client', 'disk'];
  const leftPx = 96;
  const violation = data.marks.find(([, , kind]) => data.kinds[kind] === 'violation');
  const wholeMs = Math.max(data.endMs - data.beginMs, 0.001);
  let fromMs = data.beginMs;
  let toMs = data.beginMs + wholeMs;
  let shapes: Shape[] = [];
  let due = false;
  let dragX: number | undefined;
  let searchedMs = -1;

  const msAt = (x: number): number =>
    fromMs + ((x - leftPx) / Math.max(1, surface.clientWidth - leftPx)) * (toMs - fromMs);
  const redraw = (): void => {
    if (due) return;
    due = true;
    window.requestAnimationFrame(draw);
  };
  const show = (range: readonly [number, number]): void => {
    [fromMs, toMs] = range;
    redraw();
  };
  const zoom = (aroundMs: number, factor: number): void => show(zoomed(data, fromMs, toMs, aroundMs, factor));
  const move = (byMs: number): void => show(zoomed(data, fromMs + byMs, toMs + byMs, fromMs + byMs, 1));
  const goTo = (ms: number, aroundMs: number): void =>
    show(zoomed(data, ms - aroundMs, ms + aroundMs, ms, 1));

  function draw(): void {
    due = false;
    const widthPx = Math.max(300, surface.clientWidth);
    const lanes = lanesIn(data, hiddenLanes);
    const heightPx = lanes.reduce((sum, lane) => Math.max(sum, lane.topPx + lane.heightPx), 24) + 8;
    const ratio = window.devicePixelRatio || 1;
    surface.width = Math.round(widthPx * ratio);
    surface.height = Math.round(heightPx * ratio);
    surface.style['height'] = `${heightPx}px`;
    canvas.setTransform(ratio, 0, 0, ratio, 0, 0);
    canvas.clearRect(0, 0, widthPx, heightPx);
    const drawn = shapesIn(data, {
      fromMs,
      toMs,
      widthPx,
      leftPx,
      hiddenLanes,
      hiddenKinds,
      maxArrows: 4000,
    });
    shapes = drawn.shapes;
    const style = window.getComputedStyle(document.documentElement);
    const colours = new Map<string, string>();
    paint(canvas, shapes, (tone) => {
      let colour = colours.get(tone);
      if (colour === undefined) {
        colour = style.getPropertyValue(`--${tone}`).trim() || style.getPropertyValue('--other').trim();
        colours.set(tone, colour);
      }
      return colour;
    });
    const more = drawn.leftOut === 0 ? '' : `, ${drawn.leftOut} more when zoomed in`;
    status.textContent = `${fromMs.toFixed(3)} – ${toMs.toFixed(3)} ms: ${shapes.length} shapes${more}`;
  }

  function switches(id: string, names: readonly string[], hidden: Set<number>, off: readonly string[]): void {
    const box = document.getElementById(id);
    names.forEach((name, i) => {
      const input = document.createElement('input');
      input.type = 'checkbox';
      input.checked = !off.includes(name);
      if (!input.checked) hidden.add(i);
      input.addEventListener('change', () => {
        if (input.checked) hidden.delete(i);
        else hidden.add(i);
        redraw();
      });
      const label = document.createElement('label');
      label.append(input, ` ${name}`);
      box.append(label);
    });
  }

  /** The next call, message or mark whose text holds what is asked for. */
  function search(): void {
    const wanted = query.value.toLowerCase();
    if (wanted === '') return;
    let nextMs = Number.POSITIVE_INFINITY;
    let text = -1;
    const look = (ms: number, string: number): void => {
      if (ms <= searchedMs || ms >= nextMs) return;
      if (!(data.strings[string] ?? '').toLowerCase().includes(wanted)) return;
      nextMs = ms;
      text = string;
    };
    for (const [, , sent, , , , string] of data.messages) look(sent, string);
    for (const [, begin, , , , string] of data.calls) look(begin, string);
    for (const [, atMs, , string] of data.marks) look(atMs, string);
    if (text < 0) {
      found.textContent = searchedMs < 0 ? 'not found' : 'no more; from the start again';
      searchedMs = -1;
      return;
    }
    searchedMs = nextMs;
    found.textContent = `${nextMs.toFixed(3)} ms: ${data.strings[text]}`;
    goTo(nextMs, (toMs - fromMs) / 2);
  }

  document.getElementById('title').textContent = data.title;
  document.getElementById('notes').textContent = data.notes.join('\n');
  switches(
    'lanes',
    data.lanes.map(({ name }) => name),
    hiddenLanes,
    [],
  );
  switches('kinds', data.kinds, hiddenKinds, quietKinds);
  const press = (id: string, action: () => void): void =>
    document.getElementById(id).addEventListener('click', action);
  press('in', () => zoom((fromMs + toMs) / 2, 0.5));
  press('out', () => zoom((fromMs + toMs) / 2, 2));
  press('all', () => show([data.beginMs, data.beginMs + wholeMs]));
  press('find', search);
  document.getElementById('last').hidden = violation === undefined;
  press('last', () => {
    if (violation !== undefined) goTo(violation[1], 20);
  });
  query.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') search();
  });
  query.addEventListener('input', () => {
    searchedMs = -1;
  });
  surface.addEventListener(
    'wheel',
    (event) => {
      event.preventDefault();
      const { deltaX, deltaY } = event;
      if (Math.abs(deltaX) > Math.abs(deltaY)) move((deltaX / 1000) * (toMs - fromMs));
      else zoom(msAt(event.offsetX), Math.exp(deltaY / 400));
    },
    { passive: false },
  );
  surface.addEventListener('pointerdown', ({ offsetX }) => {
    dragX = offsetX;
  });
  for (const ending of ['pointerup', 'pointerleave']) {
    surface.addEventListener(ending, () => {
      dragX = undefined;
      tip.hidden = true;
    });
  }
  surface.addEventListener('pointermove', ({ offsetX, offsetY }) => {
    if (dragX !== undefined) {
      move(msAt(dragX) - msAt(offsetX));
      dragX = offsetX;
      return;
    }
    const shape = shapeAt(shapes, offsetX, offsetY);
    tip.hidden = shape === undefined;
    tip.textContent = shape?.text ?? '';
    tip.style['left'] = `${Math.min(offsetX + 12, Math.max(0, surface.clientWidth - 420))}px`;
    tip.style['top'] = `${offsetY + 14}px`;
  });
  surface.addEventListener('keydown', (event) => {
    const pageMs = (toMs - fromMs) / 4;
    if (event.key === 'ArrowLeft') move(-pageMs);
    else if (event.key === 'ArrowRight') move(pageMs);
    else if (event.key === '+') zoom((fromMs + toMs) / 2, 0.5);
    else if (event.key === '-') zoom((fromMs + toMs) / 2, 2);
    else return;
    event.preventDefault();
  });
  window.addEventListener('resize', redraw);
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  redraw();
}
