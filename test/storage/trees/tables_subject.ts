/** The tree on Kvorum's own tables, as a subject of the random, crash and damage tests. */
import { parseTableName } from '../../../src/storage/tables/format.ts';
import { MANIFEST_NAME, readManifest } from '../../../src/storage/tables/manifest.ts';
import { TABLES_DIRECTORY } from '../../../src/storage/tables/table_store.ts';
import { TablesTree, type TablesTreeSettings } from '../../../src/storage/tables/tables_tree.ts';
import { verifyTree } from '../../../src/storage/tables/verify_tree.ts';
import { manifestSections, tableSections } from './table_sections.ts';
import type { TreeOptions, TreeSubject } from './tree_subject.ts';
import { namesIn, pick } from './tree_subject.ts';

const KIB = 1024;

const SMALL: Partial<TablesTreeSettings> = {
  blockSizeBytes: 512,
  tableSizeBytes: 10 * KIB,
  blockCacheBytes: 16 * KIB,
  compression: 'lz4',
  levelBaseBytes: 20 * KIB,
  growth: 3,
  l0Trigger: 2,
};

function randomSettings(random: () => number): TreeOptions {
  return {
    blockSizeBytes: pick(random, [64, 200, 1024, 4096, 64 * KIB]),
    tableSizeBytes: pick(random, [1, 2 * KIB, 20 * KIB, 1024 * KIB]),
    blockCacheBytes: pick(random, [0, 4 * KIB, 100 * KIB, 8 * 1024 * KIB]),
    compression: pick(random, ['none', 'lz4']),
    levelBaseBytes: pick(random, [1, 10 * KIB, 200 * KIB, 8 * 1024 * KIB]),
    growth: pick(random, [2, 4, 10]),
    l0Trigger: pick(random, [1, 2, 4]),
  };
}

export const TABLES_TREE: TreeSubject = {
  name: 'tables tree',
  flushIsDurable: true,
  disk: 'port',
  smallOptions: SMALL as TreeOptions,
  randomOptions: randomSettings,
  async open(disk, path, ports, options) {
    const tree = await TablesTree.open({ disk, path, ports, settings: options });
    return { tree, settled: () => tree.settled() };
  },
  check: async (disk, path) => [...(await verifyTree(disk, path)).damages],
  kindOf: (file) => (file.endsWith('.kvt') ? 'table' : 'manifest'),
  sections: (file, bytes) => (file.endsWith('.kvt') ? tableSections(bytes) : manifestSections(bytes)),
  isMissed: () => true,
  async strays(disk, path) {
    const manifest = await readManifest(disk, path);
    const named = new Set(manifest?.levels.all().map(({ info }) => info.fileNumber));
    const tables = await namesIn(disk, `${path}/${TABLES_DIRECTORY}`);
    return [
      ...(await namesIn(disk, path)).filter((name) => name !== MANIFEST_NAME && name !== TABLES_DIRECTORY),
      ...tables.filter((name) => {
        const table = parseTableName(name);
        return table === undefined || !table.finished || !named.has(table.fileNumber);
      }),
    ];
  },
};
