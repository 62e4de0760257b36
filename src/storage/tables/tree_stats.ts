/** What a tree of tables tells of itself. */
import type { Compactor } from './compactor.ts';
import { bytesOfTables, type Levels, overlaps } from './levels.ts';
import type { TableSetStats } from './table_set.ts';
import type { TableStore } from './table_store.ts';

export interface LevelStats {
  readonly level: number;
  readonly tables: number;
  readonly sizeBytes: number;
  readonly recordCount: number;
}

export interface TablesTreeStats {
  readonly levels: readonly LevelStats[];
  /** Flushes in level 0 that were not compacted yet. */
  readonly runs: number;
  /** Since the tree was opened, as all counters here. */
  readonly bytesFlushed: number;
  /** Written by compactions. */
  readonly bytesCompacted: number;
  /** Flushes and compactions together. */
  readonly bytesWritten: number;
  /** bytesWritten / bytesFlushed; 1 before the first flush. */
  readonly writeAmplification: number;
  /** Bytes on disk / bytes of what is live, by estimate; 1 for an empty tree. */
  readonly spaceAmplification: number;
  readonly compactionsRunning: number;
  readonly compactions: number;
  readonly tablesMoved: number;
  readonly pendingCompactionBytes: number;
  readonly damagedTables: number;
  readonly pressure: number;
  readonly cache: TableSetStats;
}

/**
 * Bytes of tables that lie over nothing older, less what is superseded or deleted within them: newer versions above them are counted as replacing what they
 * lie over (RocksDB's estimate-live-data-size).
 */
function liveBytes(levels: Levels): number {
  let bytes = 0;
  levels.levels.forEach((tables, level) => {
    for (const [at, { info }] of tables.entries()) {
      if (levels.liesAbove(level, info)) continue;
      if (level === 0 && tables.slice(at + 1).some((older) => overlaps(older.info, info))) continue;
      const live = Math.max(0, info.keyCount - info.tombstoneCount);
      bytes += (info.fileBytes * live) / info.recordCount;
    }
  });
  return bytes;
}

export function treeStats(
  store: TableStore,
  compactor: Compactor,
  bytesFlushed: number,
  damagedTables: number,
): TablesTreeStats {
  const { levels } = store;
  const bytesWritten = bytesFlushed + compactor.bytesWritten;
  const sizeBytes = bytesOfTables(levels.all());
  const live = liveBytes(levels);
  return {
    levels: levels.levels.map((tables, level) => ({
      level,
      tables: tables.length,
      sizeBytes: bytesOfTables(tables),
      recordCount: tables.reduce((sum, { info }) => sum + info.recordCount, 0),
    })),
    runs: levels.runCount(),
    bytesFlushed,
    bytesCompacted: compactor.bytesWritten,
    bytesWritten,
    writeAmplification: bytesFlushed === 0 ? 1 : bytesWritten / bytesFlushed,
    spaceAmplification: live === 0 ? 1 : sizeBytes / live,
    compactionsRunning: compactor.running ? 1 : 0,
    compactions: compactor.compactions,
    tablesMoved: compactor.tablesMoved,
    pendingCompactionBytes: compactor.pendingBytes,
    damagedTables,
    pressure: compactor.pressure,
    cache: store.set.stats(),
  };
}

/** The same as plain numbers, for a node's status. */
export function treeMetrics(stats: TablesTreeStats): Record<string, number> {
  const { cache } = stats;
  const metrics: Record<string, number> = {
    level0_runs: stats.runs,
    flushed_bytes: stats.bytesFlushed,
    compacted_bytes: stats.bytesCompacted,
    write_amplification: stats.writeAmplification,
    space_amplification: stats.spaceAmplification,
    compactions: stats.compactions,
    tables_moved: stats.tablesMoved,
    pending_compaction_bytes: stats.pendingCompactionBytes,
    pressure: stats.pressure,
    damaged_tables: stats.damagedTables,
    open_tables: cache.openTables,
    table_meta_bytes: cache.metaBytes,
    block_cache_bytes: cache.cacheBytes,
    block_cache_hits: cache.cacheHits,
    block_cache_misses: cache.cacheMisses,
  };
  for (const { level, tables, sizeBytes } of stats.levels) {
    if (tables === 0) continue;
    metrics[`level${level}_tables`] = tables;
    metrics[`level${level}_bytes`] = sizeBytes;
  }
  return metrics;
}
