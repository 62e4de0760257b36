/**
 * What to compact next: a pure function of the levels (docs/decisions/0009_leveled_compaction.md argues the choice).
 *
 * Leveled compaction (O'Neil et al., "The log-structured merge-tree", 1996; LevelDB's and RocksDB's form of it). Level 0 is due when it holds `l0Trigger` runs, a
 * deeper level when it is larger than its target. Targets follow the data, as RocksDB's dynamic level sizes do, but share the growth evenly: the tree uses the
 * fewest levels k with levelBaseBytes * growth^k >= its size, and level i < k may hold levelBaseBytes * m^i, where m = (size / levelBaseBytes)^(1/k) <= growth.
 * Expected write amplification for random overwrites: 1 (flush) + (1 + m) for each of the k levels; 1 for a load in key order, whose tables only move. Space: up to
 * 1 + 1/m + what lies in level 0.
 *
 * From a level n >= 1 the table with the least bytes below it per byte of its own is taken (RocksDB's kMinOverlappingRatio, the cheapest choice in its
 * measurements). What has nothing below it moves without being rewritten, unless that would set it over too much of the level after (LevelDB's grandparents).
 *
 * Sizes in order, tables are rewritten whose garbage pays for it: versions superseded, and tombstones, at or below the compact revision, by estimate. It ends: each such
 * compaction moves a table's content down a level, or raises its `cleanedRevision`, which the estimate starts from, or removes all tombstones from it.
 *
 * Invariants of every answer: no older version of a key stays above a newer one (from level 0 all that overlaps goes together); the span of the inputs holds no
 * table of the output level that is not among them; damaged tables are in none.
 */
import { compareKeys } from '../record.ts';
import { garbageBytes, garbageShare, mayHoldGarbage } from './garbage.ts';
import {
  bytesOfTables,
  DEEPEST_LEVEL,
  type KeySpan,
  type Levels,
  type PlacedTable,
  spanOf,
} from './levels.ts';

export interface CompactionOptions {
  /** About the bytes of `l0Trigger` flushes. */
  readonly levelBaseBytes: number;
  readonly growth: number;
  /** Runs in level 0 that make it due. */
  readonly l0Trigger: number;
  readonly tableSizeBytes: number;
}

export interface Move {
  readonly kind: 'move';
  readonly tables: readonly PlacedTable[];
  readonly from: number;
  /** Where they go. */
  readonly level: number;
}

export interface Merge {
  readonly kind: 'merge';
  readonly reason: 'runs' | 'size' | 'garbage' | 'fragments';
  /** Sorted runs, newest first. */
  readonly inputs: readonly (readonly PlacedTable[])[];
  readonly level: number;
  /** Where something lies below the output: tombstones must stay there. */
  readonly below: readonly KeySpan[];
  /** Outputs are cut near this: smaller where a full table would overlap too much of the level after. */
  readonly tableSizeBytes: number;
}

export type Compaction = Move | Merge;

/** A table that moves may overlap so many tables' bytes two levels down; rewriting it later would cost that much. */
const MAX_GRANDPARENT_TABLES = 10;
/** A compaction takes more tables of its upper level along, where they cost nothing below, up to so many tables' bytes. */
const MAX_EXPANDED_TABLES = 25;
/** Outputs are at least this part of a table. */
const MAX_PIECES = 16;
/** So many neighbours that fit into one table become one. */
const FRAGMENTS = 8;
/** Garbage pays for a compaction when it is this share of what is read for it. */
const GARBAGE_SHARE = 0.25;

/** The bytes that each level may hold; no bound for the last one in use and those below. */
export function levelTargets(levels: Levels, options: CompactionOptions): number[] {
  const { levelBaseBytes } = options;
  const total = bytesOfTables(levels.all());
  const last = Math.max(lastLevelFor(total, options), levels.deepest());
  const step = Math.max(1, (total / levelBaseBytes) ** (1 / last));
  return levels.levels.map((_, level) =>
    level === 0 || level >= last ? Number.POSITIVE_INFINITY : levelBaseBytes * step ** level,
  );
}

/** How full each level is: at 1 level 0 is due, above 1 the others are. */
export function levelScores(levels: Levels, options: CompactionOptions): number[] {
  const targets = levelTargets(levels, options);
  return levels.levels.map((tables, level) =>
    level === 0 ? levels.runCount() / options.l0Trigger : bytesOfTables(tables) / targets[level]!,
  );
}

/** About how many bytes must be rewritten until every level is in order. */
export function pendingCompactionBytes(levels: Levels, options: CompactionOptions): number {
  const targets = levelTargets(levels, options);
  const sizes = levels.levels.map(bytesOfTables);
  let carried = levels.runCount() >= options.l0Trigger ? sizes[0]! : 0;
  let pending = carried > 0 ? carried + sizes[1]! : 0;
  for (let level = 1; level < DEEPEST_LEVEL; level++) {
    const excess = Math.max(0, sizes[level]! + carried - targets[level]!);
    pending += excess * (1 + sizes[level + 1]! / Math.max(1, sizes[level]!));
    carried = excess;
  }
  return pending;
}

/** The last level that a tree of so many bytes uses. */
export function lastLevelFor(totalBytes: number, options: CompactionOptions): number {
  let last = 1;
  while (last < DEEPEST_LEVEL && options.levelBaseBytes * options.growth ** last < totalBytes) last++;
  return last;
}

/** The next compaction; undefined when there is nothing to do, or nothing that leaves the damaged tables alone. */
export function pickCompaction(
  levels: Levels,
  compactRevision: number,
  options: CompactionOptions,
  damaged: ReadonlySet<number> = new Set(),
): Compaction | undefined {
  return new Picker(levels, compactRevision, options, damaged).pick();
}

class Picker {
  readonly #levels: Levels;
  readonly #compactRevision: number;
  readonly #options: CompactionOptions;
  readonly #damaged: ReadonlySet<number>;

  constructor(
    levels: Levels,
    compactRevision: number,
    options: CompactionOptions,
    damaged: ReadonlySet<number>,
  ) {
    this.#levels = levels;
    this.#compactRevision = compactRevision;
    this.#options = options;
    this.#damaged = damaged;
  }

  pick(): Compaction | undefined {
    const scores = levelScores(this.#levels, this.#options);
    const due = scores
      .map((score, level) => ({ score, level }))
      .filter(({ score, level }) => (level === 0 ? score >= 1 : score > 1))
      .sort((a, b) => b.score - a.score);
    for (const { level } of due) {
      const found = level === 0 ? this.#fromLevel0() : this.#fromLevel(level);
      if (found !== undefined) return found;
    }
    return this.#garbage() ?? this.#fragments();
  }

  #fromLevel0(): Compaction | undefined {
    const groups = groupsOfLevel0(this.#levels).filter((group) => this.#isSound(group.all));
    const moving = groups
      .filter((group) => group.all.length === 1 && this.#mayMove(group.all[0]!, 1))
      .flatMap((group) => group.all);
    if (moving.length > 0) return { kind: 'move', tables: moving, from: 0, level: 1 };
    let best: Group | undefined;
    for (const group of groups) if (best === undefined || weight(group) > weight(best)) best = group;
    return best === undefined ? undefined : this.#mergeGroup(best, 'runs');
  }

  #mergeGroup(group: Group, reason: Merge['reason']): Merge {
    const runs = new Map<number, PlacedTable[]>();
    for (const table of group.upper) {
      const run = runs.get(table.flushSequence);
      if (run === undefined) runs.set(table.flushSequence, [table]);
      else run.push(table);
    }
    return this.#merge([...runs.values(), group.lower], 1, reason);
  }

  #fromLevel(level: number): Compaction | undefined {
    const tables = this.#levels.level(level).filter((table) => this.#isSound([table]));
    const target = levelTargets(this.#levels, this.#options)[level]!;
    const moving: PlacedTable[] = [];
    let excess = bytesOfTables(this.#levels.level(level)) - target;
    for (const table of tables) {
      if (excess <= 0) break;
      if (this.#levels.overlapping(level + 1, table.info).length > 0 || !this.#mayMove(table, level + 1))
        continue;
      moving.push(table);
      excess -= table.info.fileBytes;
    }
    if (moving.length > 0) return { kind: 'move', tables: moving, from: level, level: level + 1 };
    const best = this.#cheapest(level, tables);
    if (best === undefined) return undefined;
    return this.#merge(this.#expand(level, best), level + 1, 'size');
  }

  /** The table with the least bytes below it per byte of its own, and what is below it. */
  #cheapest(level: number, tables: readonly PlacedTable[]): Pair | undefined {
    let best: Pair | undefined;
    let bestRatio = Number.POSITIVE_INFINITY;
    for (const table of tables) {
      const lower = this.#levels.overlapping(level + 1, table.info);
      const ratio = bytesOfTables(lower) / table.info.fileBytes;
      if (ratio >= bestRatio || !this.#isSound(lower)) continue;
      best = { upper: [table], lower };
      bestRatio = ratio;
    }
    return best;
  }

  /** Takes more of the upper level along where that adds nothing to the lower one (as LevelDB does). */
  #expand(level: number, { upper, lower }: Pair): PlacedTable[][] {
    if (lower.length === 0) return [[...upper], []];
    const hull = spanOf([...upper, ...lower]);
    const limitBytes = MAX_EXPANDED_TABLES * this.#options.tableSizeBytes;
    const names = new Set(lower);
    const wider = this.#levels.overlapping(level, hull).filter((table) => {
      const below = this.#levels.overlapping(level + 1, table.info);
      return below.every((one) => names.has(one));
    });
    const fits = bytesOfTables([...wider, ...lower]) <= limitBytes && this.#isSound(wider);
    return [fits ? wider : [...upper], [...lower]];
  }

  #garbage(): Merge | undefined {
    if (this.#compactRevision === 0) return undefined;
    let best: Merge | undefined;
    let bestShare = GARBAGE_SHARE;
    this.#levels.levels.forEach((tables, level) => {
      const groups = level === 0 ? groupsOfLevel0(this.#levels) : [];
      for (const table of tables) {
        if (!mayHoldGarbage(table, this.#compactRevision)) continue;
        const isBottom = !this.#levels.liesAbove(level, table.info);
        if (garbageShare(table, this.#compactRevision, isBottom) === 0) continue;
        const merge = this.#garbageMerge(table, level, isBottom, groups);
        if (merge === undefined) continue;
        const share = this.#gain(merge, level) / bytesOfTables(merge.inputs.flat());
        if (share < bestShare) continue;
        best = merge;
        bestShare = share;
      }
    });
    return best;
  }

  #garbageMerge(
    table: PlacedTable,
    level: number,
    isBottom: boolean,
    groups: readonly Group[],
  ): Merge | undefined {
    let merge: Merge | undefined;
    if (level === 0) {
      const group = groups.find((one) => one.upper.includes(table));
      if (group !== undefined) merge = this.#mergeGroup(group, 'garbage');
    } else if (isBottom) merge = this.#merge([[table]], level, 'garbage');
    else
      merge = this.#merge([[table], this.#levels.overlapping(level + 1, table.info)], level + 1, 'garbage');
    return merge !== undefined && this.#isSound(merge.inputs.flat()) ? merge : undefined;
  }

  /** Bytes that a compaction would be rid of, by estimate. */
  #gain(merge: Merge, level: number): number {
    const lower = merge.level > level ? (merge.inputs.at(-1) ?? []) : [];
    const records = lower.reduce((sum, { info }) => sum + info.recordCount, 0);
    const hiddenBytes = records === 0 ? 0 : bytesOfTables(lower) / records;
    return merge.inputs.flat().reduce((sum, table) => {
      const isLower = lower.includes(table);
      const isBottom = !this.#levels.liesAbove(isLower ? merge.level : level, table.info);
      return sum + garbageBytes(table, this.#compactRevision, isBottom, isLower ? 0 : hiddenBytes);
    }, 0);
  }

  /** Neighbours that are much smaller than a table becomes. */
  #fragments(): Merge | undefined {
    for (let level = 1; level <= DEEPEST_LEVEL; level++) {
      const tables = this.#levels.level(level);
      let first = 0;
      let bytes = 0;
      for (let i = 0; i < tables.length; i++) {
        bytes += tables[i]!.info.fileBytes;
        if (!this.#isSound([tables[i]!])) {
          first = i + 1;
          bytes = 0;
        }
        while (bytes > this.#options.tableSizeBytes) bytes -= tables[first++]!.info.fileBytes;
        const isFull =
          i + 1 === tables.length || bytes + tables[i + 1]!.info.fileBytes > this.#options.tableSizeBytes;
        if (i - first + 1 < FRAGMENTS || !isFull) continue;
        const merge = this.#merge([tables.slice(first, i + 1)], level, 'fragments');
        if (merge.tableSizeBytes >= bytes) return merge;
      }
    }
    return undefined;
  }

  #merge(inputs: readonly (readonly PlacedTable[])[], level: number, reason: Merge['reason']): Merge {
    const runs = inputs.filter((run) => run.length > 0);
    const hull = spanOf(runs.flat());
    const below: KeySpan[] = [];
    for (let deeper = level + 1; deeper <= DEEPEST_LEVEL; deeper++) {
      for (const { info } of this.#levels.overlapping(deeper, hull))
        below.push({ smallestKey: info.smallestKey, largestKey: info.largestKey });
    }
    return {
      kind: 'merge',
      reason,
      inputs: runs,
      level,
      below,
      tableSizeBytes: this.#cutBytes(runs.flat(), level),
    };
  }

  /** The size of outputs with which each overlaps no more of the next level than MAX_GRANDPARENT_TABLES, if they are alike. */
  #cutBytes(tables: readonly PlacedTable[], level: number): number {
    const { tableSizeBytes } = this.#options;
    const nextBytes = bytesOfTables(this.#levels.overlapping(level + 1, spanOf(tables)));
    const pieces = nextBytes / (MAX_GRANDPARENT_TABLES * tableSizeBytes);
    const even = pieces <= 1 ? tableSizeBytes : bytesOfTables(tables) / pieces;
    return Math.ceil(Math.max(tableSizeBytes / MAX_PIECES, Math.min(tableSizeBytes, even)));
  }

  /** Whether a table with nothing below it in `level` may go there as it is. */
  #mayMove(table: PlacedTable, level: number): boolean {
    const isBottom = !this.#levels.liesAbove(level - 1, table.info);
    if (garbageShare(table, this.#compactRevision, isBottom) >= GARBAGE_SHARE) return false;
    if (level >= DEEPEST_LEVEL) return true;
    const grandparents = bytesOfTables(this.#levels.overlapping(level + 1, table.info));
    return grandparents <= MAX_GRANDPARENT_TABLES * this.#options.tableSizeBytes;
  }

  #isSound(tables: readonly PlacedTable[]): boolean {
    return this.#damaged.size === 0 || !tables.some((table) => this.#damaged.has(table.info.fileNumber));
  }
}

interface Pair {
  readonly upper: readonly PlacedTable[];
  readonly lower: readonly PlacedTable[];
}

/** Tables of levels 0 and 1 that hang together by overlapping; at least one of level 0. */
interface Group {
  /** Of level 0, in its order. */
  readonly upper: PlacedTable[];
  /** Of level 1, in its order. */
  readonly lower: PlacedTable[];
  readonly all: PlacedTable[];
}

/** First the group of most runs, then the one that is cheapest for them. */
function weight(group: Group): number {
  const runs = new Set(group.upper.map((table) => table.flushSequence)).size;
  const upperBytes = bytesOfTables(group.upper);
  return runs + upperBytes / (upperBytes + bytesOfTables(group.lower) + 1);
}

function groupsOfLevel0(levels: Levels): Group[] {
  const upper = new Set(levels.level(0));
  const inOrder = [...levels.level(0), ...levels.level(1)].sort((a, b) =>
    compareKeys(a.info.smallestKey, b.info.smallestKey),
  );
  const members: PlacedTable[][] = [];
  let reach: Uint8Array | undefined;
  for (const table of inOrder) {
    const { smallestKey, largestKey } = table.info;
    const hangsOn: boolean = reach !== undefined && compareKeys(smallestKey, reach) <= 0;
    if (hangsOn) members.at(-1)!.push(table);
    else members.push([table]);
    if (!hangsOn || compareKeys(largestKey, reach!) > 0) reach = largestKey;
  }
  const level0 = levels.level(0);
  return members
    .filter((tables) => tables.some((table) => upper.has(table)))
    .map((tables) => {
      const set = new Set(tables);
      return {
        upper: level0.filter((table) => set.has(table)),
        lower: levels.level(1).filter((table) => set.has(table)),
        all: tables,
      };
    });
}
