/**
 * Opens the tree that the settings name. The RocksDB tree is loaded only when it is asked for: its binding is an optional dependency. Kvorum's own tables flush and
 * compact on a thread of their own where the disk is the real one, and on this thread, in slices, with any other.
 */
import type { StorageConfig } from '../config.ts';
import type { Ports } from '../ports.ts';
import type { Disk } from './disk.ts';
import { NodeDisk } from './node_disk.ts';
import { InlineRunner } from './tables/job_runner.ts';
import { DEFAULT_SETTINGS, TablesTree, type TablesTreeSettings } from './tables/tables_tree.ts';
import { WorkerRunner } from './tables/worker_runner.ts';
import type { Tree } from './tree.ts';

/** @throws KvError TREE_UNAVAILABLE, CORRUPT, STORAGE_FAILED, UNAVAILABLE; DiskError */
export async function openTree(
  kind: StorageConfig['tree'],
  disk: Disk,
  path: string,
  ports: Ports,
  config: StorageConfig,
): Promise<Tree> {
  if (kind === 'tables') {
    const runner = disk instanceof NodeDisk ? new WorkerRunner() : InlineRunner.inSlices(disk, ports);
    return TablesTree.open({ disk, path, ports, settings: tablesSettings(config), runner });
  }
  const { RocksDbTree } = await import('./rocksdb/rocksdb_tree.ts');
  return RocksDbTree.open({ disk, path, ports });
}

/** What the tree of tables is told of the configuration: its levels start from as many memtables as make level 0 due. */
export function tablesSettings(config: StorageConfig): TablesTreeSettings {
  const { blockSizeBytes, tableSizeBytes, blockCacheBytes, compression } = config;
  return {
    ...DEFAULT_SETTINGS,
    blockSizeBytes,
    tableSizeBytes,
    blockCacheBytes,
    compression,
    compactionRateBytes: config.compactionRateBytes ?? DEFAULT_SETTINGS.compactionRateBytes,
    levelBaseBytes: DEFAULT_SETTINGS.l0Trigger * config.memtableSizeBytes,
  };
}
