/** The throttle that makes writers wait a little instead of a lot. */

import * as assert from 'uvu/assert';
import { memtablePressure, WriteThrottle } from '../../src/storage/write_throttle.ts';
import { test } from '../suite.ts';

/** Writes as fast as the throttle lets, for `ms`: bytes let in, and the longest wait. */
function write(
  throttle: WriteThrottle,
  fromMs: number,
  ms: number,
  chunk: number,
): { bytes: number; longestMs: number } {
  let bytes = 0;
  let longestMs = 0;
  let nowMs = fromMs;
  while (nowMs < fromMs + ms) {
    const delayMs = throttle.delayMs(nowMs);
    if (delayMs > 0) {
      longestMs = Math.max(longestMs, delayMs);
      nowMs += Math.max(delayMs, 0.001);
      continue;
    }
    bytes += chunk;
    if (throttle.limited) throttle.spend(chunk);
    nowMs += 0.005;
  }
  return { bytes, longestMs };
}

test('without pressure there is no limit', () => {
  const throttle = new WriteThrottle();
  throttle.update(0, 0);
  assert.not.ok(throttle.limited);
  assert.is(throttle.delayMs(1), 0);
});

test('the rate follows what drains and falls with the pressure; waits stay short', () => {
  let before = Number.POSITIVE_INFINITY;
  for (const pressure of [0.1, 0.5, 0.9, 1]) {
    const throttle = new WriteThrottle();
    for (let i = 0; i < 50; i++) throttle.drained(50_000_000, 1000);
    throttle.update(pressure, 0);
    const { bytes, longestMs } = write(throttle, 0, 1000, 1024);
    assert.ok(bytes < before, `${bytes} bytes at pressure ${pressure}`);
    assert.ok(bytes > 3_000_000 && bytes < 80_000_000, `${bytes} bytes a second`);
    assert.ok(longestMs < 1, `a wait of ${longestMs} ms for one KiB`);
    before = bytes;
  }
});

test('a large write is let in and paid for afterwards, in waits of bounded length', () => {
  const throttle = new WriteThrottle();
  throttle.update(0.5, 0);
  assert.is(throttle.delayMs(0), 0);
  throttle.spend(64 * 1024 * 1024);
  assert.is(throttle.delayMs(0), 20);
  assert.ok(throttle.delayMs(300) > 0);
  assert.is(throttle.delayMs(5_000), 0);
});

test('what was written without asking is paid for within about a second, however much it was', () => {
  const throttle = new WriteThrottle();
  for (let i = 0; i < 50; i++) throttle.drained(1_000_000, 1000);
  throttle.update(1, 0);
  throttle.spend(1_000_000_000);
  assert.is(throttle.delayMs(0), 20);
  assert.ok(throttle.delayMs(990) > 0);
  assert.is(throttle.delayMs(1_001), 0);
});

test('an end of the pressure ends the waiting at once', () => {
  const throttle = new WriteThrottle();
  throttle.update(1, 0);
  throttle.spend(10_000_000);
  assert.ok(throttle.delayMs(1) > 0);
  throttle.update(0, 2);
  assert.is(throttle.delayMs(2), 0);
});

test('one memtable being flushed while the next fills is no pressure; it then grows without a jump', () => {
  assert.is(memtablePressure(0, 1, 3), 0);
  assert.is(memtablePressure(1, 0.5, 3), 0);
  let last = 0;
  for (let x = 1; x <= 3; x += 0.05) {
    const pressure = memtablePressure(Math.floor(x), x % 1, 3);
    assert.ok(pressure >= last && pressure - last < 0.06, `${last} -> ${pressure} at ${x}`);
    last = pressure;
  }
  assert.ok(last > 0.9);
  assert.is(memtablePressure(5, 1, 3), 1);
  assert.ok(memtablePressure(1, 0.9, 1) > 0);
});

test.run();
