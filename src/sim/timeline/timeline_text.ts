/**
 * A recorded run as text: one line for what matters, folded counts for what happens all the time, everything right before the violation.
 *
 *     line := atMs, lane, what        "    412.118  node-2    role leader in term 3"
 *
 * Invariants: lines are in the order of the events; no more than `maxLines` (what is left out is counted); the same events and options give the same text; control
 * characters of keys and values never reach the terminal.
 */

import type { Lane, TraceEvent } from '../core/trace.ts';
import type { MessageKind } from './frame_text.ts';
import { type TimelineCall, type TimelineMessage, timelineOf } from './timeline.ts';

export interface TextTimelineOptions {
  /** Lines that come first, one for each entry. */
  readonly header?: readonly string[] | undefined;
  /** Only events of these lanes, and messages to or from them. Default: all. */
  readonly lanes?: readonly Lane[] | undefined;
  /** Virtual time of the first and last event shown. */
  readonly fromMs?: number | undefined;
  readonly toMs?: number | undefined;
  /** Most lines of events. Default: 2,000. */
  readonly maxLines?: number | undefined;
  /** Events right before the violation (or the end) of which none is folded away. Default: 200. */
  readonly contextEvents?: number | undefined;
  /** What is shown at the end where the events have no violation of their own. */
  readonly failure?:
    | { readonly invariant: string; readonly message: string; readonly atMs: number }
    | undefined;
}

const DEFAULT_MAX_LINES = 2_000;
const DEFAULT_CONTEXT_EVENTS = 200;
const MAX_TEXT = 300;
const MAX_VERDICT_LINES = 40;
/** A message or an answer that takes longer has a line of its own when it comes. */
const LATE_MS = 20;
/** Fewer folded events than that have no line of their own. */
const MIN_FOLD = 10;
const CALLS_IN_A_FOLD = 10;
/** Share of the lines that shows the beginning, when not all can be shown. */
const HEAD_SHARE = 0.25;

/** Gives the timeline, lines ended by line feeds. */
export function textTimeline(events: readonly TraceEvent[], options: TextTimelineOptions = {}): string {
  const writer = new Writer(events, options);
  const lines = bounded(writer.lines(), options.maxLines ?? DEFAULT_MAX_LINES);
  const header = (options.header ?? []).map((line) => shown(line, 2_000));
  return `${[...header, ...lines, ...writer.verdict()].join('\n')}\n`;
}

function bounded(lines: readonly string[], maxLines: number): readonly string[] {
  if (lines.length <= maxLines) return lines;
  const head = Math.floor((maxLines - 1) * HEAD_SHARE);
  const tail = Math.max(0, maxLines - 1 - head);
  const gap = `… ${lines.length - head - tail} lines left out …`;
  return [...lines.slice(0, head), gap, ...lines.slice(lines.length - tail)];
}

/** What was folded since the last line. */
interface Fold {
  messages: number;
  disk: number;
  kinds: Map<MessageKind, number>;
}

class Writer {
  readonly #events: readonly TraceEvent[];
  readonly #options: TextTimelineOptions;
  readonly #messages = new Map<number, TimelineMessage[]>();
  readonly #calls = new Map<number, TimelineCall>();
  readonly #nameWidth: number;
  readonly #lines: string[] = [];
  #lateMessages: Map<string, TimelineMessage> | undefined;
  #lateAnswers: Set<string> | undefined;
  #callsOver = 0;
  #fold: Fold = { messages: 0, disk: 0, kinds: new Map() };

  constructor(events: readonly TraceEvent[], options: TextTimelineOptions) {
    const { lanes: wanted, fromMs = -Infinity, toMs = Infinity } = options;
    const timeline = timelineOf(events);
    this.#options = options;
    this.#events = events.filter(
      ({ lane, to, atMs }) =>
        atMs >= fromMs &&
        atMs <= toMs &&
        (wanted === undefined || wanted.includes(lane) || (to !== undefined && wanted.includes(to))),
    );
    for (const message of timeline.messages) {
      const others = this.#messages.get(message.seq);
      if (others === undefined) this.#messages.set(message.seq, [message]);
      else others.push(message);
    }
    for (const call of timeline.calls) this.#calls.set(call.seq, call);
    this.#nameWidth = timeline.lanes.reduce((width, { name }) => Math.max(width, name.length), 8);
  }

  lines(): readonly string[] {
    const { contextEvents = DEFAULT_CONTEXT_EVENTS } = this.#options;
    const events = this.#events;
    const ends = events.findIndex(({ kind }) => kind === 'violation');
    const contextEnds = ends < 0 ? events.length : ends;
    const contextBegins = Math.max(0, contextEnds - contextEvents);
    events.forEach((event, at) => {
      if (at === contextBegins) this.#unfold(1);
      this.#take(event, at >= contextBegins && at <= contextEnds);
    });
    this.#unfold(1);
    return this.#lines;
  }

  /** The last lines: what was violated. */
  verdict(): string[] {
    const { failure } = this.#options;
    if (failure === undefined) return [];
    const { invariant, message, atMs } = failure;
    const told = message.split('\n').slice(0, MAX_VERDICT_LINES);
    const title = `VIOLATION of ${shown(invariant, MAX_TEXT)} at ${atMs.toFixed(3)} ms:`;
    return ['', title, ...told.map((line) => shown(line, 2_000))];
  }

  #take(event: TraceEvent, whole: boolean): void {
    const { kind, label, to } = event;
    switch (kind) {
      case 'send':
        return this.#sent(event, whole);
      case 'deliver':
      case 'drop':
        return this.#ended(event);
      case 'disk':
        if (whole) this.#line(event, `disk ${label}`);
        else this.#fold.disk++;
        return;
      case 'invoke':
        return this.#invoked(event, whole);
      case 'ok':
      case 'fail':
      case 'info':
        return this.#answered(event);
      case 'fault':
        if (to === undefined) return this.#line(event, `FAULT ${label}`);
        return this.#line(
          event,
          label.startsWith('{') ? `FAULT link to ${to}: ${label}` : `FAULT ${label} (${to})`,
        );
      case 'crash':
        return this.#line(event, `CRASH ${label}`);
      case 'start':
        return this.#line(event, 'starts');
      case 'violation':
        return this.#line(event, `VIOLATION ${label}`);
      default:
        return this.#line(event, `${kind} ${label}`);
    }
  }

  #sent(event: TraceEvent, whole: boolean): void {
    const fates = this.#messages.get(event.seq) ?? [];
    const [first] = fates;
    if (first === undefined) return;
    const matters = first.kind === 'vote' || first.kind === 'other';
    if (!whole && !matters) {
      const { kinds } = this.#fold;
      this.#fold.messages++;
      kinds.set(first.kind, (kinds.get(first.kind) ?? 0) + 1);
      return;
    }
    this.#line(event, `-> ${event.to}  ${event.label}  [${fates.map(fateOf).join(', ')}]`);
  }

  /** Messages are told of when they are sent; only one that took long is told of again. */
  #ended(event: TraceEvent): void {
    if (event.kind !== 'deliver' || event.id === undefined) return;
    const message = this.#lateMessage(event);
    if (message === undefined) return;
    const afterMs = event.atMs - message.sentMs;
    this.#line(event, `<- ${event.to}  ${message.text}  [after ${afterMs.toFixed(1)} ms]`);
  }

  #lateMessage({ lane, atMs, to }: TraceEvent): TimelineMessage | undefined {
    if (this.#lateMessages === undefined) {
      this.#lateMessages = new Map();
      for (const fates of this.#messages.values()) {
        for (const message of fates) {
          const { from, to: target, sentMs, endMs } = message;
          if (endMs === undefined || message.fate === 'lost' || endMs - sentMs < LATE_MS) continue;
          this.#lateMessages.set(`${from}>${target}@${endMs}`, message);
        }
      }
    }
    return this.#lateMessages.get(`${to}>${lane}@${atMs}`);
  }

  #invoked(event: TraceEvent, whole: boolean): void {
    const call = this.#calls.get(event.seq);
    if (call === undefined) return this.#line(event, event.label);
    if (call.toMs === undefined) return this.#line(event, `${event.label}  [never answered]`);
    const tookMs = call.toMs - call.fromMs;
    const soon = tookMs < LATE_MS;
    const answer = answerOf(call.text, event.label);
    const outcome = answer === '' ? call.outcome : `${call.outcome}: ${answer}`;
    const text = `${event.label}  [${soon ? `${outcome}, ` : ''}after ${tookMs.toFixed(1)} ms]`;
    // What is folded goes on over calls that go well, for some of them.
    if (soon && call.outcome === 'ok' && !whole && ++this.#callsOver < CALLS_IN_A_FOLD)
      this.#write(event, text);
    else this.#line(event, text);
  }

  #answered(event: TraceEvent): void {
    const { id, lane, kind, label } = event;
    this.#lateAnswers ??= new Set(
      [...this.#calls.values()]
        .filter(({ fromMs, toMs }) => toMs !== undefined && toMs - fromMs >= LATE_MS)
        .map((call) => `${call.lane}@${call.toMs}`),
    );
    if (id !== undefined && !this.#lateAnswers.has(`${lane}@${event.atMs}`)) return;
    this.#line(event, `${kind}: ${label}`);
  }

  #line(event: TraceEvent, text: string): void {
    this.#unfold(MIN_FOLD);
    this.#write(event, text);
  }

  #write({ atMs, lane }: TraceEvent, text: string): void {
    const time = atMs.toFixed(3).padStart(12);
    this.#lines.push(`${time}  ${shown(lane, 40).padEnd(this.#nameWidth)}  ${shown(text, MAX_TEXT)}`);
  }

  /** What is less than `least` waits for more. */
  #unfold(least: number): void {
    this.#callsOver = 0;
    const { messages, disk, kinds } = this.#fold;
    if (messages + disk < least) return;
    const parts: string[] = [];
    if (messages > 0) {
      const detail = [...kinds].map(([kind, count]) => `${count} ${kind}`).join(', ');
      parts.push(`${messages} ${messages === 1 ? 'message' : 'messages'} (${detail})`);
    }
    if (disk > 0) parts.push(`${disk} disk ${disk === 1 ? 'operation' : 'operations'}`);
    this.#lines.push(`${' '.repeat(12)}  ${'…'.padEnd(this.#nameWidth)}  ${parts.join(', ')}`);
    this.#fold = { messages: 0, disk: 0, kinds: new Map() };
  }
}

function fateOf({ fate, sentMs, endMs }: TimelineMessage): string {
  if (fate === 'lost') return 'lost';
  if (endMs === undefined) return 'never arrives';
  return `${fate === 'repeated' ? 'again ' : ''}after ${(endMs - sentMs).toFixed(1)} ms`;
}

/** What an answer says over the call's own words. */
function answerOf(text: string, call: string): string {
  if (text === call) return '';
  return text.startsWith(`${call}: `) ? text.slice(call.length + 2) : text;
}

/** One line, bounded, without anything that a terminal would take for a command. */
function shown(text: string, maxLength: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not get out
  const plain = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
  return plain.length <= maxLength ? plain : `${plain.slice(0, maxLength - 1)}…`;
}
