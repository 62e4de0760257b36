/** Which revision the store was at when: against the plain list of all times, through compaction, captures and thinning. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { MAX_TIMES, TimeIndex } from '../../src/kv/time_index.ts';
import { decodeState, encodeState } from '../../src/wire/state_codec.ts';
import { test } from '../suite.ts';
import { put, Store, touch, write } from './commands.ts';

const step = fc.record({
  waitMs: fc.oneof(fc.nat(400), fc.nat(5_000)),
  what: fc.constantFrom('write', 'write', 'write', 'nothing', 'compact', 'capture'),
});

test('what it gives is never newer than the time asked for, older by less than a second, and exact where nothing was written for a second', () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 80 }),
      fc.array(fc.nat(150_000), { minLength: 5 }),
      (steps, asked) => {
        const store = new Store();
        const written: { ms: number; revision: number }[] = [{ ms: 0, revision: 1 }];
        store.timeMs = 500;
        for (const { waitMs, what } of steps) {
          store.timeMs += waitMs;
          const { machine } = store;
          if (what === 'write') {
            store.run(write(put('a', '')));
            written.push({ ms: store.timeMs, revision: machine.revision });
          }
          if (what === 'nothing') store.run(write(touch('none', 1)));
          if (what === 'compact') store.run({ type: 'compact', revision: Math.ceil(machine.revision / 2) });
          if (what === 'capture') machine.restore(decodeState(encodeState(machine.captureState())));
        }
        const at = (ms: number): number => written.findLast((one) => one.ms <= ms)?.revision ?? 1;
        for (const ms of [...asked, ...written.map((one) => one.ms)]) {
          const found = store.machine.revisionAt(ms);
          if (found === undefined || found < store.machine.compactRevision) {
            const second = written.findLast((one) => Math.floor(one.ms / 1_000) < Math.floor(ms / 1_000));
            assert.ok((second?.revision ?? 1) < store.machine.compactRevision, `${ms}: known, but not given`);
            continue;
          }
          assert.ok(found <= at(ms), `${found} at ${ms}: newer than ${at(ms)}`);
          assert.ok(found >= at(Math.floor(ms / 1_000) * 1_000 - 1), `${found} at ${ms}: too old`);
        }
        assert.is(store.machine.revisionAt(store.timeMs), store.machine.revision);
      },
    ),
    { numRuns: 300 },
  );
});

test('it is bounded: what lies far back is known in proportion to its age', () => {
  const index = new TimeIndex();
  const newest = 8 * MAX_TIMES;
  for (let revision = 2; revision <= newest; revision++) index.note(revision * 1_000, revision);
  const { ms } = index.capture()!;
  assert.ok(ms.length <= MAX_TIMES && ms.length > MAX_TIMES / 8, `${ms.length} rows`);
  assert.is(index.at(Number.MAX_SAFE_INTEGER), newest);
  for (let revision = 2; revision < newest; revision += 997) {
    const behind = revision - index.at(revision * 1_000 + 3)!;
    assert.ok(behind >= 0 && behind <= 1 + (newest - revision) / 1_000, `${behind} behind ${revision}`);
  }
});

test('a thousand years take no more room', () => {
  const index = new TimeIndex();
  let ms = 0;
  for (let revision = 2; revision < 4 * MAX_TIMES; revision++) {
    ms += 240_000_000;
    index.note(ms, revision);
  }
  assert.ok(index.capture()!.ms.length <= MAX_TIMES);
});

test('a state from before there were times tells where it was at its end', () => {
  const index = new TimeIndex();
  index.restore(undefined, 7_000, 12);
  assert.is(index.at(6_999), undefined);
  assert.is(index.at(7_000), 12);
  index.restore(undefined, 7_000, 1);
  assert.is(index.at(0), 1);
  assert.is(index.capture(), undefined);
});

test.run();
