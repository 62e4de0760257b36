/**
 * Damage to every byte of a tree's files, as far as the time goes, small files first: see byte_flip.test.ts.
 *
 * KVORUM_FLIP_MS: for how long at most, per tree.
 */

import * as assert from 'uvu/assert';
import { test } from '../../suite.ts';
import { spreadOrder } from './crash_harness.ts';
import { Workload } from './crash_workload.ts';
import { checkDamage, damagesOf, specimenOf } from './damage_harness.ts';
import { chosen, PORT_SUBJECTS } from './subjects_here.ts';
import type { TreeOptions, TreeSubject } from './tree_subject.ts';

const BUDGET_MS = Number(process.env['KVORUM_FLIP_MS'] ?? 90_000);

/** Small tables: blocks, levels and files to be mixed up. */
const manyFiles = (subject: TreeSubject): TreeOptions => ({ ...subject.smallOptions, tableSizeBytes: 3_000 });

for (const subject of chosen(PORT_SUBJECTS)) {
  test(`${subject.name}: damage to every byte is told or does no harm`, async () => {
    const specimen = await specimenOf(subject, manyFiles(subject), new Workload(6, 6, 25));
    const files = [...specimen.files].sort(([, a], [, b]) => a.length - b.length);
    const until = performance.now() + BUDGET_MS;
    let played = 0;
    for (const [i, [file, bytes]] of files.entries()) {
      // What a file does not use of its share of the time is left to the larger ones after it.
      const share = performance.now() + (until - performance.now()) / (files.length - i);
      const offsets = spreadOrder(bytes.length).map((at) => at - 1);
      const damages = damagesOf(specimen, file, offsets, 2);
      const flips = damages.filter(({ type }) => type === 'flip');
      for (const damage of [...damages.filter(({ type }) => type !== 'flip'), ...flips]) {
        if (performance.now() > share) break;
        await checkDamage(specimen, damage);
        played++;
      }
    }
    const bytes = files.reduce((sum, [, content]) => sum + content.length, 0);
    console.log(`${subject.name}: ${played} damages to ${bytes} B in ${files.length} files`);
    assert.ok(played > 100, `only ${played} damages`);
  });
}

test.run();
