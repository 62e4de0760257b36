/**
 * Randomised schedules (see schedule.ts). A failure names its seed; `RAFT_SEED=17 node build/test/raft/schedules.test.js` runs that one alone, and
 * `RAFT_SEEDS=5000 RAFT_FROM=1000` runs many.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Schedule, type ScheduleResult } from './schedule.ts';

const STEPS = 1500;

function setting(name: string, otherwise: number): number {
  const value = process.env[name];
  return value === undefined ? otherwise : Number(value);
}

test('every schedule keeps the invariants and finishes when the faults are over', () => {
  const only = process.env['RAFT_SEED'];
  const from = only === undefined ? setting('RAFT_FROM', 1) : Number(only);
  const count = only === undefined ? setting('RAFT_SEEDS', 200) : 1;
  const total = { decided: 0, terms: 0, readsAnswered: 0, changes: 0, snapshotsInstalled: 0, transfers: 0 };
  const failures: string[] = [];
  for (let seed = from; seed < from + count; seed++) {
    try {
      add(total, new Schedule(seed).run(STEPS));
    } catch (error) {
      failures.push(`seed ${seed}: ${only === undefined ? String(error) : (error as Error).stack}`);
      if (failures.length >= 20) break;
    }
  }
  assert.is(failures.join('\n'), '');
  if (only !== undefined) return;
  // A schedule that does nothing finds nothing: the faults must not drown the work.
  for (const [what, sum] of Object.entries(total))
    assert.ok(sum >= count / 4, `${what}: ${sum} in ${count} runs`);
});

function add(total: { -readonly [K in keyof ScheduleResult]: number }, result: ScheduleResult): void {
  total.decided += result.decided;
  total.terms += result.terms;
  total.readsAnswered += result.readsAnswered;
  total.changes += result.changes;
  total.snapshotsInstalled += result.snapshotsInstalled;
  total.transfers += result.transfers;
}

test.run();
