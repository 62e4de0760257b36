/**
 * Leases as their clients saw them: granted, kept alive, revoked, run out, with their keys.
 *
 * Three things are said of them. Their lives, which lease_check.ts holds against the clocks (neither early nor late): every keep-alive that was answered begins a life anew, and so nothing
 * else may, a change of leaders least of all. Their keys: all that are attached when a lease ends go with it, at one revision. And their ends: nobody attaches a key to
 * a lease, or keeps one alive, that had ended before.
 *
 * Invariants: an end is a delete that nobody can have asked for, of a key whose last put named the lease; where a delete of unknown outcome may have been its cause, it is none.
 */
import type { EventHistory, KeyVersion } from './event_history.ts';
import { KnownTimes } from './known_times.ts';
import type { Life } from './lease_check.ts';
import {
  inRange,
  type OperationRecord,
  type Step,
  takenSteps,
  type Violation,
  Violations,
  type WatcherRecord,
} from './observations.ts';

/** How far the idea that a node has of the store's time may be off: what it was told may have been on its way for long. */
const LOOK_TOLERANCE_MS = 500;

interface Attached {
  readonly key: string;
  readonly version: KeyVersion;
  readonly next: KeyVersion | undefined;
}

interface Lease {
  readonly id: string;
  readonly ttlMs: number;
  readonly grant: OperationRecord;
  /** Keep-alives that were sent, whatever became of them. */
  readonly renewals: OperationRecord[];
  readonly revokes: OperationRecord[];
  readonly attached: Attached[];
  /** Acknowledged puts of keys with this lease. */
  readonly puts: OperationRecord[];
  /** What was said to be left of its time. */
  readonly looks: OperationRecord[];
  /** Answers that say that there is no such lease. */
  readonly missed: OperationRecord[];
  /** When the last linearizable reads that showed a key of it were asked for. */
  readonly seenMs: number[];
}

export class LeaseHistory {
  readonly #leases = new Map<string, Lease>();
  readonly #history: EventHistory;
  readonly #known: KnownTimes;
  /** Writes of unknown outcome that delete. */
  readonly #deletes: Step[] = [];

  constructor(
    operations: readonly OperationRecord[],
    watchers: readonly WatcherRecord[],
    history: EventHistory,
  ) {
    this.#history = history;
    this.#known = new KnownTimes(operations, watchers);
    for (const operation of operations) this.#addGrant(operation);
    for (const operation of operations) {
      this.#addUse(operation);
      for (const step of [...operation.steps, ...operation.elseSteps]) {
        const deletes = step.type === 'delete' || step.type === 'deleteRange';
        if (deletes && operation.outcome === 'info') this.#deletes.push(step);
      }
    }
    for (const [key, versions] of history.byKey) {
      for (let at = 0; at < versions.length; at++) {
        const version = versions[at]!;
        this.#leaseOf(version.value)?.attached.push({ key, version, next: versions[at + 1] });
      }
    }
    for (const operation of operations) this.#addSeen(operation);
  }

  get count(): number {
    return this.#leases.size;
  }

  /** What the keys and the answers say about each lease. `right`: whether all clocks were. */
  violations(right: boolean): readonly Violation[] {
    const found = new Violations('lease');
    for (const lease of this.#leases.values()) {
      this.#checkEnd(lease, found);
      if (right) for (const look of lease.looks) checkLook(lease, look, found);
    }
    return found.list;
  }

  /** For lease_check.ts. */
  lives(): readonly Life[] {
    const lives: Life[] = [];
    for (const lease of this.#leases.values()) {
      const end = this.#expiredMs(lease);
      if (end !== undefined) lives.push(lifeThatEnded(lease, end));
      lives.push(...livesSeen(lease));
    }
    return lives;
  }

  #addGrant(operation: OperationRecord): void {
    const [result] = operation.results;
    if (operation.kind !== 'leaseGrant' || operation.outcome !== 'ok' || result?.type !== 'lease') return;
    this.#leases.set(result.lease, {
      id: result.lease,
      ttlMs: result.ttlMs,
      grant: operation,
      renewals: [],
      revokes: [],
      attached: [],
      puts: [],
      looks: [],
      missed: [],
      seenMs: [],
    });
  }

  #addUse(operation: OperationRecord): void {
    const { kind, outcome, errorCode, results } = operation;
    const [step] = operation.steps;
    if (step?.type === 'keepAlive' || step?.type === 'revoke' || step?.type === 'look') {
      const lease = this.#leases.get(step.lease);
      if (lease === undefined) return;
      const [result] = results;
      const gone =
        (result?.type === 'lease' && result.ttlMs === 0) ||
        (result?.type === 'look' && result.remainingMs < 0);
      if (kind === 'leaseLook' && outcome === 'ok' && !gone) lease.looks.push(operation);
      if (kind === 'leaseLook' && !gone) return;
      if (gone || errorCode === 'LEASE_NOT_FOUND') lease.missed.push(operation);
      else if (kind === 'leaseRevoke') lease.revokes.push(operation);
      // A keep-alive may be made twice: a node that goes down while it passes one on does not say whether it came through.
      else if (outcome !== 'fail' || errorCode === 'UNAVAILABLE') lease.renewals.push(operation);
      return;
    }
    if (outcome === 'ok') {
      for (const taken of takenSteps(operation))
        if (taken.type === 'put' && taken.lease !== undefined)
          this.#leases.get(taken.lease)?.puts.push(operation);
    } else if (errorCode === 'LEASE_NOT_FOUND') {
      const named = new Set(operation.steps.flatMap((one) => (one.type === 'put' ? [one.lease ?? ''] : [])));
      // Of several leases it is not known which one was missed.
      named.delete('');
      if (named.size === 1) this.#leases.get([...named][0]!)?.missed.push(operation);
    }
  }

  #leaseOf(value: string | undefined): Lease | undefined {
    return this.#leases.get(this.#history.leaseOf(value) ?? '');
  }

  #addSeen(operation: OperationRecord): void {
    const { outcome, level, atRevision, invokedMs, kind } = operation;
    if (outcome !== 'ok' || level !== 'linearizable' || atRevision !== 0) return;
    if (kind !== 'get' && kind !== 'scan') return;
    for (const result of operation.results) {
      const entries = result.type === 'get' ? [result.entry] : result.type === 'scan' ? result.entries : [];
      for (const entry of entries)
        if (entry !== undefined) this.#leaseOf(entry.value)?.seenMs.push(invokedMs);
    }
  }

  /** The revision at which a lease was ended, by its keys. */
  #endRevision(lease: Lease): number | undefined {
    for (const { key, version, next } of lease.attached) {
      if (next === undefined || next.type !== 'delete' || this.#history.writers.has(next.revision)) continue;
      if (!this.#history.covers(version.revision, next.revision)) continue;
      if (this.#deletes.some((step) => deletesKey(step, key))) continue;
      return next.revision;
    }
    return undefined;
  }

  /** By when it was known that a lease had run out; undefined: it did not, or may have been revoked, or nobody noticed. */
  #expiredMs(lease: Lease): number | undefined {
    const revision = this.#endRevision(lease);
    const times = lease.missed.map(({ settledMs }) => settledMs);
    if (revision !== undefined) times.push(this.#known.by(revision));
    const endMs = Math.min(...times);
    if (endMs === Number.POSITIVE_INFINITY) return undefined;
    return lease.revokes.some(({ invokedMs }) => invokedMs <= endMs) ? undefined : endMs;
  }

  #checkEnd(lease: Lease, found: Violations): void {
    const { id } = lease;
    const revision = this.#endRevision(lease);
    if (revision !== undefined) {
      for (const { key, version, next } of lease.attached) {
        if (version.revision >= revision)
          found.add(`${key} was attached to lease ${id} at revision ${version.revision}, after its end`, {
            lease: id,
            endedAt: revision,
          });
        else if (
          (next === undefined || next.revision > revision) &&
          this.#history.covers(version.revision, revision)
        )
          found.add(`lease ${id} ended at revision ${revision}, and its key ${key} stayed`, {
            lease: id,
            key,
            attachedAt: version.revision,
            goneAt: next?.revision ?? 0,
          });
      }
    }
    const endedMs = this.#endedMs(lease, revision);
    for (const operation of [...lease.puts, ...lease.renewals]) {
      if (operation.outcome !== 'ok' || operation.invokedMs <= endedMs) continue;
      found.add(`${operation.kind} ${operation.id} found lease ${id}, which had ended before`, {
        lease: id,
        endedMs,
        invokedMs: operation.invokedMs,
      });
    }
  }

  /** When a lease had certainly ended; Infinity: it is not known to have. */
  #endedMs(lease: Lease, revision: number | undefined): number {
    const told = [...lease.missed, ...lease.revokes.filter(({ outcome }) => outcome === 'ok')];
    const times = told.map(({ settledMs }) => settledMs);
    return Math.min(...times, revision === undefined ? Number.POSITIVE_INFINITY : this.#known.by(revision));
  }
}

/**
 * What is said to be left must lie between what is left if the lease's life began when the last answered keep-alive was asked for, and what is left if it began when that was answered. This
 * sees a time that begins anew, or is lost, at once, and not only when it should have ended.
 */
function checkLook({ id, ttlMs, grant, renewals }: Lease, look: OperationRecord, found: Violations): void {
  const [result] = look.results;
  if (result?.type !== 'look') return;
  const { remainingMs } = result;
  const { invokedMs, settledMs } = look;
  let beganFromMs = grant.invokedMs;
  let beganToMs = grant.settledMs;
  for (const renewal of renewals) {
    if (renewal.invokedMs > settledMs) continue;
    beganToMs = Math.max(beganToMs, renewal.outcome === 'ok' ? renewal.settledMs : Number.POSITIVE_INFINITY);
    if (renewal.outcome === 'ok' && renewal.settledMs <= invokedMs)
      beganFromMs = Math.max(beganFromMs, renewal.invokedMs);
  }
  const leastMs = ttlMs - (settledMs - beganFromMs) - LOOK_TOLERANCE_MS;
  // One whose time is over has nothing left until it is ended.
  const mostMs = Math.max(0, ttlMs - Math.max(0, invokedMs - beganToMs) + LOOK_TOLERANCE_MS);
  if (remainingMs >= leastMs && remainingMs <= mostMs) return;
  found.add(
    `lease ${id} is said to have ${Math.round(remainingMs)} ms left of ${ttlMs} ms, and must have ${Math.round(leastMs)} to ${Math.round(mostMs)}`,
    { lease: id, operation: look.id, invokedMs, settledMs },
  );
}

/** The last life: it began no earlier than any keep-alive that was answered was asked for. */
function lifeThatEnded({ id, ttlMs, grant, renewals }: Lease, seenExpiredMs: number): Life {
  let beganFromMs = grant.invokedMs;
  let beganToMs = grant.settledMs;
  for (const { outcome, invokedMs, settledMs } of renewals) {
    if (outcome !== 'ok') beganToMs = Number.POSITIVE_INFINITY;
    else {
      beganFromMs = Math.max(beganFromMs, invokedMs);
      beganToMs = Math.max(beganToMs, settledMs);
    }
  }
  return {
    name: `lease ${id}`,
    ttlMs,
    beganFromMs,
    beganToMs,
    expiresAtMs: undefined,
    seenExpiredMs,
    seenAliveMs: undefined,
  };
}

/** For each time at which it was seen alive the life that it then had, which began no later than the last keep-alive asked for before was answered. */
function livesSeen({ id, ttlMs, grant, renewals, puts, seenMs }: Lease): Life[] {
  const alive = [...seenMs];
  for (const operation of [...puts, ...renewals])
    if (operation.outcome === 'ok') alive.push(operation.invokedMs);
  return alive.map((seenAliveMs) => {
    let beganToMs = grant.settledMs;
    for (const { outcome, invokedMs, settledMs } of renewals) {
      if (invokedMs > seenAliveMs) continue;
      // One that is asked for at that very moment, the answer shows alive, not renewed.
      if (invokedMs === seenAliveMs && outcome === 'ok') continue;
      beganToMs = Math.max(beganToMs, outcome === 'ok' ? settledMs : Number.POSITIVE_INFINITY);
    }
    return {
      name: `lease ${id}`,
      ttlMs,
      beganFromMs: grant.invokedMs,
      beganToMs,
      expiresAtMs: undefined,
      seenExpiredMs: undefined,
      seenAliveMs,
    };
  });
}

function deletesKey(step: Step, key: string): boolean {
  if (step.type === 'delete') return step.key === key;
  return step.type === 'deleteRange' && inRange(key, step.start, step.end);
}
