/**
 * Damage to the files of a tree: flipped bits, cuts, garbage at the end, blocks and files in each other's place. Every read gives what was written or says CORRUPT;
 * the offline checker sees it all. This file takes a sample of every section of every file; byte_flip.slow.test.ts takes all bytes.
 *
 * KVORUM_FLIPS: bytes a file.
 */

import * as assert from 'uvu/assert';
import { test } from '../../suite.ts';
import { Workload } from './crash_workload.ts';
import { checkDamage, damagesOf, specimenOf, stratified } from './damage_harness.ts';
import { chosen, PORT_SUBJECTS } from './subjects_here.ts';
import { TABLES_TREE } from './tables_subject.ts';
import type { TreeOptions, TreeSubject } from './tree_subject.ts';

const FLIPS = Number(process.env['KVORUM_FLIPS'] ?? 60);
const MAX_FILES = 4;

/** Small tables: blocks, levels and files to be mixed up. */
const manyFiles = (subject: TreeSubject): TreeOptions => ({ ...subject.smallOptions, tableSizeBytes: 3_000 });

for (const subject of chosen(PORT_SUBJECTS)) {
  test(`${subject.name}: damage is told or does no harm`, async () => {
    const specimen = await specimenOf(subject, manyFiles(subject), new Workload(4, 9, 40));
    const kinds = new Map<string, string[]>();
    for (const file of specimen.files.keys()) {
      const kind = subject.kindOf(file);
      kinds.set(kind, [...(kinds.get(kind) ?? []), file]);
    }
    let told = 0;
    for (const files of kinds.values()) {
      const chosenFiles = files.slice(0, MAX_FILES);
      for (const file of chosenFiles) {
        const bytes = specimen.files.get(file)!;
        const offsets = stratified(bytes, subject.sections(file, bytes), FLIPS / chosenFiles.length);
        for (const damage of damagesOf(specimen, file, offsets, 1)) {
          const outcome = await checkDamage(specimen, damage);
          if (outcome.refused || outcome.told > 0) told++;
        }
      }
    }
    assert.ok(told > 0, 'no damage was met at all');
  });
}

test('a tree that does not look at checksums is found out', async () => {
  // Reads the newest checkpoint as if its damage were not there: the harness must say so.
  const blind: TreeSubject = { ...TABLES_TREE, check: async () => [] };
  const specimen = await specimenOf(blind, {}, new Workload(4, 5, 40));
  const [file] = specimen.files.keys();
  await checkDamage(specimen, { type: 'flip', file: file!, offset: 100, mask: 1 }).then(
    () => assert.unreachable('the checker saw nothing'),
    (error: Error) => assert.match(error.message, 'does not see it'),
  );
});

test.run();
