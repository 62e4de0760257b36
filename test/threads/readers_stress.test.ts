/** The stress test of reader threads for a few seconds; readers_stress.slow.test.ts runs it for a minute. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { stress } from './stress.ts';

for (const tree of ['tables', 'memory'] as const) {
  test(`every read of two threads is one that was right at the time (${tree})`, async () => {
    const report = await stress({ seconds: 2, minGets: 200, readers: 2, killEveryMs: 900, config: { tree } });
    assert.ok(report.writes > 100, `${report.writes} transactions`);
    assert.ok(report.kills > 1 && report.gets >= 200 && report.snapshots > 5, JSON.stringify(report));
  });
}

test.run();
