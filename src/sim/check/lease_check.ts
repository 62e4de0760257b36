/**
 * Does what has a time to live end in time: never early, and at the latest after its time and two election timeouts?
 *
 * The check is of lives, whatever they are of: a key with a time to live now, leases (granted, kept alive, revoked) by the same rules. A life
 * begins with a grant and ends with the next renewal (which begins another life) or with its expiry. Time is the store's, which is carried from leader to leader on
 * monotonic clocks and leans towards wall clocks by SLEW at most: a wall clock that is set wrong must end nothing early. While all clocks are right the bounds are exact.
 *
 *   early  at its end not even the fastest clock could have counted its time, from when the next leader last heard one whose clock is slow; judged under wrong clocks unless a
 *          node started meanwhile (who has heard no time may have to begin with its wall clock)
 *   late   seen alive by a linearizable read although its time had passed for `graceMs`, in which the cluster was undisturbed; under wrong clocks for its whole life
 *
 * `ttlLives` finds the lives of keys in a history; `checkStoreTime` needs no clocks: expiry times tell what the store's time was at a revision, and it never goes back.
 */
import { SLEW, WINDOW_MS } from '../../node/store_clock.ts';
import type { ClockBounds } from './clock_bounds.ts';
import type { EventHistory, KeyVersion } from './event_history.ts';
import { KnownTimes } from './known_times.ts';
import {
  type OperationRecord,
  takenSteps,
  type Violation,
  Violations,
  type WatcherRecord,
} from './observations.ts';

export interface Life {
  /** For messages: a key at a revision, a lease. */
  readonly name: string;
  readonly ttlMs: number;
  /** True time before which it cannot have begun (the grant was asked for), and by which it had. */
  readonly beganFromMs: number;
  readonly beganToMs: number;
  /** The store's time at which it ends, where that was shown. */
  readonly expiresAtMs: number | undefined;
  /** True time by which somebody had seen that it had expired (not: renewed, revoked or deleted); undefined if nobody did. */
  readonly seenExpiredMs: number | undefined;
  /** When the last linearizable read that showed it alive was asked for; undefined without one. */
  readonly seenAliveMs: number | undefined;
}

/** A node that was started has heard the time after so long, if it can lead at all. */
const UNTOLD_MS = 1_000;

export interface Disturbance {
  readonly fromMs: number;
  readonly toMs: number;
}

export interface LeaseCheckOptions {
  readonly clocks: ClockBounds;
  /** Two election timeouts and the interval at which a leader looks for what is due. */
  readonly graceMs: number;
  /** When faults kept, or may have kept, the cluster from its work. */
  readonly disturbances: readonly Disturbance[];
  /** True times at which nodes were started. */
  readonly starts?: readonly number[];
  /** How far apart two readings of one clock may lie for other reasons (rounding). */
  readonly toleranceMs?: number;
}

/** All violations, at most MAX_VIOLATIONS. */
export function checkLives(lives: readonly Life[], options: LeaseCheckOptions): readonly Violation[] {
  const found = new Violations('lease');
  const early = options.clocks.right ? earlyByClocks : earlyByRates;
  const late = options.clocks.right ? lateByClocks : lateByRates;
  for (const life of lives) {
    const { name, ttlMs, beganFromMs, beganToMs, seenExpiredMs, seenAliveMs } = life;
    const earlyMs = seenExpiredMs === undefined ? 0 : early(life, seenExpiredMs, options);
    if (earlyMs > 0) {
      const details = { ttlMs, beganFromMs, seenExpiredMs: seenExpiredMs ?? 0 };
      found.add(`${name} expired ${Math.ceil(earlyMs)} ms before its time`, details);
    }
    if (seenAliveMs !== undefined && late(life, seenAliveMs, options)) {
      const details = { ttlMs, beganToMs, seenAliveMs };
      found.add(`${name} outlived its time by more than ${options.graceMs} ms`, details);
    }
  }
  return found.list;
}

/** By how much an end came too early; 0: it did not. */
function earlyByClocks(life: Life, seenExpiredMs: number, options: LeaseCheckOptions): number {
  const { clocks, toleranceMs = 1 } = options;
  const { ttlMs, beganFromMs, beganToMs } = life;
  // Behind the clocks (its leaders were stopped for a while), the store's time may catch up during a life.
  const caughtUpMs = (seenExpiredMs - beganFromMs) * SLEW;
  const dueMs =
    life.expiresAtMs ?? clocks.lowest(beganFromMs, Math.min(beganToMs, seenExpiredMs)) + ttlMs - caughtUpMs;
  const storeMs = clocks.highest(seenExpiredMs);
  return storeMs + toleranceMs < dueMs ? dueMs - storeMs : 0;
}

function earlyByRates(life: Life, seenExpiredMs: number, options: LeaseCheckOptions): number {
  const { clocks, graceMs, starts = [], toleranceMs = 1 } = options;
  const { ttlMs, beganFromMs } = life;
  if (starts.some((atMs) => atMs >= beganFromMs - UNTOLD_MS && atMs <= seenExpiredMs)) return 0;
  const { fastest, slowest } = clocks.rates;
  // A leader that took over counts from what it heard: a slow leader has lost as much since, and gave the life out by its own time.
  const aheadMs = (1 - slowest / fastest) * (2 * WINDOW_MS + graceMs);
  const mostMs = (seenExpiredMs - beganFromMs) * fastest * (1 + SLEW) + aheadMs;
  return mostMs + toleranceMs < ttlMs ? ttlMs - mostMs : 0;
}

/** Whether a life was seen when it had to be over. */
function lateByClocks(life: Life, seenAliveMs: number, options: LeaseCheckOptions): boolean {
  const { clocks, graceMs, toleranceMs = 1 } = options;
  const dueMs = life.expiresAtMs ?? clocks.highest(life.beganToMs) + life.ttlMs;
  const quietFromMs = seenAliveMs - graceMs;
  if (quietFromMs < life.beganToMs || clocks.lowest(quietFromMs, seenAliveMs) <= dueMs + toleranceMs)
    return false;
  return undisturbed(quietFromMs, seenAliveMs, options);
}

function lateByRates(life: Life, seenAliveMs: number, options: LeaseCheckOptions): boolean {
  const { clocks, graceMs, toleranceMs = 1 } = options;
  const longestMs = life.ttlMs / (clocks.rates.slowest * (1 - SLEW)) + graceMs + toleranceMs;
  return seenAliveMs - life.beganToMs > longestMs && undisturbed(life.beganToMs, seenAliveMs, options);
}

function undisturbed(fromMs: number, toMs: number, { disturbances }: LeaseCheckOptions): boolean {
  return !disturbances.some((one) => one.fromMs <= toMs && one.toMs >= fromMs);
}

/** The lives of keys with a time to live, as far as anybody saw them. */
export function ttlLives(
  operations: readonly OperationRecord[],
  watchers: readonly WatcherRecord[],
  history: EventHistory,
): readonly Life[] {
  const known = new KnownTimes(operations, watchers);
  const alive = lastSeenAlive(operations);
  const lives: Life[] = [];
  for (const [key, versions] of history.byKey) {
    for (let at = 0; at < versions.length; at++) {
      const version = versions[at]!;
      const grant = version.type === 'put' ? grantOf(version, history) : undefined;
      if (grant === undefined) continue;
      const next = versions[at + 1];
      const expired = next?.type === 'delete' && mustBeExpiry(next, version, history);
      lives.push({
        name: `${key} at revision ${version.revision}`,
        ttlMs: grant.ttlMs,
        beganFromMs: grant.invokedMs,
        beganToMs: Math.min(grant.settledMs, known.by(version.revision)),
        expiresAtMs: version.expiresAtMs,
        seenExpiredMs: expired ? known.by(next.revision) : undefined,
        seenAliveMs: alive.get(`${version.revision} ${key}`),
      });
    }
  }
  return lives;
}

/**
 * The store's time never goes back, and an expiry is never before it: from the expiry times that reads showed. `grace` for nothing: this is exact.
 */
export function checkStoreTime(history: EventHistory): readonly Violation[] {
  const found = new Violations('lease');
  const marks: { revision: number; storeMs: number; key: string }[] = [];
  const ends: { revision: number; dueMs: number; key: string }[] = [];
  for (const [key, versions] of history.byKey) {
    for (let at = 0; at < versions.length; at++) {
      const version = versions[at]!;
      const { revision, expiresAtMs } = version;
      if (version.type !== 'put' || expiresAtMs === undefined || expiresAtMs === 0) continue;
      const grant = grantOf(version, history);
      if (grant !== undefined) marks.push({ revision, storeMs: expiresAtMs - grant.ttlMs, key });
      const next = versions[at + 1];
      const expired = next?.type === 'delete' && mustBeExpiry(next, version, history);
      if (expired) ends.push({ revision: next.revision, dueMs: expiresAtMs, key });
    }
  }
  marks.sort((a, b) => a.revision - b.revision);
  ends.sort((a, b) => a.revision - b.revision);
  for (let at = 1; at < marks.length; at++) {
    const before = marks[at - 1]!;
    const mark = marks[at]!;
    if (mark.revision > before.revision && mark.storeMs < before.storeMs) {
      found.add(`the store's time went back from ${before.storeMs} to ${mark.storeMs}`, {
        fromRevision: before.revision,
        toRevision: mark.revision,
      });
    }
  }
  let next = 0;
  for (const { revision, dueMs, key } of ends) {
    while (next < marks.length && marks[next]!.revision <= revision) next++;
    const mark = marks[next];
    if (mark !== undefined && mark.storeMs < dueMs) {
      found.add(`${key} expired at revision ${revision}, before the store's time reached its end`, {
        key,
        revision,
        dueMs,
        laterRevision: mark.revision,
        laterStoreMs: mark.storeMs,
      });
    }
  }
  return found.list;
}

function mustBeExpiry(end: KeyVersion, version: KeyVersion, history: EventHistory): boolean {
  // A delete of unknown outcome may have been the cause; only where none named the key is it certain.
  return (
    !history.writers.has(end.revision) &&
    history.covers(version.revision, end.revision) &&
    !history.maybeDeleted(end.key)
  );
}

/** The step that gave a version its time to live, with its operation's times. */
function grantOf(
  version: KeyVersion,
  history: EventHistory,
): { ttlMs: number; invokedMs: number; settledMs: number } | undefined {
  const writer = history.writers.get(version.revision);
  if (writer !== undefined) return grantIn(writer, version);
  // Of unknown outcome, then: a touch writes the value again and cannot be told from the put by its value, but a first version with it is the put's.
  if (version.value === undefined || history.maybeTouched(version.key)) return undefined;
  const putter = history.putters.get(version.value);
  if (putter === undefined || putter.outcome === 'ok') return undefined;
  const first = history.byKey.get(version.key)?.find(({ value }) => value === version.value);
  return first === version ? grantIn(putter, version) : undefined;
}

function grantIn(
  operation: OperationRecord,
  version: KeyVersion,
): { ttlMs: number; invokedMs: number; settledMs: number } | undefined {
  const { invokedMs, outcome } = operation;
  const settledMs = outcome === 'ok' ? operation.settledMs : Number.POSITIVE_INFINITY;
  const branches = outcome === 'ok' ? [takenSteps(operation)] : [operation.steps, operation.elseSteps];
  for (const steps of branches) {
    for (const step of steps) {
      if (step.type !== 'put' && step.type !== 'touch') continue;
      if (step.key !== version.key || step.ttlMs === 0) continue;
      if (step.type === 'put' && step.value !== version.value) continue;
      return { ttlMs: step.ttlMs, invokedMs, settledMs };
    }
  }
  return undefined;
}

/** By "revision key": when the last linearizable read that showed it was asked for. */
function lastSeenAlive(operations: readonly OperationRecord[]): Map<string, number> {
  const alive = new Map<string, number>();
  for (const operation of operations) {
    const { outcome, level, atRevision, invokedMs } = operation;
    if (outcome !== 'ok' || level !== 'linearizable' || atRevision !== 0) continue;
    for (const result of operation.results) {
      const entries = result.type === 'get' ? [result.entry] : result.type === 'scan' ? result.entries : [];
      for (const entry of entries) {
        if (entry === undefined) continue;
        const place = `${entry.modRevision} ${entry.key}`;
        alive.set(place, Math.max(alive.get(place) ?? 0, invokedMs));
      }
    }
  }
  return alive;
}
