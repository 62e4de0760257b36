/**
 * Estimates of what a rewriting would remove from a table, from the counts in its properties: revisions are taken to be spread evenly over the table's span.
 *
 * Invariant: the estimate is 0 for a table that was rewritten since there was anything to remove (its `cleanedRevision` is at the compact revision), except for
 * tombstones, which count for as long as a rewriting is certain to remove them or to carry them further down.
 */
import type { PlacedTable } from './levels.ts';

/** The share of revisions in (after, largest] that are at or below `revision`. */
function passedShare(after: number, largest: number, revision: number): number {
  if (revision <= after) return 0;
  return revision >= largest ? 1 : (revision - after) / (largest - after);
}

/** Versions that a newer one in the same table supersedes, at or below the compact revision. */
function supersededCount({ info, cleanedRevision }: PlacedTable, compactRevision: number): number {
  if (cleanedRevision >= info.largestRevision) return 0;
  const after = Math.max(cleanedRevision, info.smallestRevision - 1);
  return (info.recordCount - info.keyCount) * passedShare(after, info.largestRevision, compactRevision);
}

/** Tombstones at or below the compact revision that a rewriting removes (at the bottom) or carries down. */
function tombstoneCount(table: PlacedTable, compactRevision: number, isBottom: boolean): number {
  const { info, cleanedRevision } = table;
  if (compactRevision >= info.largestRevision) return info.tombstoneCount;
  const smallest = info.smallestRevision - 1;
  const after = isBottom ? Math.max(cleanedRevision, smallest) : smallest;
  return info.tombstoneCount * passedShare(after, info.largestRevision, compactRevision);
}

/** False when there is certainly none: the quick question. */
export function mayHoldGarbage({ info }: PlacedTable, compactRevision: number): boolean {
  return (
    info.smallestRevision <= compactRevision && (info.recordCount > info.keyCount || info.tombstoneCount > 0)
  );
}

/** The share of a table's records that may go. `isBottom`: nothing lies below it. */
export function garbageShare(table: PlacedTable, compactRevision: number, isBottom: boolean): number {
  if (compactRevision === 0) return 0;
  const count = supersededCount(table, compactRevision) + tombstoneCount(table, compactRevision, isBottom);
  return Math.min(1, count / table.info.recordCount);
}

/** The same in bytes of the file; each tombstone also takes a version of `hiddenBytes` with it, which lies below. */
export function garbageBytes(
  table: PlacedTable,
  compactRevision: number,
  isBottom: boolean,
  hiddenBytes: number,
): number {
  const { info } = table;
  const recordBytes = info.fileBytes / info.recordCount;
  return (
    Math.min(
      info.fileBytes,
      garbageShare(table, compactRevision, isBottom) * info.recordCount * recordBytes,
    ) +
    hiddenBytes * tombstoneCount(table, compactRevision, isBottom)
  );
}
