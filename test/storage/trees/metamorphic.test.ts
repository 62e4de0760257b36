/**
 * Random programs of flushes, compactions, checkpoints, snapshots, installs, restarts and reads: every tree, with whatever options, must answer as the plain model does.
 *
 * KVORUM_TREE_SEEDS: how many seeds; KVORUM_TREE_SEED: only this one; KVORUM_TREE_PROGRAM: the program that a failure printed.
 */

import * as assert from 'uvu/assert';
import { test } from '../../suite.ts';
import { type Operation, randomProgram, shrink } from './metamorphic_program.ts';
import { runProgram, runSeed } from './metamorphic_run.ts';
import { subjectsHere } from './subjects_here.ts';
import { TABLES_TREE } from './tables_subject.ts';
import type { TreeSubject } from './tree_subject.ts';

const SEEDS = Number(process.env['KVORUM_TREE_SEEDS'] ?? 4);
const SIZE = { operations: 25, writes: 250, huge: false };
const subjects = await subjectsHere();

for (const subject of subjects) {
  test(`${subject.name}: random programs agree with the model`, async () => {
    const only = process.env['KVORUM_TREE_SEED'];
    const seeds = only === undefined ? Array.from({ length: SEEDS }, (_, i) => i + 1) : [Number(only)];
    for (const seed of seeds) await runSeed([subject], seed, SIZE, 2);
  });
}

test('a failing program is made small', async () => {
  const program = randomProgram(7, SIZE);
  const isBad = (candidate: readonly Operation[]): boolean => {
    const compact = candidate.findIndex((operation) => operation.type === 'compact');
    return compact >= 0 && candidate.slice(compact).some((operation) => operation.type === 'reopen');
  };
  assert.ok(isBad(program));
  const small = await shrink(program, async (candidate) => isBad(candidate), 500);
  assert.equal(
    small.map(({ type }) => type),
    ['compact', 'reopen'],
  );
  assert.is((await shrink(program, async () => false, 10)).length, program.length);
});

test('a tree that forgets is found out', async () => {
  const forgetful: TreeSubject = {
    ...TABLES_TREE,
    open: async (...args) => {
      const opened = await TABLES_TREE.open(...args);
      const flush = opened.tree.flush.bind(opened.tree);
      opened.tree.flush = (run, applied) => {
        const kept = [...run.records()].filter((record) => record.key.length !== 4);
        return flush({ ...run, records: () => kept.values() }, applied);
      };
      return opened;
    },
  };
  const program: Operation[] = [
    { type: 'flush', seed: 5, writes: 400, shape: 'mixed', during: 0 },
    { type: 'all' },
  ];
  await runProgram(forgetful, {}, program).then(
    () => assert.unreachable('it forgot records'),
    (error: Error) => assert.match(error.message, /is lost|expected/),
  );
});

test('the program that KVORUM_TREE_PROGRAM holds', async () => {
  const text = process.env['KVORUM_TREE_PROGRAM'];
  if (text === undefined) return;
  const { subject, options, program } = JSON.parse(text);
  const chosen = subjects.find(({ name }) => name === subject);
  assert.ok(chosen !== undefined, `no such tree here: ${subject}`);
  await runProgram(chosen!, options, program);
});

test.run();
