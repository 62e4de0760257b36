/**
 * Randomised schedules (see schedule.ts). A failure names its seed; `RAFT_SEED=17 node build/test/raft/schedules.test.js` runs that one alone, and
 * `RAFT_SEEDS=5000 RAFT_FROM=1000` runs many.
 */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { runSchedules } from './schedule.ts';

const STEPS = 1500;

function setting(name: string, otherwise: number): number {
  const value = process.env[name];
  return value === undefined ? otherwise : Number(value);
}

test('every schedule keeps the invariants and finishes when the faults are over', () => {
  const only = setting('RAFT_SEED', 0);
  const from = only > 0 ? only : setting('RAFT_FROM', 1);
  const count = only > 0 ? 1 : setting('RAFT_SEEDS', 300);
  const { total, failures } = runSchedules(from, count, STEPS);
  assert.is(failures.join('\n'), '');
  if (only > 0) return;
  // A schedule that does nothing finds nothing: the faults must not drown the work.
  for (const [what, sum] of Object.entries(total))
    assert.ok(sum >= count / 4, `${what}: ${sum} in ${count} runs`);
});

test('a seed decides everything: the same one gives the same run', () => {
  assert.equal(runSchedules(7, 3, 300), runSchedules(7, 3, 300));
});

test.run();
