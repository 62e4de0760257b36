/**
 * What the events of a trace mean together: messages with their fate, calls with their outcome, what each node was when, which links were cut. Text and page are drawn
 * from this.
 *
 * Invariants: pure; every send is a message at least once (once more for each repeated delivery); spans of one lane do not overlap; any list of events is
 * accepted, one that was cut off at either end too.
 */

import type { Lane, TraceEvent } from '../core/trace.ts';
import { type MessageKind, messageKindOf } from './frame_text.ts';
import { type CutSpan, Links } from './timeline_links.ts';

export type LaneKind = 'faults' | 'node' | 'client' | 'world';

export type Fate = 'delivered' | 'repeated' | 'lost' | 'under way';

export interface TimelineMessage {
  /** Of the event of sending. */
  readonly seq: number;
  readonly from: Lane;
  readonly to: Lane;
  readonly sentMs: number;
  /** Where it ended: arrival or loss; undefined: it never did. */
  readonly endMs: number | undefined;
  readonly fate: Fate;
  readonly kind: MessageKind;
  readonly text: string;
}

export interface TimelineCall {
  readonly seq: number;
  readonly lane: Lane;
  readonly fromMs: number;
  /** undefined: it was never answered. */
  readonly toMs: number | undefined;
  readonly outcome: 'ok' | 'fail' | 'info' | 'open';
  readonly text: string;
}

/** `down`: no process; `starting`: a process that has told nothing of its role yet. */
export type NodeState = 'down' | 'starting' | 'follower' | 'preCandidate' | 'candidate' | 'leader' | 'paused';

export interface NodeSpan {
  readonly lane: Lane;
  readonly fromMs: number;
  readonly toMs: number;
  readonly state: NodeState;
  readonly text: string;
}

/** A fault with a beginning and an end. */
export interface FaultSpan {
  readonly lane: Lane;
  readonly fromMs: number;
  readonly toMs: number;
  readonly text: string;
}

/** Anything else: an instant on a lane. */
export interface Mark {
  readonly seq: number;
  readonly lane: Lane;
  readonly atMs: number;
  readonly kind: 'fault' | 'start' | 'crash' | 'role' | 'commit' | 'invoke' | 'disk' | 'note' | 'violation';
  readonly text: string;
}

export interface Timeline {
  readonly lanes: readonly { readonly name: Lane; readonly kind: LaneKind }[];
  readonly beginMs: number;
  readonly endMs: number;
  readonly messages: readonly TimelineMessage[];
  readonly calls: readonly TimelineCall[];
  readonly spans: readonly NodeSpan[];
  readonly cuts: readonly CutSpan[];
  readonly faults: readonly FaultSpan[];
  readonly marks: readonly Mark[];
}

const END_OF = 'end of ';
const ROLES: ReadonlyMap<string, NodeState> = new Map<string, NodeState>([
  ['follower', 'follower'],
  ['preCandidate', 'preCandidate'],
  ['candidate', 'candidate'],
  ['leader', 'leader'],
]);

/** Puts the events of a recorded run together. */
export function timelineOf(events: readonly TraceEvent[]): Timeline {
  const reader = new Reader(events.at(-1)?.atMs ?? 0);
  for (const event of events) reader.take(event);
  return reader.finish(events[0]?.atMs ?? 0);
}

/** Faults, nodes, clients, the rest; each by name, numbers as numbers. */
export function laneKindOf(lane: Lane): LaneKind {
  if (lane === 'faults') return 'faults';
  if (/^node-\d+$/.test(lane)) return 'node';
  return lane === 'world' ? 'world' : 'client';
}

const KIND_ORDER: readonly LaneKind[] = ['faults', 'node', 'client', 'world'];

function compareLanes(a: Lane, b: Lane): number {
  const byKind = KIND_ORDER.indexOf(laneKindOf(a)) - KIND_ORDER.indexOf(laneKindOf(b));
  if (byKind !== 0) return byKind;
  const [, nameA = '', numberA = '0'] = /^(.*?)(\d{0,15})$/s.exec(a) ?? [];
  const [, nameB = '', numberB = '0'] = /^(.*?)(\d{0,15})$/s.exec(b) ?? [];
  if (nameA !== nameB) return nameA < nameB ? -1 : 1;
  return Number(numberA) - Number(numberB);
}

/** What a node is at present. */
interface NodeNow {
  state: NodeState;
  text: string;
  paused: boolean;
  sinceMs: number;
}

interface OpenCall {
  readonly seq: number;
  readonly fromMs: number;
  readonly text: string;
}

class Reader {
  readonly #endMs: number;
  /** When each was first heard of. */
  readonly #lanes = new Map<Lane, number>();
  readonly #messages: TimelineMessage[] = [];
  readonly #sent = new Map<string, TraceEvent>();
  /** Keys of sends whose end is known. */
  readonly #taken = new Set<string>();
  readonly #calls: TimelineCall[] = [];
  readonly #openCalls = new Map<string, OpenCall & { readonly lane: Lane }>();
  readonly #nodes = new Map<Lane, NodeNow>();
  readonly #spans: NodeSpan[] = [];
  readonly #links = new Links();
  readonly #faults: FaultSpan[] = [];
  readonly #openFaults: TraceEvent[] = [];
  readonly #marks: Mark[] = [];

  constructor(endMs: number) {
    this.#endMs = endMs;
  }

  take(event: TraceEvent): void {
    const { lane, to, atMs } = event;
    if (!this.#lanes.has(lane)) this.#lanes.set(lane, atMs);
    if (to !== undefined && !this.#lanes.has(to)) this.#lanes.set(to, atMs);
    switch (event.kind) {
      case 'send':
        this.#sent.set(`${event.lane}>${event.to}#${event.id}`, event);
        return;
      case 'deliver':
        return this.#arrived(`${event.to}>${event.lane}#${event.id}`, event, 'delivered');
      case 'drop':
        return this.#arrived(`${event.lane}>${event.to}#${event.id}`, event, 'lost');
      case 'invoke':
        if (event.id === undefined) return this.#mark(event, event.kind);
        this.#invoked(event, event.id);
        return;
      case 'ok':
      case 'fail':
      case 'info':
        return this.#answered(event, event.kind);
      case 'fault':
        return this.#fault(event);
      default:
        this.#node(event);
        this.#mark(event, event.kind);
    }
  }

  #mark({ seq, lane, atMs, label }: TraceEvent, kind: Mark['kind'], text = label): void {
    this.#marks.push({ seq, lane, atMs, kind, text });
  }

  #arrived(key: string, event: TraceEvent, fate: 'delivered' | 'lost'): void {
    const send = this.#sent.get(key);
    // Sent before the trace begins.
    if (send === undefined) return;
    const again = fate === 'delivered' && this.#taken.has(key);
    this.#taken.add(key);
    this.#message(send, event.atMs, again ? 'repeated' : fate);
  }

  #message(send: TraceEvent, endMs: number | undefined, fate: Fate): void {
    const { seq, lane, to = lane, atMs, label } = send;
    const kind = messageKindOf(label);
    this.#messages.push({ seq, from: lane, to, sentMs: atMs, endMs, fate, kind, text: label });
  }

  #invoked({ seq, lane, atMs, label }: TraceEvent, id: number): void {
    const key = `${lane}#${id}`;
    this.#unanswered(key);
    this.#openCalls.set(key, { seq, lane, fromMs: atMs, text: label });
  }

  /** A client of the same name that began anew counts its calls from one. */
  #unanswered(key: string): void {
    const open = this.#openCalls.get(key);
    if (open === undefined) return;
    this.#openCalls.delete(key);
    this.#calls.push({ ...open, toMs: undefined, outcome: 'open' });
  }

  #answered(event: TraceEvent, outcome: 'ok' | 'fail' | 'info'): void {
    const key = `${event.lane}#${event.id}`;
    const open = this.#openCalls.get(key);
    if (open === undefined) return;
    this.#openCalls.delete(key);
    this.#calls.push({ ...open, toMs: event.atMs, outcome, text: event.label });
  }

  #fault(event: TraceEvent): void {
    const { lane, to, label, atMs } = event;
    if (to !== undefined && label.startsWith('{') && this.#links.set(lane, to, label, atMs)) return;
    if (label === 'heal') this.#links.heal(atMs);
    if (label === 'pause' || label === 'resume') this.#pause(lane, label === 'pause', atMs);
    if (label.startsWith(END_OF)) {
      const kind = label.slice(END_OF.length);
      const at = this.#openFaults.findIndex((open) => firstWord(open.label) === kind);
      const [open] = at < 0 ? [] : this.#openFaults.splice(at, 1);
      if (open === undefined) return;
      this.#faults.push({ lane: open.lane, fromMs: open.atMs, toMs: atMs, text: open.label });
      return;
    }
    this.#openFaults.push(event);
    this.#mark(event, 'fault', to === undefined ? label : `${label} (${to})`);
  }

  #node({ kind, lane, label, atMs }: TraceEvent): void {
    if (laneKindOf(lane) !== 'node') return;
    if (kind === 'start') this.#become(lane, 'starting', 'starting', atMs);
    else if (kind === 'crash') this.#become(lane, 'down', `down: ${label}`, atMs);
    else if (kind === 'role') {
      const role = ROLES.get(firstWord(label));
      if (role !== undefined) this.#become(lane, role, label, atMs);
    } else if (kind === 'note' && /^(failed|removed|did not start)\b/.test(label)) {
      this.#become(lane, 'down', label, atMs);
    }
  }

  #become(lane: Lane, state: NodeState, text: string, atMs: number): void {
    const now = this.#nodes.get(lane);
    if (now !== undefined) this.#closeSpan(lane, now, atMs);
    const paused = state !== 'down' && state !== 'starting' && now?.paused === true;
    this.#nodes.set(lane, { state, text, paused, sinceMs: atMs });
  }

  #pause(lane: Lane, paused: boolean, atMs: number): void {
    const now = this.#nodes.get(lane);
    if (now === undefined || now.paused === paused) return;
    this.#closeSpan(lane, now, atMs);
    now.paused = paused;
    now.sinceMs = atMs;
  }

  #closeSpan(lane: Lane, { state, text, paused, sinceMs }: NodeNow, toMs: number): void {
    if (toMs <= sinceMs) return;
    const shown = paused ? 'paused' : state;
    const told = paused ? `paused (${text})` : text;
    this.#spans.push({ lane, fromMs: sinceMs, toMs, state: shown, text: told });
  }

  finish(beginMs: number): Timeline {
    const endMs = this.#endMs;
    for (const [key, send] of this.#sent) {
      if (!this.#taken.has(key)) this.#message(send, undefined, 'under way');
    }
    for (const key of [...this.#openCalls.keys()]) this.#unanswered(key);
    for (const [lane, now] of this.#nodes) this.#closeSpan(lane, now, endMs);
    const lanes = [...this.#lanes.keys()]
      .sort(compareLanes)
      .map((name) => ({ name, kind: laneKindOf(name) }));
    const nodes = lanes.filter(({ kind }) => kind === 'node');
    const since = new Map(nodes.map(({ name }) => [name, this.#lanes.get(name) ?? 0]));
    return {
      lanes,
      beginMs,
      endMs,
      messages: this.#messages.sort((a, b) => a.seq - b.seq),
      calls: this.#calls.sort((a, b) => a.seq - b.seq),
      spans: this.#spans,
      cuts: this.#links.cuts(since, endMs),
      faults: this.#faults,
      marks: this.#marks,
    };
  }
}

function firstWord(text: string): string {
  return /^[^\s:,]*/.exec(text)?.[0] ?? '';
}
