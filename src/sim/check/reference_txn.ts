/**
 * What a transaction of etcd's kind does, written down from etcd's documentation as plainly as possible: the reference that answers of the store are held against.
 *
 * It shares no code with the store (src/kv) and knows nothing of bytes, pages or indexes: the state is a sorted list of entries, a range is a filter over it, and writes
 * change a copy. Values are tokens (load/values.ts), which sort as the bytes that they stand for.
 *
 * The rules: all comparisons, nested ones too, see the store before the transaction. Over a range a comparison must hold for each key, over a range without keys for a missing one: which
 * has no value, so that no comparison of values holds, and is 0 in all else. Operations are carried out in order, and a range without a revision sees what was written before it. All
 * writes have one revision. A put must not meet another write of the same key that could be carried out together with it.
 */

export interface RangeAsked {
  readonly type: 'range';
  readonly key: string;
  /** undefined: the one key. */
  readonly end: string | undefined;
  /** 0: the newest. */
  readonly revision: number;
  /** 0: none. */
  readonly limit: number;
  readonly sortTarget: 'key' | 'version' | 'createRevision' | 'modRevision' | 'value';
  readonly sortOrder: 'none' | 'ascend' | 'descend';
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
  /** Whether the count is of all keys of the range, whatever filters and limit leave of them. */
  readonly counted: boolean;
  readonly minModRevision: number;
  readonly maxModRevision: number;
  readonly minCreateRevision: number;
  readonly maxCreateRevision: number;
}
export type TxnStepAsked =
  | {
      readonly type: 'put';
      readonly key: string;
      readonly value: string;
      /** '0' for none. */
      readonly lease: string;
      readonly prevKv: boolean;
    }
  | {
      readonly type: 'delete';
      readonly key: string;
      readonly end: string | undefined;
      readonly prevKv: boolean;
    }
  | RangeAsked
  | ({ readonly type: 'txn' } & TxnAsked);
export interface CompareAsked {
  readonly target: 'value' | 'version' | 'createRevision' | 'modRevision' | 'lease';
  readonly relation: '=' | '!=' | '>' | '<';
  readonly key: string;
  readonly end: string | undefined;
  /** A token, a number, or a lease. */
  readonly operand: string | number;
}
export interface TxnAsked {
  readonly compares: readonly CompareAsked[];
  readonly success: readonly TxnStepAsked[];
  readonly failure: readonly TxnStepAsked[];
}

export interface Entry {
  readonly key: string;
  /** '' where only keys were asked for. */
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: string;
}
export type TxnStepAnswer =
  | { readonly type: 'put'; readonly previous: Entry | undefined }
  | { readonly type: 'delete'; readonly deleted: number; readonly previous: readonly Entry[] }
  | {
      readonly type: 'range';
      readonly entries: readonly Entry[];
      readonly more: boolean;
      readonly count: number;
    }
  | ({ readonly type: 'txn' } & TxnAnswer);
export interface TxnAnswer {
  readonly succeeded: boolean;
  readonly results: readonly TxnStepAnswer[];
}

/** The live entries of [start, end), by ascending key, as of a revision; undefined: that is not known. */
export type StateAt = (revision: number, start: string, end: string | undefined) => Entry[] | undefined;

export interface Write {
  readonly type: 'put' | 'delete';
  readonly key: string;
  readonly value: string;
  readonly lease: string;
}
export interface Carried {
  readonly answer: TxnAnswer;
  /** The last of each key. */
  readonly writes: readonly Write[];
}

/** Something that it has to look at is not known. */
class Unknown extends Error {}

/**
 * Carries out a transaction on the state as of `before`; what it writes gets revision before + 1. undefined: the state is not known well enough.
 * REQUIRES: `meets` says no; its ranges name no revision above `before`.
 */
export function carryOut(txn: TxnAsked, before: number, stateAt: StateAt): Carried | undefined {
  try {
    const run = new Run(before, stateAt);
    const answer = run.txn(txn);
    return { answer, writes: [...run.writes.values()] };
  } catch (error) {
    if (error instanceof Unknown) return undefined;
    throw error;
  }
}

class Run {
  readonly writes = new Map<string, Write>();
  readonly #before: number;
  readonly #stateAt: StateAt;

  constructor(before: number, stateAt: StateAt) {
    this.#before = before;
    this.#stateAt = stateAt;
  }

  txn({ compares, success, failure }: TxnAsked): TxnAnswer {
    const succeeded = compares.every((compare) => this.#holds(compare));
    return { succeeded, results: (succeeded ? success : failure).map((step) => this.#step(step)) };
  }

  #step(step: TxnStepAsked): TxnStepAnswer {
    if (step.type === 'txn') return { type: 'txn', ...this.txn(step) };
    if (step.type === 'range') {
      const entries =
        step.revision === 0 ? this.#now(step.key, step.end) : this.#at(step.revision, step.key, step.end);
      return { type: 'range', ...selected(step, entries) };
    }
    const found = this.#now(step.key, step.type === 'put' ? undefined : step.end);
    const previous = step.prevKv ? found : [];
    if (step.type === 'put') {
      const { key, value, lease } = step;
      this.writes.set(key, { type: 'put', key, value, lease });
      return { type: 'put', previous: previous[0] };
    }
    for (const { key } of found) this.writes.set(key, { type: 'delete', key, value: '', lease: '0' });
    return { type: 'delete', deleted: found.length, previous };
  }

  #holds({ target, relation, key, end, operand }: CompareAsked): boolean {
    const entries = this.#at(this.#before, key, end);
    if (entries.length === 0) {
      if (target === 'value') return false;
      // A lease is a number, too.
      return related(relation, Number(BigInt(0) - BigInt(operand)));
    }
    return entries.every((entry) => {
      if (target === 'value')
        return related(relation, order(sortable(entry.value), sortable(String(operand))));
      return related(relation, Number(BigInt(entry[target]) - BigInt(operand)));
    });
  }

  #at(revision: number, start: string, end: string | undefined): Entry[] {
    const entries = this.#stateAt(revision, start, end);
    if (entries === undefined) throw new Unknown();
    return entries;
  }

  /** With what was written so far. */
  #now(start: string, end: string | undefined): Entry[] {
    const known = new Map(this.#at(this.#before, start, end).map((entry) => [entry.key, entry]));
    const modRevision = this.#before + 1;
    for (const { type, key, value, lease } of this.writes.values()) {
      if (end === undefined ? key !== start : key < start || key >= end) continue;
      const old = known.get(key);
      known.delete(key);
      if (type === 'delete') continue;
      const [createRevision, version] =
        old === undefined ? [modRevision, 1] : [old.createRevision, old.version + 1];
      known.set(key, { key, value, lease, createRevision, modRevision, version });
    }
    return [...known.values()].sort((a, b) => order(a.key, b.key));
  }
}

/** What a range shows of the entries that it holds. */
export function selected(
  asked: RangeAsked,
  entries: readonly Entry[],
): { entries: readonly Entry[]; more: boolean; count: number } {
  const { limit, sortTarget, sortOrder, keysOnly, countOnly, counted } = asked;
  if (countOnly) return { entries: [], more: false, count: entries.length };
  const filters = [
    asked.minModRevision,
    asked.maxModRevision,
    asked.minCreateRevision,
    asked.maxCreateRevision,
  ];
  let shown = [...entries];
  // Only where neither an order nor a filter is asked for does the limit come first, with one entry to spare.
  if (limit > 0 && sortOrder === 'none' && filters.every((bound) => bound === 0))
    shown = shown.slice(0, limit + 1);
  shown = shown.filter(
    ({ modRevision, createRevision }) =>
      modRevision >= asked.minModRevision &&
      (asked.maxModRevision === 0 || modRevision <= asked.maxModRevision) &&
      createRevision >= asked.minCreateRevision &&
      (asked.maxCreateRevision === 0 || createRevision <= asked.maxCreateRevision),
  );
  const sign = sortOrder === 'descend' ? -1 : 1;
  shown.sort((a, b) => {
    const by =
      sortTarget === 'key'
        ? order(a.key, b.key)
        : sortTarget === 'value'
          ? order(sortable(a.value), sortable(b.value))
          : a[sortTarget] - b[sortTarget];
    return by === 0 ? order(a.key, b.key) : sign * by;
  });
  const more = limit > 0 && shown.length > limit;
  if (more) shown = shown.slice(0, limit);
  if (keysOnly) shown = shown.map((entry) => ({ ...entry, value: '' }));
  return { entries: shown, more, count: counted ? entries.length : shown.length };
}

/** Whether a put of the transaction meets another write that could be carried out together with it: it must be refused. */
export function meets({ success, failure }: TxnAsked): boolean {
  return listMeets(success) || listMeets(failure);
}

interface Span {
  readonly start: string;
  readonly end: string;
  readonly isPut: boolean;
}

function listMeets(steps: readonly TxnStepAsked[]): boolean {
  if (steps.some((step) => step.type === 'txn' && meets(step))) return true;
  const spans = steps.map(spansOf);
  return spans.some((own, at) =>
    spans.slice(at + 1).some((others) => own.some((a) => others.some((b) => together(a, b)))),
  );
}

function spansOf(step: TxnStepAsked): Span[] {
  if (step.type === 'range') return [];
  if (step.type === 'txn') return [...step.success, ...step.failure].flatMap(spansOf);
  const end = (step.type === 'delete' ? step.end : undefined) ?? `${step.key}\0`;
  return [{ start: step.key, end, isPut: step.type === 'put' }];
}

function together(a: Span, b: Span): boolean {
  return (a.isPut || b.isPut) && a.start < b.end && b.start < a.end;
}

/** A colon follows a token in the value that it stands for. */
function sortable(token: string): string {
  return `${token}:`;
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function related(relation: CompareAsked['relation'], difference: number): boolean {
  if (relation === '=') return difference === 0;
  if (relation === '!=') return difference !== 0;
  return relation === '>' ? difference > 0 : difference < 0;
}
