/**
 * The one thing in a simulated world that decides what happens next: events in the order of (virtual time, order of scheduling).
 *
 * Invariants: one event runs at a time, and all promise reactions that it set off have run before the next; virtual time never goes back and passes only between
 * events; nothing here looks at a real clock. An event belongs to a process (or to nobody): those of a dead process never run, those of a paused one wait for its
 * resumption, in order. Time that stands still for STANDSTILL_EVENTS events is a livelock and ends the run, and so does an empty queue while something is awaited.
 *
 * How promise reactions are drained: each event is run from a `process.nextTick` callback that was asked for by a promise reaction. Node runs ticks only after all
 * promise reactions, those that came up meanwhile included, so the next event starts on an empty microtask queue. Every TICKS_A_TURN events a turn of the real event
 * loop is made, in which Node reports rejections that nobody handled.
 */
import type { Trace } from './trace.ts';

const STANDSTILL_EVENTS = 200_000;
const TICKS_A_TURN = 64;

/** Whose events may be held back or be over. */
export interface EventOwner {
  readonly alive: boolean;
  readonly paused: boolean;
  /** Called in place of running an event while paused. */
  hold(event: ScheduledEvent): void;
}

export interface ScheduledEvent {
  readonly atMs: number;
  readonly seq: number;
  readonly owner: EventOwner | undefined;
  /** undefined: cancelled or over. */
  run: (() => void) | undefined;
}

export interface SchedulerLimits {
  /** Events of one `drive`. Default: no limit. */
  readonly maxEvents?: number | undefined;
  /** Virtual time at which a drive ends in failure. Default: no limit. */
  readonly deadlineMs?: number | undefined;
}

/** The world can't go on: a livelock, nothing left to happen, or an error that nobody caught. */
export class SimulationError extends Error {
  override readonly name = 'SimulationError';
}

const settled = Promise.resolve();
// `process` is a getter of the global object: looked up once.
const { nextTick } = process;

export class Scheduler {
  nowMs = 0;
  /** Events that have run. */
  events = 0;
  trace: Trace | undefined;
  /** Called between two events, when nothing is under way: for checks, which change nothing. */
  afterEvent: (() => void) | undefined;
  /** Whose event ran last; undefined: nobody's. */
  lastOwner: EventOwner | undefined;
  readonly #heap: ScheduledEvent[] = [];
  /** Events that were scheduled for the instant at which they were scheduled, a quarter of all: in order already, and over before time moves on. */
  readonly #instant: (ScheduledEvent | undefined)[] = [];
  #instantNext = 0;
  #instantEnd = 0;
  #seq = 0;
  #atThisInstant = 0;
  #running = false;
  #failure: Error | undefined;

  /** Events that have not run yet, cancelled ones included. */
  get pending(): number {
    return this.#heap.length + this.#instantEnd - this.#instantNext;
  }

  /** Schedules an event; to cancel it, set its `run` to undefined. */
  after(delayMs: number, run: () => void, owner?: EventOwner): ScheduledEvent {
    return this.at(this.nowMs + Math.max(delayMs, 0), run, owner);
  }

  at(timeMs: number, run: () => void, owner?: EventOwner): ScheduledEvent {
    const atMs = Math.max(timeMs, this.nowMs);
    const event: ScheduledEvent = { atMs, seq: ++this.#seq, owner, run };
    if (atMs === this.nowMs) this.#instant[this.#instantEnd++] = event;
    else this.#push(event);
    return event;
  }

  /** Ends the drive under way with this error. The first one counts. */
  fail(error: Error): void {
    this.#failure ??= error;
  }

  /**
   * Runs events until a promise has settled, and gives what it resolves to.
   * @throws SimulationError when the world can't go on, when a rejection found no handler, or when the world is driven already; what the promise rejects with.
   */
  async drive<T>(body: () => Promise<T>, limits: SchedulerLimits = {}): Promise<T> {
    if (this.#running) throw new SimulationError('the world is driven already');
    this.#running = true;
    this.#failure = undefined;
    let outcome: { value: T } | { error: unknown } | undefined;
    this.after(0, () => {
      body().then(
        (value) => {
          outcome = { value };
        },
        (error: unknown) => {
          outcome = { error };
        },
      );
    });
    const uncaught = (error: unknown): void => {
      const cause = error instanceof Error ? error : new Error(String(error));
      this.trace?.add('violation', 'world', 'unhandled rejection', 0, undefined, 0, cause.message);
      this.fail(new SimulationError(`nobody handled a rejection: ${cause.message}`, { cause }));
    };
    process.on('unhandledRejection', uncaught);
    try {
      await this.#loop(() => outcome !== undefined, limits);
    } finally {
      process.off('unhandledRejection', uncaught);
      this.#running = false;
    }
    if (outcome === undefined) throw new SimulationError('the drive ended before its body');
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  }

  #loop(done: () => boolean, limits: SchedulerLimits): Promise<void> {
    const lastEvent = this.events + (limits.maxEvents ?? Number.POSITIVE_INFINITY);
    const deadlineMs = limits.deadlineMs ?? Number.POSITIVE_INFINITY;
    return new Promise((resolve, reject) => {
      let untilTurn = TICKS_A_TURN;
      const askForTick = (): void => nextTick(step);
      const step = (): void => {
        this.#look();
        if (this.#failure !== undefined) return reject(this.#failure);
        // A last turn of the real loop before the end, so that every unhandled rejection has been reported.
        if (done()) {
          setImmediate(() => (this.#failure === undefined ? resolve() : reject(this.#failure)));
          return;
        }
        if (--untilTurn === 0) {
          untilTurn = TICKS_A_TURN;
          setImmediate(step);
          return;
        }
        if (this.events >= lastEvent) {
          return reject(new SimulationError(`not done after ${limits.maxEvents} events`));
        }
        const problem = this.#runNext(deadlineMs);
        if (problem !== undefined) return reject(problem);
        settled.then(askForTick);
      };
      step();
    });
  }

  #look(): void {
    try {
      this.afterEvent?.();
    } catch (error) {
      this.fail(error instanceof Error ? error : new SimulationError(String(error)));
    }
  }

  /** Runs the next event that may run. Gives why there is none. */
  #runNext(deadlineMs: number): Error | undefined {
    for (;;) {
      const event = this.#next();
      if (event === undefined) {
        return new SimulationError('nothing is left to happen, but something is still awaited');
      }
      const { run, owner } = event;
      if (run === undefined || (owner !== undefined && !owner.alive)) continue;
      if (owner?.paused) {
        owner.hold(event);
        continue;
      }
      if (event.atMs > deadlineMs) {
        this.#push(event);
        return new SimulationError(`not done by ${deadlineMs} ms of virtual time`);
      }
      if (event.atMs > this.nowMs) {
        this.nowMs = event.atMs;
        this.#atThisInstant = 0;
      } else if (++this.#atThisInstant > STANDSTILL_EVENTS) {
        return new SimulationError(
          `time stands still at ${this.nowMs} ms: ${STANDSTILL_EVENTS} events there`,
        );
      }
      this.events++;
      this.trace?.mixNumber(event.atMs + event.seq);
      event.run = undefined;
      this.lastOwner = owner;
      try {
        run();
      } catch (error) {
        return error instanceof Error ? error : new SimulationError(String(error));
      }
      return undefined;
    }
  }

  #next(): ScheduledEvent | undefined {
    const at = this.#instantNext;
    const first = this.#instant[at];
    if (first === undefined) return this.#pop();
    // What was scheduled for this instant before it came.
    const earlier = this.#heap[0];
    if (earlier !== undefined && before(earlier, first)) return this.#pop();
    this.#instant[at] = undefined;
    this.#instantNext = at + 1;
    // The places are used again.
    if (this.#instantNext === this.#instantEnd) {
      this.#instantNext = 0;
      this.#instantEnd = 0;
    }
    return first;
  }

  #push(event: ScheduledEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent]!;
      if (!before(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): ScheduledEvent | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    const count = heap.length;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= count) break;
      if (child + 1 < count && before(heap[child + 1]!, heap[child]!)) child++;
      const below = heap[child]!;
      if (!before(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function before(a: ScheduledEvent, b: ScheduledEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.seq < b.seq);
}
