/**
 * Events that wait for a slow watcher, revision by revision.
 *
 * Invariant: a revision is taken out whole; revisions leave in the order in which they came.
 */
import type { KvEvent } from './command.ts';
import { recordBytes } from './records.ts';

interface QueuedRevision {
  readonly revision: number;
  readonly events: readonly KvEvent[];
  readonly bytes: number;
}
export interface QueuedBatch {
  /** The last revision in it. */
  readonly revision: number;
  readonly events: readonly KvEvent[];
}

export class EventQueue {
  private revisions: QueuedRevision[] = [];
  private head = 0;
  private held = 0;

  /** Bytes of the events in it. */
  get bytes(): number {
    return this.held;
  }

  /** REQUIRES: `revision` above all in it; `bytes` is eventBytes(events). */
  push(revision: number, events: readonly KvEvent[], bytes: number): void {
    this.revisions.push({ revision, events, bytes });
    this.held += bytes;
  }

  /** The oldest revisions, joined until they reach `maxBytes`; undefined when there are none. */
  take(maxBytes: number): QueuedBatch | undefined {
    const first = this.revisions[this.head];
    if (first === undefined) return undefined;
    let { revision, events, bytes } = first;
    this.head++;
    if (bytes < maxBytes && this.head < this.revisions.length) {
      const joined = [...events];
      for (let next = this.revisions[this.head]; next !== undefined && bytes < maxBytes; ) {
        for (const event of next.events) joined.push(event);
        revision = next.revision;
        bytes += next.bytes;
        next = this.revisions[++this.head];
      }
      events = joined;
    }
    this.held -= bytes;
    if (this.head === this.revisions.length) this.clear();
    return { revision, events };
  }

  clear(): void {
    this.revisions = [];
    this.head = 0;
    this.held = 0;
  }
}

/** What events weigh against a queue's bound. */
export function eventBytes(events: readonly KvEvent[]): number {
  let bytes = 0;
  for (const { record, previous } of events) {
    bytes += recordBytes(record) + (previous === undefined ? 0 : recordBytes(previous));
  }
  return bytes;
}
