/**
 * What happened in a run, as a running hash and, when asked for, as a list of events for the timeline.
 *
 * Invariants: the hash depends on what happened and when, in order, and never on whether events are recorded: `text` is for people and is not hashed; the list is
 * bounded (past the bound only the hash goes on).
 */
export type TraceKind =
  | 'send'
  | 'deliver'
  | 'drop'
  | 'fault'
  | 'start'
  | 'crash'
  | 'role'
  | 'commit'
  | 'invoke'
  | 'ok'
  | 'fail'
  | 'info'
  | 'disk'
  | 'note'
  | 'violation';

/** A line of the timeline: 'node-1', 'client-2', 'faults', 'world'. */
export type Lane = string;

export interface TraceEvent {
  readonly atMs: number;
  readonly seq: number;
  readonly lane: Lane;
  readonly kind: TraceKind;
  readonly label: string;
  readonly to?: Lane;
  /** Pairs a send with its delivery or its loss. */
  readonly id?: number;
}

const MAX_EVENTS = 2_000_000;

export class Trace {
  readonly recording: boolean;
  readonly events: TraceEvent[] = [];
  #low = 0x811c9dc5;
  #high = 0x2545f491;
  #count = 0;
  #nowMs: () => number;
  readonly #scratch = new Float64Array(1);
  readonly #words = new Int32Array(this.#scratch.buffer);

  constructor(recording: boolean, nowMs: () => number) {
    this.recording = recording;
    this.#nowMs = nowMs;
  }

  /** Things that were added. */
  get count(): number {
    return this.#count;
  }

  /** 16 hexadecimal digits. */
  get hash(): string {
    const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, '0');
    return hex(this.#high) + hex(this.#low);
  }

  /**
   * Takes note of something.
   * @param label part of the hash; one of a few words where it happens often.
   * @param value part of the hash: a size, a checksum, an index.
   * @param text shown in place of the label where events are recorded; not part of the hash.
   */
  add(kind: TraceKind, lane: Lane, label: string, value = 0, to?: Lane, id = 0, text?: string): void {
    const nowMs = this.#nowMs();
    this.mixNumber(nowMs);
    this.#mixText(kind);
    this.#mixText(lane);
    this.#mixText(label);
    this.mixNumber(value);
    if (to !== undefined) this.#mixText(to);
    if (id !== 0) this.#mix(id);
    const seq = this.#count++;
    if (!this.recording || this.events.length >= MAX_EVENTS) return;
    this.events.push({
      atMs: nowMs,
      seq,
      lane,
      kind,
      label: text ?? label,
      ...(to === undefined ? {} : { to }),
      ...(id === 0 ? {} : { id }),
    });
  }

  /** Into the hash alone. */
  mixNumber(value: number): void {
    this.#scratch[0] = value;
    this.#mix(this.#words[0]!);
    this.#mix(this.#words[1]!);
  }

  #mixText(text: string): void {
    let hash = text.length;
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    this.#mix(hash);
  }

  /** Two chains with different multipliers, each turned so that high bits come back down. */
  #mix(word: number): void {
    const low = Math.imul(this.#low ^ word, 0x9e3779b1);
    this.#low = low ^ (low >>> 15);
    const high = Math.imul(this.#high ^ word, 0x85ebca77);
    this.#high = (high << 13) ^ (high >>> 19) ^ this.#low;
  }
}
