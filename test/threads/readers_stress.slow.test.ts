/** The stress test of reader threads: KVORUM_STRESS_SECONDS (default 60) at full speed, with memory that stays as it is. */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { stress } from './stress.ts';

const MIB = 1024 * 1024;
const seconds = Number(process.env['KVORUM_STRESS_SECONDS'] ?? 60);

test(`every read of four threads is one that was right at the time (${seconds} s)`, async () => {
  const report = await stress({
    seconds,
    minGets: 200,
    readers: 4,
    killEveryMs: 1_500,
    config: { tree: 'tables' },
  });
  assert.ok(report.writes > 100 && report.kills > 0, JSON.stringify(report));
  assert.ok(report.gets > 100 && report.snapshots > 10, JSON.stringify(report));
  const grownBytes = report.lateBytes - report.earlyBytes;
  // New threads for those that were killed, and memories of scans and merges, which are used again, come to far less. What is dropped instead of used again shows here.
  assert.ok(grownBytes < 256 * MIB, `resident memory grew by ${Math.round(grownBytes / MIB)} MiB`);
});

test.run();
