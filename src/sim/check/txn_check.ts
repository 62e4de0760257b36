/**
 * Are the transactions of a history strictly serializable: as if each had happened at one moment between its beginning and its end?
 *
 * - Lists with appends of distinct elements: decided exactly, from the order that the reads show (list_append.ts).
 * - Registers: what is certainly wrong is found at once (register_txn.ts). The rest is searched, for each set of keys that transactions tie together, as operations on one
 *   state of all keys: exact, and bounded by the limits. Where every transaction that ended `ok` carries the store's `revision`, the search follows that order, and takes time in
 *   proportion to the history.
 */
import { Budget, type Limits, reasonText } from './budget.ts';
import type { CheckResult, Undecided } from './check_result.ts';
import { compile } from './compiled.ts';
import { searchFrontier } from './frontier.ts';
import type { Operation } from './history.ts';
import { canonical, isList, type JsonValue } from './json_value.ts';
import { checkListAppend } from './list_append.ts';
import { TXN } from './models.ts';
import { certainAnomalies } from './register_txn.ts';
import type { TxnAnomaly } from './txn_anomaly.ts';
import { type Txn, transactionsOf, txnModel } from './txn_history.ts';
import { explainViolation } from './violation.ts';

/** Checks operations of the model txn. @throws KvError INVALID_ARGUMENT when they are none */
export function checkTransactions(operations: readonly Operation[], limits: Limits): CheckResult {
  const txns = transactionsOf(operations);
  const parts = connected(mattering(txns));
  const base = { model: TXN, operations: operations.length, partitions: parts.length };
  const onlyAppends = txns.every(({ micros }) => micros.every(({ kind }) => kind !== 'w'));
  const exact = onlyAppends ? checkListAppend(txns) : undefined;
  const anomalies = exact ?? (onlyAppends ? [] : certainAnomalies(registersOnly(txns)));
  if (anomalies.length > 0) return violated(base, anomalies);
  if (exact !== undefined) return { ...base, verdict: 'linearizable', steps: operations.length };
  return searched(base, parts, limits);
}

type Base = Pick<CheckResult, 'model' | 'operations' | 'partitions'>;

function violated(base: Base, anomalies: readonly TxnAnomaly[]): CheckResult {
  return { ...base, verdict: 'not linearizable', steps: base.operations, anomalies };
}

/** Transactions without what they do to lists: what is certainly wrong with that part is certainly wrong. */
function registersOnly(txns: readonly Txn[]): Txn[] {
  const lists = new Set<string>();
  for (const { micros } of txns) for (const { kind, key } of micros) if (kind === 'append') lists.add(key);
  return txns.map((txn) => ({ ...txn, micros: txn.micros.filter(({ key }) => !lists.has(key)) }));
}

/**
 * The transactions that can matter. One of unknown outcome of which nobody read anything can be left out: no read stands after it that would
 * have shown it.
 */
function mattering(txns: readonly Txn[]): Txn[] {
  const seen = new Set<string>();
  const versionText = (key: string, value: JsonValue): string => `${key} ${canonical(value)}`;
  for (const { micros, operation } of txns) {
    if (operation.outcome !== 'ok') continue;
    for (const { kind, key, value = null } of micros) {
      if (kind !== 'r') continue;
      seen.add(versionText(key, value));
      if (isList(value)) for (const element of value) seen.add(versionText(key, element));
    }
  }
  return txns.filter(
    ({ operation, micros }) =>
      operation.outcome === 'ok' ||
      (operation.outcome === 'info' &&
        micros.some(({ kind, key, value = null }) => kind !== 'r' && seen.has(versionText(key, value)))),
  );
}

/** The transactions of each set of keys that no transaction ties to another key. */
function connected(txns: readonly Txn[]): Txn[][] {
  const parent = new Map<string, string>();
  const find = (key: string): string => {
    let root = key;
    for (let up = parent.get(root); up !== undefined; up = parent.get(root)) root = up;
    return root;
  };
  for (const { micros } of txns)
    for (const { key } of micros) {
      const [one, other] = [find(micros[0]!.key), find(key)];
      if (one !== other) parent.set(one, other);
    }
  const parts = new Map<string, Txn[]>();
  for (const txn of txns) {
    if (txn.micros.length === 0) continue;
    const root = find(txn.micros[0]!.key);
    const part = parts.get(root);
    if (part === undefined) parts.set(root, [txn]);
    else part.push(txn);
  }
  return [...parts.values()].sort((x, y) => x.length - y.length);
}

function searched(base: Base, parts: readonly (readonly Txn[])[], limits: Limits): CheckResult {
  const undecided: Undecided[] = [];
  let steps = 0;
  for (const part of parts) {
    const inOrder = byRevision(part) ?? part;
    const model = txnModel(inOrder);
    const operations = inOrder.map(({ operation }) => operation);
    const budget = new Budget({ ...limits, maxSteps: Math.max(1, limits.maxSteps - steps) });
    const { verdict } = searchFrontier(compile(model, operations), budget);
    steps += budget.steps;
    if (verdict === 'not linearizable') {
      const violation = explainViolation(operations, model, limits);
      return { ...base, verdict, steps, violation };
    }
    if (verdict === 'undecided')
      undecided.push({
        key: undefined,
        operations: part.length,
        unknown: operations.filter(({ outcome }) => outcome === 'info').length,
        reason: reasonText(budget.exhausted, limits),
      });
  }
  if (undecided.length > 0) return { ...base, verdict: 'undecided', steps, undecided };
  return { ...base, verdict: 'linearizable', steps };
}

/**
 * The transactions one after the other, in the order of their revisions: each gets times of its own that leave no choice. Those of unknown outcome
 * may begin after the last one that had ended before they began. Undefined unless all that ended `ok` have a revision.
 */
function byRevision(txns: readonly Txn[]): Txn[] | undefined {
  const ended = txns.filter(({ operation }) => operation.outcome === 'ok');
  if (ended.length === 0 || ended.some(({ operation }) => operation.revision === undefined)) return undefined;
  const revisionOf = ({ operation }: Txn): number => operation.revision ?? 0;
  ended.sort(
    (x, y) =>
      revisionOf(x) - revisionOf(y) ||
      Number(y.writes) - Number(x.writes) ||
      x.operation.invokedAt - y.operation.invokedAt,
  );
  const placed = ended.map((txn, i) => retimed(txn, i * 4, i * 4 + 1));
  for (const txn of txns) {
    if (txn.operation.outcome === 'ok') continue;
    const last = ended.findLastIndex(({ operation }) => operation.returnedAt < txn.operation.invokedAt);
    placed.push(retimed(txn, last * 4 + 2, Number.POSITIVE_INFINITY));
  }
  return placed;
}

function retimed(txn: Txn, invokedAt: number, returnedAt: number): Txn {
  return { ...txn, operation: { ...txn.operation, invokedAt, returnedAt } };
}
