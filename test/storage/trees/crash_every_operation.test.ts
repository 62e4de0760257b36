/**
 * A power cut at the operations of a tree's disk, a second one during the recovery, and operations that fail: nothing acknowledged is lost, nothing half written shows.
 * This file takes samples; crash_every_operation.slow.test.ts takes them all.
 *
 * KVORUM_CRASH_CUTS: how many of each.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { LOSS_RULES } from '../../../src/storage/memory_disk_nodes.ts';
import { checkCut, checkFault, cutsOf, spreadOrder } from './crash_harness.ts';
import { Workload } from './crash_workload.ts';
import { chosen, PORT_SUBJECTS } from './subjects_here.ts';

const CUTS = Number(process.env['KVORUM_CRASH_CUTS'] ?? 60);
const workload = new Workload(1, 12, 60);

for (const subject of chosen(PORT_SUBJECTS)) {
  const trial = { subject, options: subject.smallOptions, workload };
  const cuts = await cutsOf(subject, subject.smallOptions, workload);

  test(`${subject.name}: power cuts`, async () => {
    assert.ok(cuts.length > 20, `${cuts.length} operations: too few to show anything`);
    for (const [i, at] of spreadOrder(cuts.length).slice(0, CUTS).entries())
      await checkCut(trial, cuts[at - 1]!, LOSS_RULES[i % LOSS_RULES.length]!, i, i % 4 === 0);
  });

  for (const fault of ['EIO', 'ENOSPC', 'power'] as const) {
    test(`${subject.name}: ${fault}`, async () => {
      for (const [i, at] of spreadOrder(cuts.length)
        .slice(0, Math.ceil(CUTS / 3))
        .entries())
        await checkFault(trial, fault, at, i);
    });
  }
}

test.run();
