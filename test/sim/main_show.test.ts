/** `npm run sim -- --shrink --timeline FILE --html FILE`: a run from its words to its files. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import type { FaultPlan } from '../../src/sim/faults/fault_plan.ts';
import { readWords, runOne, showRun } from '../../src/sim/main.ts';
import { test } from '../suite.ts';

const plan: FaultPlan = {
  version: 1,
  steps: [{ kind: 'partition', id: 1, atMs: 20, durationMs: 400, minority: ['leader'] }],
};

test('a run is shown as text and as a page, and is the same run when recorded', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sim-show-'));
  try {
    const timeline = join(directory, 't.txt');
    const html = join(directory, 't.html');
    const words = readWords([
      '--ops',
      '80',
      '--nodes',
      '3',
      '--shrink',
      '--timeline',
      timeline,
      '--html',
      html,
    ]);
    const result = await runOne(words, 11, plan);
    assert.ok(result.ok, result.failure?.message);
    const recorded = await runOne(words, 11, plan, true);
    assert.is(recorded.hash, result.hash);
    const told = await showRun(words, 11, result);
    assert.is(told, `written: ${timeline}\nwritten: ${html}\n`, 'what did not fail is not shrunk');
    const text = readFileSync(timeline, 'utf8');
    assert.match(text, /^seed 11, 80 calls, 3 nodes, 1 faults\n/);
    for (const part of ['FAULT partition', 'FAULT link to node-', 'role leader in term 1', '[ok: revision'])
      assert.ok(text.includes(part), part);
    assert.match(readFileSync(html, 'utf8'), /<title>Seed 11: nothing was violated<\/title>/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('only one seed can be shrunk or shown', () => {
  for (const word of [['--shrink'], ['--timeline', 'x'], ['--html', 'x']]) {
    assert.throws(
      () => readWords(['--seeds', '2', ...word]),
      (error: unknown) => error instanceof KvError && error.code === 'INVALID_ARGUMENT',
    );
  }
  assert.is(readWords(['--shrink']).shrink, true);
  assert.is(readWords(['--seeds', '2']).shrink, false);
});

test.run();
