/** The histogram's percentiles are those of the samples, within its promised 1.6 %. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { LatencyHistogram, median } from '../../bench/latency.ts';
import { test } from '../suite.ts';

test('a percentile is within 1.6 % (or a tenth of a microsecond) of the exact one', () => {
  const samples = fc.array(fc.double({ min: 0.0001, max: 100_000, noNaN: true }), {
    minLength: 1,
    maxLength: 300,
  });
  fc.assert(
    fc.property(samples, fc.double({ min: 0, max: 1, noNaN: true }), (milliseconds, fraction) => {
      const histogram = new LatencyHistogram();
      for (const sample of milliseconds) histogram.recordMs(sample);
      const sorted = [...milliseconds].sort((a, b) => a - b);
      const exactUs = sorted[Math.max(0, Math.ceil(sorted.length * fraction) - 1)]! * 1_000;
      const got = histogram.percentileUs(fraction);
      assert.ok(Math.abs(got - exactUs) <= Math.max(0.1, exactUs * 0.016), `${got} is not near ${exactUs}`);
    }),
  );
});

test('two histograms added are one of all samples; none gives no number', () => {
  const a = new LatencyHistogram();
  const b = new LatencyHistogram();
  for (let i = 1; i <= 50; i++) a.recordMs(i);
  for (let i = 51; i <= 100; i++) b.recordMs(i);
  assert.ok(Number.isNaN(new LatencyHistogram().percentileUs(0.5)));
  a.add(b);
  assert.is(a.count, 100);
  assert.ok(Math.abs(a.percentileUs(0.5) - 50_000) < 800);
  assert.ok(Math.abs(a.percentileUs(0.99) - 99_000) < 1_600);
});

test('a histogram comes back whole from the counts that another thread sends', () => {
  const sent = new LatencyHistogram();
  for (let i = 1; i <= 100; i++) sent.recordMs(i);
  const received = LatencyHistogram.fromCounts(structuredClone(sent.toCounts()));
  assert.is(received.count, 100);
  assert.is(received.percentileUs(0.99), sent.percentileUs(0.99));
  sent.recordMs(1);
  assert.is(received.count, 100, 'a copy');
  assert.throws(() => LatencyHistogram.fromCounts(new Float64Array(3)), /3 counts/);
});

test('what lies outside is counted at the edge', () => {
  const histogram = new LatencyHistogram();
  histogram.recordMs(-1);
  histogram.recordMs(1e9);
  assert.is(histogram.count, 2);
  assert.is(histogram.percentileUs(0), 0);
  assert.ok(histogram.percentileUs(1) > 4.2e8);
});

test('the median of an even number is the lower middle', () => {
  assert.is(median([3, 1, 2]), 2);
  assert.is(median([4, 1, 3, 2]), 2);
  assert.ok(Number.isNaN(median([])));
});

test.run();
