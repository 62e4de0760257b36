/**
 * The general search: Wing and Gong (1993) with Lowe's memory of configurations and just-in-time linearization (2017), going through the events once.
 *
 * A configuration is the state and, for each operation under way, whether it has taken effect. The frontier holds all configurations that explain the
 * events so far. When an operation ends, each configuration in which it has not taken effect is carried on through every sequence of operations under way that ends
 * with it; no operation takes effect before some end needs it. An empty frontier: there is no linearization, and this end is the first that can't be explained.
 *
 * What keeps the frontier small, and why each is right (H is any history, L a linearization of it):
 * 1. A read (never changes the state) that is under way and possible takes effect at once: moving it forward in L to here changes nothing.
 * 2. Of operations under way that are alike, only the one that ends first is tried: in L the two can change places.
 * 3. A plain write W under way while another plain write Z takes effect is *covered*: it may be taken to have stood just before Z, where nobody saw it. A covered
 *    write that ends simply goes, or takes effect then if its value will be observed. Covered is better than having taken effect or not: each continuation of
 *    those is one of it.
 * 4. A plain write, or any optional operation, is tried only where it lets a read take effect, lets a compare-and-set of its value follow, or is what the end asks for:
 *    else another write or nothing follows, so 3 (or leaving the optional one out) gives a better configuration.
 * 5. A configuration is dropped for one that is better or equal everywhere: reads done, writes covered, optional operations unused (dominates()).
 * 6. A value that no operation that ends later observes is as good as any other such: one state, DEAD; optional operations that only lead there go.
 * 3, 4 and 6 hold for registers only, and 6 not where a comparison that did not hold is in the history (DIFFERS observes every other value).
 */
import type { Budget } from './budget.ts';
import { CAS, type Compiled, DIFFERS, MODEL_READ, MODEL_STEP, READ, WRITE } from './compiled.ts';
import { ConfigurationSet } from './configuration_set.ts';
import { dominated, type SlotMasks } from './dominance.ts';
import { lastObserved } from './observed.ts';

/** A state that nothing can observe. */
export const DEAD = -1;

export interface FrontierResult {
  readonly verdict: 'linearizable' | 'not linearizable' | 'undecided';
  /** Not linearizable: the position in `events` of the first end that can't be explained, and the states before it. */
  readonly stuckAt?: number;
  readonly states?: readonly number[];
  /** Undecided: where the search was. */
  readonly reachedAt?: number;
  readonly mostConfigurations: number;
}

const isRead = (kind: number): boolean => kind === READ || kind === DIFFERS || kind === MODEL_READ;

/** Searches one partition. Memory: two sets of configurations of `1 + 2 * ceil(most under way / 32)` integers. */
export function searchFrontier(compiled: Compiled, budget: Budget): FrontierResult {
  return new Search(compiled, budget).run();
}

class Search {
  readonly #c: Compiled;
  readonly #budget: Budget;
  readonly #words: number;
  readonly #width: number;
  /** The place of each operation under way in the masks. */
  readonly #slotOf: Int32Array;
  readonly #freeSlots: number[] = [];
  readonly #masks: SlotMasks;
  /** Operations under way: those that may change the state, and reads. */
  readonly #changes: number[] = [];
  readonly #reads: number[] = [];
  /** When the last operation ends that observes a value; undefined where rule 6 does not hold. */
  readonly #lastObserved: Int32Array | undefined;
  readonly #retirements: { readonly at: number; readonly op: number }[];
  #frontier: ConfigurationSet;
  #next: ConfigurationSet;
  readonly #visited: ConfigurationSet;
  readonly #scratch: Int32Array;
  readonly #arriving: Int32Array;
  /** Bits that a configuration keeps when it enters the next frontier. */
  readonly #keep: Int32Array;
  #most = 1;

  constructor(compiled: Compiled, budget: Budget) {
    this.#c = compiled;
    this.#budget = budget;
    this.#lastObserved = lastObserved(compiled);
    this.#retirements = this.#plannedRetirements();
    const slots = Math.max(1, this.#mostUnderWay());
    this.#words = Math.ceil(slots / 32);
    this.#width = 1 + 2 * this.#words;
    for (let slot = slots - 1; slot >= 0; slot--) this.#freeSlots.push(slot);
    this.#slotOf = new Int32Array(compiled.kind.length).fill(-1);
    const masks = () => new Int32Array(this.#words);
    this.#masks = { reads: masks(), exact: masks(), optional: masks(), writes: masks(), words: this.#words };
    this.#keep = masks();
    this.#scratch = new Int32Array(this.#width);
    this.#arriving = new Int32Array(this.#width);
    this.#frontier = new ConfigurationSet(this.#width);
    this.#next = new ConfigurationSet(this.#width);
    this.#visited = new ConfigurationSet(this.#width);
  }

  run(): FrontierResult {
    const { events } = this.#c;
    this.#frontier.add(this.#scratch, 0);
    for (let at = 0; at < events.length; at++) {
      const op = events[at]! >> 1;
      if ((events[at]! & 1) === 0) this.#begin(op, at);
      else if (!this.#end(op, at)) {
        const mostConfigurations = this.#most;
        if (this.#budget.exhausted !== undefined)
          return { verdict: 'undecided', reachedAt: at, mostConfigurations };
        return { verdict: 'not linearizable', stuckAt: at, states: this.#states(), mostConfigurations };
      }
    }
    return { verdict: 'linearizable', mostConfigurations: this.#most };
  }

  #isOptional(op: number): boolean {
    return this.#c.returnedAt[op]! >= this.#c.events.length;
  }

  /** When an optional operation can't matter any more; before its beginning: never did. */
  #uselessAfter(op: number): number {
    if (this.#lastObserved === undefined || !this.#isOptional(op)) return this.#c.events.length;
    return this.#lastObserved[this.#c.b[op]!]!;
  }

  #plannedRetirements(): { at: number; op: number }[] {
    const planned: { at: number; op: number }[] = [];
    for (let op = 0; op < this.#c.kind.length; op++) {
      const at = this.#uselessAfter(op);
      if (at < this.#c.events.length && at > this.#c.invokedAt[op]!) planned.push({ at, op });
    }
    // The next one stands last.
    return planned.sort((x, y) => y.at - x.at);
  }

  #mostUnderWay(): number {
    const { events, invokedAt } = this.#c;
    const leaving = this.#retirements.map(({ at }) => at);
    let open = 0;
    let most = 0;
    for (let at = 0; at < events.length; at++) {
      const op = events[at]! >> 1;
      if ((events[at]! & 1) === 1) {
        open--;
        for (; leaving.length > 0 && leaving[leaving.length - 1]! <= at; leaving.pop()) open--;
      } else if (this.#uselessAfter(op) > invokedAt[op]!) open++;
      most = Math.max(most, open);
    }
    return most;
  }

  #states(): number[] {
    const states = new Set<number>();
    const { data, count } = this.#frontier;
    for (let i = 0; i < count; i++) states.add(data[i * this.#width]!);
    return [...states];
  }

  #begin(op: number, at: number): void {
    if (this.#uselessAfter(op) <= at) return;
    const { kind, returnedAt, classOf } = this.#c;
    const slot = this.#freeSlots.pop()!;
    this.#slotOf[op] = slot;
    const word = slot >> 5;
    const bit = 1 << (slot & 31);
    const { reads, exact, optional, writes } = this.#masks;
    if (isRead(kind[op]!)) {
      reads[word]! |= bit;
      this.#reads.push(op);
      const { data, count } = this.#frontier;
      for (let i = 0; i < count; i++) {
        const start = i * this.#width;
        if (this.#possible(data[start]!, op)) data[start + 1 + this.#words + word]! |= bit;
      }
      return;
    }
    if (this.#isOptional(op)) optional[word]! |= bit;
    else if (kind[op] === WRITE) writes[word]! |= bit;
    else exact[word]! |= bit;
    // Alike ones stand together, the one that ends first in front (rule 2).
    const place = this.#changes.findIndex((other) => classOf[other] === classOf[op]);
    let i = place < 0 ? this.#changes.length : place;
    while (i < this.#changes.length && classOf[this.#changes[i]!] === classOf[op]) {
      if (returnedAt[this.#changes[i]!]! > returnedAt[op]!) break;
      i++;
    }
    this.#changes.splice(i, 0, op);
  }

  /** Whether a read is possible in a state. */
  #possible(state: number, op: number): boolean {
    const kind = this.#c.kind[op]!;
    if (kind === READ) return state === this.#c.a[op]!;
    if (kind === DIFFERS) return state !== this.#c.a[op]!;
    return this.#c.step!(state, op) === state;
  }

  #stateAfter(state: number, op: number): number | undefined {
    const { kind, a, b, step } = this.#c;
    if (kind[op] === WRITE) return b[op]!;
    if (kind[op] === CAS) return state === a[op]! ? b[op]! : undefined;
    const next = step!(state, op);
    return next < 0 ? undefined : next;
  }

  /** Carries the frontier over the end of `op`. @returns false when nothing is left, or the budget is used up (the frontier is as before then) */
  #end(op: number, at: number): boolean {
    const slot = this.#slotOf[op]!;
    const word = slot >> 5;
    const bit = 1 << (slot & 31);
    const { kind, b } = this.#c;
    const read = isRead(kind[op]!);
    const leaving = this.#leaving(op, at);
    this.#next.clear();
    this.#visited.clear();
    if (!this.#budget.take(this.#frontier.count >> 3)) return false;
    const worthKeeping = this.#lastObserved === undefined || this.#lastObserved[b[op]!]! > at;
    for (let i = 0; i < this.#frontier.count; i++) {
      const start = i * this.#width;
      const { data } = this.#frontier;
      const used = (data[start + 1 + word]! & bit) !== 0;
      const good = (data[start + 1 + this.#words + word]! & bit) !== 0;
      if (used || good) this.#arrive(data, start, at);
      if (used || (good && (read || !worthKeeping))) continue;
      this.#visited.add(data, start);
    }
    // `visited` grows while it is walked: a search in breadth.
    for (let i = 0; i < this.#visited.count; i++) {
      if (!this.#expand(i, op, at)) return false;
    }
    if (this.#next.count === 0) return false;
    for (const one of leaving) this.#remove(one);
    const swapped = this.#frontier;
    this.#frontier = this.#next;
    this.#next = swapped;
    this.#most = Math.max(this.#most, this.#frontier.count);
    if (this.#frontier.count > 1 && dominated(this.#frontier, this.#next, this.#masks, this.#budget)) {
      this.#next = this.#frontier;
      this.#frontier = swapped;
    }
    return this.#budget.exhausted === undefined;
  }

  /** `op`, and the optional operations that can't matter from here on; their bits go from what arrives. */
  #leaving(op: number, at: number): number[] {
    const leaving = [op];
    for (let last = this.#retirements.at(-1); last !== undefined && last.at <= at; ) {
      leaving.push(last.op);
      this.#retirements.pop();
      last = this.#retirements.at(-1);
    }
    this.#keep.fill(-1);
    for (const one of leaving) this.#keep[this.#slotOf[one]! >> 5]! &= ~(1 << (this.#slotOf[one]! & 31));
    return leaving;
  }

  #remove(op: number): void {
    const slot = this.#slotOf[op]!;
    const word = slot >> 5;
    const keep = ~(1 << (slot & 31));
    const { reads, exact, optional, writes } = this.#masks;
    for (const mask of [reads, exact, optional, writes]) mask[word]! &= keep;
    const list = isRead(this.#c.kind[op]!) ? this.#reads : this.#changes;
    list.splice(list.indexOf(op), 1);
    this.#freeSlots.push(slot);
  }

  /** A configuration that explains the end goes into the next frontier. */
  #arrive(data: Int32Array, start: number, at: number): void {
    const arriving = this.#arriving;
    const words = this.#words;
    const state = data[start]!;
    const observed = this.#lastObserved;
    arriving[0] = observed !== undefined && state !== DEAD && observed[state]! <= at ? DEAD : state;
    for (let i = 0; i < words; i++) {
      arriving[1 + i] = data[start + 1 + i]! & this.#keep[i]!;
      arriving[1 + words + i] = data[start + 1 + words + i]! & this.#keep[i]!;
    }
    this.#next.add(arriving, 0);
  }

  /** Lets each operation under way take effect in configuration `i` of `visited`. @returns false when the budget is used up */
  #expand(i: number, wanted: number, at: number): boolean {
    const { classOf, kind } = this.#c;
    const words = this.#words;
    const changes = this.#changes;
    const scratch = this.#scratch;
    let triedClass = -1;
    for (let n = 0; n < changes.length; n++) {
      const op = changes[n]!;
      // Rule 2: of those that are alike, the first that has not taken effect.
      if (classOf[op] === triedClass) continue;
      const { data } = this.#visited;
      const start = i * this.#width;
      const slot = this.#slotOf[op]!;
      const word = slot >> 5;
      const bit = 1 << (slot & 31);
      if ((data[start + 1 + word]! & bit) !== 0) continue;
      triedClass = classOf[op]!;
      if (!this.#budget.take()) return false;
      const state = this.#stateAfter(data[start]!, op);
      if (state === undefined) continue;
      for (let w = 0; w < this.#width; w++) scratch[w] = data[start + w]!;
      scratch[0] = state;
      scratch[1 + word]! |= bit;
      scratch[1 + words + word]! &= ~bit;
      if (kind[op] === WRITE) this.#cover(scratch);
      const readsDone = this.#readAll(scratch, wanted);
      if (op === wanted || readsDone === WANTED) this.#arrive(scratch, 0, at);
      else if (readsDone === SOME || this.#leadsOn(op, state, scratch)) this.#visited.add(scratch, 0);
    }
    return this.#budget.holds(this.#visited.count + this.#next.count);
  }

  /** Rule 3. */
  #cover(scratch: Int32Array): void {
    const words = this.#words;
    for (let i = 0; i < words; i++) scratch[1 + words + i]! |= this.#masks.writes[i]! & ~scratch[1 + i]!;
  }

  /** Rule 1, for the state just reached. */
  #readAll(scratch: Int32Array, wanted: number): number {
    let done = NOTHING;
    const state = scratch[0]!;
    for (const op of this.#reads) {
      const slot = this.#slotOf[op]!;
      const at = 1 + this.#words + (slot >> 5);
      const bit = 1 << (slot & 31);
      if ((scratch[at]! & bit) !== 0 || !this.#possible(state, op)) continue;
      scratch[at]! |= bit;
      if (op === wanted) done = WANTED;
      else if (done === NOTHING) done = SOME;
    }
    return done;
  }

  /** Rule 4: whether it makes sense that `op`, which no read needs, took effect here. */
  #leadsOn(op: number, state: number, scratch: Int32Array): boolean {
    const { kind, a } = this.#c;
    if (kind[op] === MODEL_STEP) return true;
    if (kind[op] === CAS && !this.#isOptional(op)) return true;
    for (const other of this.#changes) {
      if (kind[other] !== CAS || a[other] !== state) continue;
      const slot = this.#slotOf[other]!;
      if ((scratch[1 + (slot >> 5)]! & (1 << (slot & 31))) === 0) return true;
    }
    return false;
  }
}

const NOTHING = 0;
const SOME = 1;
const WANTED = 2;
