/** A power cut at every disk operation of flushes, compactions and installs leaves what `durable` says, whole, and no litter. A sample; the exhaustive run is elsewhere. */

import * as assert from 'uvu/assert';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { LOSS_RULES } from '../../../src/storage/memory_disk_nodes.ts';
import type { StoredRecord } from '../../../src/storage/record.ts';
import { verifyTree } from '../../../src/storage/tables/verify_tree.ts';
import { test } from '../../suite.ts';
import { seededRandom, showAll } from '../record_model.ts';
import { allVersions, History, openLab, outcome, PATH, records, stateAt } from './tree_lab.ts';

async function freshDisk(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/data');
  await disk.syncDirectory('/');
  return disk;
}

async function assertTidy(disk: MemoryDisk, tables: number, what: string): Promise<void> {
  assert.equal(await disk.list(PATH), ['MANIFEST', 'tables'], what);
  assert.is((await disk.list(`${PATH}/tables`)).length, tables, `${what}: files`);
  assert.equal((await verifyTree(disk, PATH)).damages, [], what);
}

const history = new History(4, 9, 60);

/** Runs the history until the power goes at an operation. Gives what was acknowledged, or undefined when it ran to its end. */
async function cutAt(disk: MemoryDisk, operation: number): Promise<number | undefined> {
  let acknowledged = 0;
  disk.crashAt(operation);
  const result = await outcome(
    (async () => {
      const tree = await openLab({ disk });
      try {
        await history.run(tree, (index) => {
          acknowledged = index;
        });
        assert.ok(tree.tableStats().compactions > 1, 'there is compaction to cut');
      } finally {
        await tree.close();
      }
    })(),
  );
  if (result === 'done' && !disk.down) return undefined;
  if (result !== 'done') assert.ok(['STORAGE_FAILED', 'IO'].includes(result), result);
  return acknowledged;
}

test('a power cut anywhere in flushes and compactions', async () => {
  let cuts = 0;
  for (let operation = 1; ; operation += operation < 40 ? 1 : 5) {
    const rule = LOSS_RULES[operation % LOSS_RULES.length]!;
    const what = `operation ${operation}, rule ${rule}`;
    const disk = await freshDisk();
    const acknowledged = await cutAt(disk, operation);
    if (acknowledged === undefined) break;
    cuts++;
    disk.crash(rule, seededRandom(operation));
    const tree = await openLab({ disk });
    const index = tree.durable?.index ?? 0;
    assert.ok(index === acknowledged || index === acknowledged + 1, `${what}: ${index} of ${acknowledged}`);
    if (index > 0) assert.equal(tree.durable, stateAt(index), what);
    const compacted = history.compactions[acknowledged]!;
    history.assertContent(await allVersions(tree), index, compacted, what);
    await tree.settled();
    await assertTidy(disk, tree.tableStats().cache.openTables, what);
    history.assertContent(await allVersions(tree), index, compacted, `${what}, settled`);
    await tree.flush({ recordCount: 0, dataBytes: 0, records: () => [].values() }, stateAt(index + 1));
    await tree.close();
  }
  assert.ok(cuts > 60, `${cuts} cuts`);
});

test('a power cut anywhere in an install leaves the old content or the new', async () => {
  const old = records(0, 300, 1);
  const next = records(100, 500, 1_000);
  async function* stream(list: readonly StoredRecord[]): AsyncGenerator<StoredRecord[], void, void> {
    for (let at = 0; at < list.length; at += 64) yield list.slice(at, at + 64);
  }
  for (const rule of LOSS_RULES) {
    let finished = false;
    for (let operation = 1; !finished; operation++) {
      const what = `operation ${operation}, rule ${rule}`;
      const disk = await freshDisk();
      const tree = await openLab({ disk });
      await tree.install(stateAt(5), stream(old));
      disk.crashAt(operation);
      const result = await outcome(tree.install(stateAt(9), stream(next)));
      await tree.close();
      finished = result === 'done' && !disk.down;
      if (result === 'done') assert.is(tree.durable?.index, 9);
      disk.crash(rule, seededRandom(operation));
      const again = await openLab({ disk });
      const index = again.durable?.index;
      assert.ok(index === 9 || (index === 5 && result !== 'done'), `${what}: ${index}`);
      assert.equal(showAll(await allVersions(again)), showAll(index === 9 ? next : old), what);
      await assertTidy(disk, again.tableStats().cache.openTables, what);
      await again.close();
    }
  }
});

test.run();
