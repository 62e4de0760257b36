/** Whether the RocksDB tree can run on this machine, and trees in directories that are removed afterwards. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KvError } from '../../src/errors.ts';
import { realPorts } from '../../src/real_ports.ts';
import { NodeDisk } from '../../src/storage/node_disk.ts';
import type { LevelOpen } from '../../src/storage/rocksdb/level_binding.ts';
import { loadRocksDb, RocksDbTree } from '../../src/storage/rocksdb/rocksdb_tree.ts';

export const ports = realPorts();
export const disk = new NodeDisk();

/** The binding; prints `skipped: ...` and gives undefined where it does not load. */
export async function loadOrSkip(): Promise<LevelOpen | undefined> {
  try {
    return await loadRocksDb(ports.timers);
  } catch (error) {
    if (!(error instanceof KvError) || error.code !== 'TREE_UNAVAILABLE') throw error;
    console.log(`skipped: ${error.message}`);
    return undefined;
  }
}

export class TreePlace {
  readonly path: string;
  readonly binding: LevelOpen;
  tree: RocksDbTree;

  private constructor(path: string, binding: LevelOpen, tree: RocksDbTree) {
    this.path = path;
    this.binding = binding;
    this.tree = tree;
  }

  static async create(binding: LevelOpen): Promise<TreePlace> {
    const path = join(await mkdtemp(join(tmpdir(), 'kvorum-rocksdb-')), 'tree');
    return new TreePlace(path, binding, await RocksDbTree.open({ disk, path, ports, binding }));
  }

  open(): Promise<RocksDbTree> {
    return RocksDbTree.open({ disk, path: this.path, ports, binding: this.binding });
  }

  async reopen(): Promise<RocksDbTree> {
    await this.tree.close();
    this.tree = await this.open();
    return this.tree;
  }

  async dispose(): Promise<void> {
    await this.tree.close();
    await rm(join(this.path, '..'), { recursive: true, force: true });
  }
}
