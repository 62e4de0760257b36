/**
 * A power cut at every operation of a tree's disk under every rule of loss, with second cuts during the recovery, and every operation failing with EIO, ENOSPC and for good.
 *
 * KVORUM_CRASH_MS: for how long at most, per tree and kind of fault (what is met first is spread over the whole work); KVORUM_CRASH_FLUSHES: how much work.
 */

import * as assert from 'uvu/assert';
import { LOSS_RULES } from '../../../src/storage/memory_disk_nodes.ts';
import { test } from '../../suite.ts';
import { checkCut, checkFault, cutsOf, spreadOrder } from './crash_harness.ts';
import { Workload } from './crash_workload.ts';
import { chosen, PORT_SUBJECTS } from './subjects_here.ts';

const BUDGET_MS = Number(process.env['KVORUM_CRASH_MS'] ?? 40_000);
/** Small enough for every one of its operations to be cut under every rule, each time. */
const SMALL_WORK = new Workload(3, 10, 16);
const workload = new Workload(2, Number(process.env['KVORUM_CRASH_FLUSHES'] ?? 12), 40);

for (const subject of chosen(PORT_SUBJECTS)) {
  const trial = { subject, options: subject.smallOptions, workload };
  const cuts = await cutsOf(subject, subject.smallOptions, workload);
  const order = spreadOrder(cuts.length);

  test(`${subject.name}: a power cut at every operation of a small work, by every rule, with none left out`, async () => {
    const small = { ...trial, workload: SMALL_WORK };
    const all = await cutsOf(subject, subject.smallOptions, SMALL_WORK);
    for (const [r, rule] of LOSS_RULES.entries())
      for (const [i, cut] of all.entries()) await checkCut(small, cut, rule, i * 5 + r, 0);
    console.log(`${subject.name}: all ${5 * all.length} power cuts of ${all.length} operations`);
    assert.ok(all.length > 100, `${all.length} operations: too few to show anything`);
  });

  test(`${subject.name}: a power cut at every operation, by every rule, as far as time allows`, async () => {
    const until = performance.now() + BUDGET_MS;
    let met = 0;
    let recoveries = 0;
    for (const [r, rule] of LOSS_RULES.entries()) {
      for (const [i, at] of order.entries()) {
        if (performance.now() > until) break;
        recoveries += await checkCut(trial, cuts[at - 1]!, rule, i * 5 + r, (i + r) % 8 === 0 ? 4 : 0);
        met++;
      }
    }
    console.log(`${subject.name}: ${met} of ${5 * cuts.length} power cuts, ${recoveries} recoveries`);
    assert.ok(met >= Math.min(cuts.length, 50), `only ${met} of ${5 * cuts.length} power cuts`);
  });

  for (const fault of ['EIO', 'ENOSPC', 'power'] as const) {
    test(`${subject.name}: ${fault} at every operation`, async () => {
      const until = performance.now() + BUDGET_MS / 3;
      let met = 0;
      for (const at of order) {
        if (performance.now() > until) break;
        await checkFault(trial, fault, at, at);
        met++;
      }
      console.log(`${subject.name}: ${fault} at ${met} of ${cuts.length} operations`);
      assert.ok(met >= Math.min(cuts.length, 20), `only ${met} of ${cuts.length} operations`);
    });
  }
}

test.run();
