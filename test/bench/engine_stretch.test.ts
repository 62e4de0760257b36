/** Stretches end where their limit says, for every kind of operation, and rows are their medians. */

import * as assert from 'uvu/assert';
import { overlapMs } from '../../bench/engine/gc.ts';
import {
  multiplied,
  type Operation,
  type Stretch,
  timeStretch,
  toResult,
  toStretch,
} from '../../bench/engine/stretch.ts';
import { LatencyHistogram } from '../../bench/latency.ts';
import { test } from '../suite.ts';

const NO_TIME_LIMIT = Number.POSITIVE_INFINITY;

function operations(seen: number[]): Operation[] {
  return [
    { kind: 'now', run: (n) => seen.push(n) },
    { kind: 'promise', run: async (n) => seen.push(n) },
    { kind: 'read', run: async (n) => Uint8Array.of(n), check: (n, answer) => seen.push(n, answer![0]!) },
  ];
}

test('so many operations are run, from the first, one after another', async () => {
  const [now, promise, read] = operations([]).map(({ kind }) => kind);
  assert.equal([now, promise, read], ['now', 'promise', 'read']);
  for (const [i, expected] of [
    [7, 8, 9],
    [7, 8, 9],
    [7, 7, 8, 8, 9, 9],
  ].entries()) {
    const seen: number[] = [];
    const limit = { operations: 3, seconds: NO_TIME_LIMIT };
    const stretch = await timeStretch(operations(seen)[i]!, 7, limit);
    assert.equal(seen, expected);
    assert.is(stretch.operations, 3);
    assert.is(stretch.latency.count, 3);
    assert.ok(stretch.endedMs >= stretch.startedMs);
  }
});

test('time ends a stretch as well', async () => {
  for (const operation of operations([])) {
    const stretch = await timeStretch(operation, 0, { operations: 1e9, seconds: 0.002 });
    assert.ok(stretch.operations > 0);
    assert.ok(stretch.endedMs - stretch.startedMs >= 2);
  }
});

test('what fails while it is timed, or is wrong, ends the stretch', async () => {
  const wrong = (): never => {
    throw new Error('wrong');
  };
  const failing: Operation[] = [
    { kind: 'now', run: wrong },
    { kind: 'promise', run: async () => wrong() },
    { kind: 'read', run: async () => undefined, check: wrong },
  ];
  for (const operation of failing) {
    let message = '';
    try {
      await timeStretch(operation, 0, { operations: 1, seconds: 1 });
    } catch (error) {
      message = String(error);
    }
    assert.is(message, 'Error: wrong');
  }
});

test('a row holds medians, bytes a second, and the share of garbage collection', () => {
  const stretches: Stretch[] = [1_000, 4_000, 2_000].map((count, i) => ({
    ...toStretch(count, 0, 1_000),
    gcPercent: i,
  }));
  const row = toResult('kvorum', 'a case', stretches, { note: 'n', bytesPerOperation: 1_040, rssMb: 7 });
  assert.is(row.opsPerSecond, 2_000);
  assert.is(row.mbPerSecond, 2.08);
  assert.is(row.gcPercent, 1);
  assert.is(row.rssMb, 7);
  assert.is(row.p99Us, undefined, 'no samples, no percentiles');
  assert.is(multiplied(stretches[0]!, 10).opsPerSecond, 10_000);
});

test('a row has percentiles when its stretches have samples', () => {
  const latency = new LatencyHistogram();
  latency.recordMs(1);
  const row = toResult('kvorum', 'a case', [toStretch(1, 0, 1, latency)], { note: '' });
  assert.ok(Math.abs(row.p50Us! - 1_000) < 16);
  assert.not.ok('mbPerSecond' in row);
  assert.not.ok('gcPercent' in row);
});

test('only what lies within the stretch counts as its garbage collection', () => {
  const span = (startTime: number, duration: number) => ({ startTime, duration });
  const spans = [span(0, 5), span(8, 4), span(15, 1), span(18, 10), span(40, 1)];
  assert.is(overlapMs(spans, 10, 20), 2 + 1 + 2);
  assert.is(overlapMs([], 10, 20), 0);
});

test.run();
