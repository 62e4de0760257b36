/** Events as etcd's clients see them: filters, and parts of a revision that is larger than a client wants at once. */
import type { KvEvent } from '../../../kv/command.ts';
import type { Event } from '../messages/kv.ts';
import { FilterType } from '../messages/watch.ts';
import { keyValueOf } from './etcd_context.ts';

const PUT = 0;
const DELETE = 1;
/** What the fields of an event take beside its keys and values, about. */
const EVENT_OVERHEAD = 96;

export interface EventFilter {
  readonly noPut: boolean;
  readonly noDelete: boolean;
  /** Show what was replaced. Events are shared: it may be there for another watch's sake. */
  readonly prevKv: boolean;
}

/** Unknown filters are passed over, as etcd does. */
export function filterOf(filters: readonly number[], prevKv: boolean): EventFilter {
  return {
    prevKv,
    noPut: filters.includes(FilterType.values.NOPUT),
    noDelete: filters.includes(FilterType.values.NODELETE),
  };
}

/** The events that a filter lets through. Key-values are views of what the records own. */
export function eventsOf(events: readonly KvEvent[], { noPut, noDelete, prevKv }: EventFilter): Event[] {
  const shown: Event[] = [];
  for (const { type, record, previous } of events) {
    const isPut = type === 'put';
    if (isPut ? noPut : noDelete) continue;
    shown.push({
      type: isPut ? PUT : DELETE,
      kv: keyValueOf(record),
      prev_kv: prevKv && previous !== undefined ? keyValueOf(previous) : undefined,
    });
  }
  return shown;
}

/** Cuts events into parts of about `maxBytes`, an event at least in each. */
export function partsOf(events: readonly Event[], maxBytes: number): Event[][] {
  const parts: Event[][] = [];
  let part: Event[] = [];
  let bytes = 0;
  for (const event of events) {
    const size = sizeOf(event);
    if (part.length > 0 && bytes + size > maxBytes) {
      parts.push(part);
      part = [];
      bytes = 0;
    }
    part.push(event);
    bytes += size;
  }
  parts.push(part);
  return parts;
}

function sizeOf({ kv, prev_kv: before }: Event): number {
  let size = EVENT_OVERHEAD;
  if (kv !== undefined) size += kv.key.length + kv.value.length;
  if (before !== undefined) size += before.key.length + before.value.length;
  return size;
}
