/**
 * The history of a store by revision, put together from all that anybody was told: acknowledged writes, what watchers saw, what reads showed, and, where there
 * is one, the dump of a settled node.
 *
 * Values are unique, so the sources must agree on what a (revision, key) wrote; where they don't, that is a violation in itself. A history need not be complete: a write
 * whose outcome nobody learnt and whose value nobody saw is missing. `covered` tells for which revisions everything is known: those that a watcher of all keys
 * (or the dump) went through.
 *
 * Invariants: versions of a key are ordered by revision, one for each; building takes linear time but for one sort.
 */
import {
  type EntrySeen,
  type EventSeen,
  inRange,
  isWrite,
  type OperationRecord,
  takenSteps,
  type Violation,
  Violations,
  type WatcherRecord,
} from './observations.ts';

export interface KeyVersion {
  readonly revision: number;
  readonly key: string;
  type: 'put' | 'delete';
  /** undefined while only a touch is known to have written it. */
  value: string | undefined;
  /** 0 where no source told. */
  createRevision: number;
  version: number;
  /** undefined where no source told; 0: never expires. */
  expiresAtMs: number | undefined;
  /** Who told first. */
  readonly source: string;
}

export interface HistorySources {
  readonly operations: readonly OperationRecord[];
  readonly watchers: readonly WatcherRecord[];
  /** All events of a settled node from revision `fromRevision` up to and including `toRevision`. */
  readonly settled?:
    | { readonly fromRevision: number; readonly toRevision: number; readonly events: readonly EventSeen[] }
    | undefined;
}

export class EventHistory {
  readonly byKey = new Map<string, KeyVersion[]>();
  readonly byRevision = new Map<number, KeyVersion[]>();
  /** Of acknowledged writes: who wrote the revision. */
  readonly writers = new Map<number, OperationRecord>();
  /** The operation that puts a value, whatever became of it. */
  readonly putters = new Map<string, OperationRecord>();
  /** Disjoint, ascending. */
  readonly coverage: { from: number; to: number }[] = [];
  readonly violations: readonly Violation[];
  /** The largest revision that any source mentions. */
  lastRevision = 0;
  private readonly byPlace = new Map<string, KeyVersion>();
  private readonly maybeDeletedKeys = new Set<string>();
  private readonly maybeExpiringKeys = new Set<string>();
  private readonly leases = new Map<string, string>();
  private readonly leasedKeys = new Set<string>();
  private readonly maybeTouchedKeys = new Set<string>();
  private readonly maybeDeletedRanges: { start: string; end: string }[] = [];
  private readonly found = new Violations('history');

  constructor(sources: HistorySources) {
    for (const operation of sources.operations) this.addOperation(operation);
    for (const watcher of sources.watchers) this.addWatcher(watcher);
    const { settled } = sources;
    if (settled !== undefined) {
      for (const event of settled.events) this.addEvent(event, 'settled node');
      this.cover(settled.fromRevision, settled.toRevision);
    }
    this.mergeCoverage();
    for (const versions of this.byKey.values()) {
      versions.sort((a, b) => a.revision - b.revision);
    }
    this.violations = this.found.list;
  }

  /** The version of a key that a read at `revision` shows: its last one at or below; undefined when no source knows one. */
  versionAt(key: string, revision: number): KeyVersion | undefined {
    const versions = this.byKey.get(key);
    if (versions === undefined) return undefined;
    const next = firstAbove(versions, revision);
    return next === 0 ? undefined : versions[next - 1];
  }

  /** Whether all writes of the revisions from `from` up to and including `to` are known. */
  covers(from: number, to: number): boolean {
    if (from > to) return true;
    return this.coverage.some((part) => part.from <= from && to <= part.to);
  }

  /** Whether an operation of unknown outcome may have written the key's value again. */
  maybeTouched(key: string): boolean {
    return this.maybeTouchedKeys.has(key);
  }

  /** The lease that a value was put with. */
  leaseOf(value: string | undefined): string | undefined {
    return value === undefined ? undefined : this.leases.get(value);
  }

  /** Whether the key may have been attached to a lease, with which it goes. */
  maybeLeased(key: string): boolean {
    return this.leasedKeys.has(key);
  }

  /** Whether an operation of unknown outcome may have given the key a time to live. */
  maybeExpiring(key: string): boolean {
    return this.maybeExpiringKeys.has(key);
  }

  /** Whether an operation of unknown outcome may have removed the key. */
  maybeDeleted(key: string): boolean {
    return (
      this.maybeDeletedKeys.has(key) ||
      this.maybeDeletedRanges.some(({ start, end }) => inRange(key, start, end))
    );
  }

  private addOperation(operation: OperationRecord): void {
    if (operation.revision > this.lastRevision) this.lastRevision = operation.revision;
    if (isWrite(operation)) this.addAsked(operation);
    if (operation.outcome !== 'ok') return;
    const { revision } = operation;
    const source = `operation ${operation.id} of ${operation.client}`;
    const steps = takenSteps(operation);
    let writes = false;
    for (let at = 0; at < steps.length; at++) {
      const step = steps[at]!;
      const result = operation.results[at];
      if (step.type === 'put') {
        writes = true;
        const expiresAtMs = step.ttlMs === 0 ? 0 : undefined;
        this.note({ revision, key: step.key, type: 'put', value: step.value, expiresAtMs, source });
      } else if (step.type === 'delete' && result?.type === 'delete' && result.deleted > 0) {
        writes = true;
        this.note({ revision, key: step.key, type: 'delete', value: '', expiresAtMs: 0, source });
      } else if (step.type === 'deleteRange' && result?.type === 'delete' && result.deleted > 0) {
        writes = true;
      } else if (step.type === 'touch' && result?.type === 'touch' && result.found) {
        writes = true;
        const expiresAtMs = step.ttlMs === 0 ? 0 : undefined;
        this.note({ revision, key: step.key, type: 'put', value: undefined, expiresAtMs, source });
      }
      if (result?.type === 'get' && result.entry !== undefined) this.addEntry(result.entry, source);
      if (result?.type === 'scan') for (const entry of result.entries) this.addEntry(entry, source);
    }
    if (!writes) return;
    const other = this.writers.get(revision);
    if (other === undefined) this.writers.set(revision, operation);
    else {
      this.found.add(`two writes were acknowledged with revision ${revision}`, {
        revision,
        first: other.id,
        second: operation.id,
      });
    }
  }

  private addAsked(operation: OperationRecord): void {
    const unknown = operation.outcome === 'info';
    for (const steps of [operation.steps, operation.elseSteps]) {
      for (const step of steps) {
        if (step.type === 'put') {
          this.putters.set(step.value, operation);
          if (step.lease !== undefined) {
            this.leases.set(step.value, step.lease);
            this.leasedKeys.add(step.key);
          }
        }
        if (step.type === 'touch' && unknown) this.maybeTouchedKeys.add(step.key);
        if (step.type === 'delete' && unknown) this.maybeDeletedKeys.add(step.key);
        const expires = (step.type === 'put' || step.type === 'touch') && step.ttlMs > 0;
        if (expires && unknown) this.maybeExpiringKeys.add(step.key);
        // One that was acknowledged says how many keys it removed, not which.
        if (step.type === 'deleteRange' && operation.outcome !== 'fail') this.maybeDeletedRanges.push(step);
      }
    }
  }

  private addEntry(entry: EntrySeen, source: string): void {
    const { key, value, createRevision, modRevision: revision, version, expiresAtMs } = entry;
    this.note({ revision, key, type: 'put', value, createRevision, version, expiresAtMs, source });
  }

  private addEvent(event: EventSeen, source: string): void {
    const { revision, key, type, value, createRevision, version } = event;
    const expiresAtMs = type === 'delete' ? 0 : undefined;
    this.note({ revision, key, type, value, createRevision, version, expiresAtMs, source });
  }

  private addWatcher(watcher: WatcherRecord): void {
    for (const batch of watcher.batches) {
      if (batch.revision > this.lastRevision) this.lastRevision = batch.revision;
      for (const event of batch.events) this.addEvent(event, `watcher ${watcher.name}`);
    }
    if (watcher.start !== '' || watcher.end !== undefined || watcher.filters !== undefined) return;
    const first = firstCovered(watcher);
    const last = lastCovered(watcher);
    if (last >= first) this.cover(first, last);
  }

  private cover(from: number, to: number): void {
    this.coverage.push({ from, to });
    if (to > this.lastRevision) this.lastRevision = to;
  }

  private mergeCoverage(): void {
    const parts = this.coverage.sort((a, b) => a.from - b.from);
    let kept = 0;
    for (let at = 1; at < parts.length; at++) {
      const part = parts[at]!;
      const before = parts[kept]!;
      if (part.from <= before.to + 1) before.to = Math.max(before.to, part.to);
      else parts[++kept] = part;
    }
    if (parts.length > 0) parts.length = kept + 1;
  }

  private note(told: {
    revision: number;
    key: string;
    type: 'put' | 'delete';
    value: string | undefined;
    createRevision?: number;
    version?: number;
    expiresAtMs: number | undefined;
    source: string;
  }): void {
    const { revision, key } = told;
    let atRevision = this.byRevision.get(revision);
    if (atRevision === undefined) {
      atRevision = [];
      this.byRevision.set(revision, atRevision);
      if (revision > this.lastRevision) this.lastRevision = revision;
    }
    const place = `${revision} ${key}`;
    const known = this.byPlace.get(place);
    if (known !== undefined) {
      this.agree(known, told);
      return;
    }
    const version: KeyVersion = { createRevision: 0, version: 0, ...told };
    atRevision.push(version);
    this.byPlace.set(place, version);
    const versions = this.byKey.get(key);
    if (versions === undefined) this.byKey.set(key, [version]);
    else versions.push(version);
  }

  private agree(known: KeyVersion, told: Parameters<EventHistory['note']>[0]): void {
    const { createRevision = 0, version = 0 } = told;
    const differs =
      known.type !== told.type ||
      (known.value !== undefined && told.value !== undefined && known.value !== told.value) ||
      (known.createRevision !== 0 && createRevision !== 0 && known.createRevision !== createRevision) ||
      (known.version !== 0 && version !== 0 && known.version !== version);
    if (differs) {
      this.found.add(`two accounts of key ${known.key} at revision ${known.revision} differ`, {
        revision: known.revision,
        key: known.key,
        [known.source]: describe(known),
        [told.source]: describe(told),
      });
    }
    known.value ??= told.value;
    if (known.createRevision === 0) known.createRevision = createRevision;
    if (known.version === 0) known.version = version;
    known.expiresAtMs ??= told.expiresAtMs;
  }
}

/** The first revision of which a watcher must have been given everything; Infinity when it was given nothing yet. */
export function firstCovered(watcher: WatcherRecord): number {
  if (watcher.fromRevision > 0) return watcher.fromRevision;
  const first = watcher.batches[0];
  if (first === undefined) return Number.POSITIVE_INFINITY;
  // What came before the first batch may have been before the watch: with events it begins at the first of them.
  return Math.max(watcher.seenRevision + 1, first.events[0]?.revision ?? first.revision + 1);
}

/** The last revision of which it was given everything: a batch that it left in the middle does not count. */
export function lastCovered(watcher: WatcherRecord): number {
  const { batches, ended } = watcher;
  const last = batches.length - 1;
  if (last < 0) return 0;
  const { size, events } = batches[last]!;
  const cut = ended?.how === 'cancelled' && (size === undefined || events.length < size);
  if (!cut) return batches[last]!.revision;
  return last === 0 ? 0 : batches[last - 1]!.revision;
}

/** The index of the first version above `revision`. */
export function firstAbove(versions: readonly KeyVersion[], revision: number): number {
  let low = 0;
  let high = versions.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (versions[middle]!.revision <= revision) low = middle + 1;
    else high = middle;
  }
  return low;
}

function describe(version: {
  type: string;
  value: string | undefined;
  version?: number;
  createRevision?: number;
}): string {
  return `${version.type} ${version.value ?? '?'} version ${version.version ?? 0} created at ${version.createRevision ?? 0}`;
}
