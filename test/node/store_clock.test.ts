/** The store's time: monotonic clocks carried from leader to leader, whatever wall clocks show. */

import * as assert from 'uvu/assert';
import { SLEW, StoreClock } from '../../src/node/store_clock.ts';
import { test } from '../suite.ts';

/** A machine with clocks that a test moves. */
class Machine {
  wall = 1_000_000;
  monotonic: number;
  applied = 0;
  readonly clock: StoreClock;

  constructor(bootedMs: number) {
    this.monotonic = bootedMs;
    this.clock = new StoreClock(
      { wallMs: () => this.wall, monotonicMs: () => this.monotonic },
      () => this.applied,
    );
  }
  pass(ms: number): void {
    this.wall += ms;
    this.monotonic += ms;
  }
}

/** As a leader with duties does it. */
function lead(machine: Machine, ms: number, tell?: (timeMs: number) => void): void {
  for (let at = 0; at < ms; at += 200) {
    machine.pass(200);
    machine.clock.adjust();
    tell?.(machine.clock.nowMs());
  }
}

test('a first leader begins with its wall clock, or with the store where that is ahead', () => {
  const first = new Machine(5);
  assert.is(first.clock.estimateMs(), 1_000_000);
  assert.not(first.clock.known, 'who only looks decides nothing');
  assert.is(first.clock.nowMs(), 1_000_000);
  assert.ok(first.clock.known);
  const behind = new Machine(5);
  behind.applied = 3_000_000;
  assert.is(behind.clock.nowMs(), 3_000_000);
  behind.pass(10);
  assert.is(behind.clock.nowMs(), 3_000_010, 'time goes on from there');
});

test('a jump of the wall clock under a leader is followed at one part in a hundred', () => {
  for (const jump of [3_600_000, -3_600_000]) {
    const leader = new Machine(77);
    leader.clock.nowMs();
    leader.wall += jump;
    lead(leader, 10_000);
    const passed = leader.clock.nowMs() - 1_000_000;
    assert.ok(Math.abs(passed - 10_000 * (1 + Math.sign(jump) * SLEW)) < 10, `${passed}`);
  }
});

test('a small error is made up for', () => {
  const leader = new Machine(77);
  leader.clock.nowMs();
  leader.wall += 40;
  lead(leader, 20_000);
  assert.ok(Math.abs(leader.clock.nowMs() - leader.wall) <= 1);
});

test('the next leader is never ahead of one that leans back to its wall clock', () => {
  const leader = new Machine(3);
  const next = new Machine(9_999);
  leader.clock.nowMs();
  leader.wall -= 60_000;
  lead(leader, 12_000, (timeMs) => {
    next.pass(200);
    next.clock.heard(timeMs, 1);
    const aheadMs = next.clock.nowMs() - leader.clock.nowMs();
    assert.ok(aheadMs <= 0, `${aheadMs} ms ahead: a lease would end so much early`);
  });
});

test('a leader that is behind the one before it is followed at once: it gives times to live out by its own time', () => {
  const node = new Machine(3);
  node.clock.heard(500_000, 1);
  node.pass(200);
  node.clock.heard(500_200 - 160, 2);
  assert.is(node.clock.nowMs(), 500_040);
  node.pass(200);
  node.clock.heard(500_200, 2);
  assert.is(
    node.clock.nowMs(),
    500_238,
    'among those of one leader the fastest message counts, less what the leader may have leant back since',
  );
});

test('a leader that was stopped while it leant towards its wall clock is not carried past it', () => {
  for (const error of [5, -5]) {
    const leader = new Machine(3);
    leader.clock.nowMs();
    leader.wall += error;
    lead(leader, 200);
    leader.pass(60_000);
    assert.ok(Math.abs(leader.clock.nowMs() - leader.wall) <= 1, `${leader.clock.nowMs() - leader.wall}`);
  }
});

test('the next leader goes on where the last one was, although its own clock is a day ahead and messages took a while', () => {
  const leader = new Machine(3);
  const next = new Machine(9_999);
  next.wall += 86_400_000;
  leader.clock.nowMs();
  let told = 0;
  lead(leader, 10_000, (timeMs) => {
    // Every third takes its time.
    next.pass(200);
    if (told++ % 3 === 0) next.clock.heard(timeMs - 150, 1);
    else next.clock.heard(timeMs - 2, 1);
  });
  next.pass(700);
  const expected = leader.clock.nowMs() + 700;
  assert.ok(
    next.clock.nowMs() <= expected && next.clock.nowMs() >= expected - 3,
    `${next.clock.nowMs() - expected}`,
  );
});

test('a follower whose clock runs fast does not run away from its leader', () => {
  const leader = new Machine(3);
  const fast = new Machine(3);
  leader.clock.nowMs();
  lead(leader, 600_000, (timeMs) => {
    fast.pass(200 * 1.01);
    fast.clock.heard(timeMs, 1);
  });
  const ahead = fast.clock.nowMs() - leader.clock.nowMs();
  assert.ok(ahead >= 0 && ahead <= 110, `${ahead}`);
});

test('who knows nothing takes a hint, who knows does not', () => {
  const fresh = new Machine(1);
  fresh.wall += 86_400_000;
  fresh.clock.hint(1_000_500);
  assert.is(fresh.clock.nowMs(), 1_000_500);
  fresh.clock.hint(9_000_000);
  assert.is(fresh.clock.nowMs(), 1_000_500);
});

test('entries of a leader that was never heard count', () => {
  const follower = new Machine(1);
  follower.clock.heard(1_000_000, 1);
  follower.applied = 1_000_800;
  assert.is(follower.clock.nowMs(), 1_000_800);
  follower.pass(5);
  assert.is(follower.clock.nowMs(), 1_000_805);
});

test('the time of a leader never goes back', () => {
  const leader = new Machine(50);
  let before = leader.clock.nowMs();
  for (let i = 0; i < 5_000; i++) {
    leader.pass(i % 7);
    if (i % 3 === 0) leader.wall += ((i * 7_919) % 20_000) - 10_000;
    if (i % 11 === 0) leader.clock.adjust();
    const nowMs = leader.clock.nowMs();
    assert.ok(nowMs >= before);
    before = nowMs;
  }
});

test.run();
