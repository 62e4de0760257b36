/**
 * Which runs to merge next. All of them become one when the newer ones together have grown to a good part of the oldest: a record is then copied about twice for each time
 * that it is written over, and what was superseded takes less room than what lives. In between, flushes pile up as runs of their own; when
 * there are too many of them for quick reads, the newer ones are merged among themselves.
 */
import type { LeafRun } from './leaf_run.ts';

/** Newer runs are merged into the oldest once they are this part of its size. */
const NEWER_PART = 0.6;
/** A point read may look into each. */
const MANY_RUNS = 6;
/** The oldest run is cleaned by itself when so large a part of its records may go. */
const GARBAGE_PART = 0.25;

export interface MergePlan {
  /** Index of the newest run to take, and how many. */
  readonly first: number;
  readonly count: number;
}

/** The next merge, or undefined when the runs are in order. `runs` newest first. */
export function chooseMerge(
  runs: readonly LeafRun[],
  compactRevision: number,
  cleanedRevision: number,
): MergePlan | undefined {
  let newerBytes = 0;
  for (let i = 0; i + 1 < runs.length; i++) newerBytes += runs[i]!.sizeBytes;
  if (runs.length > 1 && newerBytes >= runs.at(-1)!.sizeBytes * NEWER_PART)
    return { first: 0, count: runs.length };
  if (runs.length > MANY_RUNS) return { first: 0, count: runs.length - 1 };
  const oldest = runs.at(-1);
  if (oldest === undefined || compactRevision <= cleanedRevision) return undefined;
  if (droppable(oldest, compactRevision) < oldest.recordCount * GARBAGE_PART) return undefined;
  return { first: runs.length - 1, count: 1 };
}

/** Roughly how many of a run's records compaction at `revision` would drop. */
function droppable(run: LeafRun, revision: number): number {
  let count = 0;
  for (const leaf of run.leaves) {
    const { droppable } = leaf;
    if (droppable.max <= revision) count += droppable.count;
    else if (droppable.min <= revision) count += droppable.count / 2;
  }
  return count;
}
