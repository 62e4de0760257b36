/**
 * Nested transactions, and ranges with all their options: every answer, and every write, against the reference (reference_txn.ts) at its place in the order of revisions.
 *
 * That order is a linearization if real time agrees with it, which revision_check.ts sees to; so what is checked here is that each transaction did at its place what it had to do, as a whole.
 * One of unknown outcome is held against it where its writes were seen. Where the history does not tell what lay in a range (event_history.ts), nothing is said: `judged` counts the others.
 */
import type { EventHistory, KeyVersion } from './event_history.ts';
import { isWrite, type OperationRecord, type Violation, Violations, wrote } from './observations.ts';
import {
  carryOut,
  type Entry,
  meets,
  type StateAt,
  type TxnAnswer,
  type TxnStepAnswer,
  type Write,
} from './reference_txn.ts';

export interface NestedFindings {
  readonly violations: readonly Violation[];
  /** Answers and writes that were held against the reference. */
  readonly judged: number;
  /** Those whose place in the history is not known well enough. */
  readonly undecided: number;
}

export function checkNested(operations: readonly OperationRecord[], history: EventHistory): NestedFindings {
  return new NestedCheck(operations, history).run();
}

class NestedCheck {
  readonly #operations: readonly OperationRecord[];
  readonly #history: EventHistory;
  readonly #found = new Violations('nested transaction');
  readonly #keys: readonly string[];
  readonly #stateAt: StateAt;
  #judged = 0;
  #undecided = 0;

  constructor(operations: readonly OperationRecord[], history: EventHistory) {
    this.#operations = operations;
    this.#history = history;
    this.#keys = [...history.byKey.keys()].sort();
    this.#stateAt = (revision, start, end) => this.#entries(revision, start, end);
  }

  run(): NestedFindings {
    for (const operation of this.#operations) {
      const { nested, outcome, id, errorCode } = operation;
      if (nested === undefined) continue;
      const refused = meets(nested.asked);
      if (outcome === 'ok' && refused)
        this.#found.add(`transaction ${id} writes a key twice and was carried out`, { operation: id });
      else if (outcome === 'ok') this.#checkAnswer(operation, nested.answer);
      else if (errorCode === 'DUPLICATE_KEY' && !refused)
        this.#found.add(`transaction ${id} was refused for writing a key twice, which it does not`, {
          operation: id,
        });
      else if (outcome === 'info') this.#checkUnknown(operation);
    }
    return { violations: this.#found.list, judged: this.#judged, undecided: this.#undecided };
  }

  #checkAnswer(operation: OperationRecord, answer: TxnAnswer | undefined): void {
    const { id, client, revision, nested } = operation;
    const before = isWrite(operation) && wrote(operation) ? revision - 1 : revision;
    const expected = carryOut(nested!.asked, before, this.#stateAt);
    if (expected === undefined) {
      this.#undecided++;
      return;
    }
    this.#judged++;
    const difference =
      answer === undefined ? 'there is no answer' : differenceOf(expected.answer, answer, '');
    if (difference !== undefined)
      this.#found.add(`transaction ${id} at revision ${before}: ${difference}`, {
        operation: id,
        client,
        revision,
      });
    if (expected.writes.length > 0) this.#checkWrites(operation, revision, expected.writes);
    else if (before !== revision)
      this.#found.add(`transaction ${id} took revision ${revision} and had nothing to write`, {
        operation: id,
        revision,
      });
  }

  /** What was seen of a transaction that nobody was told of. */
  #checkUnknown(operation: OperationRecord): void {
    const values = new Set(operation.steps.flatMap((step) => (step.type === 'put' ? [step.value] : [])));
    for (const step of operation.steps) {
      if (step.type !== 'put') continue;
      const seen = this.#history.byKey
        .get(step.key)
        ?.find(({ value }) => value !== undefined && values.has(value));
      if (seen === undefined) continue;
      const expected = carryOut(operation.nested!.asked, seen.revision - 1, this.#stateAt);
      if (expected === undefined) this.#undecided++;
      else {
        this.#judged++;
        this.#checkWrites(operation, seen.revision, expected.writes);
      }
      return;
    }
  }

  #checkWrites({ id }: OperationRecord, revision: number, expected: readonly Write[]): void {
    if (!this.#history.covers(revision, revision)) return;
    const versions = this.#history.byRevision.get(revision) ?? [];
    const details = { operation: id, revision };
    for (const { type, key, value } of expected) {
      const version = versions.find((one) => one.key === key);
      if (version === undefined)
        this.#found.add(
          `transaction ${id} had to ${type} ${key} at revision ${revision}, and did not`,
          details,
        );
      else if (version.type !== type || (type === 'put' && version.value !== value))
        this.#found.add(
          `transaction ${id} had to ${type} ${key} ("${value}") at revision ${revision}: it is ${version.type} "${version.value}"`,
          details,
        );
    }
    for (const { key, type } of versions) {
      if (expected.some((write) => write.key === key)) continue;
      this.#found.add(`transaction ${id} did ${type} ${key} at revision ${revision}, and must not`, details);
    }
  }

  #entries(revision: number, start: string, end: string | undefined): Entry[] | undefined {
    const keys = end === undefined ? [start] : this.#keysIn(start, end);
    const entries: Entry[] = [];
    if (end !== undefined && keys.length === 0 && !this.#history.covers(2, revision)) return undefined;
    for (const key of keys) {
      const version = this.#history.versionAt(key, revision);
      if (!this.#history.covers(version === undefined ? 2 : version.revision + 1, revision)) return undefined;
      if (version === undefined || version.type === 'delete') continue;
      const entry = this.#entry(version);
      if (entry === undefined) return undefined;
      entries.push(entry);
    }
    return entries;
  }

  #entry({ key, value, createRevision, revision: modRevision, version }: KeyVersion): Entry | undefined {
    if (value === undefined || version === 0 || createRevision === 0) return undefined;
    return { key, value, createRevision, modRevision, version, lease: this.#history.leaseOf(value) ?? '0' };
  }

  #keysIn(start: string, end: string): string[] {
    return this.#keys.filter((key) => key >= start && key < end);
  }
}

/** In words; undefined: there is none. */
function differenceOf(expected: TxnAnswer, answer: TxnAnswer, place: string): string | undefined {
  if (expected.succeeded !== answer.succeeded)
    return `${place}took its ${answer.succeeded ? 'then' : 'else'} branch, and must take the other`;
  if (expected.results.length !== answer.results.length)
    return `${place}has ${answer.results.length} results, and must have ${expected.results.length}`;
  for (let at = 0; at < expected.results.length; at++) {
    const difference = stepDifference(expected.results[at]!, answer.results[at]!, `${place}${at}: `);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

function stepDifference(expected: TxnStepAnswer, answer: TxnStepAnswer, place: string): string | undefined {
  if (expected.type === 'txn' && answer.type === 'txn') return differenceOf(expected, answer, place);
  const wanted = told(expected);
  const given = told(answer);
  return wanted === given ? undefined : `${place}says ${given}, and must say ${wanted}`;
}

function told(answer: TxnStepAnswer): string {
  switch (answer.type) {
    case 'put':
      return `put, before ${entryText(answer.previous)}`;
    case 'delete':
      return `deleted ${answer.deleted}, before ${answer.previous.map(entryText).join(' ')}`;
    case 'range':
      return `${answer.count} keys${answer.more ? ' and more' : ''}: ${answer.entries.map(entryText).join(' ')}`;
    case 'txn':
      return 'a transaction';
  }
}

function entryText(entry: Entry | undefined): string {
  if (entry === undefined) return 'nothing';
  const { key, value, createRevision, modRevision, version, lease } = entry;
  return `${key}="${value}" (${createRevision}, ${modRevision}, version ${version}, lease ${lease})`;
}
