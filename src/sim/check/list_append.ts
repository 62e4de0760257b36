/**
 * Transactions that read lists and append to them, each element at most once to a key: decided exactly, after Kingsbury and Alvaro, "Elle" (2020).
 *
 * A read shows the whole order of the appends before it. All reads of a key must be beginnings of the longest one; then it is known, for each element that
 * someone saw, which element came before it (ww), who saw it (wr), and who did not see it yet (rw). What no read shows came after all that any read shows. With the order
 * of time, the transactions are strictly serializable exactly when these edges have no ring: any order that keeps the edges gives every read what it read.
 * A transaction of unknown outcome happened when someone saw an element of it; else it is left out, which changes no read.
 */
import type { Operation } from './history.ts';
import { canonical, isList, type JsonValue } from './json_value.ts';
import type { TxnAnomaly } from './txn_anomaly.ts';
import { ringName, TxnGraph } from './txn_graph.ts';
import type { Micro, Txn } from './txn_history.ts';
import { addRealtime, addRevisions } from './txn_order.ts';

interface Append {
  readonly txn: Txn;
  /** Its place among the appends of its transaction to the key, and how many there are. */
  readonly place: number;
  of: number;
}

interface Read {
  readonly txn: Txn;
  /** The canonical texts of the elements that were there before the transaction. */
  readonly elements: readonly string[];
}

interface KeyHistory {
  readonly appends: Map<string, Append>;
  readonly reads: Read[];
}

const MAX_ANOMALIES = 20;

/** What is wrong with the transactions (nothing: they are strictly serializable), or undefined when an element is appended twice to a key, so that this can't tell. */
export function checkListAppend(txns: readonly Txn[]): TxnAnomaly[] | undefined {
  const keys = new Map<string, KeyHistory>();
  const anomalies: TxnAnomaly[] = [];
  for (const txn of txns) if (!collectAppends(txn, keys)) return undefined;
  for (const txn of txns) if (txn.operation.outcome === 'ok') collectReads(txn, keys, anomalies);
  const orders = new Map<string, readonly string[]>();
  for (const [key, history] of keys) orders.set(key, orderOf(key, history, anomalies));
  if (anomalies.length > 0) return anomalies.slice(0, MAX_ANOMALIES);
  const happened = happenedOf(txns, keys, orders);
  const graph = new TxnGraph(happened.length);
  const nodes = new Map(happened.map((txn, node) => [txn, node]));
  for (const [key, history] of keys) addEdges(graph, nodes, key, history, orders.get(key)!);
  addRealtime(graph, happened);
  anomalies.push(...addRevisions(graph, happened));
  const ring = graph.ring();
  if (ring !== undefined) {
    const operations = ring.nodes.map((node) => happened[node]!.operation);
    anomalies.push({
      name: ringName(ring.kinds),
      text: `each of these ${operations.length} transactions must come before the next, and the last before the first`,
      operations,
      because: ring.because,
    });
  }
  return anomalies;
}

function historyOf(keys: Map<string, KeyHistory>, key: string): KeyHistory {
  let history = keys.get(key);
  if (history === undefined) {
    history = { appends: new Map(), reads: [] };
    keys.set(key, history);
  }
  return history;
}

/** False: an element is there twice. */
function collectAppends(txn: Txn, keys: Map<string, KeyHistory>): boolean {
  const own = new Map<string, Append[]>();
  for (const { kind, key, value } of txn.micros) {
    if (kind !== 'append') continue;
    const { appends } = historyOf(keys, key);
    const element = canonical(value ?? null);
    if (appends.has(element)) return false;
    const before = own.get(key) ?? [];
    const append = { txn, place: before.length, of: 0 };
    own.set(key, [...before, append]);
    appends.set(element, append);
  }
  for (const appends of own.values()) for (const append of appends) append.of = appends.length;
  return true;
}

function where(operation: Operation): string {
  const { returnLine } = operation;
  return `process ${operation.process}${returnLine === undefined ? '' : `, line ${returnLine}`}`;
}

function elementsOf(value: JsonValue | undefined): string[] {
  return value !== undefined && value !== null && isList(value) ? value.map(canonical) : [];
}

function collectReads(txn: Txn, keys: Map<string, KeyHistory>, anomalies: TxnAnomaly[]): void {
  const own = new Map<string, string[]>();
  const before = new Map<string, readonly string[]>();
  const wrong = ({ key, value }: Micro, why: string, name = 'internal'): void => {
    anomalies.push({
      name,
      text: `${where(txn.operation)}: read ${key} as ${canonical(value ?? null)}, ${why}`,
      operations: [txn.operation],
    });
  };
  for (const micro of txn.micros) {
    const { kind, key, value } = micro;
    const mine = own.get(key) ?? [];
    if (kind === 'append') {
      own.set(key, [...mine, canonical(value ?? null)]);
      continue;
    }
    if (value !== undefined && value !== null && !isList(value)) {
      // A key that nobody appends to, or its reads would have been refused.
      wrong(micro, 'which nobody wrote', 'unwritten-value');
      continue;
    }
    const elements = elementsOf(value);
    const external = elements.slice(0, Math.max(0, elements.length - mine.length));
    const known = before.get(key);
    if (elements.slice(external.length).join() !== mine.join() || elements.length < mine.length)
      wrong(micro, 'which does not end with what it had appended itself');
    else if (known !== undefined && known.join() !== external.join())
      wrong(micro, `but had read ${known.length} elements of others before`);
    else if (known === undefined) {
      before.set(key, external);
      historyOf(keys, key).reads.push({ txn, elements: external });
    }
  }
}

/** The order of the elements of a key, as the longest read shows it. */
function orderOf(key: string, { appends, reads }: KeyHistory, anomalies: TxnAnomaly[]): readonly string[] {
  let longest: Read | undefined;
  for (const read of reads)
    if (longest === undefined || read.elements.length > longest.elements.length) longest = read;
  if (longest === undefined) return [];
  for (const read of reads) {
    const problem = problemOf(key, read, longest, appends);
    if (problem !== undefined) anomalies.push(problem);
  }
  return longest.elements;
}

function problemOf(
  key: string,
  read: Read,
  longest: Read,
  appends: ReadonlyMap<string, Append>,
): TxnAnomaly | undefined {
  const { txn, elements } = read;
  const found = (name: string, what: string, other?: Operation): TxnAnomaly => ({
    name,
    text: `${where(txn.operation)}: ${what}`,
    operations: other === undefined ? [txn.operation] : [txn.operation, other],
  });
  if (new Set(elements).size < elements.length)
    return found('duplicate-element', `read ${key} with an element twice: [${elements.join()}]`);
  const differs = elements.findIndex((element, i) => element !== longest.elements[i]);
  if (differs >= 0)
    return found(
      'incompatible-order',
      `read ${key} as [${elements.join()}], but ${where(longest.txn.operation)} read [${longest.elements.join()}]`,
      longest.txn.operation,
    );
  for (const element of elements) {
    const append = appends.get(element);
    if (append === undefined)
      return found('unwritten-value', `read ${element} in ${key}, which nobody appended`);
    if (append.txn.operation.outcome === 'fail')
      return found(
        'G1a',
        `read ${element} in ${key}, whose append failed (${where(append.txn.operation)})`,
        append.txn.operation,
      );
    if (append.txn === txn) return found('internal', `read ${element} in ${key} before it appended it`);
  }
  const last = appends.get(elements[elements.length - 1] ?? '');
  if (last !== undefined && elements.length > 0 && last.place + 1 < last.of)
    return found(
      'G1b',
      `read ${key} up to ${elements[elements.length - 1]}, in the middle of what ${where(last.txn.operation)} appended`,
      last.txn.operation,
    );
  return undefined;
}

/** The transactions that certainly happened. */
function happenedOf(
  txns: readonly Txn[],
  keys: ReadonlyMap<string, KeyHistory>,
  orders: ReadonlyMap<string, readonly string[]>,
): Txn[] {
  const seen = new Set<Txn>();
  for (const [key, order] of orders)
    for (const element of order) {
      const append = keys.get(key)!.appends.get(element);
      if (append !== undefined) seen.add(append.txn);
    }
  return txns.filter((txn) => txn.operation.outcome === 'ok' || seen.has(txn));
}

function addEdges(
  graph: TxnGraph,
  nodes: ReadonlyMap<Txn, number>,
  key: string,
  { appends, reads }: KeyHistory,
  order: readonly string[],
): void {
  const writers = order.map((element) => nodes.get(appends.get(element)!.txn)!);
  for (let i = 1; i < writers.length; i++)
    graph.add(writers[i - 1]!, writers[i]!, 'ww', `${key}: ${order[i]} stands after its ${order[i - 1]}`);
  // What nobody saw comes after everything that somebody saw.
  const end = graph.join();
  const last = writers[writers.length - 1];
  if (last !== undefined) graph.add(last, end, 'ww', `${key}: nobody saw the next one's append`);
  const shown = new Set(order);
  for (const [element, { txn }] of appends) {
    const node = nodes.get(txn);
    if (node !== undefined && !shown.has(element)) graph.add(end, node, 'on', '');
  }
  for (const { txn, elements } of reads) {
    const reader = nodes.get(txn)!;
    const count = elements.length;
    if (count > 0)
      graph.add(writers[count - 1]!, reader, 'wr', `${key}: the next one read its ${elements[count - 1]}`);
    const text = `${key}: it did not see ${order[count] ?? "the next one's append"}`;
    graph.add(reader, count < order.length ? writers[count]! : end, 'rw', text);
  }
}
