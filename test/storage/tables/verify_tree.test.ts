/** The offline check of a tree of tables: sound trees are sound, every damage is told with file, offset and keys, what a crash left is a note. */

import * as assert from 'uvu/assert';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { compareKeys } from '../../../src/storage/record.ts';
import { verifyTree } from '../../../src/storage/tables/verify_tree.ts';
import { test } from '../../suite.ts';
import { Workload } from '../trees/crash_workload.ts';
import { specimenOf } from '../trees/damage_harness.ts';
import { TABLES_TREE } from '../trees/tables_subject.ts';
import { TREE_PATH } from '../trees/tree_subject.ts';

const options = { ...TABLES_TREE.smallOptions, tableSizeBytes: 3_000 };
const specimen = await specimenOf(TABLES_TREE, options, new Workload(3, 8, 60));
const tables = [...specimen.files.keys()].filter((file) => file.endsWith('.kvt'));
const MANIFEST = `${TREE_PATH}/MANIFEST`;

test('a sound tree has no findings, and the progress counts its tables', async () => {
  assert.ok(tables.length > 2);
  const seen: number[] = [];
  const report = await verifyTree(specimen.disk, TREE_PATH, (done, total) => {
    assert.is(total, tables.length);
    seen.push(done);
  });
  assert.equal(report.damages, []);
  assert.equal(report.notes, []);
  assert.is(report.files, tables.length + 2, 'tables, their directory, the manifest');
  assert.is(report.applied?.index, 8);
  assert.equal(
    seen,
    Array.from({ length: tables.length + 1 }, (_, i) => i),
  );
});

test('damage to several tables is told for each, with the keys that it concerns', async () => {
  const disk = specimen.disk.fork();
  for (const file of tables) disk.damage(file, 3, 0x10);
  const { damages } = await verifyTree(disk, TREE_PATH);
  assert.equal([...new Set(damages.map(({ file }) => file))].sort(), tables.toSorted());
  for (const { offset, problem, keyRange } of damages) {
    assert.ok(offset !== undefined && offset < 1024 && problem !== '');
    assert.ok(keyRange !== undefined);
    assert.ok(keyRange?.end === undefined || compareKeys(keyRange.start, keyRange.end) < 0);
  }
});

test('a table that is missing is damage; files that no manifest names are notes', async () => {
  const disk = specimen.disk.fork();
  await disk.remove(tables[0]!);
  for (const path of [
    `${TREE_PATH}/tables/t-0000099999.kvt`,
    `${TREE_PATH}/tables/t-0000099998.kvt.tmp`,
    `${MANIFEST}.tmp`,
    `${TREE_PATH}/notes.txt`,
  ])
    await (await disk.open(path, 'create')).close();
  const { damages, notes } = await verifyTree(disk, TREE_PATH);
  assert.equal(
    damages.map(({ file }) => file),
    [tables[0]],
  );
  assert.equal(
    notes.map(({ file, problem }) => [
      file.slice(TREE_PATH.length + 1),
      /next start removes it/.test(problem),
    ]),
    [
      ['tables/t-0000099998.kvt.tmp', true],
      ['tables/t-0000099999.kvt', true],
      ['MANIFEST.tmp', true],
      ['notes.txt', false],
    ],
  );
});

test('a manifest that is damaged or gone is damage; a tree that was never opened is not', async () => {
  const damaged = specimen.disk.fork();
  damaged.damage(MANIFEST, 30, 1);
  const report = await verifyTree(damaged, TREE_PATH);
  assert.equal(
    report.damages.map(({ file }) => file),
    [MANIFEST],
  );
  assert.is(report.applied, undefined);
  const gone = specimen.disk.fork();
  await gone.remove(MANIFEST);
  const [missing] = (await verifyTree(gone, TREE_PATH)).damages;
  assert.match(missing?.problem ?? '', 'the manifest is missing');
  const empty = await verifyTree(new MemoryDisk(), '/nowhere');
  assert.equal(empty, { files: 0, damages: [], notes: [], applied: undefined });
});

test('a manifest that cannot be read is told as damage', async () => {
  const disk = specimen.disk.fork();
  disk.failRead(1);
  const { damages } = await verifyTree(disk, TREE_PATH);
  assert.is(damages.length, 1);
  assert.match(damages[0]?.problem ?? '', 'cannot be read');
});

test.run();
