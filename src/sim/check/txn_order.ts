/** Orders between transactions that do not come from what they read and wrote: that of time, and that of the revisions which the store gave. */
import type { TxnAnomaly } from './txn_anomaly.ts';
import type { TxnGraph } from './txn_graph.ts';
import type { Txn } from './txn_history.ts';

/** What ended before another began precedes it. */
export function addRealtime(graph: TxnGraph, txns: readonly Txn[]): void {
  const moments: { at: number; isEnd: boolean; node: number }[] = [];
  txns.forEach(({ operation }, node) => {
    moments.push({ at: operation.invokedAt, isEnd: false, node });
    if (operation.outcome === 'ok') moments.push({ at: operation.returnedAt, isEnd: true, node });
  });
  moments.sort((x, y) => x.at - y.at || Number(x.isEnd) - Number(y.isEnd));
  let ended: number | undefined;
  for (const { isEnd, node } of moments) {
    if (!isEnd) {
      if (ended !== undefined) graph.add(ended, node, 'on', '');
      continue;
    }
    const now = graph.join();
    if (ended !== undefined) graph.add(ended, now, 'on', '');
    graph.add(node, now, 'realtime', 'it had ended when the next one began');
    ended = now;
  }
}

/** A transaction of a lower revision precedes one of a higher; of one revision, the one that wrote comes first. @returns what is wrong with the revisions themselves */
export function addRevisions(graph: TxnGraph, txns: readonly Txn[]): TxnAnomaly[] {
  const anomalies: TxnAnomaly[] = [];
  const byRevision = new Map<number, number[]>();
  txns.forEach(({ operation }, node) => {
    if (operation.outcome !== 'ok' || operation.revision === undefined) return;
    const same = byRevision.get(operation.revision);
    if (same === undefined) byRevision.set(operation.revision, [node]);
    else same.push(node);
  });
  let before: number | undefined;
  for (const revision of [...byRevision.keys()].sort((x, y) => x - y)) {
    const nodes = byRevision.get(revision)!;
    const writers = nodes.filter((node) => txns[node]!.writes);
    if (writers.length > 1)
      anomalies.push({
        name: 'duplicate-revision',
        text: `revision ${revision} was given to ${writers.length} transactions that write`,
        operations: writers.map((node) => txns[node]!.operation),
      });
    const written = graph.join();
    const over = graph.join();
    const text = `revision ${revision} is before the next one's`;
    graph.add(written, over, 'on', '');
    for (const node of nodes) {
      if (before !== undefined) graph.add(before, node, 'on', '');
      if (txns[node]!.writes) graph.add(node, written, 'revision', text);
      else {
        graph.add(written, node, 'on', '');
        graph.add(node, over, 'revision', text);
      }
    }
    if (before !== undefined) graph.add(before, written, 'on', '');
    before = over;
  }
  return anomalies;
}
