/** The rate of compaction, under a clock that stands still until the test moves it. */

import * as assert from 'uvu/assert';
import { compactionRate, RateLimiter } from '../../../src/storage/tables/rate_limiter.ts';
import { test } from '../../suite.ts';
import { SteppedPorts } from '../stepped_ports.ts';

/** Bytes let through in a second of virtual time. */
async function throughput(limiter: RateLimiter, ports: SteppedPorts, seconds: number): Promise<number> {
  let taken = 0;
  let stopped = false;
  const taker = async (): Promise<void> => {
    while (!stopped) {
      await limiter.take(10_000);
      if (!stopped) taken += 10_000;
    }
  };
  const running = taker();
  for (let i = 0; i < seconds * 200; i++) await ports.advance(5);
  stopped = true;
  limiter.release();
  await running;
  return taken / seconds;
}

test('without a rate everything passes at once', () => {
  const limiter = new RateLimiter(new SteppedPorts());
  for (let i = 0; i < 100; i++) assert.is(limiter.take(1e9), undefined);
});

test('a rate holds over time', async () => {
  const ports = new SteppedPorts();
  const limiter = new RateLimiter(ports);
  limiter.setRate(1_000_000);
  const rate = await throughput(limiter, ports, 3);
  assert.ok(rate > 950_000 && rate < 1_060_000, String(rate));
});

test('those who wait are served in order and feel a new rate at once', async () => {
  const ports = new SteppedPorts();
  const limiter = new RateLimiter(ports);
  limiter.setRate(1_000);
  const served: number[] = [];
  assert.is(limiter.take(10_000), undefined, 'the first goes into debt');
  for (let i = 0; i < 3; i++) void Promise.resolve(limiter.take(10_000)).then(() => served.push(i));
  await ports.advance(5_000);
  assert.equal(served, []);
  await ports.advance(5_000);
  assert.equal(served, [0]);
  limiter.setRate(Number.POSITIVE_INFINITY);
  await ports.advance(0);
  assert.equal(served, [0, 1, 2]);
  assert.is(ports.timerCount, 0);
  assert.is(limiter.bytesPerSecond, Number.POSITIVE_INFINITY);
});

test('idle time is worth a short burst only', async () => {
  const ports = new SteppedPorts();
  const limiter = new RateLimiter(ports);
  limiter.setRate(1_000_000);
  await ports.advance(60_000);
  let passed = 0;
  while (limiter.take(10_000) === undefined) passed += 10_000;
  assert.is(passed, 60_000, '50 ms of it, and one that goes into debt');
  limiter.release();
});

test('after release nobody waits', async () => {
  const ports = new SteppedPorts();
  const limiter = new RateLimiter(ports);
  limiter.setRate(1);
  limiter.take(1_000_000);
  const waiting = limiter.take(1);
  assert.instance(waiting, Promise);
  limiter.release();
  await waiting;
  assert.is(limiter.take(1e12), undefined);
  assert.is(ports.timerCount, 0);
});

test('the rate grows with urgency until there is none', () => {
  assert.is(compactionRate(0, 100), 100);
  assert.is(compactionRate(0.25, 100), 250);
  assert.is(compactionRate(0.5, 100), Number.POSITIVE_INFINITY);
  assert.is(compactionRate(1, 100), Number.POSITIVE_INFINITY);
});

test.run();
