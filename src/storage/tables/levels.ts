/**
 * Which tables make up the tree, and where: an immutable value. Every change gives a new one.
 *
 * Invariants, checked by `Levels.of`, whoever builds it (a flush, a compaction, a manifest read from disk):
 * - level 0 holds flushes, newest first by flush sequence; the tables of one flush are disjoint and in key order;
 * - the tables of a deeper level are disjoint and in key order (so all versions of a key in a level lie in one table);
 * - a file number occurs once.
 * What cannot be checked here and is kept by the compaction picker: what a table holds of a key is newer than what lies below it.
 */
import { compareKeys } from '../record.ts';
import type { TableInfo } from './format.ts';

/** Level 0 and six sorted ones: at a growth of 10 that is more than any disk. */
export const LEVEL_COUNT = 7;
export const DEEPEST_LEVEL = LEVEL_COUNT - 1;

/** A table in its place. */
export interface PlacedTable {
  readonly info: TableInfo;
  /** The flush that wrote it; for the output of a compaction, the newest flush that went into it. */
  readonly flushSequence: number;
  /** The compact revision that held when it was written: versions superseded at or below it are gone from it. */
  readonly cleanedRevision: number;
}

/** A range of keys, both ends included. */
export interface KeySpan {
  readonly smallestKey: Uint8Array;
  readonly largestKey: Uint8Array;
}

export interface LevelsChange {
  readonly removed: readonly PlacedTable[];
  readonly added: readonly PlacedTable[];
  /** Where the added ones go. */
  readonly level: number;
}

/** What is wrong with a list of levels. */
export class LevelsError extends Error {
  override readonly name = 'LevelsError';
}

export class Levels {
  /** LEVEL_COUNT lists. */
  readonly levels: readonly (readonly PlacedTable[])[];
  /** The last flush; 0 before the first. */
  readonly flushSequence: number;

  private constructor(levels: readonly (readonly PlacedTable[])[], flushSequence: number) {
    this.levels = levels;
    this.flushSequence = flushSequence;
  }

  static readonly empty = new Levels(
    Array.from({ length: LEVEL_COUNT }, () => []),
    0,
  );

  /** @throws LevelsError when the lists break an invariant. */
  static of(levels: readonly (readonly PlacedTable[])[], flushSequence: number): Levels {
    if (levels.length !== LEVEL_COUNT) throw new LevelsError(`${levels.length} levels, not ${LEVEL_COUNT}`);
    const seen = new Set<number>();
    levels.forEach((tables, level) => {
      checkLevel(tables, level, flushSequence);
      for (const { info } of tables) {
        if (seen.has(info.fileNumber)) throw new LevelsError(`table ${info.fileNumber} is there twice`);
        seen.add(info.fileNumber);
      }
    });
    return new Levels(levels, flushSequence);
  }

  level(level: number): readonly PlacedTable[] {
    return this.levels[level] ?? [];
  }

  /** All tables, from level 0 down. */
  all(): PlacedTable[] {
    return this.levels.flat();
  }

  /** What TableSet.publish takes. */
  fileNumbers(): number[][] {
    return this.levels.map((tables) => tables.map((table) => table.info.fileNumber));
  }

  /** Level 0 as runs (the tables of one flush), newest first. */
  runs(): PlacedTable[][] {
    const runs: PlacedTable[][] = [];
    for (const table of this.level(0)) {
      const last = runs.at(-1);
      if (last?.[0]?.flushSequence === table.flushSequence) last?.push(table);
      else runs.push([table]);
    }
    return runs;
  }

  runCount(): number {
    let count = 0;
    let previous = -1;
    for (const { flushSequence } of this.level(0)) {
      if (flushSequence !== previous) count++;
      previous = flushSequence;
    }
    return count;
  }

  /** The deepest level that holds anything; 0 when none below level 0 does. */
  deepest(): number {
    for (let level = DEEPEST_LEVEL; level > 0; level--) if (this.level(level).length > 0) return level;
    return 0;
  }

  /** Tables of a level whose keys may lie in a span, in the level's order. */
  overlapping(level: number, span: KeySpan): PlacedTable[] {
    const tables = this.level(level);
    if (level === 0) return tables.filter(({ info }) => overlaps(info, span));
    const first = firstReaching(tables, span.smallestKey);
    let end = first;
    while (end < tables.length && compareKeys(tables[end]!.info.smallestKey, span.largestKey) <= 0) end++;
    return tables.slice(first, end);
  }

  /** Whether any level deeper than `level` may hold keys of a span. */
  liesAbove(level: number, span: KeySpan): boolean {
    for (let below = level + 1; below < LEVEL_COUNT; below++) {
      const tables = this.level(below);
      const next = tables[firstReaching(tables, span.smallestKey)];
      if (next !== undefined && overlaps(next.info, span)) return true;
    }
    return false;
  }

  /** After a flush of `tables` (disjoint, in key order; none when nothing was in it). */
  withFlush(tables: readonly TableInfo[], compactRevision: number): Levels {
    const flushSequence = this.flushSequence + 1;
    const run = tables.map((info) => ({ info, flushSequence, cleanedRevision: compactRevision }));
    return Levels.of([[...run, ...this.level(0)], ...this.levels.slice(1)], flushSequence);
  }

  /** After a compaction or a move. @throws LevelsError when a removed table is not there. */
  withChange(change: LevelsChange): Levels {
    const gone = new Set(change.removed.map((table) => table.info.fileNumber));
    let found = 0;
    const levels = this.levels.map((tables, level) => {
      const kept = tables.filter((table) => !gone.has(table.info.fileNumber));
      found += tables.length - kept.length;
      return level === change.level ? sorted([...kept, ...change.added], level) : kept;
    });
    if (found !== gone.size) throw new LevelsError('a compaction removes tables that are not there');
    return Levels.of(levels, this.flushSequence);
  }
}

/** The bytes of files. */
export function bytesOfTables(tables: readonly PlacedTable[]): number {
  return tables.reduce((sum, table) => sum + table.info.fileBytes, 0);
}

export function overlaps(a: KeySpan, b: KeySpan): boolean {
  return compareKeys(a.smallestKey, b.largestKey) <= 0 && compareKeys(b.smallestKey, a.largestKey) <= 0;
}

/** The smallest span that holds all of them. REQUIRES: at least one. */
export function spanOf(tables: readonly PlacedTable[]): KeySpan {
  let { smallestKey, largestKey } = tables[0]!.info;
  for (const { info } of tables) {
    if (compareKeys(info.smallestKey, smallestKey) < 0) smallestKey = info.smallestKey;
    if (compareKeys(info.largestKey, largestKey) > 0) largestKey = info.largestKey;
  }
  return { smallestKey, largestKey };
}

/** Position of the first of sorted, disjoint tables that ends at or behind a key. */
function firstReaching(tables: readonly PlacedTable[], key: Uint8Array): number {
  let low = 0;
  let high = tables.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(tables[middle]!.info.largestKey, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function sorted(tables: readonly PlacedTable[], level: number): PlacedTable[] {
  return tables.toSorted((a, b) => {
    const newer = level === 0 ? b.flushSequence - a.flushSequence : 0;
    return newer !== 0 ? newer : compareKeys(a.info.smallestKey, b.info.smallestKey);
  });
}

function checkLevel(tables: readonly PlacedTable[], level: number, flushSequence: number): void {
  let previous: PlacedTable | undefined;
  for (const table of tables) {
    const { info } = table;
    if (compareKeys(info.smallestKey, info.largestKey) > 0)
      throw new LevelsError(`the keys of table ${info.fileNumber} end before they begin`);
    if (table.flushSequence > flushSequence || table.flushSequence < 1)
      throw new LevelsError(`table ${info.fileNumber} is of flush ${table.flushSequence}`);
    if (previous !== undefined) checkNeighbours(previous, table, level);
    previous = table;
  }
}

function checkNeighbours(before: PlacedTable, after: PlacedTable, level: number): void {
  const names = `tables ${before.info.fileNumber} and ${after.info.fileNumber} of level ${level}`;
  if (level === 0 && before.flushSequence !== after.flushSequence) {
    if (before.flushSequence < after.flushSequence) throw new LevelsError(`${names} are not newest first`);
    return;
  }
  if (compareKeys(before.info.largestKey, after.info.smallestKey) >= 0)
    throw new LevelsError(`${names} overlap`);
}
