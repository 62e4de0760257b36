/** Bars are judged from the results of one run, and only when that run measured both sides. */

import * as assert from 'uvu/assert';
import { BARS, type Bar, judge } from '../../bench/bars.ts';
import { test } from '../suite.ts';

const put = (peer: string, opsPerSecond: number) => ({ peer, case: 'put', opsPerSecond });
const ratio: Bar = {
  of: { peer: 'kvorum', case: 'put' },
  over: { peer: 'etcd', case: 'put' },
  metric: 'opsPerSecond',
  is: 'at least',
  required: 3,
};

test('a ratio is met from its bar on, and not below', () => {
  const met = judge(ratio, [put('kvorum', 3_000), put('etcd', 1_000)]);
  assert.is(met?.met, true);
  assert.is(met?.text, 'put: kvorum / etcd, throughput: 3.00x (wanted: at least 3.00x)');
  assert.is(judge(ratio, [put('kvorum', 2_999), put('etcd', 1_000)])?.met, false);
});

test('a fixed bar can be a ceiling', () => {
  const bar: Bar = { of: { peer: 'kvorum', case: 'm' }, metric: 'rssMb', is: 'at most', required: 1_024 };
  assert.is(judge(bar, [{ peer: 'kvorum', case: 'm', rssMb: 1_025 }])?.met, false);
  const met = judge(bar, [{ peer: 'kvorum', case: 'm', rssMb: 512 }]);
  assert.is(met?.met, true);
  assert.is(met?.text, 'm: kvorum, memory: 512 MiB (wanted: at most 1,024 MiB)');
});

test('the best of several peers is the one to beat; who was not measured does not count', () => {
  const best: Bar = { ...ratio, over: ['etcd', 'lmdb', 'js-map'].map((peer) => ({ peer, case: 'put' })) };
  const rows = [put('kvorum', 3_000), put('etcd', 500), put('lmdb', 1_500)];
  const verdict = judge(best, rows);
  assert.is(verdict?.value, 2);
  assert.is(verdict?.met, false);
  assert.match(verdict!.text, 'put: kvorum / lmdb (best of etcd, lmdb), throughput: 2.00x');
  assert.is(judge(best, [put('kvorum', 3_000)]), undefined);
});

test('every bar names a metric and a peer in words of its own', () => {
  for (const bar of BARS) {
    const over = bar.over === undefined ? [] : 'peer' in bar.over ? [bar.over] : bar.over;
    const rows = [bar.of, ...over].map((which) => ({ ...which, [bar.metric]: bar.required }));
    const text = judge(bar, rows)?.text ?? '';
    assert.match(text, bar.of.case);
    assert.not.match(text, 'undefined');
  }
});

test('without both sides there is no verdict', () => {
  assert.is(judge(ratio, [put('kvorum', 3_000)]), undefined);
  assert.is(judge(ratio, [put('etcd', 3_000)]), undefined);
  for (const bar of BARS) assert.is(judge(bar, []), undefined);
});

test.run();
