/** Epochs by hand, against a model, and over the wrap of the counter. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { EpochReader, Epochs, epochWords } from '../../../src/storage/shared/epochs.ts';
import { test } from '../../suite.ts';

function lab(readers: number) {
  const words = new Int32Array(new SharedArrayBuffer(4 * epochWords(readers)));
  const epochs = new Epochs(words, readers);
  return { words, epochs, readers: Array.from({ length: readers }, (_, i) => new EpochReader(words, i)) };
}

test('what nobody reads is freed at once', () => {
  const { epochs } = lab(2);
  let freed = 0;
  epochs.retire(() => freed++);
  assert.is(freed, 1);
  assert.is(epochs.waiting, 0);
});

test('what a reader may see waits until it leaves; one that came later does not count', () => {
  const { epochs, readers } = lab(2);
  let freed = 0;
  readers[0]!.enter();
  assert.ok(readers[0]!.inside);
  epochs.retire(() => freed++);
  readers[1]!.enter();
  assert.is(epochs.collect(), 1);
  readers[0]!.leave();
  assert.not.ok(readers[0]!.inside);
  assert.is(freed, 0);
  assert.is(epochs.collect(), 0);
  assert.is(freed, 1, 'reader 1 entered after the retirement');
});

test('a reader that enters again and again holds nothing of before', () => {
  const { epochs, readers } = lab(1);
  let freed = 0;
  readers[0]!.enter();
  epochs.retire(() => freed++);
  readers[0]!.leave();
  readers[0]!.enter();
  assert.is(epochs.collect(), 0);
  assert.is(freed, 1);
});

test('a dead reader is forgotten', () => {
  const { epochs, readers } = lab(1);
  let freed = 0;
  readers[0]!.enter();
  epochs.retire(() => freed++);
  epochs.forget(0);
  assert.is(freed, 1);
});

test('the counter goes round', () => {
  const { words, epochs, readers } = lab(1);
  for (const start of [2 ** 31 - 2, -2]) {
    Atomics.store(words, 0, start);
    for (let round = 0; round < 4; round++) {
      let freed = 0;
      readers[0]!.enter();
      assert.ok(readers[0]!.inside, 'no epoch looks like an idle reader');
      epochs.retire(() => freed++);
      epochs.retire(() => freed++);
      assert.is(freed, 0);
      readers[0]!.leave();
      readers[0]!.enter();
      assert.is(epochs.collect(), 0);
      assert.is(freed, 2);
      readers[0]!.leave();
    }
  }
});

test('of many readers only those that are expected are looked at', () => {
  const words = new Int32Array(new SharedArrayBuffer(4 * epochWords(5)));
  const epochs = new Epochs(words, 5, 0);
  assert.not.ok(epochs.anyInside());
  epochs.expect(3);
  epochs.expect(1);
  const reader = new EpochReader(words, 3);
  reader.enter();
  assert.ok(epochs.anyInside());
  const stamp = epochs.stamp();
  assert.not.ok(epochs.isOver(stamp));
  reader.leave();
  assert.not.ok(epochs.anyInside());
  assert.ok(epochs.isOver(stamp));
});

test('too few words are refused', () => {
  assert.throws(
    () => new Epochs(new Int32Array(epochWords(2)), 3),
    (error: unknown) => error instanceof KvError && error.code === 'INTERNAL',
  );
});

test('never freed while a reader that saw it is inside, always freed once all have left', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('enter' as const), reader: fc.nat(2) }),
    fc.record({ kind: fc.constant('leave' as const), reader: fc.nat(2) }),
    fc.record({ kind: fc.constant('retire' as const), reader: fc.nat(2) }),
    fc.record({ kind: fc.constant('collect' as const), reader: fc.nat(2) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { epochs, readers } = lab(3);
      const sees: Set<number>[] = [new Set(), new Set(), new Set()];
      const reachable = new Set([0]);
      const freed = new Set<number>();
      let newest = 0;
      for (const { kind, reader } of steps) {
        if (kind === 'enter') {
          readers[reader]!.enter();
          // A reader that is inside and enters anew gives up what it saw.
          sees[reader] = new Set(reachable);
        } else if (kind === 'leave') {
          readers[reader]!.leave();
          sees[reader]!.clear();
        } else if (kind === 'collect') {
          epochs.collect();
        } else {
          const thing = newest++;
          reachable.delete(thing);
          reachable.add(newest);
          epochs.retire(() => freed.add(thing));
        }
        for (const seen of sees) for (const thing of seen) assert.not.ok(freed.has(thing));
      }
      for (const reader of readers) reader.leave();
      assert.is(epochs.collect(), 0);
      assert.is(freed.size, newest);
    }),
  );
});

test.run();
