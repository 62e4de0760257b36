/**
 * How long histories take: 100,000 operations on 50 keys, and thousands of contended operations on one key, right and wrong at the very end.
 *
 * KVORUM_CHECK_LIMIT_MS is what each may take of this process's own time (other processes do not count).
 */

import * as assert from 'uvu/assert';
import { type HistoryEvent, operationsOf } from '../../../src/sim/check/history.ts';
import { checkHistory } from '../../../src/sim/check/linearizability.ts';
import { test } from '../../suite.ts';
import { type Simulated, seeded, simulate } from './histories.ts';

const LIMIT_MS = Number(process.env['KVORUM_CHECK_LIMIT_MS'] ?? 30_000);

function check(name: string, plan: Simulated): void {
  const right = simulate(plan, seeded(plan.operations + plan.processes));
  // The last operations of all, on the last key: what was there before is written over, and read all the same.
  const key = `k${plan.keys - 1}`;
  const stale = right.findLast((one) => one.key === key && one.f === 'write' && one.type === 'ok')?.value;
  const alone = { process: 'last', key };
  const wrong = [...right];
  // More often than operations of unknown outcome could explain.
  for (let round = 0; round < 10; round++)
    wrong.push(
      { ...alone, type: 'invoke', f: 'write', value: 'last' },
      { ...alone, type: 'ok' },
      { ...alone, type: 'invoke', f: 'read' },
      { ...alone, type: 'ok', value: stale ?? 'never written' },
    );
  test(`${name}: linearizable`, () => timed(name, right, 'linearizable'));
  test(`${name}: a wrong answer at the end`, () => timed(name, wrong, 'not linearizable'));
}

function timed(name: string, history: readonly HistoryEvent[], expected: string): void {
  const operations = operationsOf(history);
  const before = process.cpuUsage();
  const result = checkHistory(operations, { maxSteps: 1e9 });
  const { user, system } = process.cpuUsage(before);
  const tookMs = (user + system) / 1000;
  if (process.env['KVORUM_VERBOSE'] !== undefined)
    console.log(`${name}: ${result.verdict}, ${Math.round(tookMs)} ms, ${result.steps} steps`);
  assert.is(result.verdict, expected, JSON.stringify(result.undecided));
  assert.ok(tookMs < LIMIT_MS, `${tookMs} ms`);
}

const many = { operations: 100_000, processes: 20, keys: 50, writes: 0.4, cas: 0.2, unknown: 100 };
check('100,000 operations on 50 keys, each value its own', { ...many, values: 0 });
check('100,000 operations on 50 keys, five values', { ...many, values: 5 });

for (const processes of [10, 30]) {
  const one = { operations: 3_000, processes, keys: 1, writes: 0.4, cas: 0.2, unknown: 8 };
  check(`3,000 operations of ${processes} at once, each value its own`, { ...one, values: 0 });
  check(`3,000 operations of ${processes} at once, with deletes`, { ...one, values: 0, deletes: 0.1 });
  check(`3,000 operations of ${processes} at once, five values`, { ...one, values: 5 });
  check(`3,000 operations of ${processes} at once, two values, mostly cas`, {
    ...one,
    values: 2,
    writes: 0.1,
    cas: 0.6,
  });
  check(`3,000 operations of ${processes} at once, comparisons that tell`, {
    ...one,
    values: 0,
    tellsOfComparisons: true,
  });
}

test.run();
