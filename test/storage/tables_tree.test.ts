/** The tree of tables: the suite of all trees, on the disk in memory (jobs on this thread) and on the real one (jobs on their own thread). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { realPorts } from '../../src/real_ports.ts';
import type { Disk } from '../../src/storage/disk.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { NodeDisk } from '../../src/storage/node_disk.ts';
import { TablesTree, type TablesTreeSettings } from '../../src/storage/tables/tables_tree.ts';
import { WorkerRunner } from '../../src/storage/tables/worker_runner.ts';
import { suite } from '../suite.ts';
import { type TreeFixture, treeConformance } from './tree_conformance.ts';

const ports = realPorts();

/** Sizes at which a few hundred records fill blocks, tables and levels. */
const SMALL: Partial<TablesTreeSettings> = {
  blockSizeBytes: 512,
  tableSizeBytes: 8 * 1024,
  levelBaseBytes: 16 * 1024,
  growth: 3,
  blockCacheBytes: 64 * 1024,
};

async function fixtureOn(
  disk: Disk,
  path: string,
  settings: Partial<TablesTreeSettings>,
  clean: () => void,
): Promise<TreeFixture> {
  const open = (): Promise<TablesTree> =>
    disk instanceof NodeDisk
      ? TablesTree.open({ disk, path, ports, settings, runner: new WorkerRunner() })
      : TablesTree.open({ disk, path, ports, settings });
  let tree = await open();
  return {
    tree,
    reopen: async () => {
      await tree.close();
      tree = await open();
      return tree;
    },
    dispose: async () => {
      await tree.close();
      clean();
    },
  };
}

const inMemory: [string, Partial<TablesTreeSettings>][] = [
  ['small tables', SMALL],
  ['small tables, compressed, no cache', { ...SMALL, compression: 'lz4', blockCacheBytes: 0 }],
];
for (const [name, settings] of inMemory) {
  const conformance = suite(`tables, disk in memory: ${name}`);
  treeConformance(conformance, () => fixtureOn(new MemoryDisk(), '/tree', settings, () => undefined));
  conformance.run();
}

const onDisk = suite('tables, real disk and worker thread');
treeConformance(onDisk, () => {
  const path = mkdtempSync(join(tmpdir(), 'kvorum-tables-'));
  return fixtureOn(new NodeDisk(), join(path, 'tree'), { ...SMALL, tableSizeBytes: 32 * 1024 }, () =>
    rmSync(path, { recursive: true, force: true }),
  );
});
onDisk.run();
