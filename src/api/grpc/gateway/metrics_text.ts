/** What a node's status counts, in the text form of Prometheus. */
import type { NodeStatus } from '../../../wire/messages.ts';

export function metricsText(status: NodeStatus): string {
  const gauges: Record<string, number> = {
    up: 1,
    has_leader: status.leader === 0 ? 0 : 1,
    is_leader: status.role === 'leader' ? 1 : 0,
    healthy: status.health === 'ok' ? 1 : 0,
    raft_term: status.term,
    raft_commit_index: status.commitIndex,
    raft_applied_index: status.appliedIndex,
    revision: status.revision,
    compact_revision: status.compactRevision,
    uptime_seconds: status.uptimeMs / 1_000,
    resident_memory_bytes: status.rssBytes,
    data_bytes: status.dataBytes,
    ...status.metrics,
  };
  const ours = Object.entries(gauges)
    .filter(([name, value]) => /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) && Number.isFinite(value))
    .map(([name, value]) => gaugeText(`kvorum_${name}`, value))
    .join('');
  // By the name that programs of every kind give it: `etcdctl check datascale` looks for it.
  return ours + gaugeText('process_resident_memory_bytes', status.rssBytes);
}

const gaugeText = (name: string, value: number): string => `# TYPE ${name} gauge\n${name} ${value}\n`;
