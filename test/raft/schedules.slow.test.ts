/** The randomised schedules of schedules.test.ts, with more seeds and longer runs. */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { runSchedules } from './schedule.ts';

test('thousands of schedules keep the invariants and finish when the faults are over', () => {
  assert.is(runSchedules(100_000, 5_000, 1_500).failures.join('\n'), '');
});

test('long schedules do so as well', () => {
  assert.is(runSchedules(200_000, 300, 15_000).failures.join('\n'), '');
});

test.run();
