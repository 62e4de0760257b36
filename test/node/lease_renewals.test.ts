/** Keep-alives gathered into few commands. */

import * as assert from 'uvu/assert';
import type { KvError } from '../../src/errors.ts';
import { LeaseRenewals } from '../../src/node/lease_renewals.ts';
import { test } from '../suite.ts';

class Bench {
  nowMs = 1_000;
  timers: { atMs: number; run: () => void }[] = [];
  sent: {
    leases: readonly bigint[];
    deadlineMs: number;
    answer: (ttlsMs: Promise<readonly number[]>) => void;
  }[] = [];
  readonly renewals = new LeaseRenewals({
    clock: { wallMs: () => 0, monotonicMs: () => this.nowMs },
    timers: {
      after: (delayMs, run) => {
        this.timers.push({ atMs: this.nowMs + delayMs, run });
        return { cancel: () => {} };
      },
      every: () => ({ cancel: () => {} }),
      soon: (run) => this.timers.push({ atMs: this.nowMs, run }),
      afterIo: (run) => this.timers.push({ atMs: this.nowMs, run }),
    },
    submit: (leases, deadlineMs) =>
      new Promise((resolve) => {
        this.sent.push({ leases, deadlineMs, answer: resolve });
      }),
  });

  pass(ms: number): void {
    this.nowMs += ms;
    const due = this.timers.filter(({ atMs }) => atMs <= this.nowMs);
    this.timers = this.timers.filter(({ atMs }) => atMs > this.nowMs);
    for (const { run } of due) run();
  }
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'fine',
    (error: KvError) => error.code,
  );
}

test('the first goes at once, those that follow together; each gets its own answer', async () => {
  const bench = new Bench();
  const first = bench.renewals.renew(1n, 5_000);
  bench.pass(0);
  assert.equal(bench.sent[0]?.leases, [1n]);
  const second = bench.renewals.renew(2n, 6_000);
  bench.pass(40);
  const third = bench.renewals.renew(3n, 5_500);
  const more = bench.renewals.renewAll([4n, 5n], 5_000);
  bench.pass(59);
  assert.is(bench.sent.length, 1, 'still gathering');
  bench.pass(1);
  assert.equal(bench.sent[1]?.leases, [2n, 3n, 4n, 5n]);
  assert.is(bench.sent[1]?.deadlineMs, 6_000);
  bench.sent[1]?.answer(Promise.resolve([20, 30, 0, 50]));
  bench.sent[0]?.answer(Promise.resolve([10]));
  assert.equal(await Promise.all([first, second, third, more]), [10, 20, 30, [0, 50]]);
  assert.equal(await bench.renewals.renewAll([], 1), []);
});

test('a batch that is full goes before its time, and only once', async () => {
  const bench = new Bench();
  const all = (count: number): bigint[] => Array.from({ length: count }, (_, i) => BigInt(i + 1));
  const answers = [bench.renewals.renewAll(all(9_999), 1), bench.renewals.renewAll(all(5), 1)];
  assert.is(bench.sent.length, 1);
  bench.pass(0);
  bench.pass(100);
  assert.equal(
    bench.sent.map(({ leases }) => leases.length),
    [9_999, 5],
  );
  const single = all(10_000).map((lease) => bench.renewals.renew(lease, 1));
  assert.is(bench.sent.length, 3);
  bench.pass(200);
  assert.is(bench.sent.length, 3);
  for (const { leases, answer } of bench.sent) answer(Promise.resolve(leases.map(() => 7)));
  assert.is((await Promise.all(answers)).flat().length, 10_004);
  assert.ok((await Promise.all(single)).every((ttlMs) => ttlMs === 7));
  assert.is(await codeOf(bench.renewals.renewAll(all(10_001), 1)), 'REQUEST_TOO_LARGE');
});

test('a failure reaches all of a batch, and gives their places free; too many are refused', async () => {
  const bench = new Bench();
  const waiting: Promise<unknown>[] = [];
  const many = Array.from({ length: 10_000 }, () => 1n);
  for (let i = 0; i < 20; i++) waiting.push(codeOf(bench.renewals.renewAll(many, 1)));
  assert.is(await codeOf(bench.renewals.renew(1n, 1)), 'OVERLOADED');
  const { KvError: Failure } = await import('../../src/errors.ts');
  for (const { answer } of bench.sent) answer(Promise.reject(new Failure('NO_LEADER', 'gone')));
  assert.equal(new Set(await Promise.all(waiting)), new Set(['NO_LEADER']));
  const again = bench.renewals.renew(1n, 1);
  bench.pass(100);
  bench.sent.at(-1)?.answer(Promise.resolve([9]));
  assert.is(await again, 9);
});

test.run();
