/** Lives that end early or late, under right and wrong clocks. */

import * as assert from 'uvu/assert';
import { ClockBounds } from '../../../src/sim/check/clock_bounds.ts';
import { checkLives, type Life } from '../../../src/sim/check/lease_check.ts';
import { test } from '../../suite.ts';

const RIGHT = new ClockBounds([1, 2, 3], []);

function life(changes: Partial<Life>): Life {
  return {
    name: 'lease 1',
    ttlMs: 1_000,
    beganFromMs: 100,
    beganToMs: 150,
    expiresAtMs: undefined,
    seenExpiredMs: undefined,
    seenAliveMs: undefined,
    ...changes,
  };
}

function messages(
  one: Life,
  clocks = RIGHT,
  disturbances: { fromMs: number; toMs: number }[] = [],
): string[] {
  return checkLives([one], { clocks, graceMs: 500, disturbances }).map(({ message }) => message);
}

test('what ends after its time and before the bound is right', () => {
  assert.equal(messages(life({ seenExpiredMs: 1_101 })), []);
  assert.equal(messages(life({ seenExpiredMs: 9_000, seenAliveMs: 1_600 })), []);
});

test('an early end is refused', () => {
  assert.equal(
    messages(life({ seenExpiredMs: 1_091 })),
    [],
    "a store's time that is behind catches up by one part in a hundred",
  );
  assert.match(messages(life({ seenExpiredMs: 1_080 }))[0] ?? '', /expired 11 ms before its time/);
  assert.match(messages(life({ seenExpiredMs: 1_100, expiresAtMs: 1_130 }))[0] ?? '', /30 ms before/);
});

test('a renewal that was forgotten at an election shows as an early end, one that was reset as a late one', () => {
  assert.is(messages(life({ beganFromMs: 5_000, beganToMs: 5_010, seenExpiredMs: 5_600 })).length, 1);
  assert.is(messages(life({ seenAliveMs: 1_700 })).length, 1);
});

test('a late end is refused, unless the cluster was disturbed in the time that it has for it', () => {
  assert.match(messages(life({ seenAliveMs: 1_652 }))[0] ?? '', /outlived its time/);
  assert.equal(messages(life({ seenAliveMs: 1_652 }), RIGHT, [{ fromMs: 0, toMs: 1_200 }]), []);
  assert.is(messages(life({ seenAliveMs: 1_652 }), RIGHT, [{ fromMs: 0, toMs: 1_100 }]).length, 1);
  assert.equal(messages(life({ seenAliveMs: 9_000 }), RIGHT, [{ fromMs: 8_600, toMs: 8_700 }]), []);
});

test('a wall clock that is set wrong ends nothing early, but where a node started it may', () => {
  const ahead = new ClockBounds([1, 2, 3], [{ node: 2, fromMs: 400, offsetMs: 3_000, rate: 1 }]);
  assert.equal(
    messages(life({ seenExpiredMs: 1_095 }), ahead),
    [],
    'the store may run one part in a hundred fast',
  );
  assert.match(messages(life({ seenExpiredMs: 800 }), ahead)[0] ?? '', /before its time/);
  const options = { clocks: ahead, graceMs: 500, disturbances: [] };
  const early = life({ seenExpiredMs: 800 });
  assert.is(checkLives([early], { ...options, starts: [500] }).length, 0);
  assert.is(checkLives([early], { ...options, starts: [-901, 900] }).length, 1);
});

test('a wall clock that is set wrong keeps nothing alive', () => {
  const behind = new ClockBounds([1, 2, 3], [{ node: 3, fromMs: 0, offsetMs: -400, rate: 1 }]);
  assert.equal(messages(life({ seenAliveMs: 1_660 }), behind), []);
  assert.is(messages(life({ seenAliveMs: 1_670 }), behind).length, 1);
  assert.equal(messages(life({ seenAliveMs: 1_670 }), behind, [{ fromMs: 200, toMs: 300 }]), []);
});

test('clocks that run fast or slow may end lives by as much earlier or later', () => {
  const drifting = new ClockBounds([1, 2], [{ node: 1, fromMs: 0, offsetMs: 0, rate: 1.25 }]);
  assert.equal(
    messages(life({ seenExpiredMs: 520 }), drifting),
    [],
    'heard up to 2.5 s ago of one that lost a fifth',
  );
  assert.is(messages(life({ seenExpiredMs: 480 }), drifting).length, 1);
  const slow = new ClockBounds([1, 2], [{ node: 1, fromMs: 0, offsetMs: 0, rate: 0.8 }]);
  assert.equal(messages(life({ seenAliveMs: 1_900 }), slow), []);
  assert.is(messages(life({ seenAliveMs: 1_930 }), slow).length, 1);
});

test('clocks that drift are followed', () => {
  const fast = new ClockBounds([1], [{ node: 1, fromMs: 1_000, offsetMs: 50, rate: 1.5 }]);
  assert.is(fast.highest(1_000), 1_050);
  assert.is(fast.highest(3_000), 4_050);
  assert.is(fast.lowest(500, 3_000), 500);
  assert.is(fast.lowest(1_000, 3_000), 1_000);
  assert.is(fast.lowest(1_500, 3_000), 1_800);
});

test.run();
