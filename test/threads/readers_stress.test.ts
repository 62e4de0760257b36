/** The stress test of reader threads for a few seconds; readers_stress.slow.test.ts runs it for a minute. */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { stress } from './stress.ts';

test('every read of two threads is one that was right at the time', async () => {
  const report = await stress({ seconds: 3, minGets: 200, readers: 2, killEveryMs: 900, config: {} });
  assert.ok(report.writes > 100, `${report.writes} transactions`);
  assert.ok(report.kills > 1 && report.gets >= 200 && report.snapshots > 5, JSON.stringify(report));
});

test.run();
