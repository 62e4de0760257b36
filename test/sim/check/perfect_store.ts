/**
 * A store without faults, in a few lines: makes random histories that every checker must accept, for tests to accept and then to spoil.
 *
 * Clients overlap in time; an operation takes effect at a moment between its call and its answer; some answers get lost (info), and then the operation happened or not; keys with a time
 * to live expire by a clock that is right; watchers begin at any revision and are cut into random batches of whole revisions.
 */
import type {
  BatchSeen,
  EntrySeen,
  EventSeen,
  OperationRecord,
  Step,
  StepResult,
  WatcherRecord,
} from '../../../src/sim/check/observations.ts';

export interface PerfectRun {
  readonly operations: OperationRecord[];
  readonly watchers: WatcherRecord[];
  readonly events: EventSeen[];
}

/** A small generator of numbers (mulberry32): tests must not depend on the one of the simulator. */
export function numbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const KEYS = ['k/1', 'k/2', 'k/3', 'k/4', 'm/1', 'm/2'];
const CLIENTS = 5;

export function perfectRun(seed: number, count = 120): PerfectRun {
  const run = new Maker(seed);
  for (let at = 0; at < count; at++) run.next();
  run.expire(run.nowMs + 100_000);
  return { operations: run.operations, watchers: run.watch(), events: run.events };
}

class Maker {
  readonly operations: OperationRecord[] = [];
  readonly events: EventSeen[] = [];
  nowMs = 0;
  private readonly eventTimes = new Map<number, number>();
  private readonly draw: () => number;
  private revision = 1;
  private values = 0;
  private readonly sequences = new Array<number>(CLIENTS).fill(0);
  private readonly freeAt = new Array<number>(CLIENTS).fill(0);
  private readonly seen = new Array<number>(CLIENTS).fill(0);
  private readonly live = new Map<string, EntrySeen>();
  private readonly past: Map<string, EntrySeen>[] = [];

  constructor(seed: number) {
    this.draw = numbers(seed);
    this.past[1] = new Map();
  }

  next(): void {
    const client = this.int(CLIENTS);
    // The moment of effect grows from operation to operation; the call came before it and the answer comes after.
    this.nowMs += 1 + this.int(20);
    const invokedMs = Math.max(this.freeAt[client]!, this.nowMs - this.int(60));
    if (invokedMs >= this.nowMs) this.nowMs = invokedMs + 1;
    this.expire(this.nowMs);
    const settledMs = this.nowMs + 1 + this.int(60);
    this.freeAt[client] = settledMs;
    const lost = this.draw() < 0.1;
    const kind = this.draw();
    const operation = kind < 0.35 ? this.read(client) : this.write(client);
    const record = { ...operation, id: this.operations.length, client: `c${client}`, invokedMs, settledMs };
    if (lost) {
      record.outcome = 'info';
      record.errorCode = 'TIMEOUT';
      record.revision = 0;
      record.results = [];
      record.succeeded = true;
      record.settledMs = Number.POSITIVE_INFINITY;
      this.freeAt[client] = this.nowMs + 30;
    } else {
      this.seen[client] = Math.max(this.seen[client]!, record.revision);
    }
    this.operations.push(record);
  }

  /** Removes what is due. */
  expire(nowMs: number): void {
    const due = [...this.live].filter(([, { expiresAtMs }]) => expiresAtMs !== 0 && expiresAtMs <= nowMs);
    due.sort(([, a], [, b]) => a.expiresAtMs - b.expiresAtMs);
    for (const [key, { expiresAtMs }] of due) {
      this.nowMs = Math.max(this.nowMs, expiresAtMs);
      this.begin(this.nowMs);
      this.remove(key);
      this.end();
    }
  }

  watch(): WatcherRecord[] {
    const all = this.watcher('all', '', undefined, 2);
    const some = Array.from({ length: 4 }, (_, at) => {
      const key = KEYS[this.int(KEYS.length)]!;
      const from = this.draw() < 0.3 ? 0 : 2 + this.int(this.revision);
      return this.watcher(`w${at}`, key, this.draw() < 0.5 ? `${key}\0` : 'm/9', from);
    });
    return [all, ...some];
  }

  private watcher(name: string, start: string, end: string | undefined, fromRevision: number): WatcherRecord {
    const from = fromRevision === 0 ? 1 + this.int(this.revision) : fromRevision;
    const inside = (event: EventSeen) =>
      event.revision >= from && event.key >= start && (end === undefined || event.key < end);
    const mine = this.events.filter(inside);
    const batches: BatchSeen[] = [];
    for (let at = 0; at < mine.length; ) {
      const batch: EventSeen[] = [];
      const wanted = 1 + this.int(4);
      for (let revisions = 0; at < mine.length; at++) {
        const event = mine[at]!;
        if (event.revision !== batch.at(-1)?.revision && ++revisions > wanted) break;
        batch.push(event);
      }
      const { revision } = batch.at(-1)!;
      batches.push({ revision, events: batch, atMs: this.eventTimes.get(revision)! + 1 + this.int(50) });
    }
    const last = batches.at(-1)?.revision ?? 0;
    if (this.revision > last && this.revision >= from)
      batches.push({ revision: this.revision, events: [], atMs: this.nowMs + 10 });
    return { name, start, end, fromRevision, openedMs: 0, seenRevision: 0, batches, ended: undefined };
  }

  private read(client: number): Draft {
    const level = pick(['linearizable', 'linearizable', 'sequential', 'eventual'] as const, this.draw());
    const oldest = level === 'linearizable' ? this.revision : level === 'sequential' ? this.seen[client]! : 1;
    const shown = Math.max(1, oldest + this.int(this.revision - oldest + 1));
    const asked = this.draw() < 0.15 ? 1 + this.int(shown) : 0;
    const state = this.past[asked === 0 ? shown : asked]!;
    const base = { level, atRevision: asked, seenRevision: this.seen[client]!, revision: shown };
    if (this.draw() < 0.7) {
      const key = KEYS[this.int(KEYS.length)]!;
      return draft('get', [{ type: 'get', key }], [{ type: 'get', entry: state.get(key) }], base);
    }
    const reverse = this.draw() < 0.5;
    const limit = this.draw() < 0.5 ? 0 : 1 + this.int(3);
    const entries = [...state.values()].filter(({ key }) => key >= 'k/' && key < 'k0');
    entries.sort((a, b) => (a.key < b.key === reverse ? 1 : -1));
    const cut = limit === 0 ? entries : entries.slice(0, limit);
    const step: Step = { type: 'scan', start: 'k/', end: 'k0', limit, reverse };
    return draft('scan', [step], [{ type: 'scan', entries: cut }], base);
  }

  private write(client: number): Draft {
    const steps = this.steps();
    const elseSteps: Step[] = [{ type: 'get', key: KEYS[0]! }];
    const key = KEYS[this.int(KEYS.length)]!;
    const entry = this.live.get(key);
    const compares =
      steps.length === 1
        ? []
        : [
            this.draw() < 0.5
              ? { key, exists: this.draw() < 0.5 }
              : { key, modRevision: entry?.modRevision ?? 0 },
          ];
    const succeeded = compares.every((compare) =>
      'exists' in compare ? compare.exists === (entry !== undefined) : true,
    );
    const before = this.revision;
    this.begin(this.nowMs);
    const results = (succeeded ? steps : elseSteps).map((step) => this.apply(step));
    this.end();
    const first = steps[0]!.type;
    const kind =
      steps.length > 1 || (first !== 'put' && first !== 'delete' && first !== 'touch') ? 'txn' : first;
    const writeIds = [`${client + 1}/${++this.sequences[client]!}`];
    const shape = { compares, elseSteps, succeeded, writeIds, revision: Math.max(before, this.revision) };
    return draft(kind, steps, results, shape);
  }

  private steps(): Step[] {
    const chance = this.draw();
    const keys = [...KEYS].sort(() => this.draw() - 0.5);
    if (chance < 0.45) return [this.put(keys[0]!)];
    if (chance < 0.6) return [{ type: 'delete', key: keys[0]! }];
    if (chance < 0.7) return [{ type: 'touch', key: keys[0]!, ttlMs: 200 + this.int(400) }];
    if (chance < 0.75) return [{ type: 'deleteRange', start: 'k/3', end: 'k/9' }];
    return [
      { type: 'get', key: keys[0]! },
      this.put(keys[1]!),
      this.put(keys[2]!),
      { type: 'delete', key: keys[3]! },
    ];
  }

  private put(key: string): Step {
    const ttlMs = this.draw() < 0.25 ? 100 + this.int(500) : 0;
    return { type: 'put', key, value: `v${++this.values}`, ttlMs };
  }

  private apply(step: Step): StepResult {
    switch (step.type) {
      case 'put':
        this.set(step.key, step.value, step.ttlMs);
        return { type: 'put' };
      case 'delete':
        return { type: 'delete', deleted: this.remove(step.key) ? 1 : 0 };
      case 'deleteRange': {
        const keys = [...this.live.keys()].filter((key) => key >= step.start && key < step.end);
        for (const key of keys) this.remove(key);
        return { type: 'delete', deleted: keys.length };
      }
      case 'touch': {
        const entry = this.live.get(step.key);
        if (entry !== undefined) this.set(step.key, entry.value, step.ttlMs);
        return { type: 'touch', found: entry !== undefined };
      }
      case 'get':
        return { type: 'get', entry: this.live.get(step.key) };
      case 'scan':
        return { type: 'scan', entries: [] };
      default:
        throw new Error(`this store has no ${step.type}`);
    }
  }

  private begin(atMs: number): void {
    this.revision++;
    this.eventTimes.set(this.revision, atMs);
  }

  /** A revision without events was none. */
  private end(): void {
    if (this.events.at(-1)?.revision === this.revision) this.past[this.revision] = new Map(this.live);
    else this.revision--;
  }

  private set(key: string, value: string, ttlMs: number): void {
    const before = this.live.get(key);
    const { revision } = this;
    const createRevision = before?.createRevision ?? revision;
    const version = (before?.version ?? 0) + 1;
    const expiresAtMs = ttlMs === 0 ? 0 : this.nowMs + ttlMs;
    this.live.set(key, { key, value, createRevision, modRevision: revision, version, expiresAtMs });
    this.events.push({ revision, key, type: 'put', value, createRevision, version });
  }

  private remove(key: string): boolean {
    if (!this.live.delete(key)) return false;
    const { revision } = this;
    this.events.push({ revision, key, type: 'delete', value: '', createRevision: 0, version: 0 });
    return true;
  }

  private int(below: number): number {
    return Math.floor(this.draw() * below);
  }
}

type Draft = Omit<OperationRecord, 'id' | 'client' | 'invokedMs' | 'settledMs'> & { settledMs?: number };

function draft(
  kind: OperationRecord['kind'],
  steps: Step[],
  results: StepResult[],
  rest: Partial<OperationRecord>,
): Draft {
  return {
    kind,
    outcome: 'ok',
    errorCode: undefined,
    revision: 0,
    writeIds: [],
    compares: [],
    steps,
    elseSteps: [],
    succeeded: true,
    results,
    level: 'linearizable',
    atRevision: 0,
    seenRevision: 0,
    ...rest,
  };
}

function pick<T>(list: readonly T[], chance: number): T {
  return list[Math.floor(chance * list.length)]!;
}
