/**
 * A history: what clients asked of a store and what they were told, as events in the order in which they happened. docs/formats/history.md is the format.
 *
 * Invariants: the order of events is the order of time (`time` is only checked not to go back, and shown); a process has at most one operation at a time; an
 * operation ends `ok` (it happened, once, between its two events), `fail` (it did not happen) or `info` (it may take effect at any time after it began, or
 * never). An operation without an end is `info`. After an `info` its process may begin another: the old operation stays open beside it.
 */
import { KvError } from '../../errors.ts';
import { canonical, isList, type JsonValue, valueProblem } from './json_value.ts';

export type EventType = 'invoke' | 'ok' | 'fail' | 'info';

/** One line of a history. */
export interface HistoryEvent {
  readonly process: number | string;
  readonly type: EventType;
  /** What is done: read, write, cas, get, put, delete, txn, or what a model of your own knows. May be left out at the end of an operation. */
  readonly f?: string | undefined;
  readonly key?: string | number | undefined;
  readonly value?: JsonValue | undefined;
  /** In any unit; never goes back. */
  readonly time?: number | undefined;
  /** On `ok` of a transaction: the revision that the store gave. */
  readonly revision?: number | undefined;
  /** On `ok` of a compare-and-set: false when the store compared, and found another value. */
  readonly succeeded?: boolean | undefined;
}

/** An operation: its beginning and, where there is one, its end. */
export interface Operation {
  readonly process: number | string;
  readonly f: string;
  readonly key: string | number | undefined;
  /** The value at the beginning; undefined when there was none. */
  readonly input: JsonValue | undefined;
  /** The value of the `ok`; undefined when there was none. */
  readonly output: JsonValue | undefined;
  readonly outcome: 'ok' | 'fail' | 'info';
  /** When it began and ended, on one scale; Infinity: it may still be under way. Of equal moments, beginnings come first. */
  readonly invokedAt: number;
  readonly returnedAt: number;
  readonly revision?: number | undefined;
  readonly succeeded?: boolean | undefined;
  /** Lines of the file, from 1, and their times, where known. */
  readonly invokeLine?: number | undefined;
  readonly returnLine?: number | undefined;
  readonly invokeTime?: number | undefined;
  readonly returnTime?: number | undefined;
}

export function historyError(line: number | undefined, problem: string): KvError {
  const where = line === undefined ? '' : `line ${line}: `;
  return new KvError('INVALID_ARGUMENT', `${where}${problem}`, {
    details: line === undefined ? { problem } : { line, problem },
  });
}

/** The events of a history in JSON lines, blank lines left out; `lines[i]` is the line of `events[i]`. @throws KvError INVALID_ARGUMENT with details {line, problem} */
export function parseEvents(text: string): { events: HistoryEvent[]; lines: number[] } {
  const events: HistoryEvent[] = [];
  const lines: number[] = [];
  let line = 0;
  for (let start = 0; start < text.length; ) {
    const found = text.indexOf('\n', start);
    const end = found < 0 ? text.length : found;
    line++;
    const content = text.slice(start, end).trim();
    start = end + 1;
    // trim() takes a byte order mark off too.
    if (content === '') continue;
    events.push(parseEvent(content, line));
    lines.push(line);
  }
  return { events, lines };
}

function parseEvent(content: string, line: number): HistoryEvent {
  let json: unknown;
  try {
    json = JSON.parse(content);
  } catch (error) {
    const start = content.length > 60 ? `${content.slice(0, 60)}...` : content;
    throw historyError(line, `is not JSON (${error instanceof Error ? error.message : error}): ${start}`);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw historyError(line, 'is not a JSON object like {"process":0,"type":"invoke","f":"read"}');
  const fields: Record<string, unknown> = { ...json };
  return eventOf(fields, line);
}

const TYPES: readonly string[] = ['invoke', 'ok', 'fail', 'info'] satisfies EventType[];

function isEventType(value: unknown): value is EventType {
  return typeof value === 'string' && TYPES.includes(value);
}

function isJson(value: unknown): value is JsonValue {
  return valueProblem(value) === undefined;
}

/** An event out of fields of any type. `null` stands for absent everywhere but in `value`. */
function eventOf(fields: Readonly<Record<string, unknown>>, line: number | undefined): HistoryEvent {
  const { process: who, type, value } = fields;
  if (typeof who !== 'string' && typeof who !== 'number')
    throw historyError(line, `\`process\` must be a number or a string, and is ${shownField(who)}`);
  if (!isEventType(type))
    throw historyError(line, `\`type\` must be invoke, ok, fail or info, and is ${shownField(type)}`);
  const f = fields['f'] ?? undefined;
  if (f !== undefined && typeof f !== 'string')
    throw historyError(line, `\`f\` must be a string, and is ${shownField(f)}`);
  if (f === undefined && type === 'invoke') throw historyError(line, 'an invoke needs `f`: what is done');
  const key = fields['key'] ?? undefined;
  if (key !== undefined && typeof key !== 'string' && typeof key !== 'number')
    throw historyError(line, `\`key\` must be a string or a number, and is ${shownField(key)}`);
  for (const exact of [who, key]) {
    const problem = valueProblem(exact ?? null);
    if (problem !== undefined) throw historyError(line, problem);
  }
  if (value !== undefined && !isJson(value))
    throw historyError(line, `\`value\` has ${valueProblem(value) ?? 'a problem'}`);
  const time = fields['time'] ?? undefined;
  if (time !== undefined && (typeof time !== 'number' || !Number.isFinite(time)))
    throw historyError(line, `\`time\` must be a number, and is ${shownField(time)}`);
  const revision = fields['revision'] ?? undefined;
  if (revision !== undefined && (typeof revision !== 'number' || !Number.isSafeInteger(revision)))
    throw historyError(line, `\`revision\` must be a whole number, and is ${shownField(revision)}`);
  const succeeded = fields['succeeded'] ?? undefined;
  if (succeeded !== undefined && typeof succeeded !== 'boolean')
    throw historyError(line, `\`succeeded\` must be true or false, and is ${shownField(succeeded)}`);
  return { process: who, type, f, key, value, time, revision, succeeded };
}

function shownField(value: unknown): string {
  if (value === undefined) return 'not there';
  const text = JSON.stringify(value) ?? typeof value;
  return text.length > 40 ? `${text.slice(0, 37)}...` : text;
}

type Open = { -readonly [Name in keyof Operation]: Operation[Name] };

/**
 * The operations of a history, in the order in which they began. Events of the process `nemesis` are left out: notes about faults.
 * @param lines the line of each event, for messages; without it, events are counted from 1.
 * @throws KvError INVALID_ARGUMENT with details {line, problem}
 */
export function operationsOf(events: readonly HistoryEvent[], lines?: readonly number[]): Operation[] {
  const operations: Open[] = [];
  const open = new Map<number | string, Open>();
  let lastTime = Number.NEGATIVE_INFINITY;
  let lastTimeLine = 0;
  events.forEach((event, at) => {
    const line = lines?.[at] ?? at + 1;
    if (event.time !== undefined) {
      if (event.time < lastTime)
        throw historyError(
          line,
          `time goes back from ${lastTime} (line ${lastTimeLine}) to ${event.time}: the lines must stand in the order in which things happened (sort them by time, or leave \`time\` out if the clocks do not agree)`,
        );
      lastTime = event.time;
      lastTimeLine = line;
    }
    if (event.process === 'nemesis') return;
    if (event.type === 'invoke') begin(event, at, line, operations, open);
    else end(event, at, line, open);
  });
  return operations;
}

function begin(
  event: HistoryEvent,
  at: number,
  line: number,
  operations: Open[],
  open: Map<number | string, Open>,
): void {
  const before = open.get(event.process);
  if (before !== undefined)
    throw historyError(
      line,
      `process ${JSON.stringify(event.process)} begins \`${event.f}\` while its \`${before.f}\` of line ${before.invokeLine} has not ended: a process does one thing at a time`,
    );
  if (event.f === undefined) throw historyError(line, 'an invoke needs `f`: what is done');
  const operation: Open = {
    process: event.process,
    f: event.f,
    key: event.key,
    input: event.value,
    output: undefined,
    outcome: 'info',
    invokedAt: at,
    returnedAt: Number.POSITIVE_INFINITY,
    revision: undefined,
    succeeded: undefined,
    invokeLine: line,
    returnLine: undefined,
    invokeTime: event.time,
    returnTime: undefined,
  };
  operations.push(operation);
  open.set(event.process, operation);
}

function end(event: HistoryEvent, at: number, line: number, open: Map<number | string, Open>): void {
  const operation = open.get(event.process);
  const who = `process ${JSON.stringify(event.process)}`;
  if (operation === undefined)
    throw historyError(line, `\`${event.type}\` of ${who}, which has nothing under way`);
  if (event.f !== undefined && event.f !== operation.f)
    throw historyError(
      line,
      `${who} ends \`${event.f}\`, but what it began on line ${operation.invokeLine} is \`${operation.f}\``,
    );
  if (event.key !== undefined && event.key !== operation.key)
    throw historyError(
      line,
      `${who} ends with key ${JSON.stringify(event.key)}, but began on line ${operation.invokeLine} with ${operation.key === undefined ? 'none' : JSON.stringify(operation.key)}`,
    );
  open.delete(event.process);
  operation.outcome = event.type === 'invoke' ? 'info' : event.type;
  operation.returnLine = line;
  operation.returnTime = event.time;
  // An `info` may take effect after it was written down: it stays open.
  if (event.type === 'info') return;
  operation.returnedAt = at;
  operation.output = event.value;
  operation.revision = event.revision;
  operation.succeeded = event.succeeded;
}

/** Reads a history in JSON lines. @throws KvError INVALID_ARGUMENT with details {line, problem} */
export function parseHistory(text: string): Operation[] {
  const { events, lines } = parseEvents(text);
  return operationsOf(events, lines);
}

/** The value that a write, put or cas carries: that of its beginning. @throws KvError when there is none, or the end names another */
export function inputOf(operation: Operation): JsonValue {
  const { input, output, invokeLine, returnLine, f } = operation;
  if (input === undefined) throw historyError(invokeLine, `\`${f}\` needs a \`value\``);
  if (output !== undefined && output !== null && canonical(output) !== canonical(input))
    throw historyError(
      returnLine,
      `\`${f}\` ends with the value ${canonical(output)}, but began on line ${invokeLine} with ${canonical(input)}`,
    );
  return input;
}

/** The two values of a compare-and-set. @throws KvError when it is not [from, to] */
export function casInputOf(operation: Operation): readonly [JsonValue, JsonValue] {
  const input = inputOf(operation);
  if (!isList(input) || input.length !== 2)
    throw historyError(
      operation.invokeLine,
      `the value of a cas is [from, to], and this is ${canonical(input)}`,
    );
  return [input[0]!, input[1]!];
}

/** Whether a history is given as operations, not as events. */
export function isOperations(
  history: readonly HistoryEvent[] | readonly Operation[],
): history is readonly Operation[] {
  const first = history[0];
  return first !== undefined && 'outcome' in first;
}
