/** How far history goes by itself: by revisions, by hours, with somebody reading, and when room is short. */

import * as assert from 'uvu/assert';
import { compactTarget } from '../../src/kv/compaction.ts';
import { test } from '../suite.ts';

const HOUR_MS = 3_600_000;
const store = {
  revision: 10_000,
  compactRevision: 2_000,
  /** One revision a second; nothing is known of the first hundred. */
  revisionAt: (timeMs: number) => (timeMs < 100_000 ? undefined : Math.floor(timeMs / 1_000)),
};
const NOW_MS = 10_000_000;

function target(rules: { revisions?: number; hours?: number }, shortOfRoom = false, pin = Infinity): number {
  const { revisions = 0, hours = 0 } = rules;
  return compactTarget(store, { historyRevisions: revisions, historyHours: hours }, NOW_MS, shortOfRoom, pin);
}

test('by revisions, when a tenth of what is kept can go', () => {
  assert.is(target({}), 0, 'no rule keeps all');
  assert.is(target({}, true), 0, 'also when room is short');
  assert.is(target({ revisions: 5_000 }), 5_000);
  assert.is(target({ revisions: 7_000 }), 3_000);
  assert.is(target({ revisions: 7_500 }), 0, 'not for a tenth less');
  assert.is(target({ revisions: 20_000 }), 0);
});

test('by hours alone where they are set', () => {
  assert.is(target({ hours: 1 }), 6_400);
  assert.is(target({ hours: 1, revisions: 9_000 }), 6_400);
  assert.is(target({ hours: 2 }), 2_800);
  assert.is(
    compactTarget(store, { historyRevisions: 0, historyHours: 3 }, 3 * HOUR_MS + 50, false, Infinity),
    0,
  );
});

test('what somebody reads stays, and all that nobody reads may go when room is short', () => {
  assert.is(target({ revisions: 5_000 }, false, 3_000), 3_000);
  assert.is(target({ revisions: 5_000 }, false, 1_500), 0);
  assert.is(target({ revisions: 5_000 }, true), 10_000);
  assert.is(target({ hours: 5 }, true), 10_000);
  assert.is(target({ hours: 5 }, true, 2_001), 2_001);
});

test.run();
