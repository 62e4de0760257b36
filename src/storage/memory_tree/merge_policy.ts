/**
 * Which runs to merge next (size-tiered): a run is merged into the next older one once all newer ones together are at least a quarter of its size, so each
 * record is copied about four times a tier, and there are few tiers.
 */
import type { LeafRun } from './leaf_run.ts';

const SIZE_RATIO = 4;
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
  for (let first = 0; first + 1 < runs.length; first++) {
    let sizeBytes = runs[first]!.sizeBytes;
    let end = first + 1;
    while (end < runs.length && sizeBytes * SIZE_RATIO >= runs[end]!.sizeBytes)
      sizeBytes += runs[end++]!.sizeBytes;
    if (end - first > 1) return { first, count: end - first };
  }
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
