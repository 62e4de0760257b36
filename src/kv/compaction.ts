/**
 * How far history may be compacted by itself.
 *
 * By revisions (the newest `historyRevisions` stay) or, where hours are set, by age alone (what was written within them stays). Compaction costs the tree a pass: it waits until a
 * tenth of what is kept can go at once.
 */

const HOUR_MS = 3_600_000;
/** Of what is kept. */
const SHARE = 10;

export interface CompactionRules {
  /** Revisions to keep; 0 keeps all. */
  readonly historyRevisions: number;
  /** Hours to keep; 0: by revisions. */
  readonly historyHours: number;
}

export interface CompactableStore {
  readonly revision: number;
  readonly compactRevision: number;
  /** See StateMachine.revisionAt. */
  revisionAt(timeMs: number): number | undefined;
}

/** The revision to compact at; 0: nothing to do. `lowestPin`: the lowest revision that somebody still reads. `shortOfRoom`: all history may go, if the rules let any go. */
export function compactTarget(
  store: CompactableStore,
  rules: CompactionRules,
  nowMs: number,
  shortOfRoom: boolean,
  lowestPin: number,
): number {
  if (rules.historyRevisions === 0 && rules.historyHours === 0) return 0;
  const oldest = shortOfRoom ? store.revision : oldestKept(store, rules, nowMs);
  const target = Math.min(oldest, lowestPin);
  return target - store.compactRevision >= Math.max(1, (store.revision - oldest) / SHARE) ? target : 0;
}

function oldestKept(store: CompactableStore, rules: CompactionRules, nowMs: number): number {
  if (rules.historyHours === 0) return store.revision - rules.historyRevisions;
  return store.revisionAt(nowMs - rules.historyHours * HOUR_MS) ?? 0;
}
