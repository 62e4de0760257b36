/**
 * What a store must show at a revision, by its history: the judgement of single reads, compares and counts that revision_check.ts and read_level_check.ts share.
 *
 * Where the history is not complete (event_history.ts), an absent key is given the benefit of the doubt only if something that nobody learnt of may have removed it.
 */
import type { EventHistory, KeyVersion } from './event_history.ts';
import {
  type CompareStep,
  type EntrySeen,
  inRange,
  type Step,
  type Violation,
  type Violations,
} from './observations.ts';

/** Judges reads against a history. Build once for a history; look-ups take logarithmic time. */
export class StateJudge {
  readonly history: EventHistory;
  private readonly sortedKeys: string[];

  constructor(history: EventHistory) {
    this.history = history;
    this.sortedKeys = [...history.byKey.keys()].sort();
  }

  /** Checks what a read of one key at `revision` showed. */
  checkEntry(
    key: string,
    entry: EntrySeen | undefined,
    revision: number,
    found: Violations,
    details: Violation['details'],
  ): void {
    const version = this.history.versionAt(key, revision);
    if (entry === undefined) {
      if (version === undefined || version.type === 'delete' || this.mayBeGone(version, revision)) return;
      found.add(`${key} is missing at revision ${revision}: ${tell(version)} has gone unseen`, details);
      return;
    }
    if (entry.key !== key) {
      found.add(`a read of ${key} gave ${entry.key}`, details);
      return;
    }
    if (entry.modRevision > revision) {
      found.add(
        `${key} at revision ${revision} shows revision ${entry.modRevision}, from the future`,
        details,
      );
      return;
    }
    // The entry itself is part of the history, which is thus at or after it.
    if (version === undefined) return;
    if (version.revision > entry.modRevision) {
      found.add(
        `${key} at revision ${revision} shows revision ${entry.modRevision} ("${entry.value}"): ${tell(version)} has gone unseen`,
        details,
      );
    } else if (version.type === 'delete') {
      found.add(`${key} at revision ${revision} shows "${entry.value}", which was deleted`, details);
    } else if (version.value !== undefined && version.value !== entry.value) {
      found.add(
        `${key} at revision ${revision} shows "${entry.value}", written was "${version.value}"`,
        details,
      );
    }
  }

  /** Checks a whole scan: order, limit, entries, and that no key is left out. */
  checkScan(
    step: Extract<Step, { type: 'scan' }>,
    entries: readonly EntrySeen[],
    revision: number,
    found: Violations,
    details: Violation['details'],
  ): void {
    const shown = new Map<string, EntrySeen>();
    let before: string | undefined;
    for (const entry of entries) {
      const { key } = entry;
      if (!inRange(key, step.start, step.end)) found.add(`a scan shows ${key}, out of its range`, details);
      if (before !== undefined && (step.reverse ? key >= before : key <= before)) {
        found.add(`a scan shows ${key} after ${before}`, details);
      }
      before = key;
      shown.set(key, entry);
      this.checkEntry(key, entry, revision, found, details);
    }
    if (step.limit > 0 && entries.length > step.limit) {
      found.add(`a scan with limit ${step.limit} shows ${entries.length} keys`, details);
    }
    const cut = step.limit > 0 && entries.length === step.limit ? before : undefined;
    for (const key of this.keysIn(step.start, step.end)) {
      if (shown.has(key)) continue;
      if (cut !== undefined && (step.reverse ? key < cut : key > cut)) continue;
      this.checkEntry(key, undefined, revision, found, details);
    }
  }

  /** Whether a key is there at a revision; undefined when the history does not tell. */
  isLive(key: string, revision: number): boolean | undefined {
    const version = this.history.versionAt(key, revision);
    const since = version === undefined ? 1 : version.revision + 1;
    if (version?.type === 'put' && !this.mayBeGone(version, revision)) return true;
    return this.history.covers(Math.max(2, since), revision) ? false : undefined;
  }

  /** How many keys of a range are there; undefined when the history does not tell. */
  liveIn(start: string, end: string, revision: number): number | undefined {
    if (!this.history.covers(2, revision)) return undefined;
    let count = 0;
    for (const key of this.keysIn(start, end)) if (this.isLive(key, revision) === true) count++;
    return count;
  }

  /** Whether a compare holds at a revision; undefined when the history does not tell. */
  holds(compare: CompareStep, revision: number): boolean | undefined {
    const live = this.isLive(compare.key, revision);
    if (live === undefined) return undefined;
    if ('exists' in compare) return live === compare.exists;
    const version = live ? this.history.versionAt(compare.key, revision) : undefined;
    if (version !== undefined && !this.history.covers(version.revision + 1, revision)) return undefined;
    if ('modRevision' in compare) return (version?.revision ?? 0) === compare.modRevision;
    if ('version' in compare) {
      if (version === undefined) return compare.version === 0;
      return version.version === 0 ? undefined : version.version === compare.version;
    }
    if (version === undefined) return false;
    return version.value === undefined ? undefined : version.value === compare.value;
  }

  /** Whether a version may have been removed by `revision` without anybody having seen it. */
  private mayBeGone(version: KeyVersion, revision: number): boolean {
    if (this.history.covers(version.revision + 1, revision)) return false;
    if (version.expiresAtMs !== 0) return true;
    const { history } = this;
    const { key } = version;
    return history.maybeDeleted(key) || history.maybeExpiring(key) || history.maybeLeased(key);
  }

  private *keysIn(start: string, end: string): Iterable<string> {
    const keys = this.sortedKeys;
    let low = 0;
    let high = keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (keys[middle]! < start) low = middle + 1;
      else high = middle;
    }
    for (; low < keys.length && keys[low]! < end; low++) yield keys[low]!;
  }
}

/** Checks that each version of each key counts on from the one before: version numbers and createRevision. */
export function checkVersionNumbers(history: EventHistory, found: Violations): void {
  for (const [key, versions] of history.byKey) {
    for (let at = 0; at < versions.length; at++) {
      const version = versions[at]!;
      if (version.type === 'delete' || version.version === 0) continue;
      const previous = versions[at - 1];
      if (!history.covers(previous === undefined ? 2 : previous.revision, version.revision)) continue;
      const anew = previous === undefined || previous.type === 'delete';
      if (!anew && previous.version === 0) continue;
      const number = anew ? 1 : previous.version + 1;
      const created = anew ? version.revision : previous.createRevision;
      if (version.version !== number || version.createRevision !== created) {
        found.add(`${key} at revision ${version.revision} counts wrongly`, {
          key,
          revision: version.revision,
          version: version.version,
          expectedVersion: number,
          createRevision: version.createRevision,
          expectedCreateRevision: created,
        });
      }
    }
  }
}

function tell(version: KeyVersion): string {
  return `the ${version.type} of revision ${version.revision} (told by ${version.source})`;
}
