/** Every queue is bounded in bytes, and stays below what the configuration allows. */
import type { NodeId } from '../../raft/types.ts';
import type { Report } from './violation.ts';

export interface Queue {
  /** In the words of the documentation: 'uncommitted log', 'pending writes'. */
  readonly name: string;
  readonly bytes: number;
  readonly maxBytes: number;
}

export function checkQueues(id: NodeId, queues: readonly Queue[], report: Report): void {
  for (const { name, bytes, maxBytes } of queues) {
    if (bytes >= 0 && bytes <= maxBytes) continue;
    report(
      'bounded queues',
      id,
      `${name} of node ${id}: ${bytes} bytes are queued, ${maxBytes} are allowed`,
      { name, bytes, maxBytes },
    );
  }
}
