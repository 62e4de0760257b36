/**
 * Histories for the tests of the checkers: at random, out of a correct store, and by hand; and the slowest and plainest checker there is, to compare with.
 */
import type { HistoryEvent, Operation } from '../../../src/sim/check/history.ts';
import type { JsonValue } from '../../../src/sim/check/json_value.ts';
import type { Model } from '../../../src/sim/check/models.ts';

/** Tries every order of every choice of operations: no memory, no shortcuts. For up to eight operations or so. */
export function bruteForce(operations: readonly Operation[], model: Model): boolean {
  const happened = operations.filter(({ outcome }) => outcome !== 'fail');
  const isRead = (operation: Operation): boolean => ['read', 'get'].includes(operation.f);
  const search = (left: readonly Operation[], state: JsonValue): boolean => {
    if (left.every(({ outcome }) => outcome === 'info')) return true;
    return left.some((operation) => {
      if (left.some((other) => other.outcome === 'ok' && other.returnedAt < operation.invokedAt))
        return false;
      if (operation.outcome === 'info' && isRead(operation)) return false;
      const next = model.step(state, operation);
      return (
        next !== undefined &&
        search(
          left.filter((other) => other !== operation),
          next,
        )
      );
    });
  };
  return search(happened, model.init);
}

/** A small generator of numbers that look random: the same for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export interface Simulated {
  readonly operations: number;
  readonly processes: number;
  readonly keys: number;
  /** Values are drawn from so many; 0: each write has its own. */
  readonly values: number;
  /** Shares of writes, compare-and-sets and deletes; the rest reads. */
  readonly writes: number;
  readonly cas: number;
  readonly deletes?: number;
  /** How many operations end without an answer, at most. */
  readonly unknown?: number;
  /** Whether a comparison that does not hold ends `ok` with succeeded: false; else it ends `fail`. */
  readonly tellsOfComparisons?: boolean;
  /** Every answer is wrong with this chance: another value, in a random place. */
  readonly lies?: number;
}

interface Doing {
  readonly event: HistoryEvent;
  /** undefined: has not taken effect. */
  answer?: HistoryEvent | undefined;
  lost: boolean;
}

/** What clients of a correct store see: each operation takes effect at one moment between its beginning and its end. */
export function simulate(plan: Simulated, random: () => number): HistoryEvent[] {
  const events: HistoryEvent[] = [];
  const state = new Map<string, JsonValue>();
  const doing = new Map<number, Doing>();
  const idle = Array.from({ length: plan.processes }, (_, i) => i);
  let nextProcess = plan.processes;
  let unknown = 0;
  let begun = 0;
  let fresh = 0;
  const whole = (below: number): number => Math.floor(random() * below);
  const value = (): JsonValue => (plan.values === 0 ? ++fresh : whole(plan.values));
  const begin = (): void => {
    const process = idle.splice(whole(idle.length), 1)[0]!;
    const key = `k${whole(plan.keys)}`;
    const dice = random();
    const kind =
      dice < plan.writes
        ? { f: 'write', value: value() }
        : dice < plan.writes + plan.cas
          ? {
              f: 'cas',
              value: [random() < 0.8 ? (state.get(key) ?? null) : value(), value()],
            }
          : dice < plan.writes + plan.cas + (plan.deletes ?? 0)
            ? { f: 'delete' }
            : { f: 'read' };
    const event: HistoryEvent = { process, type: 'invoke', key, ...kind };
    events.push(event);
    begun++;
    const lost = unknown < (plan.unknown ?? 0) && random() < 0.1;
    if (lost) unknown++;
    doing.set(process, { event, lost });
  };
  const takeEffect = (one: Doing): void => {
    const { event } = one;
    const key = String(event.key);
    const held = state.get(key) ?? null;
    const ended = { process: event.process, f: event.f, key: event.key };
    if (event.f === 'read') one.answer = { ...ended, type: 'ok', value: held };
    else if (event.f === 'write') {
      state.set(key, event.value ?? null);
      one.answer = { ...ended, type: 'ok', value: event.value };
    } else if (event.f === 'delete') {
      state.set(key, null);
      one.answer = { ...ended, type: 'ok' };
    } else {
      const [from, to] = Array.isArray(event.value) ? event.value : [];
      const holds = from === held;
      if (holds) state.set(key, to);
      if (holds) one.answer = { ...ended, type: 'ok', value: event.value };
      else if (plan.tellsOfComparisons) one.answer = { ...ended, type: 'ok', succeeded: false };
      else one.answer = { ...ended, type: 'fail', value: event.value };
    }
  };
  const end = (process: number, one: Doing): void => {
    doing.delete(process);
    if (one.lost) {
      events.push({ process, type: 'info', f: one.event.f });
      // As after a crash: a new client takes the place of the old one.
      idle.push(nextProcess++);
      // It may take effect late, or never.
      if (one.answer === undefined && random() < 0.6) late.push(one);
      return;
    }
    let answer = one.answer!;
    if (answer.f === 'read' && answer.type === 'ok' && random() < (plan.lies ?? 0))
      answer = { ...answer, value: plan.values === 0 ? 1 + whole(Math.max(1, fresh)) : whole(plan.values) };
    events.push(answer);
    idle.push(process);
  };
  const late: Doing[] = [];
  while (begun < plan.operations || doing.size > 0) {
    if (late.length > 0 && random() < 0.05) takeEffect(late.pop()!);
    if (begun < plan.operations && idle.length > 0 && random() < 0.5) {
      begin();
      continue;
    }
    const open = [...doing];
    if (open.length === 0) continue;
    const [process, one] = open[whole(open.length)]!;
    if (one.answer === undefined && !(one.lost && random() < 0.5)) takeEffect(one);
    else end(process, one);
  }
  return events;
}
