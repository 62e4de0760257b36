/** Runs of the simulator as a whole: what passes, what fails, and that both can be done again. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { NO_FAULTS } from '../../src/sim/faults/fault_plan.ts';
import { describeFailure, readWords, runOne } from '../../src/sim/main.ts';
import { runSeed } from '../../src/sim/run.ts';
import { runMany, type SeedReport } from '../../src/sim/run_many.ts';
import { test } from '../suite.ts';

test('a run without faults passes, and its clients get what they ask for', async () => {
  const { ok, failure, stats } = await runSeed({ seed: 1, ops: 300, nodes: 3, faults: NO_FAULTS });
  assert.ok(ok, failure?.message);
  assert.ok(stats.ops >= 300);
  // What a client asks for in the last moment before it dies is never answered; all else is.
  assert.ok(stats.ok >= 0.9 * stats.ops, `${stats.ok} of ${stats.ops} calls succeeded`);
  assert.equal(stats.faults, {});
});

test('a run with faults gives the same trace twice, recorded and judged or not', async () => {
  const options = { seed: 'twice', ops: 200, nodes: 3 };
  const first = await runSeed(options);
  const second = await runSeed({ ...options, record: true, judged: false });
  assert.is(second.hash, first.hash);
  assert.equal(second.stats, first.stats);
  assert.equal(second.plan, first.plan);
  assert.is(first.trace, undefined);
  assert.ok(second.trace?.some(({ kind }) => kind === 'invoke'));
});

test('a run that does not end is a failure with all that is needed to do it again', async () => {
  const result = await runSeed({ seed: 2, ops: 100, nodes: 3, maxEvents: 1_000 });
  assert.is(result.ok, false);
  assert.is(result.failure?.invariant, 'simulation');
  assert.match(result.failure?.message ?? '', /not done after 1000 events/);
  const text = describeFailure(result, readWords(['--seed', '2', '--ops', '100']));
  assert.match(text, /^seed 2 FAILED: simulation: /);
  assert.match(text, /commit [0-9a-f]{7,}|commit unknown/);
  assert.match(text, /npm run sim -- --seed 2 --ops 100 --nodes 3/);
  assert.ok(text.includes('"steps":['), 'the whole plan');
});

test('--twice runs a seed two times', async () => {
  const words = readWords(['--twice', '--ops', '60', '--nodes', '1']);
  const result = await runOne(words, 5, NO_FAULTS);
  assert.ok(result.ok, result.failure?.message);
});

const ENDLESS = { untilMs: Number.POSITIVE_INFINITY, nowMs: () => 0 };

test('no seed is begun when the time is up', async () => {
  const reports: SeedReport[] = [];
  await runMany({
    args: ['--ops', '40', '--nodes', '1'],
    seed: 10,
    seeds: 200,
    jobs: 1,
    untilMs: 2,
    nowMs: () => reports.length,
    report: (report) => reports.push(report),
  });
  assert.equal(
    reports.map(({ seed, ok }) => [seed, ok]),
    [
      [10, true],
      [11, true],
    ],
  );
});

test('many seeds are run by several processes, and each is reported once', async () => {
  const reports: SeedReport[] = [];
  await runMany({
    args: ['--ops', '40', '--nodes', '1'],
    seed: 10,
    seeds: 3,
    jobs: 2,
    ...ENDLESS,
    report: (report) => reports.push(report),
  });
  assert.equal(reports.map(({ seed }) => seed).sort(), [10, 11, 12]);
  assert.equal(
    reports.map(({ ok, text }) => (ok ? '' : text)),
    ['', '', ''],
  );
  assert.ok(reports.every(({ stats }) => stats.ops >= 40));
});

test('wrong words are refused', () => {
  for (const args of [
    ['--seed', 'x'],
    ['--ops', '0'],
    ['--kinds', 'nonsense'],
    ['--unknown'],
    ['--jobs', '1.5'],
    ['--within', '0'],
  ]) {
    assert.throws(
      () => readWords(args),
      (error: unknown) => error instanceof KvError && error.code === 'INVALID_ARGUMENT',
      args.join(' '),
    );
  }
});

test.run();
