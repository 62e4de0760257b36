/** Lives that end early or late, under right and wrong clocks. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ClockBounds } from '../../../src/sim/check/clock_bounds.ts';
import { checkLives, type Life } from '../../../src/sim/check/lease_check.ts';

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
  assert.match(messages(life({ seenExpiredMs: 1_090 }))[0] ?? '', /expired 10 ms before its time/);
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

test('a clock that runs ahead may end lives early by as much as it is ahead, and no more', () => {
  const ahead = new ClockBounds([1, 2, 3], [{ node: 2, fromMs: 400, offsetMs: 300, rate: 1 }]);
  assert.equal(messages(life({ seenExpiredMs: 800 }), ahead), []);
  assert.is(messages(life({ seenExpiredMs: 790 }), ahead).length, 1);
  // The store's time does not go back when the clock does.
  const jumped = new ClockBounds(
    [1, 2],
    [
      { node: 2, fromMs: 400, offsetMs: 600, rate: 1 },
      { node: 2, fromMs: 500, offsetMs: 0, rate: 1 },
    ],
  );
  assert.equal(messages(life({ seenExpiredMs: 600 }), jumped), []);
});

test('a clock that is behind may keep lives longer', () => {
  const behind = new ClockBounds([1, 2, 3], [{ node: 3, fromMs: 0, offsetMs: -400, rate: 1 }]);
  assert.equal(messages(life({ seenAliveMs: 2_000 }), behind), []);
  assert.is(messages(life({ seenAliveMs: 2_060 }), behind).length, 1);
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
