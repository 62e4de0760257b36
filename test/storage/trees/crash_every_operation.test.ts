/**
 * A power cut at the operations of a tree's disk, a second one during the recovery, and operations that fail: nothing acknowledged is lost, nothing half written shows.
 * This file takes samples; crash_every_operation.slow.test.ts takes them all.
 *
 * KVORUM_CRASH_CUTS: how many of each.
 */

import * as assert from 'uvu/assert';
import type { Disk } from '../../../src/storage/disk.ts';
import { LOSS_RULES } from '../../../src/storage/memory_disk_nodes.ts';
import { test } from '../../suite.ts';
import { checkCut, checkFault, cutsOf, spreadOrder } from './crash_harness.ts';
import { Workload } from './crash_workload.ts';
import { chosen, PORT_SUBJECTS } from './subjects_here.ts';
import { TABLES_TREE } from './tables_subject.ts';
import type { TreeSubject } from './tree_subject.ts';

const CUTS = Number(process.env['KVORUM_CRASH_CUTS'] ?? 40);
const workload = new Workload(1, 9, 50);

for (const subject of chosen(PORT_SUBJECTS)) {
  const trial = { subject, options: subject.smallOptions, workload };
  const cuts = await cutsOf(subject, subject.smallOptions, workload);

  test(`${subject.name}: power cuts`, async () => {
    assert.ok(cuts.length > 20, `${cuts.length} operations: too few to show anything`);
    for (const [i, at] of spreadOrder(cuts.length).slice(0, CUTS).entries())
      await checkCut(trial, cuts[at - 1]!, LOSS_RULES[i % LOSS_RULES.length]!, i, i % 6 === 0 ? 3 : 0);
  });

  for (const fault of ['EIO', 'ENOSPC', 'power'] as const) {
    test(`${subject.name}: ${fault}`, async () => {
      for (const [i, at] of spreadOrder(cuts.length)
        .slice(0, Math.ceil(CUTS / 5))
        .entries())
        await checkFault(trial, fault, at, i);
    });
  }
}

/** Runs the whole of the power cuts on a tree whose disk answers some operations without doing them. */
async function cutsOnLazyDisk(lazy: Partial<Disk>): Promise<string> {
  const subject: TreeSubject = {
    ...TABLES_TREE,
    open: (disk, path, ports, options) => {
      const port = new Proxy(disk, {
        get: (target, name) => {
          const own: unknown = Reflect.get(lazy, name) ?? Reflect.get(target, name);
          return typeof own === 'function' ? own.bind(target) : own;
        },
      });
      return TABLES_TREE.open(port, path, ports, options);
    },
  };
  const trial = { subject, options: {}, workload };
  try {
    for (const [i, cut] of (await cutsOf(subject, {}, workload)).entries())
      for (const rule of LOSS_RULES) await checkCut(trial, cut, rule, i, 0);
  } catch (error) {
    return String(error);
  }
  return 'nothing';
}

test('a tree that does not sync directories, or leaves files behind, is found out', async () => {
  assert.match(await cutsOnLazyDisk({ syncDirectory: async () => undefined }), 'durable is');
  assert.match(await cutsOnLazyDisk({ remove: async () => undefined }), 'files left behind');
});

test.run();
