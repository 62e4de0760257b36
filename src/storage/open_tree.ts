/** Opens the tree that the settings name. The RocksDB tree is loaded only when it is asked for: its binding is an optional dependency. */
import type { StorageConfig } from '../config.ts';
import type { Ports } from '../ports.ts';
import type { Disk } from './disk.ts';
import { MemoryTree } from './memory_tree/memory_tree.ts';
import type { Tree } from './tree.ts';

/** @throws KvError TREE_UNAVAILABLE, CORRUPT */
export async function openTree(
  kind: StorageConfig['tree'],
  disk: Disk,
  path: string,
  ports: Ports,
): Promise<Tree> {
  if (kind === 'memory') return MemoryTree.open({ disk, path, ports });
  const { RocksDbTree } = await import('./rocksdb/rocksdb_tree.ts');
  return RocksDbTree.open({ disk, path, ports });
}
