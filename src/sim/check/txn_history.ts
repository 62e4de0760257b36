/**
 * Transactions of a history: lists of reads (`["r", key, value]`), writes (`["w", key, value]`) and appends (`["append", key, value]`), all at one moment.
 *
 * A key that anyone appends to holds a list, empty or null at first; any other holds a value, null at first. What a transaction reads contains what it wrote before.
 */
import { historyError, type Operation } from './history.ts';
import { canonical, isList, isObject, type JsonValue } from './json_value.ts';
import { type Model, TXN } from './models.ts';

export interface Micro {
  readonly kind: 'r' | 'w' | 'append';
  /** The canonical text of the key. */
  readonly key: string;
  /** Of a read: undefined when not known. */
  readonly value: JsonValue | undefined;
}

export interface Txn {
  readonly operation: Operation;
  readonly micros: readonly Micro[];
  readonly writes: boolean;
}

/** @throws KvError INVALID_ARGUMENT when operations are not transactions */
export function transactionsOf(operations: readonly Operation[]): Txn[] {
  const txns = operations.map(txnOf);
  const lists = new Set<string>();
  const registers = new Set<string>();
  for (const { micros } of txns)
    for (const { kind, key } of micros) if (kind !== 'r') (kind === 'append' ? lists : registers).add(key);
  for (const { micros, operation } of txns)
    for (const { kind, key, value } of micros) {
      if (kind === 'w' && lists.has(key))
        throw historyError(
          operation.invokeLine,
          `key ${key} is written here and appended to elsewhere: it is either`,
        );
      if (kind === 'r' && lists.has(key) && value !== undefined && value !== null && !isList(value))
        throw historyError(
          operation.returnLine,
          `key ${key} is appended to, so a read of it gives a list, and this is ${canonical(value)}`,
        );
    }
  return txns;
}

function txnOf(operation: Operation): Txn {
  if (operation.f !== TXN)
    throw historyError(operation.invokeLine, `\`${operation.f}\` is no operation of the model txn`);
  const begun = operation.input === undefined ? undefined : microsOf(operation.input, operation.invokeLine);
  const ended =
    operation.outcome !== 'ok' || operation.output === undefined || operation.output === null
      ? undefined
      : microsOf(operation.output, operation.returnLine);
  if (begun !== undefined && ended !== undefined) assertSame(begun, ended, operation);
  const micros =
    ended ?? begun?.map((micro) => (micro.kind === 'r' ? { ...micro, value: undefined } : micro));
  if (micros === undefined)
    throw historyError(operation.invokeLine, 'a txn needs a `value`: its list of reads and writes');
  if (operation.outcome === 'ok' && micros.some(({ kind, value }) => kind === 'r' && value === undefined))
    throw historyError(operation.returnLine, 'an `ok` txn needs the `value` that says what its reads gave');
  return { operation, micros, writes: micros.some(({ kind }) => kind !== 'r') };
}

function microsOf(value: JsonValue, line: number | undefined): Micro[] {
  const wrong = (what: string) =>
    historyError(line, `a txn is a list like [["r",1,null],["w",2,3],["append",4,5]], and has ${what}`);
  if (!isList(value)) throw wrong(canonical(value));
  return value.map((micro) => {
    if (!isList(micro) || micro.length < 2 || micro.length > 3) throw wrong(canonical(micro));
    const [kind, key, what] = micro;
    if (kind !== 'r' && kind !== 'w' && kind !== 'append') throw wrong(canonical(micro));
    if (typeof key !== 'string' && typeof key !== 'number') throw wrong(`the key ${canonical(key ?? null)}`);
    if (kind !== 'r' && what === undefined) throw wrong(`no value in ${canonical(micro)}`);
    return { kind, key: canonical(key), value: what === undefined ? null : what };
  });
}

function assertSame(begun: readonly Micro[], ended: readonly Micro[], operation: Operation): void {
  const shape = ({ kind, key, value }: Micro): string =>
    kind === 'r' ? `r ${key}` : `${kind} ${key} ${canonical(value ?? null)}`;
  if (begun.map(shape).join() !== ended.map(shape).join())
    throw historyError(
      operation.returnLine,
      `this txn ends with other reads and writes than it began with on line ${operation.invokeLine}`,
    );
}

/** Transactions as steps of one machine, whose state is all keys that are not null. */
export function txnModel(txns: readonly Txn[]): Model {
  const byOperation = new Map(txns.map((txn) => [txn.operation, txn]));
  const txnFor = (operation: Operation): Txn => byOperation.get(operation) ?? txnOf(operation);
  return {
    name: TXN,
    init: {},
    isRead: (operation) => !txnFor(operation).writes,
    step: (state, operation) => (isObject(state) ? stepTxn(state, txnFor(operation).micros) : undefined),
    describe: ({ input, output }) => {
      const value = output ?? input ?? [];
      return isList(value) ? value.map(microText).join(' ') : canonical(value);
    },
  };
}

/** A read or write as a person reads it. */
export function microText(micro: JsonValue): string {
  if (!isList(micro)) return canonical(micro);
  const [kind, key, value = null] = micro;
  return `${kind} ${key}${kind === 'r' ? '=' : ' '}${canonical(value)}`;
}

function stepTxn(
  state: Readonly<Record<string, JsonValue>>,
  micros: readonly Micro[],
): Readonly<Record<string, JsonValue>> | undefined {
  const after: Record<string, JsonValue> = { ...state };
  for (const { kind, key, value } of micros) {
    const held = after[key] ?? null;
    if (kind === 'w') {
      if (value === null || value === undefined) delete after[key];
      else after[key] = value;
    } else if (kind === 'append') after[key] = [...(isList(held) ? held : []), value ?? null];
    else if (value !== undefined && !sameRead(held, value)) return undefined;
  }
  return after;
}

/** An empty list and no list are the same. */
function sameRead(held: JsonValue, read: JsonValue): boolean {
  return canonical(held) === canonical(read) || (held === null && isList(read) && read.length === 0);
}
