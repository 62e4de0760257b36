/** The chart is well-formed whatever the rows hold, and its bars stand where their values say. */

import * as assert from 'uvu/assert';
import { drawChart, escapeXml, LogScale, shortNumber } from '../../bench/engine/chart.ts';
import type { BenchResult } from '../../bench/result.ts';
import { test } from '../suite.ts';

/** Fails unless every element is closed in the order in which it was opened, and no stray `<` or `&` is left. */
function assertWellFormed(xml: string): void {
  const open: string[] = [];
  const rest = xml.replaceAll(
    /<(\/?)([a-z]+)((?: [a-zA-Z0-9:-]+="[^"<]*")*)(\/?)>/g,
    (_all, end, name, _attributes, empty) => {
      if (end === '/') assert.is(open.pop(), name);
      else if (empty === '') open.push(name);
      return '';
    },
  );
  assert.equal(open, []);
  assert.not.match(rest, /[<]/);
  assert.not.match(rest, /&(?!amp;|lt;|gt;|quot;)/);
}

const row = (peer: string, name: string, opsPerSecond: number): BenchResult => ({
  peer,
  case: name,
  opsPerSecond,
});
const widths = (svg: string): number[] =>
  [...svg.matchAll(/<rect [^>]*width="([\d.]+)" height="13"/g)].map((match) => Number(match[1]));

test('a bar for each peer of each case, as long as its logarithm', () => {
  const svg = drawChart(
    [
      row('kvorum', 'embedded get 100k', 100_000),
      row('lmdb', 'embedded get 100k', 10_000),
      row('kvorum', 'embedded put os', 1_000_000),
      row('kvorum', 'cluster put 1', 5),
    ],
    'a machine',
  );
  assertWellFormed(svg);
  const [put, get, lmdb, ...more] = widths(svg);
  assert.equal(more, []);
  assert.ok(Math.abs(get! / put! - 2 / 3) < 0.01, `${get} is two thirds of ${put}`);
  assert.ok(Math.abs(lmdb! / put! - 1 / 3) < 0.01, `${lmdb} is a third of ${put}`);
  assert.match(svg, '>1.00 M/s<');
  assert.match(svg, 'a machine');
  assert.not.match(svg, 'cluster');
});

test('names and machines are text, not markup; bytes are shown where they are known', () => {
  const odd: BenchResult = { ...row('a<b>&"c"', 'embedded scan', 2e6), mbPerSecond: 2_080 };
  const svg = drawChart([odd], 'x < y & "z"');
  assertWellFormed(svg);
  assert.match(svg, 'a&lt;b&gt;&amp;&quot;c&quot;');
  assert.match(svg, '2.00 M/s  (2080 MB/s)');
  assert.is(escapeXml(`<&>"`), '&lt;&amp;&gt;&quot;');
});

test('nothing measured gives a chart without bars; rows without a rate are left out', () => {
  for (const results of [
    [],
    [{ peer: 'kvorum', case: 'embedded scan' }],
    [row('kvorum', 'embedded scan', 0)],
  ]) {
    const svg = drawChart(results, '');
    assertWellFormed(svg);
    assert.equal(widths(svg), []);
  }
});

test('the chart needs nothing from elsewhere and follows the colours of the page', () => {
  const svg = drawChart([row('kvorum', 'embedded scan', 1e6)], '');
  assert.match(svg, 'prefers-color-scheme: dark');
  assert.not.match(svg.replace('http://www.w3.org/2000/svg', ''), /https?:|@import|@font-face|<script|href/);
});

test('numbers are short', () => {
  const cases: [number, string][] = [
    [0.5, '0.50'],
    [999, '999'],
    [999.7, '1.00 K'],
    [10_000, '10.0 K'],
    [412_300, '412 K'],
    [999_900, '1.00 M'],
    [12_345_678, '12.3 M'],
  ];
  for (const [value, expected] of cases) assert.is(shortNumber(value), expected);
});

test('a scale begins at a power of ten below its values and ends at the greatest', () => {
  const scale = new LogScale([2_000, 400_000]);
  assert.equal(scale.decades, [1_000, 10_000, 100_000]);
  assert.is(scale.at(1_000), 0);
  assert.ok(Math.abs(scale.at(400_000) - 1) < 1e-9);
  assert.equal(new LogScale([1_200]).decades, [100, 1_000], 'the least value has a bar to be seen');
});

test.run();
