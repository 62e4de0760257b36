/** Lulls of a run: each comes after its calls, they add up, and clients stay quiet for as long as one lasts. */

import * as assert from 'uvu/assert';
import { SeededRandom } from '../../src/sim/core/seeded_random.ts';
import { Lulls } from '../../src/sim/load/lulls.ts';
import { drawPace } from '../../src/sim/run_config.ts';
import { test } from '../suite.ts';

const OPS = 200;

/** Virtual time that passes when one client makes the calls, each at once but for the lulls. */
function passed(totalMs: number, seed: number): { readonly ms: number; readonly inTheMiddle: number } {
  const lulls = new Lulls(totalMs, OPS, new SeededRandom(seed));
  const random = new SeededRandom(seed).fork('client');
  let nowMs = 1_000;
  let inTheMiddle = 0;
  for (let call = 0; call < OPS; call++) {
    lulls.call(nowMs);
    nowMs += lulls.quietMs(nowMs, random);
    if (lulls.quietMs(nowMs, random) > 0) inTheMiddle++;
  }
  // What is left of the last one.
  for (let left = lulls.quietMs(nowMs, random); left > 1e-6; left = lulls.quietMs(nowMs, random))
    nowMs += left;
  return { ms: nowMs - 1_000, inTheMiddle };
}

test('all lulls come, whatever happens in them', () => {
  let inTheMiddle = 0;
  for (let seed = 1; seed <= 50; seed++) {
    const run = passed(60_000, seed);
    assert.ok(Math.abs(run.ms - 60_000) < 1, `seed ${seed}: ${run.ms} ms`);
    inTheMiddle += run.inTheMiddle;
  }
  assert.ok(inTheMiddle > 10, 'some calls are made in the middle of a lull');
});

test('without lulls nobody is quiet', () => {
  assert.is(passed(0, 1).ms, 0);
});

test('most runs are dense, and some take minutes', () => {
  const paces = Array.from({ length: 400 }, (_, seed) => drawPace(new SeededRandom(seed)));
  const long = paces.filter(({ lullMs }) => lullMs > 0).length;
  assert.ok(long > 80 && long < 160, `${long} of 400`);
  for (const { busyMs, lullMs } of paces) assert.ok(busyMs <= 8 && lullMs <= 120);
});

test.run();
