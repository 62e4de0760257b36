/**
 * Transactions that read and write registers: what must have been in which order, as far as it is certain; the rest is searched (txn_check.ts).
 *
 * Where the value that a transaction read was written by one other only, that one precedes it (wr), and so does whoever read the same value an operation that replaced it (rw).
 * Whoever read a key that was never set, and that nobody sets to null, precedes all that set it. These are certain, so a ring of them is a violation; without a ring nothing is proved.
 */
import type { Operation } from './history.ts';
import { canonical, type JsonValue } from './json_value.ts';
import type { TxnAnomaly } from './txn_anomaly.ts';
import { ringName, TxnGraph } from './txn_graph.ts';
import type { Micro, Txn } from './txn_history.ts';
import { addRealtime, addRevisions } from './txn_order.ts';

const UNSET = 'null';
const MAX_ANOMALIES = 20;

interface Version {
  /** Those that may have written it last, not failed ones. */
  readonly writers: Set<Txn>;
  /** A transaction that wrote it and then something else, or failed. */
  hidden: Txn | undefined;
  readonly readers: Set<Txn>;
}

type Versions = Map<string, Map<string, Version>>;

/** What is certainly wrong. Nothing: not decided. */
export function certainAnomalies(txns: readonly Txn[]): TxnAnomaly[] {
  const versions: Versions = new Map();
  const anomalies: TxnAnomaly[] = [];
  for (const txn of txns) collectWrites(txn, versions);
  for (const txn of txns) if (txn.operation.outcome === 'ok') collectReads(txn, versions, anomalies);
  if (anomalies.length > 0) return anomalies.slice(0, MAX_ANOMALIES);
  const happened = txns.filter(
    (txn) => txn.operation.outcome === 'ok' || (txn.operation.outcome === 'info' && isSeen(txn, versions)),
  );
  const graph = new TxnGraph(happened.length);
  const nodes = new Map(happened.map((txn, node) => [txn, node]));
  for (const [key, ofKey] of versions) addEdges(graph, nodes, key, ofKey);
  addRealtime(graph, happened);
  anomalies.push(...addRevisions(graph, happened));
  const ring = graph.ring();
  if (ring === undefined) return anomalies;
  const operations = ring.nodes.map((node) => happened[node]!.operation);
  const text = `each of these ${operations.length} transactions must come before the next, and the last before the first`;
  return [...anomalies, { name: ringName(ring.kinds), text, operations, because: ring.because }];
}

function versionOf(versions: Versions, key: string, value: string): Version {
  const ofKey = versions.get(key) ?? new Map<string, Version>();
  versions.set(key, ofKey);
  const version = ofKey.get(value) ?? { writers: new Set(), hidden: undefined, readers: new Set() };
  ofKey.set(value, version);
  return version;
}

function text(value: JsonValue | undefined): string {
  return canonical(value ?? null);
}

/** What a transaction leaves in each key that it writes. */
function lastWrites({ micros }: Txn): Map<string, string> {
  const last = new Map<string, string>();
  for (const { kind, key, value } of micros) if (kind === 'w') last.set(key, text(value));
  return last;
}

function collectWrites(txn: Txn, versions: Versions): void {
  const last = lastWrites(txn);
  for (const { kind, key, value } of txn.micros) {
    if (kind !== 'w') continue;
    const version = versionOf(versions, key, text(value));
    if (txn.operation.outcome !== 'fail' && last.get(key) === text(value)) version.writers.add(txn);
    else version.hidden = txn;
  }
}

function where(operation: Operation): string {
  const { returnLine } = operation;
  return `process ${operation.process}${returnLine === undefined ? '' : `, line ${returnLine}`}`;
}

function collectReads(txn: Txn, versions: Versions, anomalies: TxnAnomaly[]): void {
  const own = new Map<string, string>();
  const before = new Map<string, string>();
  const found = (name: string, { key, value }: Micro, why: string, other?: Txn): void => {
    anomalies.push({
      name,
      text: `${where(txn.operation)}: read ${key} as ${text(value)}, ${why}`,
      operations: other === undefined ? [txn.operation] : [txn.operation, other.operation],
    });
  };
  for (const micro of txn.micros) {
    const { kind, key } = micro;
    const value = text(micro.value);
    if (kind === 'w') {
      own.set(key, value);
      continue;
    }
    const expected = own.get(key) ?? before.get(key);
    if (expected !== undefined) {
      if (expected !== value) found('internal', micro, `but had written or read ${expected}`);
      continue;
    }
    before.set(key, value);
    const version = versionOf(versions, key, value);
    version.readers.add(txn);
    const others = [...version.writers].filter((writer) => writer !== txn);
    if (others.length > 0 || value === UNSET) continue;
    const { hidden } = version;
    if (hidden === undefined || hidden === txn) found('unwritten-value', micro, 'which nobody wrote');
    else if (hidden.operation.outcome === 'fail')
      found('G1a', micro, `whose write failed (${where(hidden.operation)})`, hidden);
    else found('G1b', micro, `which ${where(hidden.operation)} had overwritten itself`, hidden);
  }
}

/** The one transaction that must have written what was read. */
function writerOf(version: Version, value: string): Txn | undefined {
  return version.writers.size === 1 && value !== UNSET ? [...version.writers][0] : undefined;
}

function isSeen(txn: Txn, versions: Versions): boolean {
  for (const [key, value] of lastWrites(txn)) {
    const version = versions.get(key)!.get(value)!;
    if (version.readers.size > 0 && writerOf(version, value) === txn) return true;
  }
  return false;
}

function addEdges(
  graph: TxnGraph,
  nodes: ReadonlyMap<Txn, number>,
  key: string,
  ofKey: ReadonlyMap<string, Version>,
): void {
  for (const [value, version] of ofKey) {
    const { readers, writers } = version;
    const isUnset = value === UNSET && writers.size === 0;
    const writer = writerOf(version, value);
    if (!isUnset && (writer === undefined || readers.size === 0)) continue;
    const after = graph.join();
    for (const reader of readers) {
      const node = nodes.get(reader)!;
      if (writer !== undefined)
        graph.add(nodes.get(writer)!, node, 'wr', `${key}: the next one read its ${value}`);
      graph.add(node, after, 'rw', `${key}: it read ${value}, which the next one replaced`);
    }
    if (isUnset) addSetters(graph, nodes, ofKey, after);
    else
      for (const reader of readers)
        if (lastWrites(reader).has(key)) graph.add(after, nodes.get(reader)!, 'on', '');
  }
}

/** All that set a key come after those that saw it unset. */
function addSetters(
  graph: TxnGraph,
  nodes: ReadonlyMap<Txn, number>,
  ofKey: ReadonlyMap<string, Version>,
  after: number,
): void {
  for (const { writers } of ofKey.values())
    for (const writer of writers) {
      const node = nodes.get(writer);
      if (node !== undefined) graph.add(after, node, 'on', '');
    }
}
