/** Levels: an immutable value that refuses to be wrong. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { compareKeys } from '../../../src/storage/record.ts';
import {
  bytesOfTables,
  LEVEL_COUNT,
  Levels,
  LevelsError,
  overlaps,
  type PlacedTable,
  spanOf,
} from '../../../src/storage/tables/levels.ts';
import { test } from '../../suite.ts';
import { bytesOf } from '../record_model.ts';
import { placed, tableInfo } from './placed_tables.ts';

function levelsOf(lists: PlacedTable[][], flushSequence = 9): Levels {
  return Levels.of(
    Array.from({ length: LEVEL_COUNT }, (_, level) => lists[level] ?? []),
    flushSequence,
  );
}

const span = (smallest: string, largest: string) => ({
  smallestKey: bytesOf(smallest),
  largestKey: bytesOf(largest),
});

test('flushes come into level 0, newest first, and count as runs', () => {
  const first = tableInfo('a', 'm');
  const second = [tableInfo('b', 'c'), tableInfo('d', 'z')];
  const levels = Levels.empty.withFlush([first], 0).withFlush(second, 7).withFlush([], 8);
  assert.equal(levels.fileNumbers()[0], [second[0]!.fileNumber, second[1]!.fileNumber, first.fileNumber]);
  assert.is(levels.flushSequence, 3);
  assert.is(levels.runCount(), 2);
  assert.equal(
    levels.runs().map((run) => run.map((table) => table.info)),
    [second, [first]],
  );
  assert.equal(
    levels.level(0).map((table) => table.cleanedRevision),
    [7, 7, 0],
  );
  assert.is(Levels.empty.all().length, 0, 'the value before has not changed');
});

test('a change takes tables out wherever they are and puts others in order where it says', () => {
  const upper = placed('c', 'e');
  const left = placed('a', 'b');
  const right = placed('f', 'g');
  const levels = levelsOf([[], [upper], [left, right]]);
  const merged = placed('c', 'd');
  const after = levels.withChange({ removed: [upper], added: [merged], level: 2 });
  assert.equal(after.level(2), [left, merged, right]);
  assert.is(after.level(1).length, 0);
  assert.is(after.deepest(), 2);
  assert.equal(levels.level(1), [upper]);
  assert.throws(() => after.withChange({ removed: [upper], added: [], level: 1 }), /not there/);
  const moved = levels.withChange({ removed: [left], added: [left], level: 3 });
  assert.equal(moved.level(3), [left]);
});

test('whatever breaks an invariant is refused', () => {
  const table = placed('a', 'c');
  const wrong: [PlacedTable[][], RegExp][] = [
    [[[], [placed('a', 'c'), placed('c', 'd')]], /overlap/],
    [[[], [placed('d', 'e'), placed('a', 'b')]], /overlap/],
    [[[placed('a', 'c', { flushSequence: 2 }), placed('b', 'd', { flushSequence: 2 })]], /overlap/],
    [[[placed('a', 'c', { flushSequence: 2 }), placed('b', 'd', { flushSequence: 3 })]], /newest first/],
    [[[], [placed('b', 'a')]], /end before/],
    [[[table], [table]], /twice/],
    [[[placed('a', 'b', { flushSequence: 10 })]], /flush 10/],
    [[[], [placed('a', 'b', { flushSequence: 0 })]], /flush 0/],
  ];
  for (const [lists, message] of wrong) {
    assert.throws(
      () => levelsOf(lists),
      (error: unknown) => error instanceof LevelsError && message.test(error.message),
      String(message),
    );
  }
  assert.throws(() => Levels.of([[]], 1), /1 levels/);
});

test('overlaps include both ends', () => {
  const levels = levelsOf([
    [placed('a', 'z', { flushSequence: 2 }), placed('k', 'k')],
    [placed('b', 'd'), placed('f', 'h'), placed('k', 'm')],
  ]);
  const found = (level: number, from: string, to: string): string[] =>
    levels.overlapping(level, span(from, to)).map(({ info }) => Buffer.from(info.smallestKey).toString());
  assert.equal(found(1, 'd', 'f'), ['b', 'f']);
  assert.equal(found(1, 'e', 'e'), []);
  assert.equal(found(1, 'a', 'zz'), ['b', 'f', 'k']);
  assert.equal(found(1, 'n', 'z'), []);
  assert.equal(found(0, 'k', 'k'), ['a', 'k']);
  assert.ok(levels.liesAbove(0, span('h', 'i')));
  assert.not(levels.liesAbove(0, span('i', 'j')));
  assert.not(levels.liesAbove(1, span('a', 'z')));
  assert.is(bytesOfTables(levels.all()), 5000);
  const hull = spanOf(levels.level(1));
  assert.equal([hull.smallestKey, hull.largestKey], [bytesOf('b'), bytesOf('m')]);
});

test('property: overlap queries by search agree with looking at every table', () => {
  const number = fc.integer({ min: 0, max: 200 });
  fc.assert(
    fc.property(fc.uniqueArray(number, { minLength: 2, maxLength: 40 }), number, number, (cuts, a, b) => {
      const name = (at: number): string => String(at).padStart(4, '0');
      const sortedCuts = [...cuts].sort((x, y) => x - y);
      const tables: PlacedTable[] = [];
      for (let i = 0; i + 1 < sortedCuts.length; i += 2)
        tables.push(placed(name(sortedCuts[i]!), name(sortedCuts[i + 1]!)));
      const levels = levelsOf([[], tables]);
      const wanted = span(name(Math.min(a, b)), name(Math.max(a, b)));
      const expected = tables.filter(({ info }) => overlaps(info, wanted));
      assert.equal(levels.overlapping(1, wanted), expected);
      assert.is(levels.liesAbove(0, wanted), expected.length > 0);
      for (const table of expected) assert.ok(compareKeys(table.info.smallestKey, wanted.largestKey) <= 0);
    }),
    { numRuns: 300 },
  );
});

test.run();
